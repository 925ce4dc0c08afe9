"""Every alert there is, read from the rendered rules: for routing, docs, tests and whoever asks by name."""

from __future__ import annotations

from difflib import get_close_matches
from functools import cache

from alert_rules.render import rendered
from alert_rules.writing import Alert
from provisioning.config.model import Config
from provisioning.config.targets import Targets

__all__ = ["Alert", "alerts", "named", "nearest"]


def alerts(config: Config | None = None) -> tuple[Alert, ...]:
    """The alerts of an installation, without those it switched off; all there are when `config` is None."""
    return _defaults() if config is None else rendered(config).alerts


def named(name: str, config: Config | None = None) -> Alert:
    """One alert; raises KeyError when there is none of that name."""
    for alert in alerts(config):
        if alert.name == name:
            return alert
    raise KeyError(name)


def nearest(name: str) -> str:
    """The alert that was probably meant by a name that is none, or an empty text."""
    return next(iter(get_close_matches(name, [alert.name for alert in alerts()], n=1)), "")


@cache
def _defaults() -> tuple[Alert, ...]:
    return rendered(Config(targets=Targets())).alerts
