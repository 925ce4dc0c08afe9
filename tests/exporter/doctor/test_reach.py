"""Why a target does not answer: each fault shown by a server, and the words for it."""

from __future__ import annotations

import asyncio
import datetime as dt
import socket
import ssl
from contextlib import suppress

import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port

from exporter import discover
from exporter.client.tls_look import Trouble, connects, look
from exporter.doctor import reach
from provisioning.config.targets import TlsFiles
from tests.certificates import Authority
from tests.exporter.doctor.servers import (
    NATIVE,
    NATIVE_WORKER,
    NODE,
    cluster,
    found,
    js,
    listening,
    ollama,
    openwebui,
    reports,
    scheduler,
    server_tls,
    serving,
    silent,
    text,
)

SYSTEMS = [("dask", "scheduler", "tcp"), ("ollama", "url", "http"), ("openwebui", "url", "http")]


@pytest.mark.parametrize(("system", "key", "scheme"), SYSTEMS)
async def test_a_name_without_an_address(system, key, scheme):
    seen = await found(system, **{key: f"{scheme}://nobody.invalid:1000"})
    assert list(seen) == ["host-unknown"]
    assert "nobody.invalid:1000 is a host name nobody knows" in seen["host-unknown"].seen


@pytest.mark.parametrize(("system", "key", "scheme"), SYSTEMS)
async def test_nothing_listens(system, key, scheme):
    seen = await found(system, **{key: f"{scheme}://127.0.0.1:{unused_port()}"})
    assert list(seen) == ["connection-refused"]


async def test_nothing_listens_there_but_at_the_usual_port(monkeypatch):
    async with serving(ollama()) as port:
        monkeypatch.setitem(discover.USUAL_PORTS, port, discover.What.OLLAMA)
        seen = await found("ollama", url=f"http://127.0.0.1:{unused_port()}")
    assert seen["connection-refused"].mend == (
        f"start it there; if it was meant to be elsewhere, correct the port: Ollama answers at http://127.0.0.1:{port}"
    )


async def test_a_path_that_does_not_belong_there():
    async with serving(ollama()) as port:
        seen = await found("ollama", url=f"http://127.0.0.1:{port}/api")
    assert seen["target-fails"].mend == f"write http://127.0.0.1:{port}"


@pytest.mark.parametrize(("system", "key", "scheme"), SYSTEMS)
async def test_silence(system, key, scheme, monkeypatch):
    monkeypatch.setattr(reach, "LOOK_SECONDS", 0.3)
    async with listening(silent) as port:
        seen = await found(system, timeout="300ms", **{key: f"{scheme}://127.0.0.1:{port}"})
    assert list(seen) == ["no-answer"]
    assert seen["no-answer"].seen.endswith("; the connection is taken, and then nothing is said")
    assert seen["no-answer"].mend.startswith("no firewall is in the way: the process hangs")


async def test_silence_of_a_machine_that_is_off(monkeypatch):
    async def dropped(*_: object) -> bool:
        return False

    monkeypatch.setattr(reach, "LOOK_SECONDS", 0.3)
    monkeypatch.setattr(reach, "connects", dropped)
    async with listening(silent) as port:
        seen = await found("ollama", timeout="300ms", url=f"http://127.0.0.1:{port}")
    assert seen["no-answer"].mend.startswith("open the port between this machine and the target")


async def test_a_connection_is_taken_or_not():
    async with listening(silent) as port:
        assert await connects("127.0.0.1", port, 5)
    assert not await connects("127.0.0.1", port, 5)


async def test_hanging_up():
    async def hang_up(reader, writer):
        await reader.read(1)

    async with listening(hang_up) as port:
        assert list(await found("ollama", url=f"http://127.0.0.1:{port}")) == ["unreachable"]
        assert list(await found("dask", scheduler=f"tcp://127.0.0.1:{port}")) == ["unreachable"]


