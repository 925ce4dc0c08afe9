"""From kill -9 of a real Dask scheduler to the SMS that Twilio's stand-in takes, with the intervals that ship.

BENCH_ALERT_RUNS is how many schedulers are killed for good (10); a third as many are killed and come back by
themselves. Each is a target of its own, so that one incident does not wait for the messages of another.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from benchmarks import rules
from benchmarks.processes import answers, running
from benchmarks.table import Row, Table, p95
from provisioning.config.model import Services
from tests.ports import free_port
from tests.standins.twilio import ACCOUNT, SENDER, TOKEN, TwilioStandIn

RUNS = int(os.environ.get("BENCH_ALERT_RUNS", "10"))
_CHANCE = random.Random(20261123)  # noqa: S311 -- when in a scrape's interval a fault falls
_PATIENCE = 180.0  # s for an SMS
_SETTLE = 30.0  # s until every scheduler has been seen
_HEALED_IN = 15.0  # s within which a restart must wake nobody
_AFTER = 60.0  # s in which an SMS that should not be would come


def measure() -> list[Table]:
    """How soon, how often for nothing, and what the rules cost."""
    return [_latency(), rules.measure()]


class _Scheduler:
    """A real one, as a process."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self._folder = folder
        self._port, self._page = free_port(), free_port()
        self.address = f"tcp://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        """Anew, on the same port."""
        page = f"127.0.0.1:{self._page}"
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", self.address),
                *("--port", str(self._port), "--dashboard-address", page),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self._folder,
        )

    def kill(self) -> float:
        """Kill -9; when."""
        at = time.time()
        self.process.kill()
        self.process.wait()
        return at

    def answers(self) -> bool:
        """Whether it serves again."""
        return answers(self._page, "/health")


def _latency() -> Table:
    with tempfile.TemporaryDirectory() as name, TwilioStandIn() as twilio, _schedulers(Path(name)) as all_of_them:
        killed, restarted = all_of_them[:RUNS], all_of_them[RUNS:]
        with _stack(Path(name), all_of_them, twilio):
            time.sleep(_SETTLE)
            seconds = _kill(killed, twilio)
            away, woken = _restart(restarted, twilio)
    median, high = statistics.median(seconds), p95(seconds) if len(seconds) > 1 else seconds[0]
    quick = [one for one in away if one <= _HEALED_IN]
    rows = [
        Row(f"kill -9 to the SMS taken, median of {len(seconds)}", f"{median:.1f} s", "", "at most 45 s", median <= 45),  # noqa: PLR2004
        Row("the same, 95th percentile", f"{high:.1f} s", "", "at most 60 s", high <= 60),  # noqa: PLR2004
        Row("the same, from and to", f"{min(seconds):.1f} to {max(seconds):.1f} s"),
        Row(
            f"people woken by {len(quick)} schedulers that were away for {min(away):.0f} to {max(quick):.0f} s",
            str(woken),
            "",
            "nobody",
            woken == 0,
        ),
    ]
    return Table("From a fault to a phone", rows)


def _kill(schedulers: list[_Scheduler], twilio: TwilioStandIn) -> list[float]:
    """Seconds from each kill to its SMS."""
    at = {}
    for scheduler in schedulers:
        time.sleep(_CHANCE.uniform(3, 8))
        at[scheduler.name] = scheduler.kill()
    end = time.monotonic() + _PATIENCE
    while set(told := _told(twilio)) < set(at) and time.monotonic() < end:
        time.sleep(0.5)
    if missing := set(at) - set(told):
        raise SystemExit(f"nobody was told of {', '.join(sorted(missing))} within {_PATIENCE:.0f} s")
    return [told[name] - killed for name, killed in at.items()]


def _restart(schedulers: list[_Scheduler], twilio: TwilioStandIn) -> tuple[list[float], int]:
    """How long each was away, and how many SMS came of those that were back in time."""
    away = {}
    for scheduler in schedulers:
        time.sleep(_CHANCE.uniform(3, 8))
        killed = scheduler.kill()
        time.sleep(_CHANCE.uniform(2, 9))
        scheduler.start()
        while not scheduler.answers():
            time.sleep(0.1)
        away[scheduler.name] = time.time() - killed
    time.sleep(_AFTER)
    told = _told(twilio)
    return list(away.values()), sum(name in told for name, seconds in away.items() if seconds <= _HEALED_IN)


def _told(twilio: TwilioStandIn) -> dict[str, float]:
    """When an SMS about each target was taken, the first."""
    first: dict[str, float] = {}
    for message in twilio.taken:
        for name in re.findall(r"bench-\d+", message.body):
            first.setdefault(name, message.created)
    return first


@contextmanager
def _schedulers(folder: Path) -> Iterator[list[_Scheduler]]:
    count = RUNS + max(1, RUNS // 3)
    made: list[_Scheduler] = []
    try:
        made.extend(_Scheduler(f"bench-{number:03}", folder) for number in range(count))
        while not all(one.answers() for one in made):
            time.sleep(0.2)
        yield made
    finally:
        for one in made:
            with contextlib.suppress(ProcessLookupError):
                one.kill()


@contextmanager
def _stack(folder: Path, schedulers: list[_Scheduler], twilio: TwilioStandIn) -> Iterator[None]:
    """What `cluster-ai up` starts, without a Grafana."""
    ports = {name: free_port() for name, field in Services.model_fields.items() if field.annotation is str}
    token = folder / "twilio-token"
    token.touch(mode=0o600)
    token.write_text(TOKEN)
    account = {"account_sid": ACCOUNT, "auth_token_file": str(token), "sender": SENDER, "url": twilio.url}
    config = {
        "name": "bench",
        "targets": {"dask": [{"name": one.name, "scheduler": one.address} for one in schedulers]},
        "people": [{"name": "ana", "sms": "+15550000001", "role": "operator"}],
        "notifications": {"sms": {"twilio": account, "hourly_cap": 10 * len(schedulers)}},
        "services": {name: f"127.0.0.1:{port}" for name, port in ports.items()},
    }
    file = folder / "cluster-ai.yml"
    file.write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "provisioning.cli", "up", "--state-dir", str(folder / "state")]
    environment = {"GRAFANA_HOME": "/nonexistent"}
    with running([*command, "--config", str(file)], ports["sms_bridge"], "/-/ready", environment) as stack:
        yield
        stack.process.send_signal(signal.SIGTERM)
        stack.process.wait(30)
