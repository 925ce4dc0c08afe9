"""The proxy's alerts and the proxy: what one counts is what the other asks for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from alert_rules.render import rules
from alert_rules.thresholds import defaults
from exporter.proxy.metrics import WAITS
from exporter.proxy.seen import MODEL_ENDPOINTS, OTHER_ENDPOINTS
from provisioning.config.alerts import Alerts
from provisioning.config.model import Config
from provisioning.config.targets import Targets

TEMPLATE = (Path(__file__).parents[2] / "alert_rules/rules/proxy.yml.j2").read_text()
THRESHOLD = "ollama_proxy_first_token_seconds"


def bound(seconds: float) -> set[str]:
    """The buckets that the service level of the first token reads."""
    text = rules(Config(targets=Targets(), alerts=Alerts(thresholds={THRESHOLD: seconds})))["proxy.yml"]
    return set(re.findall(r'bucket:sum\{le="([^"]+)"\}', text)) - {"+Inf"}


def test_the_template_knows_where_buckets_end():
    found = re.search(r"set BOUNDS = \[([^\]]+)\]", TEMPLATE)
    assert found is not None
    assert tuple(map(float, found[1].split(","))) == WAITS


def test_the_threshold_is_where_a_bucket_ends():
    assert defaults()[THRESHOLD] in WAITS


@pytest.mark.parametrize(("seconds", "wanted"), [(0.25, "0.25"), (10, "10.0"), (12, "20.0"), (640, "640.0")])
def test_a_threshold_counts_as_the_next_bound(seconds, wanted):
    assert bound(seconds) == {wanted}


def test_nothing_is_slower_than_what_is_longer_than_every_bucket():
    assert bound(1000) == set()


def test_requests_to_models_are_those_of_their_endpoints():
    found = re.search(r'set MODELS = "([^"]+)"', TEMPLATE)
    assert found is not None
    assert {path for path in MODEL_ENDPOINTS | OTHER_ENDPOINTS if re.fullmatch(found[1], path)} == MODEL_ENDPOINTS
