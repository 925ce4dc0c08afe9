"""One look at the TLS of an address: does it speak TLS, is its certificate good, does it want ours."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from enum import StrEnum

from exporter.client.sockets import classify, expiry, tls_context
from exporter.errors import CollectError, Reason
from provisioning.config.targets import TlsFiles

_ALERT_WAIT = 0.5  # seconds; with TLS 1.3 a server asks for the certificate it misses only after the handshake


class Trouble(StrEnum):
    """What is wrong with a TLS connection."""

    NO_TLS = "no_tls"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    HOST_NAME = "host_name"
    UNTRUSTED = "untrusted"
    CLIENT_CERTIFICATE = "client_certificate"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class TlsLook:
    """What a handshake told. Times in seconds since the epoch; None is unknown."""

    trouble: Trouble | None
    words: str = ""
    expires: float | None = None

    @property
    def speaks_tls(self) -> bool:
        """Whether TLS is spoken there at all, good or bad."""
        return self.trouble is not Trouble.NO_TLS


# X509_V_ERR_* of OpenSSL's x509_vfy.h.
_VERIFY = {9: Trouble.NOT_YET_VALID, 10: Trouble.EXPIRED, 62: Trouble.HOST_NAME, 64: Trouble.HOST_NAME}
_NO_TLS = ("WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")
_WANTS_OURS = ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE", "UNKNOWN_CA", "BAD_CERTIFICATE", "CERTIFICATE_UNKNOWN")


async def look(host: str, port: int, files: TlsFiles, *, check_hostname: bool, timeout: float) -> TlsLook:
    """Shake hands once, with these certificates, and hang up.

    Raises CollectError when nothing answers there within `timeout` seconds, or a file cannot be used.
    """
    context = tls_context(files, check_hostname=check_hostname)
    where = f"{host}:{port}"
    try:
        async with asyncio.timeout(timeout):
            return await _shake(host, port, context, ours=files.cert_file is not None)
    except ssl.SSLCertVerificationError as error:
        return TlsLook(_VERIFY.get(error.verify_code, Trouble.UNTRUSTED), error.verify_message)
    except ssl.SSLError as error:
        return TlsLook(_trouble(error.reason or ""), error.reason or str(error))
    except (ConnectionResetError, BrokenPipeError, asyncio.IncompleteReadError):
        return TlsLook(Trouble.NO_TLS, "it hung up on the TLS handshake")
    except TimeoutError:
        raise CollectError(Reason.TIMEOUT, f"{where} did not answer within {timeout:g} s") from None
    except OSError as error:
        raise classify(error, where) from None


async def connects(host: str, port: int, timeout: float) -> bool:
    """Whether a connection is taken there within `timeout` seconds; nothing is said."""
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(host, port)
    except OSError:  # TimeoutError is one
        return False
    writer.transport.abort()
    return True


async def _shake(host: str, port: int, context: ssl.SSLContext, *, ours: bool) -> TlsLook:
    reader, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
    try:
        certificate = writer.get_extra_info("peercert")
        try:
            async with asyncio.timeout(_ALERT_WAIT):
                closed = not await reader.read(1)
        except TimeoutError:
            closed = False  # it waits for us to speak, as HTTP servers do
        except ConnectionError:
            closed = True
        if closed and not ours:
            return TlsLook(
                Trouble.CLIENT_CERTIFICATE, "it hangs up after the handshake, as without a client certificate"
            )
        return TlsLook(None, expires=expiry(certificate))
    finally:
        writer.transport.abort()


def _trouble(reason: str) -> Trouble:
    if any(mark in reason for mark in _NO_TLS):
        return Trouble.NO_TLS
    return Trouble.CLIENT_CERTIFICATE if any(mark in reason for mark in _WANTS_OURS) else Trouble.OTHER
