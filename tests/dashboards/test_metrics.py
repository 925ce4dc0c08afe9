"""The contract between the pages and what is scraped: names of metrics."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from promql_parser import parse

from alert_rules import render
from alert_rules.bridge.metrics import Metrics
from provisioning.config.load import load
from tests.dashboards.reading import Asked, queries, substituted

ROOT = Path(__file__).parents[2]
# Given by others, so that no golden of ours holds them: Dask's schedulers and workers, node_exporter, Prometheus,
# Alertmanager, Grafana, and Prometheus's client libraries.
NATIVE = frozenset((Path(__file__).parent / "native_names.txt").read_text().split())
each_query = pytest.mark.parametrize("asked", list(queries()), ids=str)


def ours() -> frozenset[str]:
    """Names of the goldens' samples, of docs/metrics.md what is the exporter's own and every system's, and of rules."""
    text = "".join(path.read_text() for path in (ROOT / "tests/golden").glob("*/*.txt"))
    samples = re.findall(r"^([a-z_0-9]+)[{ ]", text, re.MULTILINE)
    page = (ROOT / "docs/metrics.md").read_text()
    own = re.findall(r"`(cluster_ai_\w+)`", page)
    of_each = re.findall(r"`<system>(_\w+)`", page)
    own += [f"{system}{name}" for system in ("dask", "ollama", "openwebui") for name in of_each]
    rules = "".join(render.rules(load(ROOT / "provisioning/example.yml")).values())
    recorded = re.findall(r"record: (\S+)", rules)
    bridge = re.findall(r"^(cluster_ai_\w+)", Metrics().text(openmetrics=False), re.MULTILINE)
    return frozenset((*samples, *own, *recorded, *bridge))


EXPOSED = ours()


@each_query
def test_every_query_parses(asked: Asked):
    parse(substituted(asked.expr))


@each_query
def test_every_name_is_exposed(asked: Asked):
    assert names(asked.expr) <= EXPOSED | NATIVE


def test_declared_names_are_used_and_not_ours():
    used = set().union(*(names(asked.expr) for asked in queries()))
    assert used >= NATIVE
    assert not NATIVE & EXPOSED


def names(expr: str) -> set[str]:
    """Metric names of a query: what stands before a selector in the parsed form."""
    printed = parse(substituted(expr)).prettify()
    return set(re.findall(r"([a-zA-Z_:][\w:]*)\s*(?:\{|\[)", _with_braces(printed)))


def _with_braces(printed: str) -> str:
    """A bare name is printed without braces; give it some, and leave functions, keywords and labels alone."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', '""', printed)
    bare = re.sub(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", bare)
    bare = re.sub(r"\{[^}]*\}", "{}", bare)
    bare = re.sub(r"\[[^\]]*\]", "", bare)
    words = r"(?<![\w:])([a-zA-Z_:][\w:]*)(?![\w:]|\s*[({])"
    keywords = {"and", "or", "unless", "bool", "offset", "inf", "nan"}
    return re.sub(words, lambda match: match[1] if match[1].lower() in keywords else f"{match[1]}{{}}", bare)
