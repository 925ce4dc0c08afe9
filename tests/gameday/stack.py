"""`python -m tests.gameday.stack`: the stack of `cluster-ai up` at another pace, with a pair of Alertmanagers.

What the product prepares is taken as it is; then every duration in its rendered files is divided.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import yaml

from compose.native import prepare, start
from compose.native.child import Pace
from compose.native.places import State
from compose.native.ports import Address
from compose.native.prepare import Plan, Say, Wishes
from compose.native.record import ServiceRecord
from compose.native.service import Condition, Service
from provisioning.config.notifications import Timing
from tests.gameday.scaling import scale_files

SECOND = "alertmanager-2"
_NO_CLUSTER = "--cluster.listen-address="
PEER_TIMEOUT = 15.0  # s, Alertmanager's default
# How long the second of a pair waits for the first, and how soon it hears what that has sent. With only one of them on
# the faster clock both would send where else one hears in time.
_PAIR = {"cluster.peer-timeout": PEER_TIMEOUT, "cluster.gossip-interval": 0.2}
_HANDING_OVER = 10.0  # s, how long Prometheus tries, its default
# Prometheus's own, in s: how often it says an alert again, and how long a series counts after its last sample.
_FLAGS = {"rules.alert.resend-delay": 60.0, "query.lookback-delta": 300.0}


def paced(state: State, config: Path, factor: float, pair: tuple[Address, Address, Address] | None, say: Say) -> Plan:
    """The product's own plan, changed. `pair`: where the second one listens, and both for each other."""
    plan = prepare.prepare(state, Wishes(config=config, listen={}, retry=False), say)

    def change(path: Path, data: Any) -> Any:
        for job in data.get("scrape_configs", ()):
            if job["job_name"] == "node":
                # Of this machine's file systems only the small one that is broken on purpose is in the game.
                ours = {"source_labels": ["mountpoint"], "regex": f"|{state.root.parent}/.*", "action": "keep"}
                job["metric_relabel_configs"] = [ours]
        if pair is not None and path.name == "prometheus.yml":
            for entry in data["alerting"]["alertmanagers"]:
                entry["static_configs"][0]["targets"].append(str(pair[0]))
                entry["timeout"] = f"{round(_HANDING_OVER / factor * 1000)}ms"  # one that hangs delays both
            for job in data["scrape_configs"]:
                if job["job_name"] == "alertmanager":
                    job["static_configs"][0]["targets"].append(str(pair[0]))
        return data

    scale_files(state.rendered, factor, change)
    services = [_flagged(_bridged(one, config, state, factor), factor) for one in plan.services]
    plan = dataclasses.replace(plan, services=services)
    if pair is None:
        return plan
    first = next(service for service in plan.services if service.name == "alertmanager")
    second, *gossip = pair
    both = [_paired(first, gossip[0], gossip[1], factor), _second(first, second, state, gossip, factor)]
    others = [service for service in plan.services if service is not first]
    plan.record.services.append(ServiceRecord(SECOND, Condition.STARTING))
    return dataclasses.replace(plan, services=[*others, *both])


def _bridged(service: Service, config: Path, state: State, factor: float) -> Service:
    """The SMS bridge reads how often messages repeat from cluster-ai.yml itself, so it gets one at this pace."""
    if service.name != "sms_bridge":
        return service
    data = yaml.safe_load(config.read_text())
    given = data["notifications"].get("timing", {})
    timing = Timing.model_validate(given)
    data["notifications"]["timing"] = {
        name: f"{round(getattr(timing, name) / factor * 1000)}ms" for name in Timing.model_fields
    }
    faster = state.rendered / "cluster-ai.yml"
    faster.write_text(yaml.safe_dump(data, sort_keys=False))
    command = tuple(str(faster) if word == str(config) else word for word in service.command)
    return dataclasses.replace(service, command=command)


def _flagged(service: Service, factor: float) -> Service:
    """Durations of Prometheus's that are flags."""
    if service.name != "prometheus":
        return service
    return dataclasses.replace(service, command=(*service.command, *_divided(_FLAGS, factor)))


def _divided(flags: Mapping[str, float], factor: float) -> Iterator[str]:
    """Flags of so many seconds, on the faster clock."""
    return (f"--{name}={round(value / factor * 1000)}ms" for name, value in flags.items())


def _paired(service: Service, own: Address, other: Address, factor: float) -> Service:
    """An Alertmanager that talks to its peer."""
    kept = [word for word in service.command if not word.startswith(_NO_CLUSTER)]
    cluster = [
        f"{_NO_CLUSTER}{own}",
        f"--cluster.advertise-address={own}",
        f"--cluster.peer={other}",
        *_divided(_PAIR, factor),
    ]
    return dataclasses.replace(service, command=(*kept, *cluster))


def _second(first: Service, listen: Address, state: State, gossip: list[Address], factor: float) -> Service:
    """The other of the pair, like the first with a folder and port of its own."""
    storage = f"--storage.path={state.root}/{SECOND}"
    changes = {"--storage.path=": storage, "--web.listen-address=": f"--web.listen-address={listen}"}
    command = tuple(
        next((new for begin, new in changes.items() if word.startswith(begin)), word) for word in first.command
    )
    ready = first.ready.replace(first.url, listen.url)
    made = dataclasses.replace(
        first, name=SECOND, command=command, ready=ready, url=listen.url, ports=(listen,), note=""
    )
    return _paired(made, gossip[1], gossip[0], factor)


@click.command()
@click.option("--state-dir", required=True, type=click.Path(path_type=Path))
@click.option("--config", required=True, type=click.Path(path_type=Path))
@click.option("--factor", required=True, type=float)
@click.option("--pair", nargs=3, default=None, help="Where a second Alertmanager listens, and both for each other.")
def main(state_dir: Path, config: Path, factor: float, pair: tuple[str, str, str] | None) -> None:
    """Run the stack until told to end."""
    state = State(state_dir.absolute())
    addresses = None if pair is None else (Address.parse(pair[0]), Address.parse(pair[1]), Address.parse(pair[2]))
    # A life of a minute makes a service healthy again, and here a minute is shorter.
    pace = Pace(healthy_after=Pace().healthy_after / factor)
    sys.exit(start.foreground(state, lambda say: paced(state, config, factor, addresses, say), pace))


if __name__ == "__main__":
    main()
