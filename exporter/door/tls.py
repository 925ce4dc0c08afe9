"""Server-side TLS made from a web configuration."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import ssl
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from exporter.door.webconfig import CIPHERS, CURVES, TlsServer

_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_CLIENTS = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}


class TlsError(Exception):
    """Certificates that cannot be used; `key` is the one of `tls_server_config` to mend."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


class _Peer(ssl.SSLObject):
    """Ends the handshake when the client's certificate has none of the allowed names."""

    def do_handshake(self) -> None:
        """As ssl's own, and then the names."""
        super().do_handshake()
        allowed = self.context.allowed_sans if isinstance(self.context, ServerContext) else frozenset[str]()
        certificate = self.getpeercert()
        if allowed and certificate and allowed.isdisjoint(names_of(certificate)):
            raise ssl.SSLCertVerificationError("the client's certificate has none of client_allowed_sans")


class ServerContext(ssl.SSLContext):
    """A context that also knows which clients' names may come in; empty for all."""

    allowed_sans: frozenset[str] = frozenset()
    sslobject_class = _Peer


class LatestContext(ssl.SSLContext):
    """Stands for the context of the moment: asyncio keeps the one it was given, certificates change."""

    latest: Callable[[], ssl.SSLContext]

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """A new connection's TLS, by the context that is in force now."""
        return self.latest().wrap_bio(*args, **kwargs)


def latest(source: Callable[[], ssl.SSLContext]) -> LatestContext:
    """A context for `create_server` that asks `source` at each connection."""
    context = LatestContext(ssl.PROTOCOL_TLS_SERVER)
    context.latest = source
    return context


def context_of(config: TlsServer) -> ServerContext:
    """A server context. Raises TlsError."""
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version, context.maximum_version = _VERSIONS[config.min_version], _VERSIONS[config.max_version]
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_RENEGOTIATION
    if not config.prefer_server_cipher_suites:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    suites = [name for suite in config.cipher_suites if (name := CIPHERS[suite])]
    if suites:
        context.set_ciphers(":".join(suites))
    for curve in config.curve_preferences:
        _curve(context, curve)
    _own_certificate(context, config)
    context.verify_mode = _CLIENTS[config.client_auth_type]
    if context.verify_mode is not ssl.CERT_NONE:
        _authority(context, config)
    context.allowed_sans = frozenset(map(_canonical, config.client_allowed_sans))
    return context


def names_of(certificate: Any) -> set[str]:
    """Every subject alternative name of a verified certificate: DNS names, addresses, e-mail addresses, URIs."""
    return {_canonical(value) for _, value in certificate.get("subjectAltName", ())}


def _canonical(name: str) -> str:
    """An address in its one spelling; any other name as it is."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name


def _curve(context: ssl.SSLContext, curve: str) -> None:
    try:
        context.set_ecdh_curve(CURVES[curve])
    except (ssl.SSLError, ValueError):  # X25519 with Python 3.11.2, Debian 12's
        instead = "leave the key out (X25519 is then among those offered), or use a newer Python"
        raise TlsError("curve_preferences", f"this Python's TLS cannot be told to use {curve}; {instead}") from None


def _own_certificate(context: ssl.SSLContext, config: TlsServer) -> None:
    for key, path in (("cert_file", config.cert_file), ("key_file", config.key_file)):
        if path is not None:
            _readable(key, path)
    with contextlib.ExitStack() as stack:
        cert = config.cert_file or stack.enter_context(_in_memory(config.cert or ""))
        secret = config.key.get_secret_value() if config.key else ""
        private = config.key_file or stack.enter_context(_in_memory(secret))
        try:
            # Without `password` OpenSSL would ask for one on the terminal and wait there for ever.
            context.load_cert_chain(cert, private, password=_no_password)
        except _KeyIsEncryptedError:
            raise TlsError(_given(config, "key"), "the key is encrypted; give a key without a password") from None
        except (ssl.SSLError, OSError) as error:
            reason = getattr(error, "reason", None) or error.strerror or "unreadable"
            raise TlsError(_given(config, "cert"), f"certificate and key do not make a pair (PEM): {reason}") from None


def _authority(context: ssl.SSLContext, config: TlsServer) -> None:
    if config.client_ca_file is not None:
        _readable("client_ca_file", config.client_ca_file)
    try:
        context.load_verify_locations(cafile=config.client_ca_file, cadata=config.client_ca)
    except (ssl.SSLError, OSError, ValueError):
        raise TlsError(_given(config, "client_ca"), "there is no certificate (PEM) in it") from None


def _given(config: TlsServer, name: str) -> str:
    return name if getattr(config, name) is not None else f"{name}_file"


def _readable(key: str, path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise TlsError(key, f"{path} cannot be read: {error.strerror}") from None


@contextlib.contextmanager
def _in_memory(text: str) -> Iterator[Path]:
    """The text as a file, because OpenSSL reads keys from files only; on Linux it never touches a disk."""
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("pem"), "w") as file:
            file.write(text)
            file.flush()
            yield Path(f"/proc/self/fd/{file.fileno()}")
    else:
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(text)
            file.flush()
            yield Path(file.name)


class _KeyIsEncryptedError(Exception):
    pass


def _no_password() -> str:
    raise _KeyIsEncryptedError
