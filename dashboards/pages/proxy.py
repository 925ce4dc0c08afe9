"""The proxy before Ollama: what people wait for, how models work, whether the machines cope."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashboards.kit import Column, Page, Query, above, below, heading, plain, row, stat, table, timeseries
from dashboards.kit.house import AMBER
from dashboards.kit.states import UP_DOWN
from dashboards.pages.common import of_system, restarts_and_alerts

_SELECTED = 'target=~"$ollama"'
_EVERY = "15s"  # how often the proxy is scraped
_NO_PROXY = "no proxy configured"
_NOBODY = "no proxy configured, or nobody asks"
_FIRST = "ollama_proxy_time_to_first_token_seconds"
_FIRST_BY_MODEL = f"target_model:{_FIRST}_bucket:rate5m{{{_SELECTED}}}"


def page(limits: Mapping[str, float]) -> Page:
    """People wait, models work, machines cope."""
    return Page(
        uid="proxy",
        title="Ollama proxy",
        question="What do people wait for? From the top: how long people wait and why, how it ends and who asks, how "
        "models work, and whether the machines cope.",
        variables=[of_system("ollama")],
        refresh="15s",
        rows=[
            row(4, *_tiles(limits)),
            row(8, _first_token(limits), _phases(), _cold(limits)),
            row(8, _ends(), _refused(), _users()),
            heading("How well is it written?", "Speed and flow, then each model by itself."),
            row(7, _speed(), _smoothness(), _tokens()),
            row(8, _models(limits)),
            row(7, _asked(limits), _context(), _truncated(), _own()),
        ],
        annotations=restarts_and_alerts(),
    )


def _quantile(share: float, what: str, by: str = "") -> str:
    return f"histogram_quantile({share}, sum by ({by}le) ({what}))"


def _share(part: str, whole: str, by: str) -> str:
    """Increases within the hour; nothing where nothing happened."""
    return f"sum by ({by}) (increase({part}[1h])) / (sum by ({by}) (increase({whole}[1h])) > 0)"


def _mean(metric: str, by: str) -> str:
    """Of a histogram's values of the last five minutes; nothing where there were none."""
    total, count = (f"sum by ({by}) (rate({metric}_{part}{{{_SELECTED}}}[5m]))" for part in ("sum", "count"))
    return f"{total} / ({count} > 0)"


def _tiles(limits: Mapping[str, float]) -> list[Any]:
    failures = f"sum(increase(target_instance:ollama_proxy_failures:sum{{{_SELECTED}}}[1h]))"
    requests = f"sum(increase(target_instance:ollama_proxy_requests:sum{{{_SELECTED}}}[1h]))"
    return [
        stat(
            "Proxy",
            description="Whether every process of `cluster-ai proxy` answers. Down: who asks through it gets nothing; "
            "`cluster-ai status` says why. The choice of an Ollama changes nothing here: one proxy serves all.",
            unit="none",
            queries=[Query('min(up{job="ollama_proxy"})', every=_EVERY)],
            levels=plain(),
            states=UP_DOWN,
            empty=_NO_PROXY,
            filled=True,
        ),
        _first_word(
            "median",
            0.5,
            limits,
            "Time from a question to the first text, thought or tool call of its answer, over 5 minutes; "
            "half of the answers begin sooner. Below a second feels like talking.",
        ),
        _first_word(
            "slowest",
            0.95,
            limits,
            "The same for the slowest: 19 of 20 answers begin sooner. Far above the median: some wait for "
            "a model to be loaded, or for others.",
        ),
        stat(
            "Asking now",
            description="Requests to models that are being answered or wait. As many as the models answer at once "
            "(OLLAMA_NUM_PARALLEL) is good; more wait.",
            unit="none",
            queries=[Query(f"sum(target:ollama_proxy_asked:sum{{{_SELECTED}}})", every=_EVERY)],
            levels=above(limits["ollama_proxy_requests_asked"], worst=AMBER),
            empty=_NO_PROXY,
            sparkline=True,
        ),
        stat(
            "Succeeded, 1 h",
            description="Share of the requests to models within an hour that did not fail. What clients gave up, or "
            "asked wrong, is no failure.",
            unit="percentunit",
            queries=[Query(f"1 - {failures} / ({requests} > 0)", every=_EVERY)],
            levels=below(limits["ollama_proxy_success_ratio"], bad=AMBER),
            empty="nobody asked",
        ),
        stat(
            "Tokens written/s",
            description="Tokens that all models together write a second, for everybody who asks through the proxy.",
            unit="short",
            queries=[
                Query(
                    f'sum(rate(ollama_proxy_tokens_total{{type="output", {_SELECTED}}}[$__rate_interval]))', "", _EVERY
                )
            ],
            levels=plain(),
            empty="nobody asks",
            sparkline=True,
            decimals=1,
        ),
    ]


