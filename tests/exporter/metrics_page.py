"""Writes docs/metrics.md from the goldens: `python -m tests.exporter.metrics_page > docs/metrics.md`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families as parse

from exporter import scrape, selfmetrics, silences
from exporter.collectors import registry
from exporter.families import encode
from exporter.fleet import Fleet
from exporter.selfmetrics import SelfMetrics
from provisioning.config.model import Config
from provisioning.config.targets import Targets

ROOT = Path(__file__).resolve().parents[2]
TITLES = {"dask": "Dask", "ollama": "Ollama", "openwebui": "Open WebUI"}
EVERY_TARGET = (
    "up", "scrape_duration_seconds", "collector_success", "collector_duration_seconds", "collector_age_seconds",
    "collector_errors", "series_dropped", "tls_certificate_expiry_timestamp_seconds",
)  # fmt: skip
# What vLLM and OpenTelemetry's GenAI conventions call the same, where they have it.
ELSEWHERE = {
    "requests": ("request_success_total", ""),
    "requests_in_flight": ("num_requests_running, num_requests_waiting", ""),
    "queued": ("num_requests_waiting", ""),
    "finishes": ("request_success_total{finished_reason}", "gen_ai.response.finish_reasons"),
    "request_duration_seconds": ("e2e_request_latency_seconds", "gen_ai.server.request.duration"),
    "time_to_first_token_seconds": ("time_to_first_token_seconds", "gen_ai.server.time_to_first_token"),
    "inter_token_latency_seconds": ("inter_token_latency_seconds", "gen_ai.server.time_per_output_token"),
    "request_phase_seconds": (
        "request_queue_time_seconds, request_prefill_time_seconds, request_decode_time_seconds", ""
    ),
    "tokens": ("prompt_tokens_total, generation_tokens_total", "gen_ai.client.token.usage"),
}  # fmt: skip
PROXY = """\
## ollama_proxy: the proxy before Ollama

On the proxy's own page of metrics ([proxy.md](proxy.md)), recorded with answers of Ollama 0.17.4. vLLM's names begin
with `vllm:`. OpenTelemetry's endpoint is `gen_ai.operation.name`, its model `gen_ai.response.model`.
"""
INTRO = """\
# Metrics

Every metric the exporter gives, generated from the goldens in `tests/golden/` (`make generate`).

On `/probe` series carry the labels below; service discovery adds `target`, `system` and `host`. On `/metrics` each
series has `target` and `system` itself. A value that the upstream does not tell makes no series. Dask's own metrics
(`dask_scheduler_*`, `dask_worker_*`) are scraped from its schedulers and workers directly and are
[documented by Dask](https://distributed.dask.org/en/stable/prometheus.html).
"""


@dataclass
class Row:
    """One metric over all recorded versions."""

    kind: str
    help: str
    labels: set[str] = field(default_factory=set)
    versions: list[str] = field(default_factory=list)


def page() -> str:
    """The whole page."""
    parts = [INTRO]
    for system, collector in registry().items():
        rows, versions = _rows(system)
        own = {name: row for name, row in rows.items() if name.removeprefix(f"{collector.prefix}_") not in EVERY_TARGET}
        parts.append(f"## {collector.prefix}: {TITLES.get(system, system)}\n\nRecorded from {', '.join(versions)}.\n")
        parts.append(_table(own, versions))
    parts += [PROXY, _proxy()]
    parts.append(
        "## Of every target\n\nWith the prefix of the system (`dask_cluster_`, `ollama_`, `openwebui_`) in place of"
        " `<system>_`.\n"
    )
    parts.append(_table(_every_target(), []))
    parts.append("## The exporter itself\n\nOn `/metrics` (`collect[]=self`), beside `process_*` and `python_*`.\n")
    parts.append(_table(_self(), []))
    return "\n".join(parts)


def _rows(system: str) -> tuple[dict[str, Row], list[str]]:
    rows: dict[str, Row] = {}
    files = sorted((ROOT / "tests" / "golden" / system).glob("*.txt"))
    for file in files:
        for family in parse(file.read_text()):
            row = _add(rows, family)
            row.versions.append(file.stem)
    return rows, [file.stem for file in files]


def _add(rows: dict[str, Row], family: Metric) -> Row:
    row = rows.setdefault(family.name, Row(family.type, family.documentation))
    row.help = family.documentation
    for sample in family.samples:
        row.labels.update(sample.labels.keys() - {"le"})
    return row


def _every_target() -> dict[str, Row]:
    rows, _ = _rows("dask")
    prefix = f"{registry()['dask'].prefix}_"
    rows |= {family.name: Row("gauge", family.help) for family in [scrape.certificate_expiry(prefix[:-1], None)]}
    return {
        f"<system>_{short}": Row(
            rows[prefix + short].kind, rows[prefix + short].help.replace("the dask", "the"), rows[prefix + short].labels
        )
        for short in EVERY_TARGET
    }


def _self() -> dict[str, Row]:
    metrics = SelfMetrics(Fleet(Path("cluster-ai.yml"), Config(targets=Targets())))
    metrics.answered("/probe", 200)
    silenced = {"labels": dict.fromkeys(silences.LABELS, "x"), "status": {"silencedBy": ["1"], "inhibitedBy": ["x"]}}
    held = silences.read([silenced], [{"id": "1", "endsAt": "2026-01-01T00:00:00Z"}])
    rows: dict[str, Row] = {}
    for family in parse(
        metrics.text(openmetrics=False) + encode([silences.reached(up=True), *held], openmetrics=False)
    ):
        if family.name.startswith("cluster_ai_") and not family.name.endswith("_created"):
            _add(rows, family)
    _add(rows, selfmetrics.certificate_expiry(0.0))
    rows["cluster_ai_exporter_target_series"].labels = {"target", "system"}
    return rows


def _table(rows: dict[str, Row], versions: list[str]) -> str:
    lines = ["| Metric | Labels | Meaning |", "|---|---|---|"]
    for name, row in sorted(rows.items()):
        shown = f"{name}_total" if row.kind == "counter" else name
        labels = ", ".join(f"`{label}`" for label in sorted(row.labels))
        some = "" if set(row.versions) >= set(versions) else f" *Only in {', '.join(row.versions)}.*"
        lines.append(f"| `{shown}` ({row.kind}) | {labels} | {_cell(row.help)}{some} |")
    return "\n".join(lines) + "\n"


def _proxy() -> str:
    """With the names that others have for the same."""
    rows, _ = _rows("proxy")
    lines = _table(rows, []).splitlines()
    head, rule, *found = lines
    named = [f"{head} vLLM | OpenTelemetry |", f"{rule}---|---|"]
    for line, name in zip(found, sorted(rows), strict=True):
        theirs = ELSEWHERE.get(name.removeprefix("ollama_proxy_"), ("", ""))
        named.append(f"{line} {_code(theirs[0])} | {_code(theirs[1])} |")
    return "\n".join(named) + "\n"


def _code(names: str) -> str:
    return ", ".join(f"`{name}`" for name in names.split(", ") if name)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


if __name__ == "__main__":
    sys.stdout.write(page())
