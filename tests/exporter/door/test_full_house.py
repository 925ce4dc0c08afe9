"""No file descriptors left: what is open is served, and the log stays a log."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.exporter.door.helpers import fleet_of, serving

WORDS = "new connections wait, they cannot be taken: Too many open files"


@pytest.fixture
def limits() -> Iterator[tuple[int, int]]:
    """Limits of open files, put back at the end."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def take_all(limits: tuple[int, int]) -> list[socket.socket]:
    """Leave no file descriptor to anybody."""
    used = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 2, limits[1]))
    taken = []
    while True:
        try:
            taken.append(socket.socket())
        except OSError:
            return taken


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")
async def test_without_file_descriptors_it_serves_who_is_in_and_says_once_that_others_wait(tmp_path, caplog, limits):
    async with serving(fleet_of(tmp_path)) as url, aiohttp.ClientSession() as session:
        async with session.get(f"{url}/-/healthy") as first:
            assert first.status == 200
        late = socket.socket()
        late.setblocking(False)
        taken = take_all(limits)
        await asyncio.get_running_loop().sock_connect(late, ("127.0.0.1", urlsplit(url).port))
        async with session.get(f"{url}/metrics?collect[]=self") as answer:
            assert answer.status == 200
        await asyncio.sleep(1.5)  # asyncio tries again after a second
        for one in (late, *taken):
            one.close()
    assert [record.message.partition(";")[0] for record in caplog.records] == [WORDS]
