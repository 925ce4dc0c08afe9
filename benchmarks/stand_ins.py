"""Upstreams that answer from memory, each a process of its own, so that what they cost is not counted as ours.

`python -m benchmarks.stand_ins ollama MODELS` and `... dask WORKERS` print the port they serve on loopback. Below any
path that begins with /hang the Ollama never answers, so that one process stands for many targets.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import msgpack
from aiohttp import web

from exporter import dask_protocol
from tests.exporter.dask import recorded
from tests.exporter.dask.framing import read_block

DIGEST = "f6c05a28597dc4fb3f9f1d59a10e37da12867ad87211c756baf00f518390cc57"


def tags(models: int) -> dict[str, Any]:
    """What /api/tags of Ollama 0.17 lists."""
    return {"models": [_model(number) for number in range(models)]}


def _model(number: int) -> dict[str, Any]:
    details = {
        "parent_model": "",
        "format": "gguf",
        "family": "llama",
        "families": ["llama"],
        "parameter_size": "8.0B",
        "quantization_level": "Q4_K_M",
    }
    name = f"model-{number}:8b"
    return {
        "name": name,
        "model": name,
        "modified_at": "2026-11-22T22:24:42.683553952Z",
        "size": 4_920_753_328 + number,
        "digest": DIGEST,
        "details": details,
        "capabilities": ["completion", "tools"],
    }


def loaded(models: int) -> dict[str, Any]:
    """What /api/ps lists: every model in memory."""
    more = {"expires_at": "2036-11-22T22:29:44.092188729Z", "size_vram": 4_000_000_000, "context_length": 8192}
    return {"models": [_model(number) | more for number in range(models)]}


async def ollama(models: int) -> int:
    """Serve an Ollama; returns its port."""
    answers = {
        "tags": json.dumps(tags(models)).encode(),
        "ps": json.dumps(loaded(min(models, 5))).encode(),
        "version": b'{"version":"0.30.1"}',
    }

    async def answer(request: web.Request) -> web.Response:
        if request.path.startswith("/hang"):
            await asyncio.Event().wait()
        body = answers.get(request.match_info["what"])
        if body is None:
            raise web.HTTPNotFound
        return web.Response(body=body, content_type="application/json")

    app = web.Application()
    app.router.add_get(r"/{base:(?:.*/)?}api/{what}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port: int = runner.addresses[0][1]
    return port


def scheduler_answers(workers: int) -> dict[str, Any]:
    """The recorded answers of Dask 2026.8.0 with that many workers, two tasks each."""
    answers = dict(recorded.FakeScheduler.of("2026.8.0").answers)
    identity = answers["identity"]
    worker = next(iter(identity["workers"].values()))
    many = {}
    for number in range(workers):
        address = f"tcp://10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}:40001"
        metrics = {**worker["metrics"], "memory": 51_765_248 + number, "cpu": number % 100}
        many[address] = {**worker, "id": f"w{number}", "name": f"w{number}", "metrics": metrics}
    answers["identity"] = {**identity, "workers": many}
    answers["processing"] = {address: (f"load-{address}-0", f"load-{address}-1") for address in many}
    return answers


async def dask(workers: int) -> int:
    """Serve a scheduler's RPC; returns its port."""
    answers = {name: dask_protocol_bytes(answer) for name, answer in scheduler_answers(workers).items()}
    nothing = dask_protocol_bytes(())
    greeting = dask_protocol.encode(dask_protocol.HANDSHAKE)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                size = dask_protocol.block_size(await reader.readexactly(dask_protocol.SIZE_BYTES))
                asked = read_block(await reader.readexactly(size))
                op = asked.get("op")
                name = f"events-{asked['topic']}" if op == "events" else op
                writer.write(greeting if op is None else answers.get(name, nothing))
                await writer.drain()
        except (EOFError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    return port


def dask_protocol_bytes(answer: Any) -> bytes:
    """One message; unlike `dask_protocol.encode` for any value."""
    frame = bytes(msgpack.packb(answer, use_bin_type=True))
    numbers = (2 * dask_protocol.SIZE_BYTES + len(frame), 1, len(frame))
    return b"".join(number.to_bytes(8, "little") for number in numbers) + frame


async def _main(kind: str, size: int) -> None:
    port = await {"ollama": ollama, "dask": dask}[kind](size)
    print(port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2])))
