"""What the proxy's own side is secured with: certificates and tokens in files, followed when they change."""

from __future__ import annotations

import hashlib
import logging
import ssl
from collections.abc import Sequence
from pathlib import Path

from exporter.door.tls import TlsError, context_of, latest
from exporter.door.webconfig import TlsServer
from exporter.proxy.accounts import api_key
from exporter.proxy.heads import Fields
from provisioning.config.ollama_proxy import OllamaProxy
from provisioning.config.secrets import SecretError

log = logging.getLogger(__name__)
HANDSHAKE = 15.0
"""Seconds a client has for the handshake of TLS."""
_MOST = 1 << 20  # bytes of a file of tokens
_Versions = tuple[tuple[int, int, int] | None, ...]


class Certificate:
    """A TLS context that is made anew when its files change; a broken change is told and not taken."""

    def __init__(self, proxy: OllamaProxy) -> None:
        """Raises SecretError."""
        self._config = TlsServer(
            cert_file=proxy.cert_file,
            key_file=proxy.key_file,
            client_ca_file=proxy.client_ca_file,
            client_auth_type="NoClientCert" if proxy.client_ca_file is None else "RequireAndVerifyClientCert",
        )
        files = (proxy.cert_file, proxy.key_file, proxy.client_ca_file)
        self._files = [file for file in files if file is not None]
        self._seen = _versions(self._files)
        try:
            self._context = context_of(self._config)
        except TlsError as error:
            raise SecretError(str(error)) from None

    def now(self) -> ssl.SSLContext:
        """The context in force."""
        seen = _versions(self._files)
        if seen != self._seen:
            self._seen = seen
            try:
                self._context = context_of(self._config)
                log.info("the proxy's certificate was read again")
            except TlsError as error:
                log.error("the proxy's new certificate is not taken, the old one stays: %s", error)  # noqa: TRY400
        return self._context


def tls_of(proxy: OllamaProxy) -> ssl.SSLContext | None:
    """For `create_server`. Raises SecretError."""
    return latest(Certificate(proxy).now) if proxy.cert_file is not None else None


class Tokens:
    """Whoever brings one of these may come in."""

    def __init__(self, file: Path) -> None:
        """Raises SecretError."""
        self._file = file
        self._seen = _versions([file])
        self._known = self._read()

    def good(self, fields: Fields) -> bool:
        """Whether a request brings a token that is in the file now."""
        seen = _versions([self._file])
        if seen != self._seen:
            self._seen = seen
            try:
                self._known = self._read()
                log.info("the proxy's tokens were read again, %d of them", len(self._known))
            except SecretError as error:
                log.error("the proxy's new tokens are not taken, the old ones stay: %s", error)  # noqa: TRY400
        token = api_key(fields)
        return token is not None and _digest(token) in self._known  # digests: how long it takes tells nothing of one

    def _read(self) -> frozenset[bytes]:
        try:
            with self._file.open("rb") as file:
                raw = file.read(_MOST)
        except OSError as error:
            raise SecretError(f"cannot read {self._file}: {error.strerror or error}") from None
        lines = [line.strip() for line in raw.splitlines()]
        tokens = [line for line in lines if line and not line.startswith(b"#")]
        if not tokens:
            raise SecretError(f"{self._file} holds no token; write one a line")
        return frozenset(map(_digest, tokens))


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def _versions(files: Sequence[Path]) -> _Versions:
    return tuple(map(_version, files))


def _version(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
