"""`cluster-ai alerts`: who would be told of what, and whether a message really arrives."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import click

from alert_rules.catalogue import Alert, named, nearest
from alert_rules.catalogue import alerts as all_alerts
from alert_rules.counters import UnreachableError
from alert_rules.rehearsal import Rehearsal, RehearsalError
from alert_rules.routing.cases import cases, groups
from alert_rules.routing.words import said
from alert_rules.writing import SEVERITIES
from provisioning.config.hours import parse_moment
from provisioning.config.load import ConfigError, load
from provisioning.config.model import Config
from provisioning.config.options import config_option

_config = config_option(name="file")
_target = click.option("--target", help="The alert's target.")
_severity = click.option("--severity", type=click.Choice(SEVERITIES), help="In place of the alert's own.")
_host = click.option("--host", help="The alert's machine.")


@click.group()
def alerts() -> None:
    """Say who is told of alerts, and try it."""


@alerts.command()
@click.argument("names", metavar="[ALERT]...", nargs=-1)
@_target
@_severity
@_host
@click.option("--at", "moment", help='In place of now, in notifications.zone: "2026-12-24 22:00".')
@_config
def routes(
    *,
    names: tuple[str, ...],
    target: str | None,
    severity: str | None,
    host: str | None,
    moment: str | None,
    file: Path,
) -> None:
    """Say who is told of each ALERT, how and when; of all there are when none is named.

    Alerts that are told alike stand together. What is silent now because of hours or a mute is said, too.
    """
    config = _load(file)
    given = {"target": target, "severity": severity, "host": host}
    labels = {name: value for name, value in given.items() if value}
    now = _moment(moment, config)
    found = [_alert(name, config) for name in names] or list(all_alerts(config))
    click.echo(f"{now:%A %Y-%m-%d %H:%M %Z}")
    for line in said(groups(config, cases(config, found, labels), now), all_there_are=not names):
        click.echo(line)


@alerts.command()
@click.argument("name", metavar="ALERT")
@click.option("--to", "person", help="Only this person, by every means there is; else whom the routes say.")
@_target
@_severity
@_host
@click.option("--alertmanager", "url", help="Where Alertmanager answers.  [services.alertmanager]")
@click.option("--bridge", help="Where the SMS bridge answers.  [services.sms_bridge]")
@_config
def test(
    *,
    name: str,
    person: str | None,
    target: str | None,
    severity: str | None,
    host: str | None,
    url: str | None,
    bridge: str | None,
    file: Path,
) -> None:
    """Send a test of ALERT through the whole real way, and say what arrived.

    The messages are marked as a test, and hide or group with nothing real. Exit code 0 when every message was taken by
    the mail server or the provider of SMS. Whether somebody read it, nobody can know: ask them.
    """
    config = _load(file)
    given = {"target": target, "severity": severity, "host": host}
    try:
        rehearsal = Rehearsal.of(
            config, _alert(name, config), person, {key: value for key, value in given.items() if value}
        )
        good = rehearsal.perform(url, bridge, click.echo)
    except (RehearsalError, UnreachableError) as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    sys.exit(0 if good else 1)


def _load(file: Path) -> Config:
    try:
        return load(file)
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(1)


def _alert(name: str, config: Config) -> Alert:
    try:
        return named(name, config)
    except KeyError:
        near = nearest(name)
        unwanted = name in config.alerts.disabled
        why = (
            "it is switched off (alerts.disabled)"
            if unwanted
            else f"did you mean {near}?"
            if near
            else "the Alerts page lists them"
        )
        click.echo(f"there is no alert {name!r}; {why}", err=True)
        sys.exit(2)


def _moment(text: str | None, config: Config) -> datetime:
    zone = ZoneInfo(config.notifications.zone)
    if text is None:
        return datetime.now(zone)
    try:
        return parse_moment(text).replace(tzinfo=zone)
    except ValueError:
        click.echo(f'--at {text!r} is not a moment; write it like "2026-12-24 22:00"', err=True)
        sys.exit(2)
