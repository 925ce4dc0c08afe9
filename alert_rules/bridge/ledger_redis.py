"""The ledger in Redis, shared by bridges on several machines.

Every change is one script, so that two bridges never both believe that a message is theirs. All keys share a hash tag,
which keeps them together in a Redis Cluster.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from alert_rules.bridge.ledger import FINAL, HOUR, KEEP, Claim, Entry, LedgerError, State
from provisioning.config.secrets import SecretError, SecretFile

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.commands.core import AsyncScript

T = TypeVar("T")
_PATIENCE = 2.0  # s for one answer: a person waits for the SMS
_PREFIX = "{cluster-ai-sms}:"
_FIELDS = ("id", "person", "body", "made", "owner", "until", "state", "sid", "delivery")

# ARGV: prefix, window (ms), keep (ms), the message's fields, then the keys of what it tells.
_CLAIM = """
local p, window, keep = ARGV[1], ARGV[2], ARGV[3]
local id, person, body, made, owner, due = ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local new, tellers = {}, {}
for i = 10, #ARGV do
  local teller = redis.call('GET', p .. 'told:' .. ARGV[i])
  if teller then tellers[#tellers + 1] = teller else new[#new + 1] = ARGV[i] end
end
if #new == 0 then
  for _, teller in ipairs(tellers) do
    if redis.call('HGET', p .. 'message:' .. teller, 'state') == 'open' then return {0, teller} end
  end
  return {0, ''}
end
for _, key in ipairs(new) do
  redis.call('SET', p .. 'told:' .. key, id, 'PX', window)
  redis.call('SADD', p .. 'keys:' .. id, key)
end
redis.call('HSET', p .. 'message:' .. id, 'id', id, 'person', person, 'body', body, 'made', made, 'owner', owner,
           'until', due, 'state', 'open', 'sid', '', 'delivery', '')
redis.call('PEXPIRE', p .. 'message:' .. id, keep)
redis.call('PEXPIRE', p .. 'keys:' .. id, window)
redis.call('ZADD', p .. 'open', due, id)
redis.call('ZADD', p .. 'person:' .. person, made, id)
redis.call('PEXPIRE', p .. 'person:' .. person, keep)
return {1, ''}
"""
_RELEASE = """
local p, id = ARGV[1], ARGV[2]
for _, key in ipairs(redis.call('SMEMBERS', p .. 'keys:' .. id)) do
  if redis.call('GET', p .. 'told:' .. key) == id then redis.call('DEL', p .. 'told:' .. key) end
end
local person = redis.call('HGET', p .. 'message:' .. id, 'person')
if person then redis.call('ZREM', p .. 'person:' .. person, id) end
redis.call('ZREM', p .. 'open', id)
redis.call('DEL', p .. 'message:' .. id, p .. 'keys:' .. id)
"""
# A message that is told by mail does not count among the hour's SMS.
_SETTLE = """
local p, id, state, sid, keep = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local message = p .. 'message:' .. id
if redis.call('EXISTS', message) == 0 then return end
redis.call('HSET', message, 'state', state, 'sid', sid)
redis.call('ZREM', p .. 'open', id)
local person = redis.call('HGET', message, 'person')
if state == 'sent' then
  redis.call('SET', p .. 'sid:' .. sid, id, 'PX', keep)
  redis.call('ZADD', p .. 'undecided', redis.call('HGET', message, 'made'), id)
else
  redis.call('ZREM', p .. 'person:' .. person, id)
end
"""
_HOLD = """
local p, id, owner, now, due = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local message = p .. 'message:' .. id
local found = redis.call('HMGET', message, 'state', 'owner', 'until')
if found[1] ~= 'open' or (found[2] ~= owner and tonumber(found[3]) > now) then return 0 end
redis.call('HSET', message, 'owner', owner, 'until', due)
redis.call('ZADD', p .. 'open', due, id)
return 1
"""
_ABANDON = """
local p, owner = ARGV[1], ARGV[2]
for _, id in ipairs(redis.call('ZRANGE', p .. 'open', 0, -1)) do
  local message = p .. 'message:' .. id
  if redis.call('HGET', message, 'owner') == owner then
    redis.call('HSET', message, 'until', 0)
    redis.call('ZADD', p .. 'open', 0, id)
  end
end
"""
_DELIVERED = """
local p, id, delivery = ARGV[1], ARGV[2], ARGV[3]
local message = p .. 'message:' .. id
redis.call('ZREM', p .. 'undecided', id)
if redis.call('HGET', message, 'delivery') ~= '' then return 0 end
redis.call('HSET', message, 'delivery', delivery)
return 1
"""


class RedisLedger:
    """One Redis, or a service that speaks its language."""

    def __init__(self, url_file: SecretFile) -> None:
        """`url_file` holds an address such as `redis://:PASSWORD@10.0.0.5:6379/0`. Raises LedgerError."""
        try:
            from redis import asyncio, exceptions  # noqa: PLC0415 -- an extra
        except ImportError:
            raise LedgerError("Redis needs the redis library; install cluster-ai-dashboard[redis]") from None
        self._errors: tuple[type[Exception], ...] = (exceptions.RedisError, OSError, TimeoutError)
        try:
            self._redis: Redis = asyncio.Redis.from_url(
                url_file.read(),
                decode_responses=True,
                socket_timeout=_PATIENCE,
                socket_connect_timeout=_PATIENCE,
                retry=None,
            )
        except SecretError as error:
            raise LedgerError(str(error)) from None
        except ValueError:
            raise LedgerError(f"{url_file.path} does not hold an address such as redis://10.0.0.5:6379/0") from None

    async def claim(self, entry: Entry, keys: Sequence[str], window: float) -> Claim:
        """See Ledger."""
        fields = (entry.id, entry.person, entry.body, entry.made, entry.owner, entry.until)
        granted, teller = await self._script(_CLAIM, _ms(window), _ms(KEEP), *fields, *keys)
        if granted or not teller:
            return Claim(granted=bool(granted))
        return Claim(granted=False, in_hand=await self.get(teller))

    async def recent(self, person: str, since: float) -> int:
        """See Ledger."""
        return int(await self._ask(lambda: self._redis.zcount(f"{_PREFIX}person:{person}", f"({since}", "+inf")))

    async def settle(self, id: str, state: State, sid: str = "") -> None:
        """See Ledger."""
        await self._script(_SETTLE, id, str(state), sid, _ms(KEEP))

    async def release(self, id: str) -> None:
        """See Ledger."""
        await self._script(_RELEASE, id)

    async def hold(self, id: str, owner: str, now: float, until: float) -> Entry | None:
        """See Ledger."""
        return await self.get(id) if await self._script(_HOLD, id, owner, now, until) else None

    async def orphans(self, now: float) -> list[str]:
        """See Ledger."""
        return list(await self._ask(lambda: self._redis.zrangebyscore(f"{_PREFIX}open", "-inf", now)))

    async def abandon(self, owner: str) -> None:
        """See Ledger."""
        await self._script(_ABANDON, owner)

    async def get(self, id: str) -> Entry | None:
        """See Ledger."""
        found = await self._ask(lambda: self._redis.hmget(f"{_PREFIX}message:{id}", list(_FIELDS)))
        return None if found[0] is None else _entry(found)

    async def by_sid(self, sid: str) -> Entry | None:
        """See Ledger."""
        id = await self._ask(lambda: self._redis.get(f"{_PREFIX}sid:{sid}"))
        return await self.get(id) if id else None

    async def delivered(self, id: str, delivery: str) -> bool:
        """See Ledger."""
        return bool(await self._script(_DELIVERED, id, delivery))

    async def undecided(self, since: float) -> list[Entry]:
        """See Ledger."""
        name = f"{_PREFIX}undecided"
        await self._ask(lambda: self._redis.zremrangebyscore(name, "-inf", since - 24 * HOUR))
        ids = await self._ask(lambda: self._redis.zrangebyscore(name, f"({since}", "+inf"))
        entries = [await self.get(id) for id in ids]
        return [entry for entry in entries if entry is not None and entry.delivery not in FINAL]

    async def close(self) -> None:
        """See Ledger."""
        await self._redis.aclose()

    async def _script(self, text: str, *arguments: object) -> Any:
        script: AsyncScript = self._redis.register_script(text)
        values = cast("Sequence[str]", [_PREFIX, *arguments])
        return await self._ask(lambda: script(keys=[f"{_PREFIX}open"], args=values))

    async def _ask(self, call: Callable[[], Awaitable[T]]) -> Any:
        try:
            return await call()
        except self._errors as error:
            raise LedgerError(f"Redis: {str(error) or type(error).__name__}") from None


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _entry(values: Sequence[str]) -> Entry:
    fields = dict(zip(_FIELDS, values, strict=True))
    return Entry(
        id=fields["id"],
        person=fields["person"],
        body=fields["body"],
        made=float(fields["made"]),
        owner=fields["owner"],
        until=float(fields["until"]),
        state=State(fields["state"]),
        sid=fields["sid"],
        delivery=fields["delivery"],
    )
