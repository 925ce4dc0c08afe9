"""What pages read from recording rules, worked out by promtool."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from alert_rules.render import rules
from provisioning.config.model import Config
from provisioning.config.targets import Targets
from tests.tools import tool

ABOUT = 'alertname="DaskSchedulerDown", severity="critical", system="dask", target="main"'
AT = 'severity="critical", alertname="DaskSchedulerDown", system="dask", target="main"'


def check(folder: Path, name: str, series: dict[str, str], expected: dict[tuple[str, str], dict[str, float]]) -> None:
    """`expected`: by moment and expression, each series' value."""
    (folder / "rules.yml").write_text(rules(Config(targets=Targets()))[f"{name}.yml"])
    test: dict[str, Any] = {
        "interval": "15s",
        "input_series": [{"series": one, "values": values} for one, values in series.items()],
        "promql_expr_test": [
            {
                "expr": expr,
                "eval_time": moment,
                "exp_samples": [{"labels": labels, "value": value} for labels, value in found.items()],
            }
            for (moment, expr), found in expected.items()
        ],
    }
    file = folder / "test.yml"
    file.write_text(yaml.safe_dump({"rule_files": ["rules.yml"], "evaluation_interval": "15s", "tests": [test]}))
    done = subprocess.run([tool("promtool"), "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_how_often_and_how_long_an_alert_fired(tmp_path: Path):
    """Twice: for ten samples from minute 1 on, and for five from minute 5 on; the Watchdog is nobody's history."""
    state = 'alertstate="firing", '
    series = {
        f"ALERTS{{{state}{ABOUT}}}": "_x4 1x9 stale _x4 1x4 stale",
        f"ALERTS_FOR_STATE{{{ABOUT}}}": "_x4 60x9 stale _x4 300x4 stale",
        f'ALERTS{{{state}alertname="Watchdog"}}': "1x40",
        'ALERTS_FOR_STATE{alertname="Watchdog"}': "0x40",
        'ALERTS{alertstate="pending", alertname="Other"}': "1x40",
        'ALERTS_FOR_STATE{alertname="Other"}': "0x40",
    }
    check(
        tmp_path,
        "history",
        series,
        {
            ("2m", "cluster_ai:alert_since:seconds"): {f"cluster_ai:alert_since:seconds{{{ABOUT}}}": 60},
            ("8m", "cluster_ai:alert_since:seconds"): {},
            ("8m", "cluster_ai:alert_fired:count30d"): {f"cluster_ai:alert_fired:count30d{{{AT}}}": 2},
            ("8m", "cluster_ai:alert_firing:seconds90d"): {f"cluster_ai:alert_firing:seconds90d{{{AT}}}": 15 * 15},
            ("8m", "cluster_ai:alert_last_since:seconds90d"): {f"cluster_ai:alert_last_since:seconds90d{{{AT}}}": 300},
        },
    )


@pytest.mark.parametrize("record", ["memory_ratio", "event_loop_interval_seconds"])
def test_the_ten_highest_workers_of_each_cluster_are_kept(record: str, tmp_path: Path):
    series: dict[str, str] = {}
    for target in ("north", "south"):
        for number in range(12):
            labels = f'{{target="{target}", host="h", worker="w{number}"}}'
            series[f"dask_cluster_worker_memory_rss_bytes{labels}"] = f"{number}x8"
            series[f"dask_cluster_worker_memory_limit_bytes{labels}"] = "1x8"
            series[f"dask_cluster_worker_event_loop_interval_seconds{labels}"] = f"{number}x8"
    expr = f"count by (target) (worker:dask_{record}:top10)"
    lowest = f"min(worker:dask_{record}:top10)"
    check(
        tmp_path,
        "workers",
        series,
        {("2m", expr): {'{target="north"}': 10, '{target="south"}': 10}, ("2m", lowest): {"{}": 2}},
    )


def test_workers_that_do_not_run_are_listed_first_then_the_fullest(tmp_path: Path):
    """One of them has no limit: it has no place among the full ones, but it is listed."""
    series: dict[str, str] = {}
    for number, (status, used, limit) in enumerate((("running", 2, 4), ("paused", 1, 4), ("running", 3, 4))):
        at = f'target="main", host="h", worker="w{number}"'
        series[f"dask_cluster_worker_memory_rss_bytes{{{at}}}"] = f"{used}x8"
        series[f"dask_cluster_worker_memory_limit_bytes{{{at}}}"] = f"{limit}x8"
        series[f"dask_cluster_worker_threads{{{at}}}"] = "1x8"
        for each in ("running", "paused"):
            series[f'dask_cluster_worker_status{{{at}, status="{each}"}}'] = f"{int(each == status)}x8"
    unlimited = 'target="main", host="h", worker="w3"'
    series[f"dask_cluster_worker_memory_rss_bytes{{{unlimited}}}"] = "9x8"
    series[f"dask_cluster_worker_threads{{{unlimited}}}"] = "1x8"
    order = "worker:dask_listed:order"
    places = {"w0": 0.5, "w1": 2.0, "w2": 0.75, "w3": 0.0}
    wanted = {f'{order}{{target="main", host="h", worker="{name}"}}': place for name, place in places.items()}
    check(tmp_path, "workers", series, {("2m", order): wanted})


def test_hosts_and_failing_looks_are_kept_as_pages_read_them(tmp_path: Path):
    """Two cores, one of them idle; a call that fails every 15 s, and one that never does."""
    errors = 'dask_cluster_collector_errors_total{system="dask", target="main", collector="tasks", reason='
    series = {
        'node_cpu_seconds_total{host="h", cpu="0", mode="idle"}': "0+15x8",
        'node_cpu_seconds_total{host="h", cpu="1", mode="idle"}': "0x8",
        f'{errors}"timeout"}}': "0+1x8",
        f'{errors}"decode"}}': "3x8",
    }
    busy, failing = "host:node_cpu_busy:ratio_rate1m", "target_reason:collector_errors:rate1m"
    labels = '{system="dask", target="main", reason="timeout"}'
    expected = {("2m", busy): {f'{busy}{{host="h"}}': 0.5}, ("2m", failing): {f"{failing}{labels}": 1 / 15}}
    check(tmp_path, "workers", series, expected)
