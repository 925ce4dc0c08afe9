"""TLS and tokens on both sides of the proxy: who gets in, what Ollama gets to see, and what is followed on disk."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator

import pytest

from exporter.proxy.metrics import Metrics
from exporter.proxy.relay import Client
from exporter.proxy.serving import drain, listen
from provisioning.config.load import ConfigError, load_with_warnings
from provisioning.config.secrets import SecretError
from provisioning.config.targets import OllamaTarget
from tests.certificates import Authority
from tests.exporter.proxy.standing import head_of, standing
from tests.exporter.proxy.test_relay import HEAD, LAST, LINE, chunk
from tests.ports import free_port

ASK = b"POST /api/chat HTTP/1.1\r\nHost: me\r\n%sContent-Length: 2\r\n\r\n{}"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@contextlib.asynccontextmanager
async def before(
    upstream: int, clients: set[Client] | None = None, **keys: object
) -> AsyncIterator[tuple[int, Metrics]]:
    """A proxy as `serve` makes it; its port and what it counts."""
    port, metrics = free_port(), Metrics()
    clients = set() if clients is None else clients
    proxy = {"listen": f"127.0.0.1:{port}", **keys}
    target = OllamaTarget(name="gpu", url=f"http://127.0.0.1:{upstream}", proxy=proxy)
    server = await listen(target, metrics, clients)
    try:
        yield port, metrics
    finally:
        server.close()
        for client in list(clients):
            client.abort()
        await asyncio.gather(*(client.gone.wait() for client in list(clients)))


async def ask(port: int, raw: bytes, tls: ssl.SSLContext | None = None) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, limit=1 << 22)
    try:
        writer.write(raw)
        return await asyncio.wait_for(reader.readuntil(b"ok"), 10)
    except asyncio.IncompleteReadError as error:
        return error.partial
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


HEADLESS = b"HTTP/1.1 200 OK\r\n\r\n"


def replace(file, content) -> None:
    """As an administrator would, and in the same second."""
    aside = file.with_suffix(".new")
    aside.write_text(content)
    aside.replace(file)


async def test_a_token_lets_in_and_is_not_passed_on(tmp_path, caplog):
    heads = []

    async def upstream(reader, writer):
        while True:
            heads.append(await head_of(reader))
            await reader.readexactly(2)
            writer.write(OK)

    tokens = tmp_path / "tokens"
    tokens.write_text("# for the chat\nsecret-one\n\nsecret-two\n")
    caplog.set_level(logging.DEBUG)
    async with standing(upstream) as here, before(here.upstream, tokens_file=tokens) as (port, metrics):
        for header in (b"", b"Authorization: Bearer wrong\r\n", b"Authorization: Basic c2VjcmV0LW9uZQ==\r\n"):
            answer = await ask(port, ASK % header)
            assert answer.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
            assert b"\r\nWWW-Authenticate: Bearer\r\n" in answer
        assert heads == []
        for header in (b"Authorization: Bearer secret-one\r\n", b"X-API-Key: secret-two\r\n"):
            assert (await ask(port, ASK % header)).endswith(b"ok")
        assert b"secret" not in b"".join(heads)
        assert all(b"\r\nHost: 127.0.0.1:%d\r\n" % here.upstream in head for head in heads)
        replace(tokens, "secret-three\n")
        assert (await ask(port, ASK % b"Authorization: Bearer secret-one\r\n")).startswith(b"HTTP/1.1 401 ")
        assert (await ask(port, ASK % b"Authorization: Bearer secret-three\r\n")).endswith(b"ok")
        replace(tokens, "# nobody\n")  # a mistake must neither open the door nor shut everybody out
        assert (await ask(port, ASK % b"Authorization: Bearer secret-three\r\n")).endswith(b"ok")
        assert "holds no token" in caplog.text
        assert "secret-" not in caplog.text
        assert metrics.refused._kept == {("gpu", "/api/chat", "token"): 4.0}


async def test_ollama_gets_the_token_it_wants_and_never_the_clients(tmp_path, caplog):
    heads = []

    async def upstream(reader, writer):
        while True:
            heads.append(await head_of(reader))
            await reader.readexactly(2)
            writer.write(OK)

    token = tmp_path / "token"
    token.write_text("ours\n")
    async with standing(upstream) as here, before(here.upstream, bearer_token_file=token) as (port, _):
        await ask(port, ASK % b"authorization: Bearer theirs\r\nX-Api-Key: theirs\r\nX-A: Authorization: stays\r\n")
        replace(token, "renewed\n")
        await ask(port, ASK % b"")
        token.unlink()
        refused = await ask(port, ASK % b"Authorization: Bearer theirs\r\n")
        assert refused.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert heads[0].startswith(b"POST /api/chat HTTP/1.1\r\nAuthorization: Bearer ours\r\nHost: ")
    assert heads[0].lower().count(b"authorization") == 2
    assert b"\r\nX-A: Authorization: stays\r\n" in heads[0]
    assert b"theirs" not in b"".join(heads)
    assert b"\r\nAuthorization: Bearer renewed\r\n" in heads[1]
    assert len(heads) == 2
    assert "ours" not in caplog.text
    assert "renewed" not in caplog.text


async def test_streams_over_tls_are_whole_or_broken_and_a_client_that_leaves_is_gone(tmp_path):
    ended = asyncio.Queue()

    async def upstream(reader, writer):
        head = await head_of(reader)
        await reader.readexactly(2)
        writer.write(HEAD + chunk(LINE))
        if b"/whole " in head:
            writer.write(chunk(b'{"x":"%s"}\n' % (b"y" * (2 << 20))) + chunk(LAST) + b"0\r\n\r\n")
            await writer.drain()
        elif b"/held " in head:
            try:
                await reader.read(1)
            finally:
                ended.put_nowait(head)

    authority = Authority("ours")
    tls = ssl.create_default_context(cafile=authority.write_ca(tmp_path))
    cert, key = authority.write_pair(tmp_path)
    async with standing(upstream) as here, before(here.upstream, cert_file=cert, key_file=key) as (port, metrics):

        async def asked(path: bytes):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, limit=1 << 23)
            here.opened.append((reader, writer))
            writer.write((ASK % b"").replace(b"/api/chat", path))
            return reader, writer

        reader, _ = await asked(b"/whole")
        direct = HEAD + chunk(LINE) + chunk(b'{"x":"%s"}\n' % (b"y" * (2 << 20))) + chunk(LAST) + b"0\r\n\r\n"
        assert await asyncio.wait_for(reader.readexactly(len(direct)), 20) == direct
        reader, _ = await asked(b"/broken")
        with contextlib.suppress(OSError):
            assert not (await asyncio.wait_for(reader.read(-1), 10)).endswith(b"0\r\n\r\n")
        reader, writer = await asked(b"/held")
        await reader.readuntil(LINE)
        writer.close()
        await asyncio.wait_for(ended.get(), 10)
        await here.until(lambda: metrics.in_flight._kept == {("gpu", "other"): 0.0})
        assert metrics.requests._kept[("gpu", "", "other", "200", "cancelled")] == 1


async def test_an_end_over_tls_waits_for_slow_readers_and_not_for_silent_ones(tmp_path):
    size = 8 << 20

    async def upstream(reader, writer):
        while True:
            head = await head_of(reader)
            await reader.readexactly(2)
            if b"/large " in head:
                writer.write(HEADLESS + b"x" * size)
                return
            writer.write(OK)

    authority = Authority("ours")
    tls = ssl.create_default_context(cafile=authority.write_ca(tmp_path))
    cert, key = authority.write_pair(tmp_path)
    clients: set[Client] = set()
    keys = {"cert_file": cert, "key_file": key}
    async with standing(upstream) as here, before(here.upstream, clients, **keys) as (port, metrics):

        def silent() -> ssl.SSLSocket:
            """A client that never says goodbye, like those that keep connections for later."""
            plain = socket.create_connection(("127.0.0.1", port), timeout=20)
            return tls.wrap_socket(plain, server_hostname="127.0.0.1")

        with await asyncio.to_thread(silent) as idle, await asyncio.to_thread(silent) as slow:
            idle.sendall(ASK % b"")
            assert (await asyncio.to_thread(idle.recv, 1000)).startswith(b"HTTP/1.1 200 OK")
            slow.sendall((ASK % b"").replace(b"/api/chat", b"/large"))
            await here.until(lambda: metrics.in_flight._kept.get(("gpu", "other")) == 1.0)
            started = asyncio.get_running_loop().time()
            draining = asyncio.create_task(drain(clients, 30))
            await here.until(lambda: len(clients) == 1)
            assert asyncio.get_running_loop().time() - started < 15
            got = 0
            while more := await asyncio.to_thread(slow.recv, 1 << 20):
                got += len(more)
                await asyncio.sleep(0.01)  # a record of 16 KiB at a time, so some seconds in all
            assert got == len(HEADLESS) + size
            await asyncio.wait_for(draining, 15)


async def test_a_client_without_a_certificate_of_ours_is_not_let_in(tmp_path):
    async def upstream(reader, writer):
        await head_of(reader)
        writer.write(OK)

    authority = Authority("ours")
    ca = authority.write_ca(tmp_path)
    cert, key = authority.write_pair(tmp_path)
    keys = {"cert_file": cert, "key_file": key, "client_ca_file": ca}
    async with standing(upstream) as here, before(here.upstream, **keys) as (port, _):
        stranger = ssl.create_default_context(cafile=ca)
        with contextlib.suppress(OSError):  # with TLS 1.3 the client learns of it as the end of the connection
            assert await ask(port, ASK % b"", stranger) == b""
        known = ssl.create_default_context(cafile=ca)
        known.load_cert_chain(cert, key)
        assert (await ask(port, ASK % b"", known)).endswith(b"ok")


async def test_a_renewed_certificate_is_taken_and_a_broken_one_is_not(tmp_path, caplog):
    async def upstream(reader, writer):
        await head_of(reader)
        writer.write(OK)

    old, new = Authority("old"), Authority("new")
    folder = tmp_path / "new"
    folder.mkdir()
    trusted = {one: ssl.create_default_context(cafile=one.write_ca(tmp_path)) for one in (old, new)}
    cert, key = old.write_pair(tmp_path)
    async with standing(upstream) as here, before(here.upstream, cert_file=cert, key_file=key) as (port, _):
        assert (await ask(port, ASK % b"", trusted[old])).endswith(b"ok")
        replace(cert, "no certificate")
        assert (await ask(port, ASK % b"", trusted[old])).endswith(b"ok")
        assert "the old one stays" in caplog.text
        for made, file in zip(new.write_pair(folder), (cert, key), strict=True):
            replace(file, made.read_text())
        assert (await ask(port, ASK % b"", trusted[new])).endswith(b"ok")
        with pytest.raises(ssl.SSLError):
            await ask(port, ASK % b"", trusted[old])


@pytest.mark.parametrize("name", ["tokens_file", "bearer_token_file", "cert_file"])
async def test_without_its_files_it_does_not_start(tmp_path, name):
    keys = {name: tmp_path / "nowhere"} | ({"key_file": tmp_path / "nowhere"} if name == "cert_file" else {})
    with pytest.raises(SecretError, match="nowhere"):
        async with before(1, **keys):
            pass


PROXY = """
targets:
  ollama:
    - {{name: gpu, url: "http://127.0.0.1:11434", proxy: {{listen: "{listen}"{more}}}}}