@pytest.mark.parametrize(("system", "key", "scheme"), [("ollama", "url", "https"), ("dask", "scheduler", "tls")])
async def test_no_tls_and_nobody_known(system, key, scheme, monkeypatch, tmp_path):
    monkeypatch.setattr(reach, "LOOK_SECONDS", 0.3)
    ca = Authority("any").write_ca(tmp_path)

    async def banner(reader, writer):
        writer.write(b"SSH-2.0-OpenSSH_9.9\r\n")
        await silent(reader, writer)

    async def hang_up(reader, writer):
        await reader.read(1)

    for serve, expected in ((banner, "wrong-system"), (hang_up, "unreachable"), (silent, "no-answer")):
        async with listening(serve) as port:
            seen = await found(system, timeout="300ms", ca_file=ca, **{key: f"{scheme}://127.0.0.1:{port}"})
        assert list(seen) == [expected]


async def test_a_web_server_that_fails_after_the_handshake(authority, pair, tmp_path):
    async def hang_up(reader, writer):
        await reader.read(1)

    ca = authority.write_ca(tmp_path)
    async with listening(hang_up, server_tls(*pair)) as port:
        files = {"ca_file": ca, "cert_file": pair[0], "key_file": pair[1]}
        assert list(await found("ollama", url=f"https://127.0.0.1:{port}", **files)) == ["unreachable"]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (js({}, status=500), "target-fails"),
        (js({}, status=401), "credentials-refused"),
        (js({}, status=418), "wrong-system"),
        (js({"version": 5}), "wrong-system"),
        (text("hello"), "wrong-system"),
    ],
)
async def test_an_answer_that_is_not_ollamas(answer, expected):
    async with serving({"*": answer}) as port:
        assert list(await found("ollama", url=f"http://127.0.0.1:{port}")) == [expected]


async def test_a_redirect():
    def elsewhere(request):
        return web.Response(status=302, headers={"Location": "https://elsewhere.invalid/"})

    async with serving({"*": elsewhere}) as port:
        assert list(await found("openwebui", url=f"http://127.0.0.1:{port}")) == ["redirects"]


async def test_a_refused_host_name_of_ollama():
    async with serving({"*": text("", status=403)}) as port:
        assert list(await found("ollama", url=f"http://127.0.0.1:{port}")) == [
            "credentials-refused",
            "ollama-host-refused",
        ]


@pytest.mark.parametrize(
    ("system", "key", "answers", "words"),
    [
        ("openwebui", "url", ollama(), "is Ollama, not Open WebUI"),
        ("ollama", "url", openwebui(), "is Open WebUI, not Ollama"),
        ("ollama", "url", {"/metrics": text(NODE)}, "is node_exporter, not Ollama"),
        ("ollama", "url", {"/metrics": text(NATIVE)}, "is the dashboard of a Dask scheduler, not Ollama"),
        (
            "openwebui",
            "url",
            {"/metrics": text(NATIVE_WORKER)},
            "is the dashboard of a Dask worker",
        ),
        ("openwebui", "url", {"/metrics": text('grafana_build_info{version="12"} 1\n')}, "is Grafana, not Open WebUI"),
        (
            "dask",
            "scheduler",
            {"/health": text("ok"), "/json/counts.json": js({"processing": 0})},
            "is the dashboard of a Dask scheduler, not a Dask scheduler",
        ),
        ("dask", "scheduler", ollama(), "is Ollama, not a Dask scheduler"),
    ],
)
async def test_another_system_answers(system, key, answers, words):
    async with serving(answers) as port:
        scheme = "tcp" if system == "dask" else "http"
        seen = await found(system, **{key: f"{scheme}://127.0.0.1:{port}"})
    assert list(seen) == ["wrong-system"]
    assert words in seen["wrong-system"].seen
    if "dashboard of a Dask scheduler, not a Dask" in words:
        assert seen["wrong-system"].mend == "give the scheduler's own port, usually 8786"


async def test_a_scheduler_where_http_belongs():
    async with scheduler(cluster(None)) as port:
        seen = await found("ollama", url=f"http://127.0.0.1:{port}")
    assert seen["wrong-system"].seen == f"http://127.0.0.1:{port} is a Dask scheduler, not Ollama"


