"""Answers that cost the target real work: asked now and then, used until they are too old."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from exporter.collectors.base import Outcome, Part
from exporter.errors import CollectError, Reason
from exporter.families import Family

RETRY = 15.0  # seconds before a failed question is asked again; longer when it took longer to fail


class KeptPart:
    """The last answer of one part, and the question that is under way."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.families: list[Family] | None = None
        self.error: CollectError | None = None
        self.task: asyncio.Task[list[Family]] | None = None
        self._monotonic = monotonic
        self._part: Part | None = None
        self._asked = 0.0
        self._learned = 0.0
        self._seconds = 0.0

    def refresh(self, part: Part) -> bool:
        """Ask again if the answer is too old and nobody asks already; whether a question was started."""
        now = self._monotonic()
        if self.task is not None:
            return False
        pause = part.keep if self.error is None else self._seconds + max(RETRY, self._seconds)
        if self._part is not None and now - self._asked < pause:
            return False
        self._part, self._asked = part, now
        self.task = asyncio.create_task(_within(part))
        return True

    def settle(self, task: asyncio.Task[list[Family]]) -> None:
        """Take what the finished question gave."""
        self.task = None
        now = self._monotonic()
        self._seconds = now - self._asked
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self.families, self.error, self._learned = task.result(), None, now
        elif isinstance(error, CollectError):
            self.families, self.error = None, error.bare()
        else:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a kept part failed unexpectedly", "exception": error, "task": task}
            )
            self.families = None
            self.error = CollectError(
                Reason.INTERNAL, f"unexpected {type(error).__name__}; the exporter's log has the details"
            )

    def age(self) -> float | None:
        """Seconds since the answer in use was learned; None without one."""
        return None if self.families is None else self._monotonic() - self._learned

    def outcome(self, name: str, started: float) -> Outcome:
        """How this part stands for a collection that began at `started` (monotonic)."""
        fresh = self.task is None and self._asked >= started
        if self.families is None and self.error is None:
            waited = self._monotonic() - self._asked
            error = CollectError(Reason.TIMEOUT, f"{name} has not answered for {waited:.1f} s; still waiting")
            return Outcome(waited, error)
        return Outcome(self._seconds, self.error, kept=not fresh)


async def _within(part: Part) -> list[Family]:
    try:
        async with asyncio.timeout(part.patience):
            return await part.ask()
    except TimeoutError:
        raise CollectError(Reason.TIMEOUT, f"no answer within {part.patience:.0f} s") from None
