"""An attacker at the door: addresses where names belong, and secrets that must show nowhere: table rows 15 and 16."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from exporter.client.http import HttpClient
from exporter.fleet import Fleet
from exporter.logs import JsonLines, TextLines
from provisioning.config.load import load
from tests.exporter.door.helpers import LOOPBACK, Authority, basic, fleet_of, hashed, serving, trusting
from tests.exporter.test_process import CLUSTER_AI

PAYLOADS = (
    "http://127.0.0.1:{port}/", "https://127.0.0.1:{port}/", "127.0.0.1:{port}", "localhost:{port}", "[::1]:{port}",
    "//127.0.0.1:{port}", "http://2130706433:{port}/", "http://0x7f000001:{port}/", "http://gpu@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}#gpu", "gpu@127.0.0.1:{port}", "gpu.127.0.0.1.nip.io:{port}", "file:///etc/passwd",
    "gopher://127.0.0.1:{port}/_GET", "gpu\r\nHost: 127.0.0.1:{port}", "tcp://127.0.0.1:{port}",
)  # fmt: skip


@asynccontextmanager
async def canary() -> AsyncIterator[tuple[int, list[str]]]:
    """A port that nobody should call, and who did."""
    callers: list[str] = []

    def called(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        callers.append(str(writer.get_extra_info("peername")))
        writer.close()

    async with await asyncio.start_server(called, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], callers


@pytest.mark.parametrize("path", ["/probe?target={}", "/probe?debug=true&target={}", "/native?target={}"])
async def test_no_address_in_a_request_is_ever_called(tmp_path, path):
    assert len(PAYLOADS) == 16
    async with canary() as (port, callers), serving(fleet_of(tmp_path)) as url, httpx.AsyncClient() as client:
        for payload in PAYLOADS:
            target = quote(payload.format(port=port), safe="")
            answer = await client.get(url + path.format(target), headers={"X-Forwarded-Host": f"127.0.0.1:{port}"})
            assert answer.status_code == 400, payload
            assert "No target is called" in answer.text
        for header in ({"Host": f"127.0.0.1:{port}"}, {"Forwarded": f"host=127.0.0.1:{port}"}):
            await client.get(f"{url}/sd?kind=native", headers=header)
        assert callers == []
        with pytest.raises(httpx.TransportError):
            await client.get(f"http://127.0.0.1:{port}/")
        assert len(callers) == 1  # the canary sings


SECRETS = {name: f"SENTINEL-{name}-x7Qz" for name in ("password", "bearer", "key", "login", "wrong")}


def sentinels(key_pem: str, hashes: list[str]) -> set[str]:
    """Every secret in each form it could show in."""
    pairs = [f"ana:{SECRETS[name]}" for name in ("password", "login", "wrong")]
    encoded = [base64.b64encode(text.encode()).decode() for text in (*pairs, *SECRETS.values())]
    return {*SECRETS.values(), *encoded, *hashes, *key_pem.splitlines()[1:-1]}


def written(folder: Path, upstream: int, authority: Authority) -> tuple[Path, Path, str]:
    for name in ("password", "bearer", "key"):
        (folder / name).write_text(SECRETS[name])
    _, key = authority.sign("server", LOOPBACK)
    user = hashed(SECRETS["login"])
    where = f'url: "http://127.0.0.1:{upstream}"'
    targets = {
        "dask": f"{{name: cluster, scheduler: 'tls://127.0.0.1:{upstream}', ca_file: tls/authority.pem,"
        " cert_file: tls/server.pem, key_file: tls/server.key}",
        "ollama": f"{{name: gpu, {where}, bearer_token_file: bearer}}",
        "openwebui": f"{{name: chat, {where}, username: ana, password_file: password, api_key_file: key}}",
    }
    file, web_file = folder / "cluster-ai.yml", folder / "web.yml"
    file.write_text("targets:\n" + "".join(f"  {system}: [{entry}]\n" for system, entry in targets.items()))
    indented = "".join(f"    {line}\n" for line in key.read_text().splitlines())
    web_file.write_text(
        f"tls_server_config:\n  cert_file: tls/server.pem\n  key: |\n{indented}basic_auth_users:\n  ana: {user}\n"
    )
    return file, web_file, user


async def echo(request: web.Request) -> web.Response:
    """A hostile target: gives our own secrets back, in every place an answer has."""
    seen = json.dumps(dict(request.headers))
    request.app[SEEN].add(request.headers.get("Authorization", "") + request.headers.get("x-api-key", ""))
    status = (200, 401, 500)[len(request.path) % 3]
    headers = {"X-Echo": quote(seen)}
    if status == 200:
        # Not as its version: what a target calls itself is exported, and it may call itself what it likes.
        body = {"version": "0.6.5", "error": seen, "models": [{"name": 7, "details": seen}], "detail": seen}
        return web.json_response(body, headers=headers)
    return web.Response(text=seen, status=status, headers=headers)


SEEN = web.AppKey("seen", set)


async def test_no_secret_shows_anywhere(tmp_path):
    authority = Authority(tmp_path / "tls")
    application = web.Application()
    application[SEEN] = set()
    application.router.add_route("*", "/{path:.*}", echo)
    async with TestServer(application) as upstream:
        file, web_file, user = written(tmp_path, upstream.port, authority)
        port = unused_port()
        shown = await everything(file, web_file, f"127.0.0.1:{port}", trusting(authority.file))
    key_pem = (tmp_path / "tls" / "server.key").read_text()
    assert shown.count("# What was asked") == 3
    assert '"level": "debug"' in shown
    received = " ".join(application[SEEN])
    assert SECRETS["bearer"] in received
    assert SECRETS["key"] in received
    assert base64.b64encode(f"ana:{SECRETS['password']}".encode()).decode() in received
    assert [secret for secret in sentinels(key_pem, [user]) if secret in shown] == []


async def everything(file: Path, web_file: Path, address: str, trust: object) -> str:
    """All that the exporter says and shows, to friends and strangers, with its loudest log."""
    process = await asyncio.to_thread(started, file, web_file, address)
    said: list[str] = []
    try:
        async with httpx.AsyncClient(verify=trust, timeout=20, base_url=f"https://{address}") as client:
            await ready(client)
            for path in (
                *(f"/probe?target={name}{more}" for name in ("cluster", "gpu", "chat") for more in ("", "&debug=true")),
                *("/", "/metrics", "/config", "/targets", "/sd?kind=probe", "/sd?kind=native", "/nope"),
            ):
                for login in ("login", "wrong"):
                    answer = await client.get(path, headers=basic("ana", SECRETS[login]))
                    said.append(f"{answer.headers} {answer.text}")
            await asyncio.to_thread(spoil, file, web_file)
            for method, path in (("POST", "/-/reload"), ("GET", "/")):
                said.append((await client.request(method, path, headers=basic("ana", SECRETS["login"]))).text)
        proc = Path(f"/proc/{process.pid}")
        said.extend((proc / name).read_bytes().decode(errors="replace") for name in ("cmdline", "environ"))
    finally:
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(process.wait, 20)
    log = await asyncio.to_thread(file.with_suffix(".log").read_text)
    return "\n".join([*said, log])


def started(file: Path, web_file: Path, address: str) -> subprocess.Popen[bytes]:
    command = [CLUSTER_AI, "exporter", "--config", str(file), "--web.config.file", str(web_file)]
    with file.with_suffix(".log").open("wb") as log:
        return subprocess.Popen(
            [*command, "--web.listen-address", address, "--log.level", "debug", "--log.format", "json"],
            stderr=log,
            stdout=log,
        )


def spoil(file: Path, web_file: Path) -> None:
    """Break both files right beside their secrets, so that messages about them are made."""
    web_file.write_text(web_file.read_text().replace("key: |", "key: |-\n    junk"))
    file.write_text(file.read_text().replace("bearer_token_file: bearer", "bearer_token_file: [bearer]"))


async def ready(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                assert (await client.get("/-/ready")).status_code == 401
            except httpx.TransportError:
                await asyncio.sleep(0.05)
            else:
                return


async def test_a_failure_inside_the_client_shows_no_secret_in_log_page_or_repr(tmp_path, caplog, monkeypatch):
    authority = Authority(tmp_path / "tls")
    file, _, _ = written(tmp_path, unused_port(), authority)

    async def fail(self: object, method: str, path: str, json: object, headers: dict[str, str]) -> None:
        assert SECRETS["bearer"] in headers.get("Authorization", SECRETS["bearer"])
        raise RuntimeError("boom")

    monkeypatch.setattr(HttpClient, "_exchange", fail)
    fleet = Fleet(file, load(file))
    held = repr(vars(fleet.watches["gpu"].collector))
    async with serving(fleet) as url, httpx.AsyncClient() as client:
        page = (await client.get(f"{url}/probe?target=gpu&debug=true")).text
    lines = [form.format(record) for record in caplog.records for form in (TextLines(), JsonLines())]
    shown = "\n".join([page, *lines, repr(fleet.config), held])
    assert "RuntimeError: boom" in shown
    assert "unexpected RuntimeError" in page
    assert [secret for secret in sentinels((tmp_path / "tls" / "server.key").read_text(), []) if secret in shown] == []