"""


@pytest.mark.parametrize(
    ("listen", "more", "said"),
    [
        ("127.0.0.1:11435", "", []),
        ("0.0.0.0:11435", "", ["whoever reaches 0.0.0.0:11435 can use Ollama"]),
        ("0.0.0.0:11435", ", tokens_file: t", ["tokens cross the network readable"]),
        ("0.0.0.0:11435", ", tokens_file: t, cert_file: t, key_file: t", []),
        ("0.0.0.0:11435", ", client_ca_file: t, cert_file: t, key_file: t", []),
    ],
)
def test_who_could_come_in_is_said(tmp_path, listen, more, said):
    (tmp_path / "t").write_text("secret")
    (tmp_path / "t").chmod(0o600)
    file = tmp_path / "c.yml"
    file.write_text(PROXY.format(listen=listen, more=more))
    assert [problem.message for problem in load_with_warnings(file).warnings] == said


@pytest.mark.parametrize(
    ("listen", "said"),
    [
        ("127.0.0.1:11434", "the proxy would stand before itself"),
        ("localhost:11434", "the proxy would stand before itself"),
        ("127.0.0.1:9090", "127.0.0.1:9090 is also where prometheus listens"),
    ],
)
def test_a_proxy_in_its_own_way_is_an_error(tmp_path, listen, said):
    file = tmp_path / "c.yml"
    file.write_text(PROXY.format(listen=listen, more=""))
    with pytest.raises(ConfigError, match=said):
        load_with_warnings(file)