def _first_word(which: str, share: float, limits: Mapping[str, float], description: str) -> Any:
    return stat(
        f"First word, {which}",
        description=description,
        unit="s",
        queries=[Query(_quantile(share, _FIRST_BY_MODEL), every=_EVERY)],
        levels=above(limits["ollama_proxy_first_token_seconds"], worst=AMBER),
        empty="nobody asks",
        sparkline=True,
    )


def _first_token(limits: Mapping[str, float]) -> Any:
    return timeseries(
        "How long until the first word?",
        description="19 of 20 streamed answers of each model begin sooner than this, over 5 minutes. Steps: buckets "
        "of the histogram. One model alone: its size or its context; all at once: they wait for each other.",
        unit="s",
        queries=[Query(_quantile(0.95, _FIRST_BY_MODEL, "model, "), "{{model}}", _EVERY)],
        levels=above(limits["ollama_proxy_first_token_seconds"], worst=AMBER),
        empty=_NOBODY,
    )


def _phases() -> Any:
    return timeseries(
        "Where does the time go?",
        description="What a request spends its time on, on average. decode, writing, should be most of it. load: the "
        "model came from disk. wait: others came first. prefill: the prompt was read. Native endpoints tell it.",
        unit="s",
        queries=[Query(_mean("ollama_proxy_request_phase_seconds", "phase"), "{{phase}}", _EVERY)],
        levels=plain(),
        empty=_NOBODY,
        stacked=True,
    )


def _cold(limits: Mapping[str, float]) -> Any:
    cold, all_known = (f'{_FIRST}_count{{start=~"{start}", {_SELECTED}}}' for start in ("cold", "cold|warm"))
    return timeseries(
        "How many starts are cold?",
        description="Share of a model's answers within the hour before that waited until it had been loaded. Near "
        "zero is good; more: keep models longer (OLLAMA_KEEP_ALIVE), or use fewer.",
        unit="percentunit",
        queries=[Query(_share(cold, all_known, "model"), "{{model}}", _EVERY)],
        levels=above(limits["ollama_proxy_cold_start_ratio"], worst=AMBER),
        empty=_NOBODY,
        maximum=1,
    )


def _ends() -> Any:
    requests = f'ollama_proxy_requests_total{{model!="", {_SELECTED}}}'
    return timeseries(
        "How do requests end?",
        description="Requests to models, a minute, by how they ended. complete is good; cancelled: the client left, "
        "often after a long wait. failed, aborted (Ollama broke off) and unreachable: look at its log.",
        unit="cpm",
        queries=[Query(f"60 * sum by (outcome) (rate({requests}[$__rate_interval]))", "{{outcome}}", _EVERY)],
        levels=plain(),
        empty=_NOBODY,
        stacked=True,
    )


def _refused() -> Any:
    return timeseries(
        "Who is turned away?",
        description="Requests a minute that the proxy did not pass on, by reason. None is good. rate, queue_full and "
        "queue_time are your limits; token and path your gates; malformed is what could fool a server.",
        unit="cpm",
        queries=[
            Query(
                f"60 * sum by (reason) (rate(ollama_proxy_refused_total{{{_SELECTED}}}[$__rate_interval]))",
                "{{reason}}",
                _EVERY,
            )
        ],
        levels=plain(),
        empty="nobody is turned away",
        stacked=True,
    )


def _users() -> Any:
    return timeseries(
        "Who asks?",
        description="Tokens a minute, read and written, of the ten who use most. One far above the rest explains why "
        "others wait. Users are told apart where `users` stands under `proxy` in cluster-ai.yml.",
        unit="short",
        queries=[
            Query(
                "topk(10, 60 * sum by (user) "
                f"(rate(ollama_proxy_user_tokens_total{{{_SELECTED}}}[$__rate_interval])) > 0)",
                "{{user}}",
                _EVERY,
            )
        ],
        levels=plain(),
        empty="users are not told apart, or nobody asks",
        stacked=True,
    )


def _speed() -> Any:
    return timeseries(
        "How fast is it written?",
        description="Tokens a second of one answer, on average over 5 minutes, as Ollama tells. People read about 5; "
        "a fall by half: more answers at once, or part of the model moved to the CPU.",
        unit="short",
        queries=[Query(_mean("ollama_proxy_output_tokens_per_second", "model"), "{{model}}", _EVERY)],
        levels=plain(),
        empty=_NOBODY,
    )


def _smoothness() -> Any:
    gaps = f"target_model:ollama_proxy_inter_token_latency_seconds_bucket:rate5m{{{_SELECTED}}}"
    return timeseries(
        "How smoothly does it flow?",
        description="Pause between two pieces of an answer; 99 of 100 are shorter. Below 0.1 s looks fluent. It climbs "
        "when many answers share a GPU, or when one long prompt is read between them.",
        unit="s",
        queries=[Query(_quantile(0.99, gaps, "model, "), "{{model}}", _EVERY)],
        levels=plain(),
        empty=_NOBODY,
    )


