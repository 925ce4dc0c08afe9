"""Asks the program openssl: what a certificate says, whether a key belongs to it, and for new ones."""

from __future__ import annotations

import datetime as dt
import re
import ssl
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_PATIENCE = 60  # s


class CertificateError(Exception):
    """Nothing was changed; `str()` says why, in one line for people."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What the first certificate of a file says."""

    names: tuple[str, ...]
    issuer: str
    begins: dt.datetime
    ends: dt.datetime
    public_key: str

    def covers(self, name: str) -> bool:
        """Whether it is for this name; a star stands for one label, as browsers read it."""
        star = f"*.{name.partition('.')[2]}"
        return any(own.lower() in (name, star) for own in self.names)


def ask(*arguments: str) -> str:
    """The output of openssl. Raises CertificateError with its own last words."""
    try:
        done = subprocess.run(
            ["openssl", *arguments],
            stdin=subprocess.DEVNULL,  # it must never ask for a password
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE,
            check=False,
        )
    except FileNotFoundError:
        raise CertificateError("openssl is not there; on Debian: sudo apt install openssl") from None
    except subprocess.TimeoutExpired:
        raise CertificateError(f"openssl {arguments[0]} does not end") from None
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise CertificateError(f"openssl {arguments[0]}: {said[0] if said else f'status {done.returncode}'}")
    return done.stdout


def read(path: Path) -> Certificate:
    """The first certificate in a file. Raises CertificateError when there is none."""
    try:
        said = ask(
            *("x509", "-in", str(path), "-noout", "-issuer", "-startdate", "-enddate", "-pubkey"),
            *("-ext", "subjectAltName", "-nameopt", "RFC2253"),
        )
    except CertificateError as error:
        raise CertificateError(f"{path} cannot be read as a certificate (PEM): {error}") from None
    key = re.search(r"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", said, re.DOTALL)
    return Certificate(
        names=tuple(re.findall(r"DNS:([^,\s]+)", said)),
        issuer=_line(said, "issuer"),
        begins=_moment(_line(said, "notBefore")),
        ends=_moment(_line(said, "notAfter")),
        public_key=key[0] if key else "",
    )


def public_part(key: Path) -> str:
    """The public part of a private key. Raises CertificateError, also for a key with a password."""
    try:
        return ask("pkey", "-in", str(key), "-pubout", "-passin", "pass:").strip()
    except CertificateError:
        raise CertificateError(f"{key} cannot be read as a private key (PEM) without a password") from None


def signed_by(authority: Path, certificate: Path) -> bool:
    """Whether the certificate comes from this authority, whatever the time is."""
    try:
        ask("verify", "-no_check_time", "-CAfile", str(authority), str(certificate))
    except CertificateError:
        return False
    return True


def new_key(path: Path, arguments: Sequence[str]) -> None:
    """`openssl req` with a new key in `path`, which only its owner may read."""
    ask("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(path), *arguments)


def _line(said: str, name: str) -> str:
    found = re.search(rf"^{name}=\s*(.*)$", said, re.MULTILINE)
    return found[1] if found else ""


def _moment(text: str) -> dt.datetime:
    return dt.datetime.fromtimestamp(ssl.cert_time_to_seconds(text), dt.UTC)
