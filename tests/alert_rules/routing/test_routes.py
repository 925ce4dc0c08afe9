"""Routing tables: of which alert who is told, when and how; and Alertmanager itself finds the same receivers."""

from __future__ import annotations

import itertools
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alert_rules.routing.asked import asked
from alert_rules.routing.matching import equals, matches, one_of
from alert_rules.routing.settings import settings as alertmanager
from alert_rules.routing.tree import tree
from provisioning.config.hours import Hours, Times
from provisioning.config.model import Config
from provisioning.config.notifications import Route
from provisioning.config.people import Person
from tests.alert_rules.routing.lab import lab
from tests.tools import tool

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)  # a Monday
NIGHT = datetime(2026, 11, 23, 2, tzinfo=UTC)
DOWN = {"alertname": "DaskSchedulerDown", "severity": "critical", "system": "dask", "target": "main", "host": "gpu-1"}
HIGH = {"alertname": "DaskWorkerMemoryHigh", "severity": "warning", "system": "dask", "target": "main"}
IDLE = {"alertname": "DaskIdle", "severity": "info", "system": "dask", "target": "main"}
GONE = {"alertname": "HostDown", "severity": "critical", "system": "host", "host": "gpu-1"}
MODEL = {"alertname": "OllamaModelNotLoaded", "severity": "warning", "system": "ollama", "target": "gpu", "model": "m"}


def receivers(config: Config, labels: dict[str, str], now: datetime = NOON) -> list[str]:
    answers = asked(tree(config), labels, config.notifications, now)
    return sorted(answer.receiver for answer in answers if not answer.silent_now)


def test_people_alone_are_enough() -> None:
    config = lab()
    assert receivers(config, DOWN) == ["ana by mail", "ana by sms", "ben by mail"]
    assert receivers(config, GONE) == ["ana by mail", "ana by sms", "ben by mail"]
    assert receivers(config, HIGH) == ["ana by mail", "ben by mail"]
    assert receivers(config, IDLE) == []


def test_an_alert_of_somebody_elses_rule_reaches_them_by_its_severity() -> None:
    assert receivers(lab(), {"alertname": "Mine", "severity": "critical"}) == [
        "ana by mail",
        "ana by sms",
        "ben by mail",
    ]
    assert receivers(lab(), {"alertname": "Mine"}) == []


def test_the_first_route_that_fits_decides() -> None:
    config = lab("""
      routes:
        - {systems: [ollama], to: [eva], by: [mail]}
        - {severities: [critical], hosts: [gpu-1], to: [night]}
    """)
    assert receivers(config, MODEL) == ["eva by mail"]
    assert receivers(config, MODEL | {"severity": "info"}) == ["eva by mail"]
    assert receivers(config, DOWN) == ["ana by mail", "ana by sms", "eva by mail", "eva by sms"]
    assert receivers(config, GONE) == ["ana by mail", "ana by sms", "eva by mail", "eva by sms"]
    assert receivers(config, DOWN | {"host": "gpu-2"}) == ["ana by mail", "ana by sms", "ben by mail"]


def test_by_what_means_is_each_persons_or_the_routes_word() -> None:
    config = lab("""
      routes:
        - {alerts: [DaskSchedulerDown], to: [ana], by: [sms]}
        - {alerts: [DaskIdle], to: [ana], by: [mail]}
        - {alerts: [HostDown], to: [ana]}
    """)
    assert receivers(config, DOWN) == ["ana by sms"]
    assert receivers(config, DOWN | {"severity": "warning"}) == ["ana by sms"]
    assert receivers(config, IDLE) == ["ana by mail"]
    assert receivers(config, GONE) == ["ana by mail", "ana by sms"]


def test_outside_of_its_hours_the_next_routes_are_asked() -> None:
    config = lab("""
      routes:
        - {systems: [dask], during: office, to: [ben]}
        - {systems: [dask], severities: [critical], to: [eva]}
    """)
    assert receivers(config, DOWN) == ["ben by mail"]
    assert receivers(config, HIGH) == ["ben by mail"]
    assert receivers(config, DOWN, NIGHT) == ["eva by mail", "eva by sms"]
    assert receivers(config, HIGH, NIGHT) == ["ana by mail", "ben by mail"]


def test_day_and_night() -> None:
    config = lab("""
      routes:
        - {severities: [critical], during: office, to: [ben]}
        - {severities: [critical], outside: office, to: [night], by: [sms]}
    """)
    assert receivers(config, DOWN) == ["ben by mail"]
    assert receivers(config, DOWN, NIGHT) == ["ana by sms", "eva by sms"]


