from __future__ import annotations

import pytest
import yaml

from provisioning.config.model import Config
from provisioning.render import Places, make_secrets, render
from tests.gameday.scaling import expression, scale_files, scaled, seconds


@pytest.mark.parametrize(
    ("promql", "faster"),
    [
        ("rate(x_total[5m])", "rate(x_total[30000ms])"),
        ("rate(x_total[1m30s])", "rate(x_total[9000ms])"),
        ("max_over_time(x[1h:15s])", "max_over_time(x[360000ms:1500ms])"),
        ("max_over_time(x[1h:])", "max_over_time(x[360000ms:])"),
        ("x offset 1d", "x offset 8640000ms"),
        ("x offset -1d", "x offset -8640000ms"),
        ('x{name=~"[0-9]+[a-z]"} > 60', 'x{name=~"[0-9]+[a-z]"} > 60'),
    ],
)
def test_ranges_and_offsets_are_divided_and_nothing_else(promql: str, faster: str) -> None:
    assert expression(promql, 10) == faster


def test_a_range_still_holds_a_few_scrapes() -> None:
    assert expression("rate(x_total[30s])", 10) == "rate(x_total[5000ms])"
    assert expression("rate(x_total[2s])", 10) == "rate(x_total[2000ms])", "what is short already is not made longer"


def test_scrapes_are_never_more_often_than_once_a_second_and_waits_follow_the_clock() -> None:
    before = {"scrape_interval": "5s", "for": "20s", "name": "5m", "rules": [{"interval": "15s", "labels": {"for": 3}}]}
    after = {"scrape_interval": "1000ms", "for": "2000ms", "name": "5m"}
    assert scaled(before, 10) == after | {"rules": [{"interval": "1500ms", "labels": {"for": 3}}]}


def test_seconds() -> None:
    assert seconds("1h30m") == 5400
    assert seconds("1500ms") == 1.5
    with pytest.raises(ValueError, match="no duration"):
        seconds("soon")


def test_everything_that_is_rendered_stays_ours_and_is_faster(tmp_path) -> None:
    config = Config.model_validate({"targets": {"dask": [{"name": "main", "scheduler": "tcp://127.0.0.1:8786"}]}})
    places = Places(data=tmp_path, secrets=tmp_path / "secrets")
    make_secrets(places)
    render(config, tmp_path / "out", places=places)
    before = {path: path.read_text() for path in (tmp_path / "out").rglob("*.yml")}
    scale_files(tmp_path / "out", 10)
    prometheus = yaml.safe_load((tmp_path / "out/prometheus.yml").read_text())
    assert prometheus["global"]["evaluation_interval"] == "1500ms"
    for path in (tmp_path / "out/rules").glob("*.yml"):
        assert path.read_text() != before[path]
    render(config, tmp_path / "out", places=places)
    assert {path: path.read_text() for path in before} == before, "the next render puts back what it made"
