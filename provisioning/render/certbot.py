"""certbot's settings and the loop that it runs in, where the certificate comes from an authority that speaks ACME."""

from __future__ import annotations

import shlex
from importlib.resources import files as resources
from pathlib import Path

from provisioning.config.model import Config
from provisioning.render.files import RenderError, header
from provisioning.render.places import Places

FOLDER = "certbot"
SETTINGS = f"{FOLDER}/cli.ini"
LOOP = f"{FOLDER}/renew.sh"
_FORBIDDEN = frozenset("\n\r\"'#;")
"""certbot reads a value as it stands, but for these."""


def files(config: Config, places: Places, out: Path, source: str) -> dict[str, str]:
    """Both files; none where the certificate comes from elsewhere."""
    production, there = config.production, places.production
    assert production is not None  # noqa: S101 -- a part of production
    assert there is not None  # noqa: S101
    acme = production.certificate.acme
    if acme is None:
        return {}
    settings = {
        "cert-name": "cluster-ai",
        "domains": production.domain,
        "email": acme.email,
        "server": acme.directory,
        "agree-tos": "true",
        "no-eff-email": "true",
        "non-interactive": "true",
        "keep-until-expiring": "true",
        "authenticator": "webroot",
        "webroot-path": _plain(there.webroot),
        "key-type": "ecdsa",
        "config-dir": _plain(there.letsencrypt),
        "work-dir": _plain(there.letsencrypt / "work"),
        "logs-dir": _plain(there.letsencrypt / "logs"),
        "max-log-backups": "30",
    }
    values = {
        "domain": production.domain,
        "settings": out / SETTINGS,
        "certificates": there.certificates,
        "letsencrypt": there.letsencrypt,
        "webroot": there.webroot,
        "textfiles": there.textfiles,
    }
    assigned = "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in values.items())
    if acme.ca_file is not None:  # certbot has no option for it
        assigned += f"export REQUESTS_CA_BUNDLE={shlex.quote(str(acme.ca_file))}\n"
    body = resources("provisioning.render").joinpath("templates/certbot-renew.sh").read_text(encoding="utf-8")
    return {
        SETTINGS: header(source) + "".join(f"{name} = {value}\n" for name, value in settings.items()),
        LOOP: header(source) + assigned + body,
    }


def _plain(path: Path) -> str:
    text = str(path)
    if _FORBIDDEN & set(text):
        raise RenderError(f"{text!r} cannot stand in certbot's settings: install in a folder with a plainer name")
    return text
