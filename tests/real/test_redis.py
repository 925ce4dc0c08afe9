"""Redis with our users: what each may do, and what survives."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis, exceptions

from alert_rules.bridge.ledger import Entry
from alert_rules.bridge.ledger_redis import RedisLedger
from provisioning.config.secrets import SecretFile
from provisioning.secrets.installation import Installation
from tests.compose.running import until
from tests.ports import free_port
from tests.provisioning.secrets.installed import installed, secret
from tests.standins import redis_server

pytestmark = pytest.mark.real
PASSWORDS = {
    "grafana": "redis-grafana-password",
    "bridge": "redis-bridge-password",
    "monitoring": "redis-exporter-password",
    "admin": "redis-admin-password",
}


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return installed(tmp_path_factory.mktemp("redis"), "grafanas: 2", redis=f"127.0.0.1:{free_port()}")


@pytest.fixture(scope="module")
def redis(there: Installation) -> Iterator[redis_server.Rendered]:
    folder = there.folder / "data"
    folder.mkdir()
    with redis_server.rendered(there, folder) as server:
        yield server


def client(server: redis_server.Rendered, there: Installation, user: str) -> Redis:
    named = {"username": user} if user else {}
    password = secret(there, PASSWORDS[user or "grafana"])
    return Redis(host="127.0.0.1", port=server.port, password=password, socket_timeout=5, **named)


@pytest.mark.parametrize(
    ("user", "command"),
    [
        ("grafana", "SET grafana:auth-proxy x EX 60"),
        ("grafana", "DEL grafana:auth-proxy"),
        ("", "PUBLISH gf_live.node x"),
        ("", "HSET gf_live.stream a b"),
        ("monitoring", "INFO"),
        ("admin", "ACL LOAD"),
    ],
)
def test_each_user_can_do_its_work(user: str, command: str, redis, there: Installation) -> None:
    with client(redis, there, user) as asked:
        asked.execute_command(*command.split())


@pytest.mark.parametrize("user", ["", *PASSWORDS])
@pytest.mark.parametrize(
    "command",
    [
        "FLUSHALL",
        "FLUSHDB",
        "KEYS *",
        "CONFIG SET requirepass x",
        "CONFIG GET *",
        "SHUTDOWN NOSAVE",
        "MODULE LIST",
        "REPLICAOF 192.0.2.1 6379",
        "ACL LIST",
        "ACL SETUSER eve on nopass ~* +@all",
        "SCRIPT FLUSH",
        "MONITOR",
        "SAVE",
        "MIGRATE 192.0.2.1 6379 key 0 1000",
        "GET somebody:else",
        "SET somebody:else x",
        "PUBLISH somebody:else x",
    ],
)
def test_no_user_can_do_more(user: str, command: str, redis, there: Installation) -> None:
    with client(redis, there, user) as asked, pytest.raises(exceptions.NoPermissionError):
        asked.execute_command(*command.split())


@pytest.mark.parametrize(
    ("user", "command"),
    [
        ("grafana", "GET {cluster-ai-sms}:told:x"),
        ("", "GET {cluster-ai-sms}:told:x"),
        ("", "GET grafana:auth-proxy"),
        ("bridge", "GET grafana:auth-proxy"),
        ("monitoring", "GET grafana:auth-proxy"),
        ("admin", "GET grafana:auth-proxy"),
        ("admin", "INFO"),
    ],
)
def test_nobody_reads_what_is_somebody_elses(user: str, command: str, redis, there: Installation) -> None:
    with client(redis, there, user) as asked, pytest.raises(exceptions.NoPermissionError):
        asked.execute_command(*command.split())


def test_a_script_of_the_bridge_stays_with_its_keys(redis, there: Installation) -> None:
    with (
        client(redis, there, "bridge") as asked,
        pytest.raises(exceptions.ResponseError, match="can't access at least one"),
    ):
        asked.eval("return redis.call('GET', 'grafana:auth-proxy')", 0)


def test_nobody_gets_in_without_a_password(redis) -> None:
    with Redis(host="127.0.0.1", port=redis.port, retry=None) as asked, pytest.raises(exceptions.AuthenticationError):
        asked.ping()


@pytest.mark.parametrize("password", ["", "x"])
def test_the_user_that_redis_is_at_its_start_is_nobody(password: str, tmp_path: Path) -> None:
    there = installed(tmp_path, redis=f"127.0.0.1:{free_port()}")
    with redis_server.rendered(there, tmp_path) as server:
        for named in ({}, {"username": "default"}):
            asked = Redis(host="127.0.0.1", port=server.port, password=password, retry=None, **named)
            with asked, pytest.raises(exceptions.AuthenticationError):
                asked.ping()


@pytest.mark.parametrize("grafanas", [1, 2])
def test_the_bridges_memory_survives_a_kill(grafanas: int, tmp_path: Path) -> None:
    """`claim`, `settle` and the rest with the bridge's own user; a second later Redis is killed."""
    there = installed(tmp_path, f"grafanas: {grafanas}", redis=f"127.0.0.1:{free_port()}")
    with redis_server.rendered(there, tmp_path) as server:
        _remembers(server, there, tmp_path)


def _remembers(redis: redis_server.Rendered, there: Installation, folder: Path) -> None:
    now = time.time()

    async def tell() -> None:
        ledger = RedisLedger(SecretFile(there.secrets / "redis-bridge-url"))
        entry = Entry(id="m1", person="ana", body="FIRING", made=now, owner="one", until=now + 60)
        assert (await ledger.claim(entry, ["k1", "k2"], 3600)).granted
        await ledger.settle("m1", "sent", "SM1")
        await ledger.close()

    async def told() -> None:
        ledger = RedisLedger(SecretFile(there.secrets / "redis-bridge-url"))
        again = Entry(id="m2", person="ana", body="FIRING", made=now, owner="two", until=now + 60)
        assert not (await ledger.claim(again, ["k1", "k2"], 3600)).granted
        assert await ledger.recent("ana", now - 60) == 1
        found = await ledger.by_sid("SM1")
        assert found is not None
        assert await ledger.delivered("m1", "delivered")
        assert await ledger.undecided(now - 60) == []
        assert await ledger.orphans(now + 600) == []
        assert await ledger.hold("m1", "two", now, now + 60) is None
        await ledger.abandon("one")
        await ledger.release("m1")
        await ledger.close()

    asyncio.run(tell())
    file = next((folder / "appendonlydir").glob("*.incr.aof"))
    end = time.monotonic() + 5
    while b"SM1" not in file.read_bytes():
        assert time.monotonic() < end, "what was told is not on disk"
        time.sleep(0.05)
    redis.stop()
    redis.start()
    until(lambda: _has_read_its_log(redis, there), "Redis to read what it has kept")
    asyncio.run(told())


def _has_read_its_log(server: redis_server.Rendered, there: Installation) -> bool:
    try:
        with client(server, there, "monitoring") as asked:
            return bool(asked.ping())
    except exceptions.BusyLoadingError:
        return False
