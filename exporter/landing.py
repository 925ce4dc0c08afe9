"""The page at `/`: what is watched, how each target is, and where everything else is."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from exporter.fleet import Fleet
from exporter.selfmetrics import VERSION

_TEMPLATES = files("exporter") / "templates"
_CSS = (_TEMPLATES / "landing.css").read_text()
STYLE_HASH = base64.b64encode(hashlib.sha256(_CSS.encode()).digest()).decode()
_PAGE = Environment(autoescape=True, undefined=StrictUndefined).from_string(
    (_TEMPLATES / "landing.html.j2").read_text()
)


def page(fleet: Fleet, now: float, web_error: str | None = None) -> str:
    """The whole page; every name from outside is escaped. `now` in seconds since the epoch.

    `web_error` is what keeps the web configuration on disk from being used.
    """
    return _PAGE.render(fleet=fleet, now=now, web_error=web_error, ago=_ago, css=_CSS, version=VERSION)


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{max(0.0, seconds):.0f} s ago"
