"""Configurations for tests: people and accounts that many tests share, and each test's own notifications."""

from __future__ import annotations

import tempfile
from pathlib import Path
from textwrap import dedent, indent

from provisioning.config.load import load
from provisioning.config.model import Config

_SMS = "  sms: {apprise: {urls_file: urls}}\n"
_BASE = f"""\
name: lab
targets:
  dask: [{{name: main, scheduler: "tcp://10.0.0.5:8786"}}]
  ollama: [{{name: gpu, url: "http://10.0.0.7:11434"}}]
  hosts: [{{name: gpu-1}}, {{name: gpu-2}}]
people:
  - {{name: ana, email: ana@example.org, sms: "+5511999990000", role: operator}}
  - {{name: ben, email: ben@example.org, role: admin}}
  - {{name: eva, email: eva@example.org, sms: "+5511999992222", role: viewer}}
  - {{name: kim, email: kim@example.org, hours: office}}
teams:
  - {{name: night, members: [ana, eva]}}
grafana: {{url: "https://monitoring.example.org"}}
notifications:
  mail: {{smarthost: "127.0.0.1:SMTP", sender: monitoring@example.org, tls: false}}
{_SMS}  zone: UTC
  hours:
    - name: office
      times: [{{days: [weekdays], begin: "09:00", end: "18:00"}}]
"""


def lab_text(notifications: str = "", *, smtp: int = 25) -> str:
    """A cluster-ai.yml with more lines below `notifications`; mail goes to this port of this machine."""
    more = indent(dedent(notifications).strip(), "  ")
    found = _BASE.replace("SMTP", str(smtp))
    if "\n  sms:" in f"\n{more}":
        found = found.replace(_SMS, "")
    return f"{found}{more}\n"


def lab(notifications: str = "", *, smtp: int = 25) -> Config:
    """The same, loaded."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cluster-ai.yml"
        file.write_text(lab_text(notifications, smtp=smtp))
        return load(file)
