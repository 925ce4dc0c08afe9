"""Both ledgers keep the same promises."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from alert_rules.bridge import ledger_file
from alert_rules.bridge.ledger import KEEP, Entry, Ledger, LedgerError, State
from alert_rules.bridge.ledger_file import FileLedger
from alert_rules.bridge.ledger_redis import RedisLedger
from alert_rules.bridge.ledger_safe import SafeLedger
from provisioning.config.secrets import SecretFile
from tests.standins.redis_server import Redis

NOW = 1_800_000_000.0
WINDOW = 3000.0


def entry(id: str, *, made: float = NOW, person: str = "ana", owner: str = "one", lease: float = 60.0) -> Entry:
    return Entry(id=id, person=person, body=f"text of {id}", made=made, owner=owner, until=made + lease)


@pytest.fixture(params=["file", "redis"])
async def pair(request, tmp_path) -> AsyncIterator[tuple[Ledger, Ledger]]:
    """Two bridges' views of one ledger."""
    if request.param == "file":
        ledgers: Sequence[Ledger] = [FileLedger(tmp_path / "ledger.db") for _ in range(2)]
        yield ledgers[0], ledgers[1]
    else:
        redis: Redis = request.getfixturevalue("redis")
        ledgers = [RedisLedger(SecretFile(redis.url_file)) for _ in range(2)]
        yield ledgers[0], ledgers[1]
    for ledger in ledgers:
        await ledger.close()


async def test_what_is_told_is_not_told_again(pair):
    one, two = pair
    assert (await one.claim(entry("a"), ["k1", "k2"], WINDOW)).granted
    again = await two.claim(entry("b"), ["k1", "k2"], WINDOW)
    assert not again.granted
    assert again.in_hand is not None
    assert again.in_hand.id == "a"
    await one.settle("a", State.SENT, "SM1")
    assert await two.claim(entry("c"), ["k2"], WINDOW) == await two.claim(entry("d"), ["k1"], WINDOW)
    assert (await two.claim(entry("e"), ["k1"], WINDOW)).in_hand is None


async def test_one_new_alert_among_told_ones_is_told(pair):
    one, two = pair
    await one.claim(entry("a"), ["k1"], WINDOW)
    await one.settle("a", State.SENT, "SM1")
    assert (await two.claim(entry("b"), ["k1", "k2"], WINDOW)).granted
    await two.settle("b", State.SENT, "SM2")
    assert not (await one.claim(entry("c"), ["k2", "k1"], WINDOW)).granted


async def test_it_is_told_again_after_the_window(tmp_path):
    one = FileLedger(tmp_path / "ledger.db")
    await one.claim(entry("a"), ["k1"], WINDOW)
    await one.settle("a", State.SENT, "SM1")
    assert not (await one.claim(entry("b", made=NOW + WINDOW - 1), ["k1"], WINDOW)).granted
    assert (await one.claim(entry("c", made=NOW + WINDOW + 1), ["k1"], WINDOW)).granted
    await one.close()


async def test_it_is_told_again_after_the_window_in_redis(redis):
    one = RedisLedger(SecretFile(redis.url_file))
    assert (await one.claim(entry("a"), ["k1"], 0.2)).granted
    assert not (await one.claim(entry("b"), ["k1"], 0.2)).granted
    await asyncio.sleep(0.25)
    assert (await one.claim(entry("c"), ["k1"], 0.2)).granted
    await one.close()


async def test_of_many_at_once_one_is_granted(pair):
    claims = [pair[n % 2].claim(entry(f"m{n}"), ["k1", "k2"], WINDOW) for n in range(40)]
    assert sum(claim.granted for claim in await asyncio.gather(*claims)) == 1


async def test_a_released_message_can_be_told(pair):
    one, two = pair
    await one.claim(entry("a"), ["k1"], WINDOW)
    await one.release("a")
    assert await two.get("a") is None
    assert await two.recent("ana", NOW - 3600) == 0
    assert await two.orphans(NOW + 1e6) == []
    assert (await two.claim(entry("b"), ["k1"], WINDOW)).granted


