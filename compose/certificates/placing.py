"""Puts a good certificate where nginx reads it, and says what was done."""

from __future__ import annotations

import datetime as dt
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from compose.certificates import authority, program
from compose.certificates.program import CertificateError
from provisioning.config.model import Config

CHAIN, KEY = "fullchain.pem", "privkey.pem"
AUTHORITY = "authority.pem"
AUTHORITY_KEY = "certificate-authority-key"
"""In `secrets`: nginx sees the folder of certificates and must not see it."""
_SECRET, _PUBLIC = 0o600, 0o644
_RENEW_BEFORE = dt.timedelta(days=authority.SERVER_DAYS / 3)


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where the certificates of an installation are."""

    folder: Path
    secrets: Path
    domain: str

    @property
    def chain(self) -> Path:
        """What nginx shows."""
        return self.folder / CHAIN

    @property
    def key(self) -> Path:
        """What belongs to it."""
        return self.folder / KEY

    @property
    def authority(self) -> Path:
        """The certificate of this host's own authority, for people's browsers."""
        return self.folder / AUTHORITY

    @property
    def authority_key(self) -> Path:
        """What signs."""
        return self.secrets / AUTHORITY_KEY


def shelf(config: Config, installation: Path) -> Shelf:
    """That of the installation in this folder. Raises CertificateError for a file without `production`."""
    if config.production is None:
        raise CertificateError("cluster-ai.yml has no `production`; these commands are for a host that has one")
    return Shelf(installation / "data/certificates", installation / "secrets", config.production.domain)


def place(config: Config, installation: Path) -> list[str]:
    """Makes, renews or copies what is wanted and says so, a line each; nothing when all is good.

    Raises CertificateError, and changes nothing, when one's own certificate is no good.
    """
    there = shelf(config, installation)
    assert config.production is not None  # noqa: S101 -- shelf() saw to it
    wanted = config.production.certificate
    for folder in (there.folder, there.secrets):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if wanted.cert_file is not None and wanted.key_file is not None:
        return _copy(there, wanted.cert_file, wanted.key_file)
    if wanted.acme is not None and _usable(there):
        return []
    made = _own(there)
    if made and wanted.acme is not None:
        made.append("nginx starts with it; certbot puts the authority's in its place within minutes")
    return made


def look(there: Shelf) -> program.Certificate:
    """What nginx shows. Raises CertificateError when it is not there or would not do."""
    found = program.read(there.chain)
    check(there.domain, there.chain, there.key)
    return found


def check(domain: str, chain: Path, key: Path, now: dt.datetime | None = None) -> None:
    """Raises CertificateError when a certificate and its key are not for the door, or not now."""
    found, now = program.read(chain), now or dt.datetime.now(dt.UTC)
    if not found.covers(domain):
        named = ", ".join(found.names) or "no name at all"
        raise CertificateError(f"{chain} is not for {domain}: its first certificate is for {named}")
    if found.ends <= now:
        raise CertificateError(f"{chain} has expired on {found.ends:%Y-%m-%d}; get a new one")
    if found.begins > now:
        raise CertificateError(f"{chain} begins on {found.begins:%Y-%m-%d %H:%M} UTC; is this host's clock right?")
    if program.public_part(key) != found.public_key:
        raise CertificateError(f"{key} does not belong to {chain}")


def _usable(there: Shelf) -> bool:
    try:
        check(there.domain, there.chain, there.key)
    except CertificateError:
        return False
    return True


def _copy(there: Shelf, chain: Path, key: Path) -> list[str]:
    check(there.domain, chain, key)
    try:
        texts = chain.read_bytes(), key.read_bytes()
    except OSError as error:
        raise CertificateError(f"cannot read {error.filename}: {error.strerror}") from None
    if there.chain.exists() and there.key.exists() and (there.chain.read_bytes(), there.key.read_bytes()) == texts:
        return []
    _put(there, *texts)
    return [f"copied {chain} to {there.chain}"]


def _own(there: Shelf) -> list[str]:
    """From the authority of this host, which is made when there is none or it is too old to sign."""
    said: list[str] = []
    if not _can_sign(there):
        certificate, key = authority.new_authority(there.domain)
        _write(there.authority_key, key, _SECRET)
        _write(there.authority, certificate, _PUBLIC)
        said.append(f"made {there.authority}: have people's browsers trust it; it is good for {there.domain} alone")
    elif _usable(there) and program.signed_by(there.authority, there.chain) and _left(there.chain) > _RENEW_BEFORE:
        return []
    _put(there, *authority.sign(there.domain, there.authority, there.authority_key))
    return [*said, f"made {there.chain}, good until {program.read(there.chain).ends:%Y-%m-%d}"]


def _can_sign(there: Shelf) -> bool:
    try:
        found = program.read(there.authority)
        return (
            program.public_part(there.authority_key) == found.public_key
            and _left(there.authority) > dt.timedelta(days=authority.SERVER_DAYS)
            and there.domain in program.ask("x509", "-in", str(there.authority), "-noout", "-ext", "nameConstraints")
        )
    except CertificateError:
        return False


def _left(certificate: Path) -> dt.timedelta:
    return program.read(certificate).ends - dt.datetime.now(dt.UTC)


def _put(there: Shelf, chain: bytes, key: bytes) -> None:
    """The key first: nginx reads both anew once the second is there, and goes on with what it has until then."""
    _write(there.key, key, _SECRET)
    _write(there.chain, chain, _PUBLIC)


def _write(path: Path, content: bytes, mode: int) -> None:
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except OSError as error:
        raise CertificateError(f"cannot write {path}: {error.strerror}") from None
