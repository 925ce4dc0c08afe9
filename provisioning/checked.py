"""Loads a `cluster-ai.yml` for those who render it: the names of alerts and thresholds in it must exist, too.

The exporter takes the file without this: a misspelt alert must not keep targets from being read.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from alert_rules import thresholds
from alert_rules.overrides import subject
from provisioning.config.access_checks import WEB_CONFIG
from provisioning.config.load import ConfigError, Loaded, load_with_warnings
from provisioning.config.messages import key_text
from provisioning.config.model import Config
from provisioning.config.notifications import Which
from provisioning.config.problems import Problem, brief
from provisioning.config.targets import SYSTEMS
from provisioning.config.yaml_file import Key

_OFF_SITE = ("production", "backup", "off_site")


def load_checked(path: Path) -> Loaded:
    """The configuration in `path`; raises ConfigError also for what other files and the rules make of it.

    That is: alerts, thresholds and targets that there are not, and a web configuration that the exporter refuses.
    """
    loaded = load_with_warnings(path)
    problems = [
        Problem(loaded.document.line_of(key), message, hint, key_text(key, loaded.document.data))
        for key, message, hint in _wrong(loaded)
    ]
    if problems:
        raise ConfigError(path, problems)
    ending = _certificate(loaded.config.exporter.web_config_file)
    if ending is not None:
        loaded.warnings.append(Problem(loaded.document.line_of(WEB_CONFIG), ending, key=".".join(WEB_CONFIG)))
    unusable = off_site_problem(loaded.config)
    if unusable is not None:
        loaded.warnings.append(Problem(loaded.document.line_of(_OFF_SITE), unusable, key=".".join(_OFF_SITE)))
    return loaded


def off_site_problem(config: Config) -> str | None:
    """Why the program that carries backups away cannot be run; one that is not here is told with all other files."""
    program = config.production.backup.off_site if config.production is not None else None
    if program is None or not program.exists() or (program.is_file() and os.access(program, os.X_OK)):
        return None
    return f"{program} is no program that can be run: each backup would stay on this host alone"


def _wrong(loaded: Loaded) -> Iterator[tuple[Key, str, str]]:
    yield from _web_config(loaded.config.exporter.web_config_file)
    alerts = loaded.config.alerts
    yield from _thresholds(alerts.thresholds, ("alerts", "thresholds"))
    yield from _alerts(alerts.disabled, ("alerts", "disabled"))
    known = [target.name for system in (*SYSTEMS, "hosts") for target in getattr(loaded.config.targets, system)]
    first: dict[str, Key] = {}
    for index, entry in enumerate(alerts.overrides):
        at: Key = ("alerts", "overrides", index)
        if entry.target not in known:
            hint = f"known here: {', '.join(known)}" if known else "list it under targets first"
            yield (*at, "target"), f"there is no target or host {brief(entry.target)}", hint
        if first.setdefault(entry.target, at) != at:
            line = loaded.document.line_of(first[entry.target])
            yield (*at, "target"), f"{brief(entry.target)} is listed twice", f"the first is on line {line}"
        yield from _thresholds(entry.thresholds, (*at, "thresholds"), alerts.thresholds)
        yield from _alerts(entry.disabled, (*at, "disabled"), for_one=True)
    told = loaded.config.notifications
    named: dict[str, Sequence[Which]] = {"routes": told.routes, "mutes": told.mutes}
    for kind, entries in named.items():
        for index, which in enumerate(entries):
            yield from _alerts(which.alerts, ("notifications", kind, index, "alerts"))


def _web_config(file: Path | None) -> Iterator[tuple[Key, str, str]]:
    """A file that is not there is a warning: it may be on the machine where the exporter is to run."""
    if file is None or not file.exists():
        return
    from exporter.door import settings  # noqa: PLC0415 -- most files name none

    try:
        settings.load(file)
    except ConfigError as error:
        yield WEB_CONFIG, f"the exporter does not start with it: {error}", ""


def _certificate(file: Path | None) -> str | None:
    """What is to be said of the end of the exporter's own certificate."""
    if file is None or not file.exists():
        return None
    from exporter.door import certificates, settings  # noqa: PLC0415 -- most files name none

    return certificates.warning(settings.load(file).ends, time.time())


def _thresholds(
    given: dict[str, float], at: Key, common: Mapping[str, float] = MappingProxyType({})
) -> Iterator[tuple[Key, str, str]]:
    for name, meant in thresholds.unknown(given).items():
        hint = f"did you mean {meant}?" if meant else "docs/alerts.md lists them"
        yield (*at, name), f"there is no threshold {name}", hint
    for name, wrong in thresholds.impossible({**common, **given}).items():
        if name in given:
            yield (*at, name), f"{given[name]:g} {wrong}", "docs/alerts.md has the defaults"


def _alerts(given: Sequence[str], at: Key, *, for_one: bool = False) -> Iterator[tuple[Key, str, str]]:
    if not given:
        return
    from alert_rules import catalogue  # noqa: PLC0415 -- renders every rule; most files name none

    known = {alert.name: alert for alert in catalogue.alerts()}
    for index, name in enumerate(given):
        if name not in known:
            meant = catalogue.nearest(name)
            hint = f"did you mean {meant}?" if meant else "docs/alerts.md lists them"
            yield (*at, index), f"there is no alert {name}", hint
        elif for_one and subject(known[name].labels) is None:
            yield (*at, index), f"{name} is about no single target", "write it under alerts.disabled, or keep it"
