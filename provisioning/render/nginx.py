"""The door of a production stack: nginx's configuration, in front of Grafana."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from provisioning.config.model import Config
from provisioning.config.production import Production
from provisioning.render.files import RenderError, header
from provisioning.render.places import Places
from provisioning.render.templating import templates

FOLDER = "nginx"
MAIN = f"{FOLDER}/nginx.conf"


@dataclass(frozen=True, slots=True)
class Zone:
    """How often one address may ask for one kind of thing."""

    name: str
    rate: str
    key: str = "$visitor"
    """Nothing is counted where it is empty."""


ZONES = (
    Zone("sign_in", "10r/m", "$sign_in_from"),
    Zone("passwords", "100r/m", "$password_from"),
    Zone("api", "100r/m"),
    Zone("pages", "5r/s"),
    Zone("queries", "50r/s"),
    Zone("files", "500r/s"),
    Zone("sockets", "1r/s"),
    Zone("plain", "5r/s"),
    Zone("browsers", "1r/s"),
)
_FILES = ("nginx.conf", "maps.conf", "log.conf", "headers.conf", "grafana.conf", "door.conf")
_COMPRESSED = (
    "application/javascript application/json application/manifest+json application/wasm application/x-ndjson "
    "image/svg+xml text/css text/javascript text/plain text/xml"
)
# What a proxy before Grafana would say of somebody; nobody but nginx says it here.
_BLANK = (
    "Forwarded",
    "Proxy",
    "Via",
    "X-Client-IP",
    "X-Cluster-Client-IP",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Server",
    "X-Forwarded-User",
    "X-HTTP-Method-Override",
    "X-Original-URL",
    "X-Rewrite-URL",
    "X-WEBAUTH-EMAIL",
    "X-WEBAUTH-GROUPS",
    "X-WEBAUTH-NAME",
    "X-WEBAUTH-ORGS",
    "X-WEBAUTH-ROLE",
    "X-WEBAUTH-USER",
)
# nginx says these for every answer; twice would be one too many.
_OURS = (
    "Access-Control-Allow-Credentials",
    "Access-Control-Allow-Origin",
    "Cross-Origin-Opener-Policy",
    "Permissions-Policy",
    "Referrer-Policy",
    "Strict-Transport-Security",
    "X-Content-Type-Options",
    "X-Frame-Options",
)
_TWO_YEARS = 63_072_000
# Quotes, and the signs that nginx would take for its own.
_UNSAFE = frozenset("\"'\\$;{}")


def files(config: Config, places: Places, out: Path, source: str) -> dict[str, str]:
    """nginx.conf and what it includes, by their path in `out`.

    Raises RenderError when a path holds a character that nginx would not read as it is.
    """
    production, found = config.production, places.production
    assert production is not None  # noqa: S101 -- a place for a door is given where the configuration asks for one
    assert found is not None  # noqa: S101
    acme = production.certificate.acme is not None
    values = {
        "header": header(source),
        "folder": nginx_path(out / FOLDER),
        "run": nginx_path(found.nginx_run),
        "modules": nginx_path(found.nginx_modules),
        "logs": nginx_path(found.nginx_logs),
        "access_log": nginx_path(found.nginx_access_log),
        "certificates": nginx_path(found.certificates),
        "webroot": nginx_path(found.webroot) if acme else None,
        "http": found.nginx_http,
        "https": found.nginx_https,
        "status": found.nginx_status,
        "faro": production.rum,
        "domain": production.domain,
        "public": public_address(config),
        "trusted_proxies": production.trusted_proxies,
        "origins": production.cors_origins,
        "cdn_path": _cdn_path(production),
        "hsts": f"max-age={_TWO_YEARS}; includeSubDomains{'; preload' if production.hsts_preload else ''}",
        "zones": ZONES,
        "compressed": _COMPRESSED,
        "blank": _BLANK,
        "ours": _OURS,
    }
    made = {name: name if name == "nginx.conf" else f"nginx-{name}" for name in _FILES}
    upstreams = {"grafana": found.grafanas, "faro": (found.faro,) if production.rum else ()}
    texts = {name: templates().get_template(f"{template}.j2").render(values) for name, template in made.items()}
    texts |= {f"upstream-{name}.conf": _servers(source, those) for name, those in upstreams.items() if those}
    return {f"{FOLDER}/{name}": text for name, text in texts.items()}


def _servers(source: str, addresses: Sequence[str]) -> str:
    """The start script passes on those whose name has an address: nginx would not start because of one that is away.

    One that failed is not asked for three seconds. Longer, and it would be missed when it is back and another one goes.
    """
    return header(source) + "".join(f"server {address} max_fails=2 fail_timeout=3s;\n" for address in addresses)


def public_address(config: Config) -> str:
    """What stands after https:// in people's browsers: the name, and the port where it is not the usual one.

    Raises RenderError when `grafana.url` has another name than the door.
    """
    assert config.production is not None  # noqa: S101 -- as above
    said = urlsplit(config.grafana_url)
    if (said.scheme, said.hostname) != ("https", config.production.domain):
        raise RenderError(
            f"grafana.url is {config.grafana_url} and production.domain {config.production.domain}: people would be "
            "sent to a name that nginx does not answer to; leave grafana.url out, or begin it with "
            f"https://{config.production.domain}"
        )
    return said.netloc


def nginx_path(path: Path) -> str:
    """The path as it may stand between quotes in nginx.conf.

    Raises RenderError when it holds a character that nginx would not read as it is.
    """
    text = str(path.absolute())
    bad = sorted({char for char in text if char in _UNSAFE or not char.isprintable()})
    if bad:
        raise RenderError(f"the path {text!r} cannot stand in nginx.conf because of {bad[0]!r}; choose another folder")
    return text


def _cdn_path(production: Production) -> str | None:
    """The folder of `cdn_url` as a regular expression; None without a CDN."""
    if production.cdn_url is None:
        return None
    path = urlsplit(production.cdn_url).path
    if not re.fullmatch(r"[A-Za-z0-9/._~-]*", path):
        raise RenderError(f"the path of production.cdn_url cannot stand in nginx.conf: {path!r}; use plain letters")
    return path.replace(".", r"\.")
