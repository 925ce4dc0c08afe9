"""Templates to rules: what a template may leave to the framework, and what an installation changes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import jinja2
import pytest
import yaml

from alert_rules import render, runbooks
from alert_rules.catalogue import alerts, named, nearest
from alert_rules.overrides import Overrides, spoken
from alert_rules.render import rendered, rules
from alert_rules.writing import Alert, Writer, WrongTemplateError
from provisioning.config.alerts import Alerts
from provisioning.config.grafana import Grafana
from provisioning.config.load import load
from provisioning.config.model import Config
from provisioning.config.targets import DaskTarget, Targets
from tests.tools import tool

EXAMPLE = Path(__file__).parents[2] / "provisioning/example.yml"
MEMORY = "DaskWorkerMemoryHigh"


def config(**changes: object) -> Config:
    return Config(targets=Targets(), alerts=Alerts.model_validate(changes))


def rule(name: str, of: Config) -> dict[str, object]:
    found = [
        entry
        for text in rules(of).values()
        for group in yaml.safe_load(text)["groups"]
        for entry in group["rules"]
        if entry.get("alert") == name
    ]
    assert len(found) == 1, "an alert is one rule, however many targets differ"
    return found[0]


def written(**changes: object) -> Alert:
    """An alert of a small template of our own."""
    given = {"summary": "s", "description": "d", "page": "dask", "caller": lambda limit: "up == 0", **changes}
    writer = Writer("dask", "http://g", Overrides(Alerts()))
    writer.alert("Name", given.pop("severity", "warning"), **given)
    return writer.written[0]


def test_every_alert_is_complete():
    for text in rules(config()).values():
        for group in yaml.safe_load(text)["groups"]:
            for entry in group["rules"]:
                if "alert" in entry:
                    assert set(entry["labels"]) == {"severity", "system"}
                    assert set(entry["annotations"]) == {"summary", "description", "runbook_url", "dashboard_url"}
                    assert all(entry["annotations"].values())


def test_links_begin_with_the_address_where_people_reach_grafana():
    of = Config(targets=Targets(), grafana=Grafana(url="https://monitoring.example.org/"))
    said = rule(MEMORY, of)["annotations"]
    assert said["runbook_url"] == (
        f"https://monitoring.example.org/d/cluster-ai-runbooks/?viewPanel=panel-{runbooks.panel_id(MEMORY)}"
    )
    assert said["dashboard_url"] == (
        "https://monitoring.example.org/d/cluster-ai-workers/?var-dask={{ $labels.target | urlquery }}"
    )


def test_a_panel_keeps_its_number():
    assert runbooks.panel_id("DaskSchedulerDown") == 841277


def test_a_threshold_of_the_installation_stands_in_expression_and_text():
    found = rule(MEMORY, config(thresholds={"dask_worker_memory_ratio": 0.7}))
    assert found["expr"].endswith("> 0.7")
    assert "Above 70 %." in found["annotations"]["description"]


def test_targets_with_numbers_of_their_own_get_them_and_nobody_else_does():
    found = rule(
        MEMORY,
        config(
            overrides=[
                {"target": "b", "thresholds": {"dask_worker_memory_ratio": 0.6}},
                {"target": "a", "thresholds": {"dask_worker_memory_ratio": 0.6}},
                {"target": "c", "thresholds": {"dask_oldest_task_seconds": 5}},
            ]
        ),
    )
    a, b = (f'label_replace(vector(1), "target", "{name}", "", "")' for name in "ab")
    assert found["expr"] == (
        '(\n  max by (target) (dask_cluster_worker_memory_ratio_quantile{q="1"}) > 0.8\n'
        f") unless on (target) ({a} or {b})\nor\n"
        '(\n  max by (target) (dask_cluster_worker_memory_ratio_quantile{q="1"}) > 0.6\n'
        f") and on (target) ({a} or {b})"
    )
    assert 'Above {{ if eq $labels.target "a" "b" }}60 %{{ else }}80 %{{ end }}.' in found["annotations"]["description"]


def test_an_override_that_says_the_same_changes_nothing():
    same = config(overrides=[{"target": "a", "thresholds": {"dask_worker_memory_ratio": 0.8}}])
    assert rules(same)["dask.yml"] == rules(config())["dask.yml"]


def test_alerts_about_machines_are_overridden_by_the_name_of_the_machine():
    name = next(alert.name for alert in alerts() if alert.system == "host" and alert.thresholds)
    threshold = named(name).thresholds[0]
    found = rule(name, config(overrides=[{"target": "gpu-1", "disabled": [name]}]))
    assert 'unless on (host) label_replace(vector(1), "host", "gpu-1", "", "")' in found["expr"]
    assert threshold


def test_an_alert_that_is_off_is_nowhere():
    off = config(disabled=[MEMORY])
    assert f"alert: {MEMORY}\n" not in rules(off)["dask.yml"]
    assert MEMORY not in {alert.name for alert in alerts(off)}
    assert MEMORY in {alert.name for alert in alerts()}


def test_thresholds_are_recorded_with_those_of_single_targets():
    recorded = yaml.safe_load(
        rules(config(overrides=[{"target": "a", "thresholds": {"dask_worker_memory_ratio": 0.6}}]))["recording.yml"]
    )["groups"][0]["rules"]
    assert [entry for entry in recorded if entry["record"] == "cluster_ai:threshold:dask_worker_memory_ratio"] == [
        {"record": "cluster_ai:threshold:dask_worker_memory_ratio", "expr": "vector(0.8)"},
        {
            "record": "cluster_ai:threshold:dask_worker_memory_ratio",
            "expr": "vector(0.6)",
            "labels": {"target": "a"},
        },
    ]


def test_prometheus_takes_the_rules_of_an_installation_that_changes_every_threshold(tmp_path: Path):
    thresholds = {name: value / 2 for name, value in Overrides(Alerts()).numbers.items()}
    changed = load(EXAMPLE).model_copy(
        update={
            "alerts": Alerts.model_validate(
                {
                    "overrides": [
                        {"target": "main", "thresholds": thresholds},
                        {"target": "gpu-1", "thresholds": thresholds, "disabled": ["HostDown", MEMORY]},
                        {"target": "chat", "disabled": [alert.name for alert in alerts() if "target" in alert.labels]},
                    ]
                }
            )
        }
    )
    for name, text in rules(changed).items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [tool("promtool"), "check", "rules", *sorted(map(str, tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "duplicate" not in done.stdout


def test_every_configured_target_is_known_to_the_rules():
    of = Config(targets=Targets(dask=[DaskTarget(name="main", scheduler="tcp://h:1")]))
    assert {
        "record": "cluster_ai:target:configured",
        "expr": "vector(1)",
        "labels": {"system": "dask", "target": "main"},
    } in yaml.safe_load(rules(of)["monitoring.yml"])["groups"][0]["rules"]


def test_what_critical_alerts_need_is_evaluated_every_five_seconds():
    groups = {group["name"]: group for text in rules(config()).values() for group in yaml.safe_load(text)["groups"]}
    assert groups["dask-paging"]["interval"] == "5s"
    assert {entry["labels"]["severity"] for entry in groups["dask-paging"]["rules"]} == {"critical"}
    assert "critical" not in {entry["labels"]["severity"] for entry in groups["dask"]["rules"]}


def test_the_catalogue_says_what_was_rendered():
    alert = named("DaskSchedulerDown")
    assert (alert.system, alert.severity, alert.wait, alert.keep, alert.labels, alert.pages) == (
        "dask",
        "critical",
        20.0,
        30.0,
        ("target", "host"),
        True,
    )
    assert named(MEMORY).thresholds == ("dask_worker_memory_ratio",)
    assert nearest("DaskSchedulrDown") == "DaskSchedulerDown"
    assert nearest("Qqq") == ""
    with pytest.raises(KeyError):
        named("Qqq")
    assert len(alerts()) == len(rendered(config()).alerts)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"severity": "fatal"}, "Name: no such severity"),
        ({"page": "nowhere"}, "Name: no such severity, page or label"),
        ({"labels": "target colour"}, "Name: no such severity, page or label"),
        ({"summary": "above <no_such_number>"}, "there is no threshold no_such_number"),
    ],
)
def test_a_template_that_is_wrong_is_refused(changes: dict[str, object], said: str):
    with pytest.raises(WrongTemplateError, match=said):
        written(**changes)


def test_an_unknown_threshold_is_an_error(monkeypatch: pytest.MonkeyPatch):
    text = """groups:
