"""What every client shares: TLS contexts that follow their files, and socket errors put into words."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import aiohttp

from exporter.errors import CollectError, Reason
from provisioning.config.targets import TlsFiles

_UNREACHABLE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN})
_NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})


class _Version(NamedTuple):
    """Tells whether a file is still the one that was read."""

    inode: int
    modified_ns: int
    size: int


class _Known(NamedTuple):
    versions: tuple[_Version | None, ...]
    context: ssl.SSLContext


_contexts: dict[tuple[Path | None, Path | None, Path | None, bool], _Known] = {}


def tls_context(files: TlsFiles, *, check_hostname: bool) -> ssl.SSLContext:
    """The client context for these files: the same one until a file changes on disk.

    Without `ca_file` the system's authorities are trusted. The other side is always verified;
    `check_hostname=False` leaves out only the comparison of its name, as Dask's own clients do.
    Raises CollectError: `secret_unreadable` when a file cannot be read, `tls` when it holds no certificate or key.
    """
    versions = (
        _version(files.ca_file, "ca_file"),
        _version(files.cert_file, "cert_file"),
        _version(files.key_file, "key_file"),
    )
    key = (files.ca_file, files.cert_file, files.key_file, check_hostname)
    known = _contexts.get(key)
    if known is None or known.versions != versions:
        known = _contexts[key] = _Known(versions, _build(files, check_hostname=check_hostname))
    return known.context


def expiry(certificate: object) -> float | None:
    """When a certificate as `ssl` describes a verified one ends, in seconds since the epoch; None when untold."""
    end = certificate.get("notAfter") if isinstance(certificate, dict) else None
    try:
        return float(ssl.cert_time_to_seconds(end)) if isinstance(end, str) else None
    except ValueError:  # OpenSSL writes "Bad time value" for what is no date
        return None


def classify(exc: BaseException, where: str) -> CollectError:
    """A failure to connect to, or talk with, `where` (an address) as one line that says what to do."""
    if isinstance(exc, CollectError):
        return exc
    exc = _root(exc)
    if isinstance(exc, ssl.SSLError):
        return CollectError(Reason.TLS, f"{where} {_tls_words(exc)}")
    for reason, matches, words in _SOCKET_ERRORS:
        if matches(exc):
            return CollectError(reason, f"{where} {words}")
    return CollectError(Reason.CONNECT, f"{where}: {type(exc).__name__}: {exc}")


def _root(exc: BaseException) -> BaseException:
    """The socket's own error inside aiohttp's, which keeps it as an attribute."""
    for name in ("certificate_error", "os_error"):
        inner = getattr(exc, name, None)
        if isinstance(inner, BaseException):
            return inner
    return exc


def _has_errno(exc: BaseException, code: int) -> bool:
    """Whether `exc` is that error; asyncio joins the errors of a name's several addresses into one text."""
    if not isinstance(exc, OSError):
        return False
    return exc.errno == code or (exc.errno is None and f"[Errno {code}]" in str(exc))


_CLOSED = (asyncio.IncompleteReadError, ConnectionError, EOFError, aiohttp.ServerDisconnectedError)
_GARBLED = (aiohttp.ClientPayloadError, aiohttp.ClientResponseError)
# In this order: gaierror and ConnectionRefusedError are OSErrors too, TimeoutError is one.
_SOCKET_ERRORS: tuple[tuple[Reason, Callable[[BaseException], bool], str], ...] = (
    (
        Reason.TIMEOUT,
        lambda exc: isinstance(exc, TimeoutError),
        "did not answer in time; is it overloaded, or is a firewall between?",
    ),
    (
        Reason.DNS,
        lambda exc: isinstance(exc, socket.gaierror),
        "is a host name nobody knows; check its spelling and the DNS",
    ),
    (
        Reason.REFUSED,
        lambda exc: _has_errno(exc, errno.ECONNREFUSED),
        "refuses connections; is it running, and is the port right?",
    ),
    (
        Reason.CONNECT,
        lambda exc: isinstance(exc, _CLOSED),
        "closed the connection; it may be restarting, or want TLS",
    ),
    (Reason.PROTOCOL, lambda exc: isinstance(exc, _GARBLED), "answered with broken HTTP; is this the right port?"),
    (
        Reason.CONNECT,
        lambda exc: any(_has_errno(exc, code) for code in _UNREACHABLE),
        "cannot be reached; check the network and the address",
    ),
    (
        Reason.INTERNAL,
        lambda exc: any(_has_errno(exc, code) for code in _NO_DESCRIPTORS),
        "was not asked: this exporter has no file descriptors left; raise its limit (ulimit -n)",
    ),
)


def _tls_words(exc: ssl.SSLError) -> str:
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({exc.verify_message}); check ca_file and the address"
    reason = exc.reason or ""
    if "CERTIFICATE_REQUIRED" in reason or "HANDSHAKE_FAILURE" in reason:
        return "asks for a client certificate; give cert_file and key_file"
    if "UNKNOWN_CA" in reason or "BAD_CERTIFICATE" in reason or "CERTIFICATE_EXPIRED" in reason:
        return f"does not accept our client certificate ({reason}); check cert_file"
    if reason in ("WRONG_VERSION_NUMBER", "UNEXPECTED_EOF_WHILE_READING", "RECORD_LAYER_FAILURE"):
        return "does not speak TLS on this port; check the port, or write the address without TLS"
    return f"TLS failed: {reason or exc}"


def _version(path: Path | None, name: str) -> _Version | None:
    if path is None:
        return None
    try:
        stat = path.stat()
    except OSError as error:
        raise CollectError(Reason.SECRET, f"cannot read {name} {path}: {error.strerror}") from None
    return _Version(stat.st_ino, stat.st_mtime_ns, stat.st_size)


def _build(files: TlsFiles, *, check_hostname: bool) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=files.ca_file)
    except ssl.SSLError as error:
        raise CollectError(Reason.TLS, f"ca_file {files.ca_file} holds no certificate (PEM): {error.reason}") from None
    except OSError as error:
        raise CollectError(Reason.SECRET, f"cannot read ca_file {files.ca_file}: {error.strerror}") from None
    context.check_hostname = check_hostname
    if files.cert_file is not None:
        _load_own(context, files)
    return context


def _load_own(context: ssl.SSLContext, files: TlsFiles) -> None:
    pair = f"cert_file {files.cert_file} with key_file {files.key_file}"
    try:
        # Without `password` OpenSSL would ask for one on the terminal and wait there for ever.
        context.load_cert_chain(str(files.cert_file), files.key_file, password=_no_password)
    except ssl.SSLError as error:
        raise CollectError(Reason.TLS, f"{pair} do not make a pair (PEM): {error.reason}") from None
    except OSError as error:
        raise CollectError(Reason.SECRET, f"cannot read {pair}: {error.strerror}") from None
    except _KeyIsEncryptedError:
        raise CollectError(Reason.TLS, f"key_file {files.key_file} is encrypted; give a key without password") from None


class _KeyIsEncryptedError(Exception):
    pass


def _no_password() -> str:
    raise _KeyIsEncryptedError
