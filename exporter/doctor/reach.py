"""Why a target does not answer as itself: each way to fail has its own words."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from exporter import discover
from exporter.client.tls_look import Trouble, connects, look
from exporter.discover import USUAL_PORTS, Service, What, bracketed
from exporter.doctor.exam import LOOK_SECONDS, Visit
from exporter.doctor.findings import Finding, Kind, error, warning
from exporter.errors import CollectError, Reason
from provisioning.config.targets import TlsFiles

HOST_UNKNOWN = error(
    "host-unknown",
    "The host name has no address, seen from this machine.",
    "check its spelling, and the DNS or /etc/hosts of the machine that runs the exporter",
)
REFUSED = error(
    "connection-refused",
    "The machine is there and nothing listens on that port.",
    "start the system, or correct the port; a system that listens on 127.0.0.1 only refuses other machines",
)
NO_ANSWER = error(
    "no-answer",
    "No answer within the target's `timeout`: a firewall drops the packets, the machine is off, or it is overloaded.",
    "open the port between this machine and the target; raise `timeout` if it is only slow",
)
UNREACHABLE = error(
    "unreachable",
    "The connection fails in another way than refusal or silence.",
    "check the network, the address, and that system's own log",
)
WANTS_TLS = error(
    "wants-tls",
    "The address is written without TLS and TLS is spoken there.",
    "write the address with https:// (Dask: tls://, with ca_file, cert_file and key_file)",
)
WANTS_PLAIN = error(
    "wants-plain",
    "The address is written with TLS and no TLS is spoken there.",
    "write the address with http:// (Dask: tcp://), or correct the port",
)
TLS_UNTRUSTED = error(
    "tls-untrusted",
    "The certificate is not signed by an authority known here.",
    "give the authority's certificate as ca_file",
)
TLS_EXPIRED = error(
    "tls-expired",
    "The certificate is out of date, or this machine's clock is.",
    "renew the certificate there; compare the clocks",
)
TLS_EXPIRES_SOON = warning(
    "tls-expires-soon",
    "The certificate ends within two weeks; after that nothing is read.",
    "renew the certificate there",
)
TLS_HOST_NAME = error(
    "tls-host-name",
    "The certificate is for another name than the one in the address.",
    "use the name that the certificate is for, or have it made for this one",
)
TLS_CLIENT_CERTIFICATE = error(
    "tls-client-certificate",
    "The other side asks for a client certificate and takes none, or not ours.",
    "give cert_file and key_file of a certificate that it accepts",
)
TLS_FAILED = error(
    "tls-failed", "The TLS handshake fails in another way.", "see that system's own log; compare the TLS versions"
)
REDIRECTS = error(
    "redirects",
    "The address redirects elsewhere, which is not followed: credentials would go along.",
    "put the final address in the configuration",
)
CREDENTIALS_REFUSED = error(
    "credentials-refused",
    "The system, or a proxy before it, refuses to answer to our credentials or without any.",
    "check username with password_file, or bearer_token_file",
)
WRONG_SYSTEM = error(
    "wrong-system", "Something answers there, and it is another system than the configured one.", "correct the address"
)
TARGET_FAILS = error(
    "target-fails", "The system answers its simplest question with a failure.", "see that system's own log"
)

_SIMPLE: dict[Reason, Kind] = {
    Reason.DNS: HOST_UNKNOWN,
    Reason.REDIRECT: REDIRECTS,
    Reason.UNAUTHORIZED: CREDENTIALS_REFUSED,
    Reason.FORBIDDEN: CREDENTIALS_REFUSED,
    Reason.SERVER_ERROR: TARGET_FAILS,
    Reason.RATE_LIMITED: TARGET_FAILS,
}
# When nobody known answers there, in any protocol.
_UNKNOWN: dict[Reason, Kind] = {
    Reason.CONNECT: UNREACHABLE,
    Reason.INTERNAL: UNREACHABLE,
}
_TROUBLES: dict[Trouble, Kind] = {
    Trouble.NO_TLS: WANTS_PLAIN,
    Trouble.EXPIRED: TLS_EXPIRED,
    Trouble.NOT_YET_VALID: TLS_EXPIRED,
    Trouble.HOST_NAME: TLS_HOST_NAME,
    Trouble.UNTRUSTED: TLS_UNTRUSTED,
    Trouble.CLIENT_CERTIFICATE: TLS_CLIENT_CERTIFICATE,
    Trouble.OTHER: TLS_FAILED,
}
SOON = 14 * 86400.0  # seconds
_PORTS = {"http": 80, "https": 443}
_TLS_SCHEMES = ("https", "tls")


async def why(failure: CollectError, address: str, files: TlsFiles, expected: What, *, timeout: float) -> list[Finding]:
    """The findings for a target at `address` whose first question failed."""
    if failure.reason is Reason.SECRET:
        return []  # the check of the files says which
    if failure.reason in _SIMPLE:
        return [_SIMPLE[failure.reason].found(brief(failure))]
    if failure.reason is Reason.REFUSED:
        return [await _refused(failure, address, expected)]
    if urlsplit(address).scheme in _TLS_SCHEMES:
        return [await _why_with_tls(failure, address, files, expected, timeout)]
    if failure.reason is not Reason.TIMEOUT and await _speaks_tls(address):
        return [WANTS_TLS.found(f"{address} is written without TLS, and TLS is spoken there")]
    return [await _stranger(failure, address, expected)]


def brief(failure: CollectError) -> str:
    """What failed, without the advice that follows it: the mend gives better."""
    return str(failure).partition("; ")[0]


async def _why_with_tls(
    failure: CollectError, address: str, files: TlsFiles, expected: What, timeout: float
) -> Finding:
    if failure.reason in (Reason.TLS, Reason.CONNECT):
        trouble = await _tls_trouble(failure, address, files, timeout)
        if trouble.id != WANTS_PLAIN.id:
            return trouble
    if failure.reason is Reason.CLIENT_ERROR and files.cert_file is None and await _speaks_tls(address):
        mend = (
            "nginx answers so when it wants a client certificate: give cert_file and key_file, or correct the address"
        )
        return WRONG_SYSTEM.found(brief(failure), mend)
    return await _stranger(failure, address, expected)


async def certificate(visit: Visit, files: TlsFiles) -> list[Finding]:
    """Whether the certificate of a TLS target that answers is about to end."""
    if visit.url.scheme not in _TLS_SCHEMES:
        return []
    host, port = _host_and_port(visit.address)
    seen = await look(host, port, files, check_hostname=visit.url.scheme == "https", timeout=LOOK_SECONDS)
    left = None if seen.expires is None else seen.expires - visit.clock()
    if left is None or left > SOON:
        return []
    return [TLS_EXPIRES_SOON.found(f"the certificate of {visit.address} ends in {left / 86400:.0f} days")]


async def _tls_trouble(failure: CollectError, address: str, files: TlsFiles, timeout: float) -> Finding:
    host, port = _host_and_port(address)
    try:
        seen = await look(host, port, files, check_hostname=address.startswith("https:"), timeout=timeout)
    except CollectError as broken:
        return (NO_ANSWER if broken.reason is Reason.TIMEOUT else TLS_FAILED).found(brief(broken))
    if seen.trouble is None:
        return (UNREACHABLE if failure.reason is Reason.CONNECT else TLS_FAILED).found(brief(failure))
    return _TROUBLES[seen.trouble].found(f"{address}: {seen.words or failure}")


async def _elsewhere(address: str, expected: What) -> str:
    """A mend that names where the expected system does answer on that host; empty when nowhere usual."""
    host, port = _host_and_port(address)
    ports = [usual for usual, what in USUAL_PORTS.items() if what is expected and usual != port]
    found = [service for service in await discover.usual_places(host, LOOK_SECONDS, ports) if service.what is expected]
    return f"correct the port: {found[0].what} answers at {found[0].url}" if found else ""


async def _refused(failure: CollectError, address: str, expected: What) -> Finding:
    """The address may have been right until a minute ago: starting what was there comes first."""
    elsewhere = await _elsewhere(address, expected)
    return REFUSED.found(brief(failure), elsewhere and f"start it there; if it was meant to be elsewhere, {elsewhere}")


async def _no_answer(failure: CollectError, address: str) -> Finding:
    """A machine that is off and a process that hangs are mended in different ways."""
    if not await connects(*_host_and_port(address), LOOK_SECONDS):
        return NO_ANSWER.found(brief(failure))
    return NO_ANSWER.found(
        f"{brief(failure)}; the connection is taken, and then nothing is said",
        "no firewall is in the way: the process hangs or is overloaded, or is another one; see its log and its load",
    )


async def _stranger(failure: CollectError, address: str, expected: What) -> Finding:
    """Something answers that is not what was expected, or nothing that is understood: who is it?"""
    service = await _who(address)
    if service is None and failure.reason is Reason.TIMEOUT:
        return await _no_answer(failure, address)
    if service is None:
        return _UNKNOWN.get(failure.reason, WRONG_SYSTEM).found(brief(failure))
    if service.what is not expected:
        mend = await _elsewhere(address, expected)
        if not mend and (service.what, expected) == (What.DASK_DASHBOARD, What.DASK):
            mend = "give the scheduler's own port, usually 8786"
        return WRONG_SYSTEM.found(f"{address} is {service.what}, not {expected}", mend)
    if urlsplit(service.url).scheme != urlsplit(address).scheme:
        kind = WANTS_PLAIN if urlsplit(address).scheme in _TLS_SCHEMES else WANTS_TLS
        return kind.found(f"{service.what} answers at {service.url}", f"write {service.url}")
    beyond = urlsplit(address).path.strip("/") and failure.reason is Reason.NOT_FOUND
    return TARGET_FAILS.found(f"{address} is {expected}, but: {failure}", f"write {service.url}" if beyond else "")


async def _who(address: str) -> Service | None:
    """The system at that host and port, whatever protocol it speaks; None when it is none that is known."""
    host, port = _host_and_port(address)
    ways = (
        discover.at(f"http://{bracketed(host)}:{port}", LOOK_SECONDS),
        discover.at(f"https://{bracketed(host)}:{port}", LOOK_SECONDS),
        discover.dask_at(host, port, LOOK_SECONDS),
    )
    found = await asyncio.gather(*ways, return_exceptions=True)
    known = [service for service in found if isinstance(service, Service) and service.what is not What.OTHER]
    return known[0] if known else None


async def _speaks_tls(address: str) -> bool:
    return await discover.speaks_tls(*_host_and_port(address), LOOK_SECONDS)


def _host_and_port(address: str) -> tuple[str, int]:
    parts = urlsplit(address)
    return parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
