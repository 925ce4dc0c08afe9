"""Runs cases through `promtool test rules`, all those of a file in one process, and reads what fired.

promtool prints the alerts that fired where the expected ones differ, labels and annotations alike. So every case
expects none, and what is printed is the answer.
"""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import yaml
from promql_parser import parse

from alert_rules.render import rendered
from provisioning.config.model import Config
from tests.rules.cases import Case
from tests.rules.recordings import Series, matches, page, samples
from tests.tools import tool

_LOOKS = 12
"""How often a case that must stay silent is looked at."""
_TIMEOUT = 300
_CASE = re.compile(r"^    name: (.*),$\n^    alertname: (\w+), time: (\w+),", re.MULTILINE)
_ALERT = re.compile(r"^\s+Labels:\{(.*)\}\n\s+Annotations:\{(.*)\}$", re.MULTILINE)
_EXPECTED = re.compile(
    r"Unit Testing:|  (SUCCESS|FAILED:)$|    (name|alertname):"
    r"|        (exp|got):|            (\d+:|\])|              \w+:"
)
"""What promtool prints of alerts; anything else is an error in a rule or a case."""
_PAIR = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\(.)")


@dataclass(frozen=True)
class Fired:
    """An alert as Prometheus would have sent it."""

    name: str
    at: str
    labels: dict[str, str]
    annotations: dict[str, str]


def run(cases: Sequence[Case], folder: Path) -> dict[str, list[Fired]]:
    """What fired in each case, by the case's text."""
    batches: dict[tuple[object, ...], list[Case]] = defaultdict(list)
    for case in cases:
        batches[case.file, case.config, case.every, case.alert, case.also].append(case)
    files = [_write(batch, folder / f"batch{number}") for number, batch in enumerate(batches.values())]
    done = subprocess.run(
        [tool("promtool"), "test", "rules", *files], capture_output=True, text=True, check=False, timeout=_TIMEOUT
    )
    output = done.stdout + done.stderr
    strange = [line for line in output.splitlines() if line.strip() and not _EXPECTED.match(line)]
    assert not strange, "\n".join(strange[:20])
    return _fired(output, [str(case) for case in cases])


def _write(batch: Sequence[Case], folder: Path) -> str:
    """The rules that cases of one alert need, and the test file."""
    folder.mkdir(parents=True)
    case = batch[0]
    alerts = (case.alert, *case.also) if case.alert else ()
    groups, asked = _needed(_groups(case.config), case.file, alerts)
    used = set().union(*(names(rule["expr"]) for group in groups for rule in group["rules"]))
    _dump(folder / "rules.yml", {"groups": groups})
    tests = [_test(case, used, asked) for case in batch]
    data = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": f"{case.every:g}s",
        "group_eval_order": [group["name"] for group in groups],  # any order of its own, if not told
        "tests": tests,
    }
    return _dump(folder / "test.yml", data)


def _dump(file: Path, data: dict[str, Any]) -> str:
    file.write_text(yaml.dump(data, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False))
    return str(file)


@cache
def _groups(config: str) -> dict[str, list[dict[str, Any]]]:
    """The groups of each rule file, as the cluster-ai.yml of a case has them."""
    files = rendered(Config.model_validate(yaml.safe_load(config))).files
    return {name.removesuffix(".yml"): yaml.safe_load(text)["groups"] for name, text in files.items()}


def _needed(
    files: dict[str, list[dict[str, Any]]], file: str, alerts: Sequence[str]
) -> tuple[list[dict[str, Any]], list[str]]:
    """The groups with the alerts named (all of the file when none is) and the rules they read; and those alerts."""
    asked = [rule["alert"] for group in files[file] for rule in group["rules"] if "alert" in rule]
    asked = [name for name in asked if name in alerts or not alerts]
    needed, before = set(asked), set[str]()
    while needed != before:
        before = set(needed)
        for rule in chain(*(group["rules"] for group in chain(*files.values()))):
            if rule.get("alert", rule.get("record")) in before:
                needed |= names(rule["expr"]) | _told(rule["expr"])
    groups = [
        group | {"rules": [rule for rule in group["rules"] if rule.get("alert", rule.get("record")) in needed]}
        for group in chain(*files.values())
    ]
    return [group for group in groups if group["rules"]], asked


def _told(expr: str) -> set[str]:
    """The alerts on which an expression depends, so that one fault is told once."""
    return set("|".join(re.findall(r'ALERTS\{alertname=~?"([^"]+)"', expr)).split("|"))


def _test(case: Case, used: set[str], asked: Sequence[str]) -> dict[str, Any]:
    length = case.after + 2 * case.every
    looks = [case.after]
    if case.labels is None:
        looks = sorted({round(case.after * look / _LOOKS / case.every) * case.every for look in range(1, _LOOKS + 1)})
    return {
        "name": str(case),
        "interval": f"{case.every:g}s",
        "input_series": [
            {"series": series.text(), "values": samples(series.value, case.every, length)}
            for series in inputs(case)
            if series.name in used
        ],
        "alert_rule_test": [
            {"eval_time": f"{look:g}s", "alertname": name, "exp_alerts": []} for look in looks for name in asked
        ],
    }


def inputs(case: Case) -> list[Series]:
    """The recorded series, with what the case changes. AssertionError for a selector that matches none."""
    found = [series for entry in case.pages for series in page(**entry)]
    for selector in (*case.given, *case.without, *case.gone):
        assert any(matches(series, selector) for series in found), f"{case}: {selector} matches no recorded series"
    return list(_changed(case, found))


def _changed(case: Case, found: Sequence[Series]) -> Iterator[Series]:
    for series in found:
        if any(matches(series, selector) for selector in case.without):
            continue
        value = series.value
        for selector, given in case.given.items():
            if matches(series, selector):
                value = given
        if any(matches(series, selector) for selector in case.gone):
            value = f"{value.partition(' for ')[0]} for 1m; gone"
        yield Series(series.name, series.labels, value)


def metrics(rules: str) -> set[str]:
    """Every metric that a rule file reads."""
    groups = yaml.safe_load(rules)["groups"]
    return set().union(*(names(rule["expr"]) for group in groups for rule in group["rules"]))


def names(expr: str) -> set[str]:
    """Every metric that an expression reads."""
    return set(_selectors(parse(expr)))


def _selectors(node: Any) -> Iterator[str]:
    for part in ("vector_selector", "vs"):
        if hasattr(node, part):
            yield from _selectors(getattr(node, part))
    if type(node).__name__ == "VectorSelector":
        yield node.name
    for part in ("expr", "lhs", "rhs", "param"):
        if getattr(node, part, None) is not None:
            yield from _selectors(getattr(node, part))
    for argument in getattr(node, "args", None) or ():
        yield from _selectors(argument)


def _fired(output: str, cases: Sequence[str]) -> dict[str, list[Fired]]:
    found: dict[str, list[Fired]] = {case: [] for case in cases}
    heads = list(_CASE.finditer(output))
    for head, following in zip_longest(heads, heads[1:]):
        body = output[head.end() : following.start() if following else len(output)]
        for labels, said in _ALERT.findall(body):
            found[head[1]].append(Fired(head[2], head[3], _pairs(labels), _pairs(said)))
    return found


def _pairs(text: str) -> dict[str, str]:
    return {
        name: _ESCAPE.sub(lambda match: {"n": "\n", "t": "\t"}.get(match[1], match[1]), value)
        for name, value in _PAIR.findall(text)
    }
