"""Whether what the exporter asks for is what Prometheus will bring: two places that must agree."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bcrypt

from provisioning.config.exporter import Exporter
from provisioning.config.problems import Problem, brief
from provisioning.config.secrets import SecretError, SecretFile
from provisioning.config.yaml_file import MAX_BYTES, Document, parse

WEB_CONFIG = ("exporter", "web_config_file")
_DEAREST = 12  # the cost up to which a hash is tried; it takes 0.2 s


def disagreements(exporter: Exporter, document: Document) -> Iterator[Problem]:
    """What would keep Prometheus out. A file that is broken or not there is told elsewhere."""
    if exporter.web_config_file is None:
        return
    asked = _content(exporter.web_config_file)
    if asked is None:
        return
    for message, hint in _findings(exporter, *asked):
        yield Problem(document.line_of(WEB_CONFIG), message, hint, ".".join(WEB_CONFIG))


def _content(file: Path) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """What it says of TLS and of users; None when it cannot be understood."""
    try:
        with file.open(encoding="utf-8") as opened:
            data = parse(opened.read(MAX_BYTES)).data
    except (OSError, UnicodeDecodeError):
        return None
    if not isinstance(data, dict):
        return None
    tls, users = data.get("tls_server_config") or {}, data.get("basic_auth_users") or {}
    return (tls, users) if isinstance(tls, dict) and isinstance(users, dict) else None


def _findings(exporter: Exporter, tls: dict[str, Any], users: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if tls and exporter.ca_file is None:
        yield "the exporter speaks TLS and Prometheus does not know how to check it", "add exporter.ca_file"
    if not tls and exporter.ca_file is not None:
        yield "ca_file is given, but the exporter does not speak TLS", "add tls_server_config to the web configuration"
    if tls.get("client_auth_type") == "RequireAndVerifyClientCert" and exporter.cert_file is None:
        yield "the exporter wants a client certificate", "add exporter.cert_file and key_file"
    if users and exporter.username is None:
        yield "the exporter wants a password and Prometheus has none", "add exporter.username and password_file"
    if exporter.username is not None and exporter.username not in users:
        yield f"the exporter has no user {brief(exporter.username)}", "add the user to basic_auth_users there"
    elif exporter.username is not None and _other_password(exporter.password_file, users[exporter.username]):
        user = brief(exporter.username)
        yield f"the hash of {user} is of another password than password_file holds", "make the hash anew, or the file"


def _other_password(file: Path | None, hashed: object) -> bool:
    """Whether they surely do not belong together; what cannot be read or is no hash is told elsewhere."""
    try:
        cost = int(str(hashed)[4:6])
        password = SecretFile(file).read() if file is not None else None
        return password is not None and cost <= _DEAREST and not bcrypt.checkpw(password.encode(), str(hashed).encode())
    except (ValueError, SecretError):
        return False