async def test_only_sms_of_the_last_hour_count(pair):
    one, two = pair
    for n, (made, state) in enumerate(
        [(NOW, State.SENT), (NOW - 1, State.OPEN), (NOW, State.MAILED), (NOW - 4000, State.SENT), (NOW, State.LOST)]
    ):
        await one.claim(entry(f"m{n}", made=made), [f"k{n}"], WINDOW)
        if state is not State.OPEN:
            await one.settle(f"m{n}", state, f"SM{n}" if state is State.SENT else "")
    await one.claim(entry("other", person="bo"), ["k9"], WINDOW)
    assert await two.recent("ana", NOW - 3600) == 2
    assert await two.recent("bo", NOW - 3600) == 1
    assert await two.recent("nobody", NOW - 3600) == 0


async def test_a_message_is_in_one_hand(pair):
    one, two = pair
    await one.claim(entry("a", owner="one"), ["k1"], WINDOW)
    assert await two.hold("a", "two", NOW + 59, NOW + 120) is None
    held = await one.hold("a", "one", NOW + 50, NOW + 110)
    assert held is not None
    assert held.body == "text of a"
    assert await two.hold("a", "two", NOW + 100, NOW + 160) is None
    assert await two.orphans(NOW + 109) == []
    assert await two.orphans(NOW + 111) == ["a"]
    takers = [pair[n].hold("a", name, NOW + 111, NOW + 170) for n, name in enumerate(("one-reborn", "two"))]
    assert sum(taken is not None for taken in await asyncio.gather(*takers)) == 1
    await two.settle("a", State.SENT, "SM1")
    assert await two.hold("a", "two", NOW + 120, NOW + 160) is None
    assert await two.orphans(NOW + 1e6) == []


async def test_what_an_earlier_life_had_in_hand_is_nobodys(pair):
    one, two = pair
    await one.claim(entry("a", owner="one"), ["k1"], WINDOW)
    await one.claim(entry("b", owner="two"), ["k2"], WINDOW)
    await one.abandon("one")
    assert await two.orphans(NOW) == ["a"]


async def test_delivery_is_said_once(pair):
    one, two = pair
    for id, state, sid in (("a", State.SENT, "SM1"), ("b", State.MAILED, ""), ("c", State.SENT, "SM3")):
        await one.claim(entry(id), [f"key of {id}"], WINDOW)
        await one.settle(id, state, sid)
    found = await two.by_sid("SM1")
    assert found is not None
    assert (found.id, found.state, found.sid) == ("a", State.SENT, "SM1")
    assert await two.by_sid("SM2") is None
    assert {one.id for one in await two.undecided(NOW - 60)} == {"a", "c"}
    assert await two.undecided(NOW + 60) == []
    assert [await pair[n].delivered("a", "delivered") for n in (0, 1)] == [True, False]
    assert [one.id for one in await two.undecided(NOW - 60)] == ["c"]
    again = await one.get("a")
    assert again is not None
    assert again.delivery == "delivered"


async def test_a_group_of_five_thousand(pair):
    one, two = pair
    keys = [f"key {n}" for n in range(5000)]
    assert (await one.claim(entry("a"), keys, WINDOW)).granted
    assert not (await two.claim(entry("b"), keys, WINDOW)).granted
    await one.release("a")
    assert (await two.claim(entry("b"), keys, WINDOW)).granted


def test_it_is_on_disk_before_it_counts(tmp_path):
    """A process that ends without a word the moment its claim is granted has left it behind."""
    program = (
        "import asyncio, os, sys\n"
        "from pathlib import Path\n"
        "from tests.alert_rules.bridge.test_ledger import FileLedger, WINDOW, entry\n"
        "async def main():\n"
        "    claim = await FileLedger(Path(sys.argv[1])).claim(entry('a'), ['k1'], WINDOW)\n"
        "    os._exit(0 if claim.granted else 1)\n"
        "asyncio.run(main())\n"
    )
    file = tmp_path / "ledger.db"
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", program, str(file)], cwd=root, check=False)
    assert done.returncode == 0

    async def look() -> None:
        ledger = FileLedger(file)
        assert await ledger.orphans(NOW + 61) == ["a"]
        await ledger.close()

    asyncio.run(look())


async def test_its_file_is_for_its_owner_alone(tmp_path):
    file = tmp_path / "new" / "ledger.db"
    ledger = FileLedger(file)
    await ledger.recent("ana", 0)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    await ledger.close()


@pytest.mark.parametrize("content", [b"this is no database, and long enough to be seen as such" * 100, b"\0" * 5000])
async def test_a_damaged_file_is_put_aside(tmp_path, content, caplog):
    file = tmp_path / "ledger.db"
    file.write_bytes(content)
    ledger = FileLedger(file)
    assert (await ledger.claim(entry("a"), ["k1"], WINDOW)).granted
    assert file.with_name("ledger.db.broken").read_bytes() == content
    assert "is damaged and put aside" in caplog.text
    await ledger.close()