def _tokens() -> Any:
    def of(kind: str) -> str:
        tokens = f'ollama_proxy_tokens_total{{type="{kind}", {_SELECTED}}}'
        return f"sum by (model) (rate({tokens}[$__rate_interval]))"

    return timeseries(
        "What do models read and write?",
        description="Tokens a second, by model, whatever program asks: written, and, dashed, read. Where a stream does "
        "not tell, what is written is counted from its pieces, and what is read is not known.",
        unit="short",
        queries=[
            Query(of("output"), "{{model}}: written", _EVERY),
            Query(of("input"), "{{model}}: read", _EVERY),
        ],
        levels=plain(),
        empty=_NOBODY,
    )


def _models(limits: Mapping[str, float]) -> Any:
    by = "target, model"
    requests = f'ollama_proxy_requests_total{{model!="", {_SELECTED}}}'
    others = f'ollama_proxy_requests_total{{model!="", outcome!~"failed|aborted|unreachable", {_SELECTED}}}'
    asked = f"sum by ({by}) (increase({requests}[1h]))"
    rate, context = "ollama_proxy_output_tokens_per_second", "ollama_proxy_context_used_ratio"

    def mean(metric: str) -> str:
        return _share(f"{metric}_sum{{{_SELECTED}}}", f"{metric}_count{{{_SELECTED}}}", by)

    return table(
        "How does each model do?",
        description="Each model that was asked within the hour before. Failed: also what was asked wrong. First word: "
        "19 of 20 begin sooner. Context: how much of it prompts fill on average; Ollama leaves out what is more. "
        "Cost: by the `prices` under `proxy`.",
        columns=[
            Column(title="Model", field="model", width=220),
            Column(title="Ollama", field="target"),
            Column(
                title="Requests, 1 h",
                query=f"{asked} > 0",
                unit="short",
                decimals=0,
                every=_EVERY,
            ),
            Column(
                title="Failed",
                query=f"1 - (sum by ({by}) (increase({others}[1h])) or 0 * {asked}) / ({asked} > 0)",
                unit="percentunit",
                decimals=1,
                every=_EVERY,
            ),
            Column(
                title="First word",
                query=_quantile(0.95, _FIRST_BY_MODEL, f"{by}, "),
                unit="s",
                levels=above(limits["ollama_proxy_first_token_seconds"], worst=AMBER),
                every=_EVERY,
            ),
            Column(title="Tokens/s", query=mean(rate), unit="short", decimals=1, every=_EVERY),
            Column(
                title="Cost, 24 h",
                query=f"sum by ({by}) (increase(ollama_proxy_cost_total{{{_SELECTED}}}[24h]))",
                unit="short",
                decimals=2,
                every=_EVERY,
            ),
            Column(title="Context used", query=mean(context), unit="percentunit", gauge=True, every=_EVERY),
        ],
        empty=_NOBODY,
        sort="Requests, 1 h",
    )


def _asked(limits: Mapping[str, float]) -> Any:
    return timeseries(
        "How many ask at once?",
        description="Requests to models that are being answered or wait, and those that the proxy itself lets wait "
        "(`limits`). A line that climbs without end: people ask faster than models answer.",
        unit="none",
        queries=[
            Query(f"sum(target:ollama_proxy_asked:sum{{{_SELECTED}}})", "answered or waiting", _EVERY),
            Query(f"sum(ollama_proxy_queued{{{_SELECTED}}})", "wait for their turn", _EVERY),
        ],
        levels=above(limits["ollama_proxy_requests_asked"], worst=AMBER),
        empty=_NO_PROXY,
    )


def _context() -> Any:
    used = f"rate(ollama_proxy_context_used_ratio_bucket{{{_SELECTED}}}[5m])"
    return timeseries(
        "How full is the context?",
        description="How much of the context length prompts take; 19 of 20 take less. Near 100 %: Ollama leaves out "
        "the beginning without a word. Raise num_ctx, as memory allows.",
        unit="percentunit",
        queries=[Query(_quantile(0.95, used, "model, "), "{{model}}", _EVERY)],
        levels=plain(),
        empty="not told, or nobody asks",
        maximum=1,
    )


def _truncated() -> Any:
    return timeseries(
        "What did not fit?",
        description="Requests within the hour before that filled the context: prompt, of which the beginning was left "
        "out, or answer, which had to stop. None is good.",
        unit="none",
        queries=[
            Query(
                f"sum by (model, what) (round(increase(ollama_proxy_truncated_total{{{_SELECTED}}}[1h]))) > 0",
                "{{model}}: {{what}}",
                _EVERY,
            )
        ],
        levels=plain(),
        empty="everything fits",
    )


def _own() -> Any:
    return timeseries(
        "What does the proxy itself take?",
        description="CPU of each process of the proxy; 100 % is one core, which is all that one can use. Near it: more "
        "processes (`services.ollama_proxy_workers`). The machines of the models: see the System page.",
        unit="percentunit",
        queries=[
            Query(
                'sum by (instance) (rate(process_cpu_seconds_total{job="ollama_proxy"}[$__rate_interval]))',
                "{{instance}}",
                _EVERY,
            )
        ],
        levels=plain(),
        empty=_NO_PROXY,
    )
