from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.client.rpc import RpcClient
from exporter.client.sockets import classify, tls_context
from exporter.errors import CollectError, Reason
from provisioning.config.targets import DaskTarget, TlsFiles
from tests.certificates import Authority


@pytest.mark.parametrize(
    ("exc", "reason", "hint"),
    [
        (TimeoutError(), Reason.TIMEOUT, "in time"),
        (socket.gaierror(socket.EAI_NONAME, "unknown"), Reason.DNS, "DNS"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), Reason.REFUSED, "running"),
        (OSError("Multiple exceptions: [Errno 111] a, [Errno 111] b"), Reason.REFUSED, "running"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), Reason.CONNECT, "closed the connection"),
        (asyncio.IncompleteReadError(b"", 8), Reason.CONNECT, "closed the connection"),
        (OSError(errno.EHOSTUNREACH, "no route"), Reason.CONNECT, "network"),
        (OSError(errno.EMFILE, "too many"), Reason.INTERNAL, "ulimit"),
        (OSError(errno.EIO, "odd"), Reason.CONNECT, "odd"),
    ],
)
def test_socket_errors_say_what_to_do(exc: BaseException, reason: Reason, hint: str) -> None:
    error = classify(exc, "10.0.0.5:8786")
    assert error.reason is reason
    assert str(error).startswith("10.0.0.5:8786") or reason is Reason.INTERNAL
    assert hint in str(error)
    assert "\n" not in str(error)


def test_error_already_in_words_stays() -> None:
    error = CollectError(Reason.TOO_LARGE, "x")
    assert classify(error, "y") is error


def test_context_is_the_same_until_a_file_changes(tmp_path: Path) -> None:
    first, second = Authority("first"), Authority("second")
    ca = first.write_ca(tmp_path)
    files = TlsFiles(ca_file=ca)
    context = tls_context(files, check_hostname=False)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert not context.check_hostname
    assert tls_context(files, check_hostname=False) is context
    assert tls_context(files, check_hostname=True).check_hostname
    second.write_ca(tmp_path)
    os.utime(ca, ns=(0, 0))
    renewed = tls_context(files, check_hostname=False)
    assert renewed is not context
    (authority,) = renewed.get_ca_certs()
    assert authority["subject"] == ((("commonName", "second"),),)


@pytest.mark.parametrize(
    ("spoil", "reason", "words"),
    [
        (lambda folder: (folder / "ca.pem").unlink(), Reason.SECRET, "cannot read ca_file .*: No such file"),
        (lambda folder: (folder / "ca.pem").write_text("no PEM"), Reason.TLS, "ca_file .* holds no certificate"),
        (lambda folder: (folder / "key.pem").unlink(), Reason.SECRET, "cannot read key_file"),
        (lambda folder: (folder / "key.pem").write_text("no PEM"), Reason.TLS, "do not make a pair"),
        (lambda folder: Authority("x").write_pair(folder, password=b"pw"), Reason.TLS, "is encrypted"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, spoil: Callable[[Path], object], reason: Reason, words: str) -> None:
    authority = Authority("ca")
    ca = authority.write_ca(tmp_path)
    cert, key = authority.write_pair(tmp_path)
    spoil(tmp_path)
    with pytest.raises(CollectError, match=words) as caught:
        tls_context(TlsFiles(ca_file=ca, cert_file=cert, key_file=key), check_hostname=False)
    assert caught.value.reason is reason


async def test_refused_name_and_closed_port_over_a_real_socket() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    client = RpcClient(DaskTarget(name="main", scheduler=f"tcp://127.0.0.1:{port}"))
    with pytest.raises(CollectError, match="refuses connections") as caught:
        await client.call("identity")
    assert caught.value.reason is Reason.REFUSED
    await client.close()


@pytest.mark.parametrize(
    ("server_asks", "client_has", "client_trusts", "words"),
    [
        (True, False, True, "client certificate"),
        (True, True, False, "not trusted"),
        (False, False, False, "not trusted"),
    ],
)
async def test_tls_refusals_say_which_side_is_unhappy(
    tmp_path: Path, server_asks: bool, client_has: bool, client_trusts: bool, words: str
) -> None:
    authority = Authority("ours")
    ca = authority.write_ca(tmp_path)
    cert, key = authority.write_pair(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    if server_asks:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(ca)

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0, ssl=context)
    other = tmp_path / "other"
    other.mkdir()
    client = RpcClient(
        DaskTarget(
            name="main",
            scheduler=f"tls://127.0.0.1:{server.sockets[0].getsockname()[1]}",
            ca_file=ca if client_trusts else Authority("other").write_ca(other),
            cert_file=cert if client_has else None,
            key_file=key if client_has else None,
        )
    )
    with pytest.raises(CollectError, match=words) as caught:
        await client.call("identity")
    assert caught.value.reason is Reason.TLS
    await client.close()
    server.close()


async def test_tls_towards_a_plain_port_says_so(tmp_path: Path) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x23" + b"\x00" * 40)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    ca = Authority("ours").write_ca(tmp_path)
    address = f"tls://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    client = RpcClient(DaskTarget(name="main", scheduler=address, ca_file=ca))
    with pytest.raises(CollectError, match="does not speak TLS") as caught:
        await client.call("identity")
    assert caught.value.reason is Reason.TLS
    await client.close()
    server.close()