async def test_it_stays_small(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger_file, "MOST", 50)
    file = tmp_path / "ledger.db"
    ledger = FileLedger(file)
    await ledger.claim(entry("open", made=NOW - 2 * KEEP), ["k-open"], WINDOW)
    for n in range(120):
        await ledger.claim(entry(f"m{n}", made=NOW + n), [f"k{n}"], WINDOW)
        await ledger.settle(f"m{n}", State.SENT, f"SM{n}")
    await ledger.claim(entry("last", made=NOW + 7200), ["k-last"], WINDOW)
    assert await ledger.get("open") is not None, "what is open is never forgotten"
    assert await ledger.get("m119") is not None
    assert await ledger.get("m0") is None
    with sqlite3.connect(file) as database:
        assert database.execute("SELECT count(*) FROM messages").fetchone()[0] <= 52
        assert database.execute("SELECT count(*) FROM told").fetchone()[0] <= 52
    database.close()
    await ledger.close()


async def test_a_folder_that_cannot_be_made_is_an_error_and_may_heal(tmp_path):
    (tmp_path / "in-the-way").write_text("")
    ledger = FileLedger(tmp_path / "in-the-way" / "ledger.db")
    with pytest.raises(LedgerError, match=r"ledger\.db: "):
        await ledger.claim(entry("a"), ["k1"], WINDOW)
    (tmp_path / "in-the-way").unlink()
    assert (await ledger.claim(entry("a"), ["k1"], WINDOW)).granted
    await ledger.close()


async def test_redis_that_is_away_is_an_error_soon(redis):
    ledger = RedisLedger(SecretFile(redis.url_file))
    await ledger.claim(entry("a"), ["k1"], WINDOW)
    redis.stop()
    begun = time.monotonic()
    with pytest.raises(LedgerError, match=r"^Redis: "):
        await ledger.recent("ana", 0)
    assert time.monotonic() - begun < 10
    redis.start()
    assert (await ledger.claim(entry("b"), ["k2"], WINDOW)).granted
    await ledger.close()


async def test_redis_that_hangs_is_an_error_soon(redis):
    ledger = RedisLedger(SecretFile(redis.url_file))
    await ledger.recent("ana", 0)
    with redis.frozen(), pytest.raises(LedgerError, match=r"^Redis: "):
        await ledger.recent("ana", 0)
    await ledger.close()


@pytest.mark.parametrize("content", ["http://10.0.0.5", "", None])
def test_a_bad_redis_address(tmp_path, content):
    file = tmp_path / "url"
    if content is not None:
        file.write_text(content)
    with pytest.raises(LedgerError, match="url"):
        RedisLedger(SecretFile(file))


class Broken(FileLedger):
    """A ledger that fails while told to."""

    fails = False

    async def _run(self, work):
        if self.fails:
            raise LedgerError("database or disk is full")
        return await super()._run(work)


async def test_while_the_ledger_fails_memory_stands_in(tmp_path):
    failures = []
    real = Broken(tmp_path / "ledger.db")
    safe = SafeLedger(real, lambda: failures.append(1))
    claim, doubtful = await safe.claim(entry("a"), ["k1"], WINDOW)
    assert claim.granted
    assert not doubtful
    real.fails = True
    await safe.settle("a", State.SENT, "SM1")
    claim, doubtful = await safe.claim(entry("b"), ["k2"], WINDOW)
    assert claim.granted
    assert doubtful, "somebody else may have told it"
    assert not (await safe.claim(entry("c"), ["k2"], WINDOW))[0].granted
    assert await safe.recent("ana", NOW - 3600) == 1
    assert failures
    real.fails = False
    assert await safe.orphans(NOW + 1e6) == [], "what was settled meanwhile is told to the real one"
    found = await real.get("a")
    assert found is not None
    assert (found.state, found.sid) == (State.SENT, "SM1")
    assert (await safe.claim(entry("d", made=NOW + 10), ["k3"], WINDOW))[1], "still doubtful"
    assert not (await safe.claim(entry("e", made=NOW + WINDOW + 1), ["k4"], WINDOW))[1]
    await safe.close()


def test_entries_are_values():
    assert replace(entry("a"), sid="x") != entry("a")
