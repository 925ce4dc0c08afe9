"""What is understood of one exchange, and counted when it has ended."""

from __future__ import annotations

import json
import re
from functools import partial

from exporter.proxy.accounts import Accounts
from exporter.proxy.answers import Streamed, Timing, Whole
from exporter.proxy.contexts import Contexts
from exporter.proxy.facts import Facts
from exporter.proxy.heads import RequestHead, ResponseHead
from exporter.proxy.metrics import Key, Metrics
from exporter.proxy.watching import Ending, Exchange

# Endpoints that make a model work, in the three dialects.
MODEL_ENDPOINTS = frozenset(
    {
        "/api/generate",
        "/api/chat",
        "/api/embed",
        "/api/embeddings",
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/responses",
        "/v1/messages",
    }
)
# The others that Ollama has; whatever else is asked for is one endpoint, `other`, however it is called.
OTHER_ENDPOINTS = frozenset(
    {
        *("/", "/api/version", "/api/tags", "/api/ps", "/api/show", "/api/pull", "/api/push", "/api/create"),
        *("/api/copy", "/api/delete", "/v1/models"),
    }
)
COLD = 0.5
"""Seconds of loading from which a start is called cold; a model in memory reports some milliseconds."""
_STREAMS = ("application/x-ndjson", "text/event-stream")
_MOST_ASKED = 64 << 10  # bytes of a request that are looked at for its model
_MODEL = re.compile(rb'(?<!\\)"model"\s*:\s*("(?:[^"\\]|\\.)*")')
_MANY_GAPS = 256  # kept until an answer ends, or counted before
_FIRST_ERROR = 400
_OK = 200


def endpoint_of(path: str) -> str:
    """The label for a path, one of a few."""
    known = path in MODEL_ENDPOINTS or path in OTHER_ENDPOINTS
    return path if known else "/api/blobs" if path.startswith("/api/blobs/") else "other"


class Counting:
    """A Watcher that counts."""

    def __init__(
        self, metrics: Metrics, target: str, accounts: Accounts | None = None, contexts: Contexts | None = None
    ) -> None:
        self.metrics = metrics
        self.target = target
        self.accounts = accounts or Accounts()
        self.contexts = contexts

    def begun(self, head: RequestHead, now: float) -> Exchange:
        """See Watcher."""
        return Seen(self, head, now)

    def malformed(self) -> None:
        """See Watcher."""
        self.metrics.refused.add((self.target, "other", "malformed"))