@pytest.mark.parametrize(
    ("identity", "words", "mend"),
    [
        (
            {"type": "Worker", "id": "w", "scheduler": "tcp://10.0.0.5:8786"},
            "is a Dask worker",
            "write scheduler: tcp://10.0.0.5:8786",
        ),
        ({"type": "Worker", "id": "w", "scheduler": "tcp://\x1b[31m:1"}, "is a Dask worker", "correct the address"),
        ({"type": "Nanny", "id": "n"}, "is a Dask nanny", "correct the address"),
        ({"type": "Server", "id": "n"}, "something this command does not know", "correct the address"),
        (7, "something this command does not know", "correct the address"),
    ],
)
async def test_another_part_of_dask_answers(identity, words, mend):
    async with scheduler({"identity": identity}) as port:
        seen = await found("dask", scheduler=f"tcp://127.0.0.1:{port}")
    assert list(seen) == ["wrong-system"]
    assert words in seen["wrong-system"].seen
    assert seen["wrong-system"].mend == mend


@pytest.fixture
def authority():
    return Authority("the right one")


@pytest.fixture
def pair(authority, tmp_path):
    cert, key = authority.write_pair(tmp_path, lasts=dt.timedelta(days=90))
    key.chmod(0o600)
    return cert, key


async def test_http_where_tls_is_spoken(pair):
    async with serving(ollama(), tls=server_tls(*pair)) as port:
        assert list(await found("ollama", url=f"http://127.0.0.1:{port}")) == ["wants-tls"]


async def test_tls_where_http_is_spoken():
    async with serving(ollama()) as port:
        seen = await found("ollama", url=f"https://127.0.0.1:{port}")
    assert list(seen) == ["wants-plain"]
    assert seen["wants-plain"].mend == f"write http://127.0.0.1:{port}"


async def test_tcp_where_a_scheduler_wants_tls(pair):
    async with scheduler(cluster(None), server_tls(*pair)) as port:
        assert list(await found("dask", scheduler=f"tcp://127.0.0.1:{port}")) == ["wants-tls"]


async def test_tls_where_a_scheduler_speaks_tcp(authority, tmp_path):
    async with scheduler(cluster(None)) as port:
        seen = await found("dask", scheduler=f"tls://127.0.0.1:{port}", ca_file=authority.write_ca(tmp_path))
    assert list(seen) == ["wants-plain"]
    assert seen["wants-plain"].mend == f"write tcp://127.0.0.1:{port}"


async def test_an_unknown_authority(pair, tmp_path):
    (tmp_path / "other").mkdir()
    other = Authority("another one").write_ca(tmp_path / "other")
    async with serving(ollama(), tls=server_tls(*pair)) as port:
        assert list(await found("ollama", url=f"https://127.0.0.1:{port}")) == ["tls-untrusted"]
        assert list(await found("ollama", url=f"https://127.0.0.1:{port}", ca_file=other)) == ["tls-untrusted"]
    async with scheduler(cluster(None), server_tls(*pair)) as port:
        assert list(await found("dask", scheduler=f"tls://127.0.0.1:{port}", ca_file=other)) == ["tls-untrusted"]


async def test_an_expired_certificate(authority, tmp_path):
    ca, pair = authority.write_ca(tmp_path), authority.write_pair(tmp_path, lasts=dt.timedelta(minutes=-1))
    async with serving(ollama(), tls=server_tls(*pair)) as port:
        assert list(await found("ollama", url=f"https://127.0.0.1:{port}", ca_file=ca)) == ["tls-expired"]


async def test_a_certificate_for_another_name(authority, tmp_path):
    ca = authority.write_ca(tmp_path)
    pair = authority.write_pair(tmp_path, name="elsewhere.example", lasts=dt.timedelta(days=90))
    async with serving(ollama(), tls=server_tls(*pair)) as port:
        assert list(await found("ollama", url=f"https://127.0.0.1:{port}", ca_file=ca)) == ["tls-host-name"]


