"""Ollama: do the models answer, and do they fit?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashboards.kit import Column, Page, Query, State, above, heading, plain, row, stat, table, timeseries
from dashboards.kit.house import AMBER, GREEN, GREY, RED
from dashboards.pages import blind
from dashboards.pages.common import of_system, restarts_and_alerts, state_tile, version_tile

_SELECTED = 'target=~"$ollama"'
_BY = "target, model"
_NONE = "unknown"
# What a one-token probe of a model found; `busy` is somebody else's work, not a fault.
_PROBES = (("ok", 1), ("busy", 2), ("reloaded", 3), ("failed", 4), ("hung", 5))
_PROBE_STATES = (
    State(1, "answers", GREEN),
    State(2, "busy", GREY),
    State(3, "reloaded", AMBER),
    State(4, "failed", RED),
    State(5, "hung", RED),
)


def page(limits: Mapping[str, float]) -> Page:
    """Loaded models, their memory, how probes went, what is installed."""
    return Page(
        uid="ollama",
        title="Ollama",
        question="Do the models answer, do they fit on the GPU, and do they stay?",
        variables=[of_system("ollama")],
        rows=[
            row(4, *_tiles(limits)),
            row(8, _loaded(limits), _probes(), widths=(14, 10)),
            row(8, _memory(), _loads(limits), _answers()),
            heading("What could be asked?", "What lies on its disk, what must be there, and what cannot be read."),
            row(8, _installed(), _required(), widths=(14, 10)),
            row(
                6,
                blind.parts("ollama", _SELECTED, limits),
                blind.reasons("ollama", _SELECTED),
                blind.took("ollama", _SELECTED, limits),
            ),
        ],
        annotations=restarts_and_alerts(),
    )


def _tiles(limits: Mapping[str, float]) -> list[Any]:
    return [
        state_tile("ollama", _SELECTED),
        version_tile("ollama", "ollama_info", _SELECTED),
        stat(
            "Models loaded",
            description="Models in memory. The first question to any other waits until it has come from disk.",
            unit="none",
            queries=[Query(f"sum(ollama_models_loaded{{{_SELECTED}}})")],
            levels=plain(),
            empty=_NONE,
            sparkline=True,
        ),
        stat(
            "Required, missing",
            description="Models under `must_be_loaded` that are not in memory. 0 is good.",
            unit="none",
            queries=[
                Query(
                    f"sum(1 - ollama_model_required_loaded{{{_SELECTED}}}) or "
                    f"sum(ollama_models_loaded{{{_SELECTED}}}) * 0"
                )
            ],
            levels=above(1),
            empty=_NONE,
        ),
        stat(
            "On the CPU",
            description="Part of the loaded models that did not fit on GPUs and runs from main memory, which is slow. "
            "100 % on a machine without a GPU.",
            unit="percentunit",
            queries=[
                Query(
                    f"sum(ollama_loaded_model_cpu_bytes{{{_SELECTED}}})"
                    f" / (sum(ollama_loaded_model_size_bytes{{{_SELECTED}}}) > 0)"
                )
            ],
            levels=above(limits["ollama_model_cpu_ratio"], worst=AMBER),
            empty="not known",
            decimals=0,
        ),
        stat(
            "Installed",
            description="Models on the disks of the chosen Ollamas, and cloud models they list.",
            unit="none",
            queries=[Query(f"sum(ollama_models_installed{{{_SELECTED}}})")],
            levels=plain(),
            empty=_NONE,
        ),
    ]


def _loaded(limits: Mapping[str, float]) -> Any:
    def of(metric: str) -> str:
        return f"max by ({_BY}) (ollama_loaded_model_{metric}{{{_SELECTED}}})"

    return table(
        "Which models are in memory?",
        description="Each loaded model: the memory it takes, the part that runs on the CPU, its context, and when it "
        "will be unloaded if nobody asks (a dash: it is kept for ever).",
        columns=[
            Column(title="Model", field="model", width=165),
            Column(title="Ollama", field="target"),
            Column(title="Size", query=of("size_bytes"), unit="bytes", width=95),
            Column(title="On GPU", query=of("vram_bytes"), unit="bytes", width=95),
            Column(
                title="On the CPU",
                query=f"{of('cpu_bytes')} / ({of('size_bytes')} > 0)",
                unit="percentunit",
                decimals=0,
                levels=above(limits["ollama_model_cpu_ratio"], worst=AMBER),
                gauge=True,
                width=110,
            ),
            Column(title="Context", query=of("context_tokens"), unit="short", width=80),
            Column(
                title="Unloaded", query=f"{of('expires_timestamp_seconds')} * 1000", unit="dateTimeFromNow", width=110
            ),
        ],
        empty="none, or unknown",
        sort="Size",
    )


def _probes() -> Any:
    found = " + ".join(
        f'{value} * sum by ({_BY}) (ollama_generation_probe_result{{result="{result}", {_SELECTED}}})'
        for result, value in _PROBES
    )
    return table(
        "Do they answer?",
        description="How the last one-token question to each loaded model went. hung: no answer and nobody else was "
        "asking: restart Ollama. reloaded: its runner had stopped. busy: others were using it, which is fine. Asked "
        "only with `generation_probe: {enabled: true}`.",
        columns=[
            Column(title="Model", field="model", width=190),
            Column(title="Ollama", field="target"),
            Column(title="Answer", query=found, states=_PROBE_STATES),
            Column(
                title="Asked",
                query=f"max by ({_BY}) (ollama_generation_probe_timestamp_seconds{{{_SELECTED}}}) * 1000",
                unit="dateTimeFromNow",
                width=140,
            ),
        ],
        empty="none, or not asked",
        sort="Answer",
    )


def _memory() -> Any:
    return timeseries(
        "What takes the memory?",
        description="Memory of each loaded model, on GPUs and CPU together. Bands that come and go in turn push each "
        "other out: too many models for the memory.",
        unit="bytes",
        queries=[Query(f"sum by (model) (ollama_loaded_model_size_bytes{{{_SELECTED}}})", "{{model}}")],
        levels=plain(),
        empty="nothing is loaded, or Ollama is down",
        stacked=True,
    )


def _loads(limits: Mapping[str, float]) -> Any:
    return timeseries(
        "How often are models loaded?",
        description="Loads within the hour before. Each makes somebody wait. Many: keep models longer "
        "(OLLAMA_KEEP_ALIVE), or use fewer.",
        unit="none",
        queries=[
            Query(f"sum by (model) (round(increase(ollama_model_loads_total{{{_SELECTED}}}[1h]))) > 0", "{{model}}")
        ],
        levels=above(limits["ollama_model_loads_per_hour"], worst=AMBER),
        empty="none was loaded within the hour",
    )


def _answers() -> Any:
    return timeseries(
        "How long does one token take?",
        description="How long the last probe of each model took, its place in the queue included. It climbs when many "
        "ask at once or a model moved to the CPU.",
        unit="s",
        queries=[Query(f"max by (model) (ollama_generation_probe_duration_seconds{{{_SELECTED}}})", "{{model}}")],
        levels=plain(),
        empty="not asked: see generation_probe",
    )


def _installed() -> Any:
    info = f"max by ({_BY}, family, parameter_size, format) (ollama_model_info{{{_SELECTED}}})"
    return table(
        "What is installed?",
        description="Each model on the disk: what it is, what room it takes, when it was pulled. Old large ones that "
        "are never loaded can go.",
        columns=[
            Column(title="Model", field="model", width=190),
            Column(title="Ollama", field="target"),
            Column(title="Family", field="family"),
            Column(title="Parameters", field="parameter_size", width=105),
            Column(title="Format", field="format", query=info),
            Column(
                title="On disk",
                query=f"max by ({_BY}) (ollama_model_size_bytes{{{_SELECTED}}})",
                unit="bytes",
                width=95,
            ),
            Column(
                title="Pulled",
                query=f"max by ({_BY}) (ollama_model_modified_timestamp_seconds{{{_SELECTED}}}) * 1000",
                unit="dateTimeFromNow",
            ),
        ],
        empty="none, or unknown",
        sort="On disk",
    )


def _required() -> Any:
    return table(
        "Are the required ones there?",
        description="Each model under `must_be_loaded` in cluster-ai.yml. Not loaded: nobody asked for longer than it "
        "is kept, another pushed it out, or it cannot be loaded; ask it something and look at Ollama's log.",
        columns=[
            Column(title="Model", field="model", width=190),
            Column(title="Ollama", field="target"),
            Column(
                title="State",
                query=f"min by ({_BY}) (ollama_model_required_loaded{{{_SELECTED}}})",
                states=(State(0, "not loaded", RED), State(1, "loaded", GREEN)),
            ),
        ],
        empty="none, or unknown",
        sort="State",
        descending=False,
    )