def test_somebody_with_hours_hears_of_critical_alerts_at_all_times() -> None:
    config = lab("routes: [{to: [kim]}]")
    assert receivers(config, DOWN, NIGHT) == ["kim by mail"]
    assert receivers(config, HIGH) == ["kim by mail"]
    assert receivers(config, HIGH, NIGHT) == []


def test_somebody_with_the_hours_of_the_route_is_told_like_others() -> None:
    config = lab("routes: [{during: office, to: [kim]}, {outside: office, severities: [warning], to: [kim]}]")
    leaves = [answer.receiver for answer in asked(tree(config), HIGH, config.notifications, NOON)]
    assert leaves.count("kim by mail") == 1, "at night nothing but critical alerts would reach kim: no route needed"


def test_a_mute_is_for_what_it_names_and_for_its_time() -> None:
    config = lab("""
      mutes:
        - {name: move, targets: [main], begin: 2026-11-23 10:00, end: 2026-11-23 14:00}
        - {name: nights, hosts: [gpu-2], hours: office}
    """)
    assert receivers(config, DOWN) == []
    assert receivers(config, DOWN, NIGHT) == ["ana by mail", "ana by sms", "ben by mail"]
    assert receivers(config, MODEL) == ["ana by mail", "ben by mail"]
    assert receivers(config, MODEL | {"host": "gpu-2"}) == []
    assert receivers(config, MODEL | {"host": "gpu-2"}, NIGHT) == ["ana by mail", "ben by mail"]


def test_a_mute_of_everything() -> None:
    config = lab("mutes: [{name: move, begin: 2026-11-23 10:00, end: 2026-11-23 14:00}]")
    assert receivers(config, DOWN) == receivers(config, GONE) == receivers(config, MODEL) == []
    assert receivers(config, DOWN, NIGHT) != []


def test_who_is_told_when_nobody_acknowledges() -> None:
    config = lab("""
      routes:
        - severities: [critical]
          to: [ana]
          escalate:
            - {after: 15m, to: [ben]}
            - {after: 1h, to: [ana, eva], by: [sms]}
    """)
    answers = asked(tree(config), DOWN, config.notifications, NOON)
    assert [(answer.receiver, answer.wait) for answer in answers] == [
        ("ana by mail", 10),
        ("ana by sms", 10),
        ("ben by mail after 15m", 900),
        ("ana by sms after 1h", 3600),
        ("eva by sms after 1h", 3600),
    ]


def test_the_alert_that_is_always_there_goes_to_the_heartbeat_alone() -> None:
    watchdog = {"alertname": "Watchdog", "severity": "info", "system": "monitoring"}
    config = lab("""
      heartbeat: {url_file: url, every: 1m}
      routes: [{to: [ana], by: [mail]}]
      mutes: [{name: move, begin: 2026-11-23 10:00, end: 2026-11-23 14:00}]
    """)
    assert receivers(config, watchdog) == ["heartbeat"]
    assert receivers(lab("routes: [{to: [ana], by: [mail]}]"), watchdog) == []


def test_a_test_reaches_the_person_it_is_for_by_every_means() -> None:
    config = lab("mutes: [{name: move, begin: 2026-11-23 10:00, end: 2026-11-23 14:00}]")
    assert receivers(config, DOWN | {"test": "1", "test_to": "eva"}) == ["eva by mail", "eva by sms"]
    assert receivers(config, DOWN | {"test": "1"}) == [], "without a person it goes the real way, which is muted"


def test_incidents_are_of_a_target_or_of_a_machine() -> None:
    root = tree(lab()).root
    hosts = next(node for node in root["routes"] if node.get("matchers") == ['system="host"'])
    assert root["group_by"] == ["cluster", "system", "target", "test"]
    assert hosts["group_by"] == ["cluster", "system", "host", "test"]


def test_a_heartbeat_is_repeated_in_time() -> None:
    beats = tree(lab("heartbeat: {url_file: url, every: 1m}")).root["routes"][0]
    assert (beats["group_wait"], beats["group_interval"], beats["repeat_interval"]) == ("0s", "15s", "52500ms")


def test_matchers_mean_what_they_say() -> None:
    for value in ['a"b', "a\\b", "a.b", "a|b", "(a", "ü", "a b", "{a}", "a,b"]:
        assert matches([equals("x", value)], {"x": value})
        assert matches([one_of("x", [value, "other"])], {"x": value})
        assert not matches([one_of("x", [value, "other"])], {"x": f"{value}."})
    assert not matches([one_of("x", ["a.b", "other"])], {"x": "axb"})


