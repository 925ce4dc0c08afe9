"""Runs the stack in this process until it is told to end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from compose.native import record
from compose.native.child import Child, Pace
from compose.native.people import People
from compose.native.places import State
from compose.native.prepare import Plan
from compose.native.record import ServiceRecord
from compose.native.rotating import RotatingLog
from compose.native.service import Condition

SETTLE = 90.0  # s after which a start that still waits for answers is said to be slow


@dataclass(frozen=True, slots=True)
class Announcer:
    """Says lines to people and keeps them in `logs/supervisor.log`."""

    echo: Callable[[str], None]
    log: RotatingLog

    def __call__(self, line: str) -> None:
        self.echo(line)
        self.log.write(f"{line}\n".encode())


class Supervisor:
    """Keeps the services of one state folder alive."""

    def __init__(self, state: State, plan: Plan, say: Announcer, pace: Pace) -> None:
        self._state = state
        self._plan = plan
        self._say = say
        self._pace = pace
        self._children: list[Child] = []
        self._said: dict[str, tuple[Condition, str]] = {}
        self._changed = asyncio.Event()
        self._end = asyncio.Event()
        self._bringing: asyncio.Task[None] | None = None
        self._watched = True

    async def run(self, settled: Callable[[bool], None]) -> None:
        """Starts everything and returns once everything has ended, after a signal.

        `settled` is called once, when each service has answered or failed; its argument: whether all answer.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._end.set)
        limits = httpx.Limits(max_keepalive_connections=0)  # a kept connection would hide a new process
        async with contextlib.AsyncExitStack() as clients:
            ways = {service.access for service in self._plan.services}
            http = {access: await clients.enter_async_context(access.client(limits=limits)) for access in ways}
            self._children = [
                Child(
                    service, self._state.logs / f"{service.name}.log", http[service.access], self._on_change, self._pace
                )
                for service in self._plan.services
            ]
            self._write()
            try:
                keeping = [child.start() for child in self._children]
                announce = asyncio.create_task(self._announce_settled(settled))
                await self._until_told([*keeping, announce])
            finally:
                await self._stop()

    async def _until_told(self, tasks: list[asyncio.Task[None]]) -> None:
        """Returns once a signal came; an error of our own in one of the tasks is raised, not left to fester."""
        told = asyncio.create_task(self._end.wait())
        waiting: set[asyncio.Task[Any]] = {told, *tasks}
        while not told.done():
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()

    async def _announce_settled(self, settled: Callable[[bool], None]) -> None:
        try:
            async with asyncio.timeout(SETTLE):
                while not all(child.settled for child in self._children):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            waiting = ", ".join(child.service.name for child in self._children if not child.settled)
            self._say(f"Still waiting for {waiting}.")
        if self._bringing is not None:
            await self._bringing
        self._watched = False
        settled(all(child.state is Condition.RUNNING for child in self._children))

    async def _stop(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # A second Ctrl-C ends at once: the kernel takes the services along.
            asyncio.get_running_loop().remove_signal_handler(number)
        self._say("Stopping ...")
        await asyncio.gather(*(child.stop() for child in self._children))
        self._state.status.unlink(missing_ok=True)
        self._say("Everything is stopped.")

    def _on_change(self, child: Child) -> None:
        self._write()
        self._changed.set()
        if self._end.is_set():
            return
        now = (child.state, child.detail)
        if child.state is Condition.STARTING or self._said.get(child.service.name) == now:
            return
        self._said[child.service.name] = now
        service = child.service
        if child.state is Condition.RUNNING:
            note = f"  ({service.note})" if service.note else ""
            self._say(f"  {service.name:<14} {service.url}{note}")
            if service.name == "grafana" and self._bringing is None and self._plan.people is not None:
                self._bringing = asyncio.create_task(self._bring(self._plan.people))
        else:
            self._say(f"  {service.name:<14} FAILED: {child.detail}")

    async def _bring(self, people: People) -> None:
        brought = await asyncio.to_thread(people.bring, watched=self._watched)
        for line in brought.said:
            self._say(line)
        for line in brought.private:
            self._say.echo(line)

    def _write(self) -> None:
        seen = {
            child.service.name: ServiceRecord(
                name=child.service.name,
                state=child.state,
                url=child.service.url,
                pid=child.pid,
                started=child.started,
                detail=child.detail,
                restarts=child.restarts,
            )
            for child in self._children
        }
        now = self._plan.record
        now.services = [seen.get(service.name, service) for service in now.services]
        try:
            record.write(self._state, now)
        except OSError as error:  # a full disk must not end what still runs
            self._say(f"cannot write {self._state.status}: {error.strerror}; `cluster-ai status` shows old news")


def silence(log: Path) -> None:
    """Lets go of the terminal or pipe that started us; a traceback, should there ever be one, goes to the log."""
    null = os.open(os.devnull, os.O_RDWR)
    errors = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for source, descriptor in ((null, 0), (null, 1), (errors, 2)):
        os.dup2(source, descriptor)
    os.close(null)
    os.close(errors)