async def test_a_client_certificate_is_wanted(authority, pair, tmp_path):
    ca = authority.write_ca(tmp_path)
    context = server_tls(*pair, client_ca=ca)
    async with serving(ollama(), tls=context) as port:
        url = f"https://127.0.0.1:{port}"
        assert list(await found("ollama", url=url, ca_file=ca)) == ["tls-client-certificate"]
        assert await found("ollama", url=url, ca_file=ca, cert_file=pair[0], key_file=pair[1]) == {}
    async with scheduler(cluster(None), context) as port:
        assert list(await found("dask", scheduler=f"tls://127.0.0.1:{port}", ca_file=ca)) == ["tls-client-certificate"]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_an_alert_asks_for_a_client_certificate(authority, pair, tmp_path, version):
    """OpenSSL's own words; asyncio's servers hang up without any."""
    ca = authority.write_ca(tmp_path)
    context = server_tls(*pair, client_ca=ca)
    context.maximum_version = version

    def refuse(listener):
        with suppress(ssl.SSLError, ConnectionError), listener.accept()[0] as plain:
            plain.settimeout(5)
            with context.wrap_socket(plain, server_side=True):
                raise AssertionError("let in without a certificate")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        refusing = asyncio.create_task(asyncio.to_thread(refuse, listener))
        files = TlsFiles(ca_file=ca)
        seen = await look("127.0.0.1", listener.getsockname()[1], files, check_hostname=True, timeout=5)
        await refusing
    assert seen.trouble is Trouble.CLIENT_CERTIFICATE
    assert "CERTIFICATE_REQUIRED" in seen.words or "HANDSHAKE_FAILURE" in seen.words


async def test_nginx_asks_for_a_client_certificate_with_a_400(authority, pair, tmp_path):
    ca = authority.write_ca(tmp_path)
    async with serving({"*": text("No required SSL certificate was sent", status=400)}, tls=server_tls(*pair)) as port:
        seen = await found("ollama", url=f"https://127.0.0.1:{port}", ca_file=ca)
    assert "cert_file and key_file" in seen["wrong-system"].mend


async def test_certificate_and_key_that_are_no_pair(authority, pair, tmp_path):
    (tmp_path / "other").mkdir()
    _, other_key = authority.write_pair(tmp_path / "other")
    other_key.chmod(0o600)
    async with serving(ollama(), tls=server_tls(*pair)) as port:
        files = {"ca_file": authority.write_ca(tmp_path), "cert_file": pair[0], "key_file": other_key}
        seen = await found("ollama", url=f"https://127.0.0.1:{port}", **files)
    assert list(seen) == ["tls-failed"]
    assert "do not make a pair" in seen["tls-failed"].seen


async def test_a_certificate_that_ends_soon(authority, tmp_path):
    ca, pair = authority.write_ca(tmp_path), authority.write_pair(tmp_path, lasts=dt.timedelta(days=5, hours=1))
    async with serving(ollama(), tls=server_tls(*pair)) as port:
        seen = await found("ollama", url=f"https://127.0.0.1:{port}", ca_file=ca)
    assert seen["tls-expires-soon"].seen == f"the certificate of https://127.0.0.1:{port} ends in 5 days"


async def test_hosts(tmp_path):
    async with (
        serving({"/metrics": text(NODE)}) as node,
        serving({"/metrics": text('DCGM_FI_DEV_GPU_TEMP{gpu="0"} 3\n')}) as gpu,
    ):
        good = {"node_exporter": f"http://127.0.0.1:{node}", "gpu_exporter": f"http://127.0.0.1:{gpu}"}
        swapped = {"node_exporter": good["gpu_exporter"]}
        assert await _host(good) == [[], []]
        ((wrong,),) = await _host(swapped)
    assert wrong.seen.endswith("is a GPU exporter, not node_exporter")
    ((refused,),) = await _host(good | {"gpu_exporter": None})
    assert refused.id == "connection-refused"


async def _host(urls):
    return [report.findings for report in await reports(hosts=[{"name": "box", **urls}])]
