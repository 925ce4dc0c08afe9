"""A bridge as a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from compose.native.child import _die_with
from tests.ports import free_port
from tests.standins import twilio

ROOT = Path(__file__).parents[3]
TOKEN = "the-bearer-token"
CONFIG = """\
name: lab
targets:
  ollama: [{{name: main, url: "http://127.0.0.1:9"}}]
people:
  - {{name: ana, email: ana@example.org, sms: "+5511999990000", role: operator}}
  - {{name: bo, sms: "+5511999990001", role: operator}}
services: {{alertmanager: "127.0.0.1:{alertmanager}", sms_bridge: "127.0.0.1:{port}"}}
grafana: {{url: "https://monitoring.example.org"}}
notifications:
  mail: {{smarthost: "{smarthost}", sender: m@example.org, tls: false}}
  sms:
    {more}
    twilio:
      account_sid: {account}
      api_key_sid: {key}
      api_key_secret_file: api-key-secret
      auth_token_file: auth-token
      sender: "{sender}"
      url: "{url}"
      {callback}
  heartbeat: {{url_file: heartbeat-url, every: 1s}}
  timing: {{wait: 0s, update: 1s, repeat_sms: 1h, repeat_mail: 1h}}
"""


def wait(look: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
    """The first true result."""
    end = time.monotonic() + seconds
    while True:
        if result := look():
            return result
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.02)


class Bridge:
    """One bridge; `start` after `kill` is the same one again."""

    def __init__(self, folder: Path, url: str, smarthost: str, *, more: str = "", ledger: Path | None = None) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self.alertmanager = free_port()
        self.ledger = ledger or folder / "ledger.db"
        self.config = folder / "cluster-ai.yml"
        callback = f"status_callback: http://127.0.0.1:{self.port}/v1/twilio/status"
        words = {
            "port": self.port,
            "alertmanager": self.alertmanager,
            "smarthost": smarthost,
            "url": url,
            "more": more,
            "account": twilio.ACCOUNT,
            "key": twilio.API_KEY,
            "sender": twilio.SENDER,
            "callback": callback,
        }
        self.config.write_text(CONFIG.format(**words))
        for name, secret in (
            ("token", TOKEN),
            ("api-key-secret", twilio.API_SECRET),
            ("auth-token", twilio.TOKEN),
            ("heartbeat-url", "http://127.0.0.1:9/secret-of-the-heartbeat"),
        ):
            (folder / name).write_text(secret)
            (folder / name).chmod(0o600)
        self.log = folder / "log"
        self.patience = 30.0
        self._options: tuple[str, ...] = ()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def token(self) -> Path:
        return self.folder / "token"

    def with_options(self, *options: str) -> Bridge:
        """The same, started with these as well."""
        self._options = options
        return self

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.alert_rules.bridge.quick", "--config", str(self.config)]
        command += ["--token-file", str(self.token), "--ledger", str(self.ledger), *self._options]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with(os.getpid()),  # noqa: PLW1509 -- no threads are at work yet
            )
        wait(self.ready, "the bridge is ready", self.patience)

    def ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/-/ready").status_code == 200
        return False

    def kill(self, number: int = signal.SIGKILL) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(20)

    def tell(self, body: dict[str, Any], person: str = "ana", **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return httpx.post(f"{self.url}/v1/alerts/{person}", json=body, headers=headers, timeout=30, **more)

    def metrics(self) -> str:
        return httpx.get(f"{self.url}/metrics").text


@contextlib.contextmanager
def running(*bridges: Bridge) -> Iterator[None]:
    try:
        for bridge in bridges:
            bridge.start()
        yield
    finally:
        for bridge in bridges:
            if bridge.process is not None and bridge.process.poll() is None:
                bridge.process.kill()
                bridge.process.wait()
