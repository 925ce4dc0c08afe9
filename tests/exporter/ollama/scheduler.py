"""Ollama's scheduler as far as expiry goes, on a clock that requests and pauses move (see server/sched.go)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from exporter.collectors.base import Answer
from exporter.collectors.ollama_probe import Probes
from exporter.errors import CollectError, Reason
from tests.exporter.ollama.fakes import Clock, FakeHttp, OllamaCollector, collector, entry, stamp

FOREVER = 9_223_372_036.854  # s, Go's longest duration
TIMEOUT = 30.0


class FakeOllama:
    """One model `m`, other people's requests on it, and what happens to a generation of ours."""

    def __init__(self, *, keep_alive: float = 300.0, skew: float = 0.0, **fields: Any) -> None:
        self.clock = Clock()
        self.skew = skew  # Ollama's clock minus ours
        self.keep_alive = keep_alive
        self.expires = self.time() + keep_alive
        self.loaded = True
        self.loads = 0
        self.others = 0
        self.loading = False  # the expiry shown then moves with the time
        self.timeout = TIMEOUT
        self.books_after = 0.0  # s between the end of an answer and the expiry set anew
        self.takes = 0.2  # s a generation of ours takes; above the timeout it times out
        self.reply: dict[str, Any] | Answer = {"done": True, "load_duration": 2_000_000, "eval_duration": 1_000_000}
        self.on_generate: Callable[[], None] = lambda: None
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.fields = fields
        self.http = FakeHttp(
            {
                "/api/tags": {"models": [entry("m", capabilities=["completion"])]},
                "/api/ps": self.ps,
                "/api/generate": self.generate,
            }
        )

    def time(self) -> float:
        return self.clock() + self.skew

    def ps(self, _: object) -> dict[str, Any]:
        if not self.loaded:
            return {"models": []}
        if self.loading:
            self.clock.now += 0.001
            self.expires = self.time() + self.keep_alive
        return {"models": [entry("m", expires_at=stamp(self.expires)) | self.fields]}

    def begin(self, keep_alive: float | None = None) -> None:
        """Somebody else's request begins."""
        self.others += 1
        if keep_alive is not None:
            self.keep_alive = keep_alive

    def end(self) -> None:
        """Somebody else's request ends."""
        self.others -= 1
        self._released()

    def use(self, keep_alive: float | None = None) -> None:
        self.begin(keep_alive)
        self.end()

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        self.later.append((self.clock() + seconds, what))

    def pass_time(self, seconds: float) -> None:
        end = self.clock() + seconds
        for when, what in sorted(self.later, key=lambda item: item[0]):
            if when <= end:
                self.later.remove((when, what))
                self.clock.now = when
                what()
        self.clock.now = end

    async def pause(self, seconds: float) -> None:
        self.pass_time(seconds)

    def generate(self, body: dict[str, Any]) -> dict[str, Any] | Answer:
        self.on_generate()
        if not self.loaded:
            self.loaded, self.loads = True, self.loads + 1
        asked = body["keep_alive"]
        self.keep_alive = FOREVER if asked == -1 else float(asked.removesuffix("s"))
        if "prompt" not in body:
            self._released()
            return {"done": True, "done_reason": "load"}
        self.pass_time(min(self.takes, self.timeout))
        self._released()
        if self.takes > self.timeout:
            raise CollectError(Reason.TIMEOUT, "no answer")
        return self.reply

    def _released(self) -> None:
        if self.books_after:
            self.after(self.books_after, self._book)
        else:
            self._book()

    def _book(self) -> None:
        if self.others == 0:
            self.expires = self.time() + self.keep_alive


class Bench:
    """A collector with a probe on a FakeOllama."""

    def __init__(self, ollama: FakeOllama) -> None:
        self.ollama = ollama
        settings = {"enabled": True, "every": "60s", "timeout": f"{ollama.timeout:.0f}s"}
        self.collector: OllamaCollector = collector(ollama.http, ollama.clock, generation_probe=settings)
        assert self.collector._probes is not None
        self.probes: Probes = self.collector._probes
        self.probes._pause = ollama.pause

    async def scrape(self, after: float = 5.0) -> str | None:
        """A scrape `after` seconds, and the probe it started; the result shown by then."""
        self.ollama.pass_time(after)
        parts = self.collector.parts()
        await parts["installed"].ask()
        await parts["loaded"].ask()
        await self.probes.idle()
        return self.result()

    def result(self) -> str | None:
        state = self.probes._states.get("m")
        return state.result if state else None

    def generations(self) -> list[dict[str, Any]]:
        return [body for path, body in self.ollama.http.calls if path == "/api/generate" and "prompt" in body]

    def settles(self) -> int:
        return self.ollama.http.count("/api/generate") - len(self.generations())
