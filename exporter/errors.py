"""The one error of a collection and its bounded reasons, which become a metric label."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a call to a target failed. Label values: adding one adds a series to every target."""

    DNS = "dns"
    REFUSED = "connection_refused"
    CONNECT = "connection_failed"
    TIMEOUT = "timeout"
    TLS = "tls"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    RATE_LIMITED = "rate_limited"
    CLIENT_ERROR = "client_error"
    SERVER_ERROR = "server_error"
    REDIRECT = "redirect"
    TOO_LARGE = "too_large"
    PROTOCOL = "protocol"
    NOT_JSON = "not_json"
    SHAPE = "unexpected_content"
    SECRET = "secret_unreadable"  # noqa: S105 -- a reason, not a secret
    INTERNAL = "internal"


# The target answered and turned us away: it is alive, our credentials are not good enough.
REFUSALS = frozenset({Reason.UNAUTHORIZED, Reason.FORBIDDEN})


class CollectError(Exception):
    """A call to a target failed; `str()` is one line for people and never holds a secret."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.counted = False  # parts that share a call share its error, which is one failed call

    def bare(self) -> CollectError:
        """Without traceback and causes: their frames would keep the answer that was wrong as long as the error."""
        self.__traceback__ = self.__context__ = self.__cause__ = None
        return self