class Seen:
    """One exchange as it goes by."""

    def __init__(self, counting: Counting, head: RequestHead, now: float) -> None:
        self._metrics = metrics = counting.metrics
        self._accounts = accounts = counting.accounts
        self._contexts = counting.contexts
        self._target = target = counting.target
        self._endpoint = endpoint_of(head.path)
        who = accounts.who if self._endpoint in MODEL_ENDPOINTS else None
        self._user = who.of(head.fields) if who is not None else None
        self._began = self._asked = now
        self._body: Streamed | Whole | None = None
        self._request: list[bytes] = []
        self._in = self._out = 0
        self._left = False
        self._status: int | None = None
        metrics.in_flight.add((target, self._endpoint))

    def sent(self, content: list[bytes]) -> None:
        """See Exchange."""
        if self._in < _MOST_ASKED and self._endpoint in MODEL_ENDPOINTS:
            self._request.extend(content)
        self._in += sum(map(len, content))

    def asked(self, now: float) -> None:
        """See Exchange."""
        self._asked = now

    def answered(self, head: ResponseHead, now: float) -> None:  # noqa: ARG002 -- the first token is of interest
        """See Exchange."""
        self._status = head.status
        if self._endpoint in MODEL_ENDPOINTS:
            kind = (head.fields.get(b"content-type") or b"").decode("latin-1").partition(";")[0].strip()
            self._body = Streamed(self._endpoint) if kind in _STREAMS else Whole()

    def received(self, content: list[bytes], now: float) -> None:
        """See Exchange."""
        self._out += sum(map(len, content))
        if self._body is not None:
            self._body.feed(content, now)
            if len(self._body.timing.gaps) > _MANY_GAPS and self._body.facts.model:
                self._count_gaps(self._body.timing, self._by(self._body.facts.model))

    def left(self) -> None:
        """See Exchange."""
        self._left = True

    def refused(self, status: int, reason: str) -> None:
        """See Exchange."""
        self._status = status
        self._metrics.refused.add((self._target, self._endpoint, reason))

    def ended(self, ending: Ending, now: float) -> None:
        """See Exchange."""
        metrics = self._metrics
        metrics.in_flight.add((self._target, self._endpoint), -1.0)
        metrics.bytes.add((self._target, "in"), float(self._in))
        metrics.bytes.add((self._target, "out"), float(self._out))
        if self._body is not None:
            self._body.end()
        facts = self._body.facts if self._body else None
        status = self._status
        failed = ending == "complete" and ((status or 0) >= _FIRST_ERROR or (facts is not None and facts.failed))
        by = self._by(self._model(status))
        # Ollama ends an answer that nobody waits for with an error line, in good order.
        outcome = ("cancelled" if self._left else "failed") if failed else ending
        metrics.requests.add((*by, str(status or ""), outcome))
        if ending == "complete":
            metrics.duration.observe(by, now - self._began)
        user = self._user_label(answered=status == _OK)
        if user is not None:
            metrics.user_requests.add((self._target, user, outcome))
        if self._body is not None and status == _OK:
            self._count_answer(self._body, by, now)
            self._count_cost(self._body, by, user)
            model = self._body.facts.model
            if self._contexts is not None and model and self._body.facts.input_tokens:
                self._contexts.tell(model, partial(_count_context, metrics, self._body.facts, by))

    def _by(self, model: str | None) -> Key:
        named = self._metrics.known(model) if self._endpoint in MODEL_ENDPOINTS else ""
        return self._target, named, self._endpoint

    def _user_label(self, *, answered: bool) -> str | None:
        who = self._accounts.who
        return who.label(self._user, answered=answered) if who and self._endpoint in MODEL_ENDPOINTS else None

    def _count_gaps(self, timing: Timing, by: Key) -> None:
        for seconds, times in timing.gaps:
            self._metrics.between.observe(by, seconds, times)
        timing.gaps.clear()

    def _model(self, status: int | None) -> str | None:
        """The model that answered, or that was asked for where Ollama took the request."""
        if self._body is not None and self._body.facts.model:
            return self._body.facts.model
        if status != _OK:  # a name that Ollama has not confirmed could be anything
            return None
        match = _MODEL.search(b"".join(self._request))
        if match is None:
            return None
        try:
            name = json.loads(match[1])
        except ValueError:
            return None
        return name if isinstance(name, str) else None

    def _count_answer(self, body: Streamed | Whole, by: Key, now: float) -> None:
        metrics, facts, timing = self._metrics, body.facts, body.timing
        load = facts.durations.get("load")
        start = "unknown" if load is None else "cold" if load >= COLD else "warm"
        if timing.first is not None:
            metrics.first_token.observe((*by, start), max(timing.first - self._asked, 0.0))
        self._count_gaps(timing, by)
        if facts.finish:
            metrics.finishes.add((*by, facts.finish if facts.finish in FINISHES else "other"))
        if facts.tool_calls:
            metrics.tool_calls.add(by, float(facts.tool_calls))
        self._count_tokens(body, by)
        phases = {name: facts.durations[name] for name in ("load", "prefill", "decode") if name in facts.durations}
        for name, seconds in phases.items():
            metrics.phases.observe((*by, name), seconds)
        if "total" in facts.durations:
            metrics.phases.observe((*by, "wait"), max(now - self._asked - sum(phases.values()), 0.0))
        if facts.output_tokens and phases.get("decode"):
            metrics.rate.observe(by, facts.output_tokens / phases["decode"])

    def _count_tokens(self, body: Streamed | Whole, by: Key) -> None:
        facts, tokens = body.facts, self._metrics.tokens
        if facts.input_tokens is not None:
            tokens.add((*by, "input", "reported"), float(facts.input_tokens))
        if facts.output_tokens is not None:
            tokens.add((*by, "output", "reported"), float(facts.output_tokens))
        elif body.timing.pieces:
            tokens.add((*by, "output", "estimated"), float(body.timing.pieces))

    def _count_cost(self, body: Streamed | Whole, by: Key, user: str | None) -> None:
        target, model, _ = by
        facts, metrics, prices = body.facts, self._metrics, self._accounts.prices
        read = float(facts.input_tokens or 0)
        written = float(body.timing.pieces if facts.output_tokens is None else facts.output_tokens)
        cost = prices.cost(self._model(_OK), read, written)
        if cost is not None:
            metrics.cost.add((target, model, prices.currency), cost)
        if user is not None:
            metrics.user_tokens.add((target, user, "input"), read)
            metrics.user_tokens.add((target, user, "output"), written)
            if cost is not None:
                metrics.user_cost.add((target, user, prices.currency), cost)


def _count_context(metrics: Metrics, facts: Facts, by: Key, length: int) -> None:
    read, written = facts.input_tokens or 0, facts.output_tokens or 0
    metrics.context.observe(by, read / length)
    if read >= length:
        metrics.truncated.add((*by, "prompt"))
    elif facts.finish in _CUT and read + written >= length:
        metrics.truncated.add((*by, "answer"))


_CUT = frozenset({"length", "max_tokens"})
# Why a model stopped, in the three dialects; a fixed list, as the word comes from outside.
FINISHES = frozenset(
    {
        *("stop", "length", "load", "unload", "tool_calls", "function_call", "content_filter"),
        *("end_turn", "max_tokens", "stop_sequence", "tool_use"),
    }
)
