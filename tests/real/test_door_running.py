"""The door while it works: several Grafanas or none, websockets, kills, logs that grow. Needs nginx."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import aiohttp
import pytest

from tests.compose.running import until
from tests.ports import free_port
from tests.standins import grafana_standin, nginx_server
from tests.standins.grafana_standin import SCRIPT, StandIn
from tests.standins.nginx_server import DOMAIN, Door

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]


@pytest.fixture
def grafanas() -> Iterator[list[StandIn]]:
    with grafana_standin.running("one") as one, grafana_standin.running("two") as two:
        yield [one, two]


@pytest.fixture
def door(grafanas: list[StandIn]) -> Iterator[Door]:
    addresses = [one.address for one in grafanas]
    with nginx_server.running(*addresses, trusted_proxies=["127.0.0.0/8"], logs=True, rum=True) as made:
        yield made


def test_who_came_to_one_grafana_comes_back_to_it(door: Door) -> None:
    with door.client() as client:
        found = {
            address: {client.get("/d/x", headers={"X-Forwarded-For": address}).headers["x-which"] for _ in range(3)}
            for address in (f"198.51.100.{number}" for number in range(60))
        }
    assert {len(names) for names in found.values()} == {1}
    shares = Counter(name for names in found.values() for name in names)
    assert set(shares) == {"one", "two"}
    assert min(shares.values()) > 12, f"both have their share: {shares}"


def test_a_grafana_that_is_away_is_not_missed() -> None:
    with grafana_standin.running("there") as there:
        gone = f"127.0.0.1:{free_port()}"
        with (
            nginx_server.running(there.address, gone, trusted_proxies=["127.0.0.0/8"]) as door,
            door.client() as client,
        ):
            for number in range(40):
                address = {"X-Forwarded-For": f"198.51.100.{number}"}
                answers = client.get("/d/x", headers=address), client.post("/api/ds/query", headers=address)
                assert [answer.status_code for answer in answers] == [200, 200]


def test_a_grafana_that_is_back_is_asked_within_seconds() -> None:
    """Though nginx had given up both. A rolling restart takes the second one when the first has just come back."""
    port, gone = free_port(), free_port()
    with nginx_server.running(f"127.0.0.1:{port}", f"127.0.0.1:{gone}") as door, door.client() as client:
        assert [client.get("/d/x").status_code for _ in range(8)] == [502] * 8
        with grafana_standin.running("back", port):
            until(lambda: client.get("/d/x").headers.get("x-which") == "back", "it to be asked again", seconds=6)


def test_the_door_opens_though_a_grafana_has_no_address_and_finds_it_when_it_has(grafanas: list[StandIn]) -> None:
    """As of a container that is being replaced, by a name server of our own."""
    one, two = grafanas
    with nginx_server.running(f"localhost:{one.port}", f"elsewhere:{two.port}") as door, door.client() as client:
        assert client.get("/d/x").headers["x-which"] == "one", "the other has no address"
        door.stop()
        known = door.folder / "known"
        known.write_text("")
        asking = door.folder / "getent"
        asking.write_text(f'#!/bin/sh\ngrep -qxF "$2" {known} && echo "127.0.0.1 STREAM $2"\n')
        asking.chmod(0o755)
        door.programs.environment["PATH"] = f"{door.folder}:{os.environ['PATH']}"
        door.start()
        assert client.get("/d/x").status_code == 502, "it is open, and says that nobody is there"
        known.write_text("elsewhere\n")
        until(lambda: client.get("/d/x").headers.get("x-which") == "two", "the second to be found")
        known.write_text("localhost\n")
        until(lambda: client.get("/d/x").headers.get("x-which") == "one", "the first to be found")


def test_without_any_grafana_people_are_told_so_and_static_files_stay() -> None:
    with ExitStack() as only:
        grafana = only.enter_context(grafana_standin.running())
        with nginx_server.running(grafana.address) as door, door.client() as client:
            assert client.get("/public/kept.js").content == SCRIPT
            only.close()
            answer = client.get("/d/x?code=secret-word")
            assert (answer.status_code, answer.headers["retry-after"]) == (502, "5")
            until(lambda: '"status":502' in door.access_log.read_text(), "it to be told")
            assert "secret-word" not in door.said.read_text() + door.access_log.read_text()
            assert "tries again" in answer.text
            assert answer.headers["strict-transport-security"]
            assert answer.headers["content-security-policy"].startswith("default-src 'none'")
            assert client.get("/public/kept.js").content == SCRIPT


async def test_a_websocket_passes_and_outlives_a_reload(door: Door) -> None:
    async with aiohttp.ClientSession() as session:
        url = f"https://127.0.0.1:{door.port}/api/live/ws"
        how = {"ssl": door.trust, "server_hostname": DOMAIN, "headers": {"Host": DOMAIN}}
        async with session.ws_connect(url, **how) as socket:  # type: ignore[arg-type]
            await socket.send_str("a")
            assert await socket.receive_str(timeout=5) == "heard a"
            before = door.serial()
            door.new_certificate()
            until(lambda: door.serial() != before, "the new certificate")
            await socket.send_str("b")
            assert await socket.receive_str(timeout=5) == "heard b"


def test_after_a_kill_it_starts_again_and_ends_when_told_to(door: Door) -> None:
    assert door.process is not None
    os.kill(int((door.folder / "run/nginx.pid").read_text()), signal.SIGKILL)
    assert door.process.wait(10) == 137, "the container's restart does the rest"
    door.start()
    with door.client() as client:
        assert client.get("/d/x").status_code == 200
        assert client.get("/public/x.js").status_code == 200, "its own socket was left behind"
    door.process.terminate()
    assert door.process.wait(10) == 0


def test_a_log_that_grows_is_begun_anew_and_none_of_it_is_lost(door: Door) -> None:
    tried = door.folder / "attempts-20000101T000000Z.json"
    tried.write_bytes(b"")
    with door.client() as client:
        with door.attempts_log.open("ab") as log:
            log.write(b"\n" * (51 << 20))
        until(lambda: len(list(door.folder.glob("attempts-*.json"))) == 2, "the other log to be put aside")
        client.post("/api/folders")
        until(lambda: "/api/folders" in door.audit_log.read_text(), "the log to be written")
        with door.audit_log.open("ab") as log:
            log.write(b"\n" * (51 << 20))
        until(lambda: list(door.folder.glob("audit-*.json")), "the log to be put aside")
        until(door.audit_log.exists, "a new one")
        until(lambda: client.post("/api/teams").is_success and "/api/teams" in door.audit_log.read_text(), "a line")
    [old] = door.folder.glob("audit-*.json")
    assert "/api/folders" in old.read_text()
    assert '{"status":200}' in (door.folder / "responses.json").read_text()
    logs = [old, door.audit_log, door.attempts_log, door.access_log, door.folder / "responses.json"]
    assert {stat.S_IMODE(log.stat().st_mode) for log in logs} == {0o600}, "names and addresses are nobody else's matter"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try to run it as root")
def test_it_does_not_run_as_root(door: Door) -> None:
    command = ["/bin/sh", str(door.folder / "entrypoint.sh"), str(door.folder / "nginx/nginx.conf")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, "nothing here needs root" in done.stderr) == (1, True)


def test_what_browsers_report_goes_to_its_collector_without_a_session(grafanas: list[StandIn]) -> None:
    one, collector = grafanas
    with ExitStack() as stack:
        door = stack.enter_context(nginx_server.running(one.address, faro=collector.address, logs=True, rum=True))
        client = stack.enter_context(door.client(cookies={"grafana_session": "secret"}))
        assert client.post("/faro/collect?app=x", json={"a": 1}).status_code == 200
        assert client.get("/faro/other").headers["x-which"] == one.name
        assert client.post("/faro/collect", content=b"x" * 33_000).status_code == 413
        [report] = collector.asked
        found = [client.post("/faro/collect", json={}).status_code for _ in range(80)]
        assert 58 <= found.count(200) <= 66, "and they are few"
    assert (report.method, report.path, report.body) == ("POST", "/collect?app=x", b'{"a":1}')
    assert "secret" not in str(report.headers)
    assert report.said("x-forwarded-for") == ["127.0.0.1"]
