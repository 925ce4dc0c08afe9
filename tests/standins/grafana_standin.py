"""What stands behind a door under test: answers as Grafana would, and remembers exactly what it was asked.

`python -m tests.standins.grafana_standin NAME PORT` is one that can be killed.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from aiohttp import WSMsgType, web

from tests.ports import free_port

POLICY = "script-src 'self' 'nonce-of-grafana'"
IDENTITY = "user:7"
SCRIPT = b"console.log('the same for everybody');\n" * 500
OLD_SESSION = "to-be-renewed"


@dataclass(frozen=True, slots=True)
class Asked:
    method: str
    path: str
    """As it came."""
    headers: list[tuple[str, str]]
    body: bytes

    def said(self, name: str) -> list[str]:
        """Every value of a header."""
        return [value for key, value in self.headers if key.lower() == name.lower()]


class StandIn:
    """One Grafana; `name` is in each of its answers."""

    def __init__(self, name: str, port: int | None = None) -> None:
        self.name = name
        self.port = port or free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.begun = 0
        """Requests whose head came, whatever became of their body."""
        self.asked: list[Asked] = []

    def paths(self) -> list[str]:
        return [one.path for one in self.asked]

    async def metrics(self, request: web.Request) -> web.Response:
        """None, which is a page that Prometheus can read."""
        self.begun += 1
        self.asked.append(Asked(request.method, request.raw_path, list(request.headers.items()), b""))
        return web.Response()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.begun += 1
        body = await request.read()
        self.asked.append(Asked(request.method, request.raw_path, list(request.headers.items()), body))
        ours = {
            "X-Which": self.name,
            "X-Frame-Options": "deny",
            "X-Content-Type-Options": "nosniff",
            "Access-Control-Allow-Origin": "*",
            "X-Grafana-Identity-Id": IDENTITY,
        }
        if request.path == "/api/live/ws" and request.headers.get("Upgrade") == "websocket":
            return await _talk(request)
        if request.path.startswith("/public/"):
            headers = {**ours, "Cache-Control": "public, max-age=3600"}
            return web.Response(body=SCRIPT, content_type="application/javascript", headers=headers)
        await asyncio.sleep(float(request.query.get("seconds", "0")))
        if request.path == "/login" and request.method == "POST":
            del ours["X-Grafana-Identity-Id"]
            return web.json_response({"message": "?"}, status=200 if b"right" in body else 401, headers=ours)
        if request.path.startswith("/api"):
            return web.json_response({"asked": request.path, "filler": "x" * 2000}, headers=ours)
        if OLD_SESSION in request.headers.get("Cookie", ""):
            return web.Response(status=401, text="token needs to be rotated", headers=ours)
        headers = {**ours, "Content-Security-Policy": POLICY}
        return web.Response(text="<!doctype html>" + "page " * 1000, content_type="text/html", headers=headers)


async def _talk(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(f"heard {message.data}")
    return socket


@contextmanager
def running(name: str = "one", port: int | None = None) -> Iterator[StandIn]:
    stand_in = StandIn(name, port)
    loop = asyncio.new_event_loop()
    application = web.Application(client_max_size=32 << 20)
    application.router.add_get("/metrics", stand_in.metrics)
    application.router.add_route("*", "/{path:.*}", stand_in.answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)

    async def serve() -> None:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", stand_in.port).start()

    loop.run_until_complete(serve())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield stand_in
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


if __name__ == "__main__":
    with running(sys.argv[1], int(sys.argv[2])):
        threading.Event().wait()
