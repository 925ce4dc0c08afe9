"""A rendered installation in a folder, and its compose files put together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from click.testing import CliRunner

from provisioning.cli import main
from provisioning.secrets.installation import installation
from provisioning.secrets.making import init
from tests.compose.compose_files import BASE, DEV, PROD, together, variables

TARGETS = """\
name: lab
targets:
  ollama:
    - {name: gpu-1, url: "http://192.0.2.7:11434", proxy: {listen: "0.0.0.0:11435"}, bearer_token_file: ours/token}
"""
PRODUCTION = """\
production:
  domain: monitoring.example.org
"""
EVERYTHING = f"""\
{TARGETS}
people:
  - {{name: ana, email: ana@example.org, sms: "+5511999990000", role: operator}}
notifications:
  mail:
    smarthost: mail.example.org:587
    sender: monitoring@example.org
    username: monitoring
    password_file: ours/mail-password
  sms:
    twilio:
      account_sid: AC00000000000000000000000000000000
      api_key_sid: SK00000000000000000000000000000000
      api_key_secret_file: ours/twilio-secret
      sender: "+15005550006"
{PRODUCTION}  grafanas: 3
"""
# No container of ours runs as root, whoever runs the tests.
OWNER = {"CLUSTER_AI_UID": "1234", "CLUSTER_AI_GID": "1235"}


def installed(folder: Path, text: str = EVERYTHING) -> Path:
    """The folder, with everything that `deploy up` writes before it starts anything."""
    folder.mkdir(exist_ok=True)
    (folder / "cluster-ai.yml").write_text(text)
    (folder / "ours").mkdir(exist_ok=True)
    for name in ("token", "mail-password", "twilio-secret"):
        (folder / "ours" / name).write_text("a-secret-of-the-operator")
        (folder / "ours" / name).chmod(0o600)
    if "production:" in text:
        init(installation(folder / "cluster-ai.yml"))
    result = CliRunner().invoke(main, ["render", "--for", "containers", "--config", str(folder / "cluster-ai.yml")])
    assert result.exit_code == 0, result.output
    return folder


def stack(folder: Path, kind: Path = PROD) -> dict[str, Any]:
    """All compose files of an installation as one."""
    rendered = folder / "rendered"
    return together([BASE, kind, rendered / "compose.yml"], variables(rendered / "compose.env") | OWNER)


def dev(folder: Path) -> dict[str, Any]:
    return stack(folder, DEV)