# What Alertmanager itself finds, which knows nothing of the hour: every receiver whose time may come.
HARD = """
heartbeat: {url_file: url}
routes:
  - severities: [critical]
    hosts: [gpu-1, 'a"b\\c|d.e{}, f']
    during: office
    to: [ben]
    escalate: [{after: 5m, to: [eva]}]
  - {systems: [ollama, host], outside: office, to: [night], by: [mail, sms]}
  - {alerts: [DaskIdle], to: [ana], by: [mail]}
  - {targets: [main, gpu], severities: [critical, warning], to: [kim]}
mutes:
  - {name: one, systems: [dask], hours: office}
  - {name: two, hosts: [gpu-2], begin: 2026-11-23 10:00, end: 2026-11-23 14:00}
"""


@pytest.mark.parametrize("notifications", ["", HARD], ids=["default", "hard"])
def test_alertmanager_finds_the_same(notifications: str, tmp_path: Path) -> None:
    config = lab(notifications)
    file = written(config, tmp_path)
    values = {
        "alertname": ["DaskIdle", "HostDown", "Watchdog"],
        "severity": ["critical", "warning", "info"],
        "system": ["dask", "host", "ollama"],
        "target": ["main", ""],
        "host": ["gpu-1", "gpu-2", 'a"b\\c|d.e{}, f'],
    }
    cases = [dict(zip(values, case, strict=True)) for case in itertools.product(*values.values())][::5]
    cases += [{"test": "1", "test_to": "ana"}, {"test_to": "ana"}, {"test": "1", "severity": "critical"}, {}]
    made = tree(config)
    for case in cases:
        labels = {name: value for name, value in case.items() if value}
        ours = [answer.receiver for answer in asked(made, labels, config.notifications, NOON)] or ["nobody"]
        assert amtool_routes(file, labels) - {"nobody"} == set(ours) - {"nobody"}, labels


def amtool_routes(file: Path, labels: dict[str, str]) -> set[str]:
    pairs = [equals(name, value) for name, value in labels.items()]
    command = [tool("amtool"), "config", "routes", "test", f"--config.file={file}", *pairs]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(result.stdout.strip().split(","))


def written(config: Config, folder: Path) -> Path:
    file = folder / "alertmanager.yml"
    data = alertmanager(config, bridge="http://127.0.0.1:9861", token=folder / "token")
    file.write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True))
    return file


conditions = st.fixed_dictionaries(
    {},
    optional={
        "severities": st.lists(st.sampled_from(["critical", "warning", "info"]), min_size=1, max_size=2, unique=True),
        "systems": st.lists(st.sampled_from(["dask", "host", "ollama"]), min_size=1, max_size=2, unique=True),
        "targets": st.lists(st.sampled_from(["main", "gpu"]), min_size=1, max_size=2, unique=True),
    },
)
rules = st.tuples(conditions, st.sampled_from(["", "during", "outside"]), st.sampled_from(["office", "late"]))


def plainly(
    found: list[tuple[dict[str, list[str]], str, str]], labels: dict[str, str], holding: set[str]
) -> int | None:
    """The first route that fits now, as docs say it: an oracle without trees."""
    keys = {"severities": "severity", "systems": "system", "targets": "target"}
    for place, (which, time, hours) in enumerate(found):
        fits = all(labels.get(keys[key]) in values for key, values in which.items())
        if fits and (not time or (hours in holding) == (time == "during")):
            return place
    return None


BASE = lab("routes: []")


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(rules, min_size=1, max_size=5), st.integers(0, 23), st.sampled_from([DOWN, HIGH, GONE, MODEL, IDLE]))
def test_the_tree_does_what_the_words_say(
    found: list[tuple[dict[str, list[str]], str, str]], hour: int, labels: dict[str, str]
) -> None:
    people = [Person(name=f"p{place}", email="p@example.org") for place in range(len(found))]
    late = Hours(name="late", times=[Times(begin="15:00", end="03:00")], zone=None)
    routes = [
        Route.model_validate({**which, "to": [person.name], "by": ["mail"], **({time: hours} if time else {})})
        for person, (which, time, hours) in zip(people, found, strict=True)
    ]
    told = BASE.notifications.model_copy(update={"routes": routes, "hours": [*BASE.notifications.hours, late]})
    config = BASE.model_copy(update={"people": [*BASE.people, *people], "notifications": told})
    now = NOON.replace(hour=hour)
    holding = ({"office"} if 9 <= hour < 18 else set()) | ({"late"} if hour >= 15 or hour < 3 else set())
    place = plainly(found, labels, holding)
    expected = [f"p{place} by mail"] if place is not None else receivers(BASE, labels, now)
    assert receivers(config, labels, now) == expected
