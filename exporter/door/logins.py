"""Basic authentication against bcrypt hashes, as exporter-toolkit does it and CVE-2022-46146 taught.

bcrypt runs in one thread of its own, so that a flood of wrong passwords takes one processor at most and never the
event loop. Answers are remembered; good ones and bad ones apart, so that bad ones cannot push good ones out.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import bcrypt
from pydantic import SecretStr

REMEMBERED = 100  # answers of each kind
MOST_WAITING = 400  # different credentials in the queue for the thread; beyond, nobody new is let in for the moment
_LONGEST = 72  # bytes of a password that bcrypt looks at
_ALPHABET = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


class TooManyLoginsError(Exception):
    """More logins wait for their turn than will be served soon."""


class Logins:
    """Tells good credentials from bad ones."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "bcrypt")
        self._secret = secrets.token_bytes(32)
        self._good: OrderedDict[bytes, None] = OrderedDict()
        self._bad: OrderedDict[bytes, None] = OrderedDict()
        self._asked: dict[bytes, asyncio.Future[bool]] = {}
        self._dummies: dict[int, bytes] = {}

    async def good(self, header: str | None, users: Mapping[str, SecretStr]) -> bool:
        """Whether an Authorization header holds the name and password of one of `users` (name to bcrypt hash).

        An unknown name costs what a known one does. Raises TooManyLoginsError.
        """
        parsed = credentials(header)
        if parsed is None:
            return False
        user, password = parsed
        found = users.get(user.decode(errors="replace"))
        hashed = self._dummy(users) if found is None else found.get_secret_value().encode()
        key = self._key(user, hashed, password)
        for matches, kept in ((True, self._good), (False, self._bad)):
            if key in kept:
                kept.move_to_end(key)
                return matches and found is not None
        return await self._ask(key, hashed, password) and found is not None

    def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _key(self, *parts: bytes) -> bytes:
        """Each part in hexadecimal, so that no two triples share a key; keyed, so that memory holds no password."""
        text = b":".join(part.hex().encode() for part in parts)
        return hashlib.blake2b(text, key=self._secret).digest()

    async def _ask(self, key: bytes, hashed: bytes, password: bytes) -> bool:
        """Those who come with the same credentials meanwhile wait for the same answer."""
        asked = self._asked.get(key)
        if asked is None:
            if len(self._asked) >= MOST_WAITING:
                raise TooManyLoginsError
            loop = asyncio.get_running_loop()
            asked = self._asked[key] = loop.run_in_executor(self._thread, _matches, password, hashed)
            asked.add_done_callback(lambda done: self._remember(key, done))
        return await asyncio.shield(asked)

    def _remember(self, key: bytes, done: asyncio.Future[bool]) -> None:
        del self._asked[key]
        if done.cancelled() or done.exception() is not None:
            return
        kept = self._good if done.result() else self._bad
        kept[key] = None
        while len(kept) > REMEMBERED:
            kept.popitem(last=False)

    def _dummy(self, users: Mapping[str, SecretStr]) -> bytes:
        """A hash that no password is known for, as costly as the users' own."""
        cost = max(int(hashed.get_secret_value()[4:6]) for hashed in users.values())
        if cost not in self._dummies:
            digest = "".join(secrets.choice(_ALPHABET) for _ in range(31))
            self._dummies[cost] = bcrypt.gensalt(cost) + digest.encode()
        return self._dummies[cost]


def credentials(header: str | None) -> tuple[bytes, bytes] | None:
    """Name and password of a Basic Authorization header (RFC 7617); None when it is not one."""
    scheme, _, token = (header or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(token.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return None
    return (user, password) if colon else None


def _matches(password: bytes, hashed: bytes) -> bool:
    return bcrypt.checkpw(password[:_LONGEST], hashed)
