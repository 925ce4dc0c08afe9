"""What the configuration says, as series: what pages list, without addresses and secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from alert_rules import links
from alert_rules.catalogue import alerts
from alert_rules.render import rules
from alert_rules.runbooks import panel_id
from provisioning.config.load import load

EXAMPLE = Path(__file__).parents[2] / "provisioning/example.yml"


def of(file: Path) -> list[dict[str, Any]]:
    groups = yaml.safe_load(rules(load(file))["infos.yml"])["groups"]
    assert {group["interval"] for group in groups} == {"1m"}
    return [rule for group in groups for rule in group["rules"]]


def labels(found: list[dict[str, Any]], record: str) -> list[dict[str, str]]:
    return [rule.get("labels", {}) for rule in found if rule["record"] == record]


def test_every_alert_leads_to_its_runbook_and_to_its_page_with_what_it_is_about():
    told = {one["alertname"]: one for one in labels(of(EXAMPLE), "cluster_ai:alert:info")}
    assert set(told) == {alert.name for alert in alerts(load(EXAMPLE))}
    for alert in alerts(load(EXAMPLE)):
        one = told[alert.name]
        assert (one["severity"], one["system"], one["page"]) == (alert.severity, alert.system, alert.page)
        assert one["runbook"] == f"panel-{panel_id(alert.name)}"
        for label in ("target", "host", "worker"):
            taken = one[f"{label}_as"]
            assert taken == "none" or links.PAGES[alert.page][taken] == label
            assert taken == "none" or label in alert.labels


def test_people_are_told_what_they_prefer_and_a_viewer_what_a_route_sends(tmp_path: Path):
    file = tmp_path / "cluster-ai.yml"
    file.write_text(
        """
targets: {}
people:
  - {name: ana, email: ana@example.org, sms: "+5511999990000", role: operator}
  - {name: eva, email: eva@example.org}
  - {name: ivo, email: ivo@example.org}
teams: [{name: night, members: [ivo]}]
notifications:
  mail: {smarthost: "localhost:25", sender: a@example.org, tls: false}
  routes: [{severities: [critical], to: [night]}]
"""
    )
    found = of(file)
    assert labels(found, "cluster_ai:person:info") == [
        {"person": "ana", "role": "operator", "by_mail": "critical, warning"},  # no account for SMS
        {"person": "eva", "role": "viewer"},
        {"person": "ivo", "role": "viewer", "by_mail": "critical, warning", "teams": "night"},
    ]
    assert labels(found, "cluster_ai:way:info") == [{"way": "mail", "through": "localhost:25"}]
    assert "@" not in str(found)
    assert "+55" not in str(found)


def test_prices_and_retention_are_numbers():
    found = of(EXAMPLE)
    [price] = [rule for rule in found if rule["record"] == "cluster_ai:worker_price:per_hour"]
    assert (price["expr"], price["labels"]) == ("vector(0.35)", {"target": "secure"})
    [kept] = [rule for rule in found if rule["record"] == "cluster_ai:retention:seconds"]
    assert float(kept["expr"].removeprefix("vector(").removesuffix(")")) == load(EXAMPLE).retention.time