- name: a
  rules:
    [% call(limit) alert("Name", "info", summary="s", description="d", page="dask") %]
    up > [[ limit.no_such_number ]]
    [% endcall %]
"""
    monkeypatch.setattr(render, "PackageLoader", lambda *_: jinja2.DictLoader({"bad.yml.j2": text}))
    monkeypatch.setattr(render, "templates", lambda: ("bad",))
    with pytest.raises(jinja2.UndefinedError, match="no_such_number"):
        rendered(config())


def test_an_expression_may_hold_what_yaml_and_json_mind():
    hostile = 'up{a="\\"}: - #", b=~"x\\\\d"} == 0\n  or vector(1)'
    text = yaml.safe_load(
        Writer("dask", "http://g", Overrides(Alerts())).alert(
            "Name", "info", summary='it\'s: "x"', description="é 字 🔥", page="dask", caller=lambda limit: hostile
        )
    )[0]
    assert text["expr"] == hostile
    assert text["annotations"]["description"] == "é 字 🔥"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("dask_worker_memory_ratio", 0.805, "80.5 %"),
        ("dask_worker_memory_ratio_critical", 0.95, "95 %"),
        ("dask_oldest_task_seconds", 3600, "1 h"),
        ("dask_oldest_task_seconds", 5400, "90 min"),
        ("dask_event_loop_seconds", 0.5, "0.5 s"),
        ("dask_spill_bytes_per_second", 50e6, "50 MB/s"),
        ("host_temperature_celsius", 80, "80 °C"),
        ("dask_task_prefixes", 1000, "1000"),
    ],
)
def test_numbers_are_spoken_in_peoples_units(name: str, value: float, words: str):
    assert spoken(name, value) == words
