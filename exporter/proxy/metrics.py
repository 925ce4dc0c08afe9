"""What the proxy counts: `ollama_proxy_*`, in the words of vLLM and of OpenTelemetry's GenAI conventions.

Model names come from clients as much as from Ollama: only models that Ollama has answered for are named, as many as
MOST_MODELS; the rest are `_other`, and `_unknown` what no answer told.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Literal

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from exporter.families import clean
from exporter.proxy.accounts import OTHER, UNKNOWN

MOST_MODELS = 200
# Local models are loaded from disk before their first token and write for minutes: the buckets of vLLM and of
# OpenTelemetry's gen_ai.server.time_to_first_token, which ends at 10 s, reach on to where these go.
WAITS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0)
BETWEEN = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 1.0, 2.5, 10.0)
RATES = (1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0)
SHARES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
Key = tuple[str, ...]


class Histogram:
    """Observations by labels, in buckets; one call takes many equal ones."""

    def __init__(self, name: str, about: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        self._name, self._about, self._labels = name, about, labels
        self._bounds = bounds
        self._edges = [*map(_edge, bounds), "+Inf"]
        self._kept: dict[Key, tuple[list[int], list[float]]] = {}

    def observe(self, key: Key, value: float, times: int = 1) -> None:
        """`times` observations of the same value."""
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = ([0] * (len(self._bounds) + 1), [0.0])
        kept[0][bisect_left(self._bounds, value)] += times
        kept[1][0] += value * times

    def family(self) -> Metric:
        """For the exposition."""
        family = HistogramMetricFamily(self._name, self._about, labels=self._labels)
        for key, (counts, total) in self._kept.items():
            buckets = list(zip(self._edges, map(float, accumulate(counts)), strict=True))
            family.add_metric(key, buckets, sum_value=total[0])
        return family


class Values:
    """Numbers by labels."""

    def __init__(self, name: str, about: str, labels: Sequence[str], kind: Literal["counter", "gauge"]) -> None:
        self._name, self._about, self._labels = name, about, labels
        self._kind = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
        self._kept: dict[Key, float] = {}

    def add(self, key: Key, value: float = 1.0) -> None:
        """More of it; what is gone to 0 stays."""
        self._kept[key] = self._kept.get(key, 0.0) + value

    def family(self) -> Metric:
        """For the exposition."""
        family = self._kind(self._name, self._about, labels=self._labels)
        for key, value in self._kept.items():
            family.add_metric(key, value)
        return family


class Metrics(Collector):
    """Everything that is counted, for each target."""

    def __init__(self) -> None:
        by = ("target", "model", "endpoint")
        self.requests = Values(
            "ollama_proxy_requests",
            "Requests that have ended. outcome: complete; failed (an error, perhaps after the answer had begun); "
            "cancelled (the client left); aborted (Ollama broke off); refused (not passed on); unreachable.",
            (*by, "code", "outcome"),
            "counter",
        )
        self.in_flight = Values(
            "ollama_proxy_requests_in_flight", "Requests under way.", ("target", "endpoint"), "gauge"
        )
        self.finishes = Values(
            "ollama_proxy_finishes", "Answers by why the model stopped, in Ollama's word.", (*by, "reason"), "counter"
        )
        self.duration = Histogram(
            "ollama_proxy_request_duration_seconds", "From the request's head to the answer's last byte.", by, WAITS
        )
        self.first_token = Histogram(
            "ollama_proxy_time_to_first_token_seconds",
            "From the request's last byte to the first text, thought or tool call. start: cold when the model was "
            "loaded for it, warm, or unknown where the dialect does not tell. Streamed answers only.",
            (*by, "start"),
            WAITS,
        )
        self.between = Histogram(
            "ollama_proxy_inter_token_latency_seconds",
            "From one piece of an answer to the next; most pieces are one token. Streamed answers only.",
            by,
            BETWEEN,
        )
        self.phases = Histogram(
            "ollama_proxy_request_phase_seconds",
            "Where a request's time went. phase: load (the model), prefill (reading the prompt), decode (writing) as "
            "Ollama says, and wait, what is left: waiting for others. Native endpoints only.",
            (*by, "phase"),
            WAITS,
        )
        self.rate = Histogram(
            "ollama_proxy_output_tokens_per_second",
            "Tokens written a second of decoding, one observation an answer.",
            by,
            RATES,
        )
        self.tokens = Values(
            "ollama_proxy_tokens",
            "Tokens. type: input or output. source: reported by Ollama, or estimated from the pieces of an answer that "
            "did not say.",
            (*by, "type", "source"),
            "counter",
        )
        self.tool_calls = Values("ollama_proxy_tool_calls", "Tools that models asked for.", by, "counter")
        self.bytes = Values(
            "ollama_proxy_content_bytes",
            "Bytes of bodies passed on. direction: in or out.",
            ("target", "direction"),
            "counter",
        )
        self.context = Histogram(
            "ollama_proxy_context_used_ratio",
            "Tokens of the prompt against the context length that Ollama has loaded the model with, where it says.",
            by,
            SHARES,
        )
        self.truncated = Values(
            "ollama_proxy_truncated",
            "Requests that filled the context. what: prompt (all of it is prompt; Ollama leaves out what is more) or "
            "answer (the model had to stop there).",
            (*by, "what"),
            "counter",
        )
        self.cost = Values(
            "ollama_proxy_cost",
            "What tokens cost by the configured prices, estimated ones too.",
            ("target", "model", "currency"),
            "counter",
        )
        self.user_requests = Values(
            "ollama_proxy_user_requests",
            "Requests to models that have ended, by user.",
            ("target", "user", "outcome"),
            "counter",
        )
        self.user_tokens = Values(
            "ollama_proxy_user_tokens",
            "Tokens by user. type: input or output; reported and estimated ones together.",
            ("target", "user", "type"),
            "counter",
        )
        self.user_cost = Values(
            "ollama_proxy_user_cost",
            "What tokens cost by the configured prices, by user.",
            ("target", "user", "currency"),
            "counter",
        )
        self.refused = Values(
            "ollama_proxy_refused",
            "Requests that were not passed on. reason: malformed, token, path, rate, queue_full or queue_time.",
            ("target", "endpoint", "reason"),
            "counter",
        )
        self.queued = Values("ollama_proxy_queued", "Requests that wait for their turn.", ("target",), "gauge")
        self.queue_time = Histogram(
            "ollama_proxy_queue_seconds",
            "How long requests waited for their turn, where these are limited.",
            ("target",),
            WAITS,
        )
        self._models: set[str] = set()

    def known(self, model: str | None) -> str:
        """The label for a model; one that Ollama has answered for."""
        if not model:
            return UNKNOWN
        if model not in self._models:
            if len(self._models) >= MOST_MODELS:
                return OTHER
            self._models.add(model)
        return clean(model)

    def collect(self) -> Iterator[Metric]:
        """For prometheus-client's registry."""
        for one in vars(self).values():
            if isinstance(one, Values | Histogram):
                yield one.family()


def _edge(bound: float) -> str:
    return repr(float(bound))
