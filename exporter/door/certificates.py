"""When a certificate ends: the one thing about our own that nobody notices before it is too late."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime

SOON = 14 * 86400.0  # seconds
_VERSION, _UTC_TIME, _LONG_FORM = 0xA0, 0x17, 0x80


def ends(pem: str) -> float | None:
    """When the first certificate in the text ends, in seconds since the epoch; None when that cannot be read.

    Form: RFC 5280, 4.1: Certificate { tbsCertificate { [0] version, serialNumber, signature, issuer, validity
    { notBefore, notAfter }, ... } ... }, in DER. Python's ssl tells it of certificates of others only.
    """
    begin, end = pem.find(ssl.PEM_HEADER), pem.find(ssl.PEM_FOOTER)
    try:
        der = ssl.PEM_cert_to_DER_cert(pem[begin : end + len(ssl.PEM_FOOTER)])
        _, certificate = next(_elements(der))
        _, signed = next(_elements(certificate))
        fields = [content for tag, content in _elements(signed) if tag != _VERSION]
        _, (tag, moment) = _elements(fields[3])
        form = "%y%m%d%H%M%SZ" if tag == _UTC_TIME else "%Y%m%d%H%M%SZ"
        return datetime.strptime(moment.decode(), form).replace(tzinfo=UTC).timestamp()
    except (ValueError, IndexError, StopIteration):
        return None


def warning(end: float | None, now: float) -> str | None:
    """What there is to say of a certificate with that end, or None."""
    if end is None or end - now > SOON:
        return None
    day = datetime.fromtimestamp(end, UTC).strftime("%Y-%m-%d %H:%M UTC")
    if end <= now:
        return f"the certificate ended on {day}, so Prometheus and browsers refuse this exporter; put a new one there"
    return f"the certificate ends on {day}; from then on Prometheus gets nothing from this exporter; renew it"


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each element that stands side by side there."""
    at = 0
    while at < len(der):
        tag, length, at = der[at], der[at + 1], at + 2
        if length >= _LONG_FORM:
            size = length - _LONG_FORM
            length, at = int.from_bytes(der[at : at + size], "big"), at + size
        yield tag, der[at : at + length]
        at += length
