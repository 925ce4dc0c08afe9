"""Pairs of keys for age, which encrypts the backups: openssl makes them, so that the first start needs no age."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass

from provisioning.config.basics import AGE_RECIPIENT_PATTERN

_LETTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_CHECKSUM = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)  # BIP 173
_KEY = 32  # bytes, at the end of both forms that openssl writes
_PUBLIC = re.compile(rf"^# public key: ({AGE_RECIPIENT_PATTERN.strip('^$')})$", re.MULTILINE)


class AgeKeyError(Exception):
    """No pair could be made or read; `str()` says why and holds no key."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A file as `age-keygen` writes it, and what it is the key to."""

    identity: str
    recipient: str


def new_pair() -> Pair:
    """A random pair. Raises AgeKeyError where there is no openssl."""
    private = _openssl("genpkey", "-algorithm", "X25519", "-outform", "DER")
    public = _openssl("pkey", "-inform", "DER", "-pubout", "-outform", "DER", given=private)
    recipient = _bech32("age", public[-_KEY:])
    secret = _bech32("age-secret-key-", private[-_KEY:]).upper()
    return Pair(f"# public key: {recipient}\n{secret}\n", recipient)


def recipient(identity: str, whose: object) -> str:
    """What the first key of an identity file opens. Raises AgeKeyError when it does not say so."""
    found = _PUBLIC.search(identity)
    if found is None:
        raise AgeKeyError(f"{whose} has no line `# public key: age1...`, as age-keygen writes it")
    return found[1]


def _openssl(*arguments: str, given: bytes = b"") -> bytes:
    try:
        done = subprocess.run(["openssl", *arguments], input=given, capture_output=True, check=True)
    except FileNotFoundError:
        raise AgeKeyError("openssl is not on PATH; install it, for it makes the backups' keys") from None
    except subprocess.CalledProcessError as error:
        raise AgeKeyError(f"openssl {arguments[0]} ended with status {error.returncode}") from None
    return done.stdout


def _bech32(kind: str, data: bytes) -> str:
    """The text form that age gives to keys (BIP 173)."""
    bits = "".join(f"{byte:08b}" for byte in data)
    bits += "0" * (-len(bits) % 5)
    values = [int(bits[start : start + 5], 2) for start in range(0, len(bits), 5)]
    spread = [ord(char) >> 5 for char in kind] + [0] + [ord(char) & 31 for char in kind]
    rest = _polymod([*spread, *values, 0, 0, 0, 0, 0, 0]) ^ 1
    values += [(rest >> 5 * (5 - index)) & 31 for index in range(6)]
    return f"{kind}1{''.join(_LETTERS[value] for value in values)}"


def _polymod(values: list[int]) -> int:
    rest = 1
    for value in values:
        top = rest >> 25
        rest = (rest & 0x1FFFFFF) << 5 ^ value
        for index, factor in enumerate(_CHECKSUM):
            rest ^= factor if (top >> index) & 1 else 0
    return rest
