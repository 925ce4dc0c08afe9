"""Answers of our own, in the form that clients of each dialect read."""

from __future__ import annotations

import json
import math
from http import HTTPStatus

# What a client of OpenAI's or Anthropic's API is told an error is.
_OPENAI = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}
_ANTHROPIC = _OPENAI | {503: "overloaded_error"}
_OTHER = "api_error"


def error_answer(
    status: int, why: str, path: str = "", *, retry_after: float | None = None, bodiless: bool = False
) -> bytes:
    """A whole answer after which the connection ends; `bodiless` for HEAD, whose answers have a head alone."""
    body = json.dumps(_error(status, why, path)).encode()
    reason = HTTPStatus(status).phrase
    lines = [
        f"HTTP/1.1 {status} {reason}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    if retry_after is not None:
        lines.append(f"Retry-After: {max(math.ceil(retry_after), 1)}")
    if status == HTTPStatus.UNAUTHORIZED:
        lines.append("WWW-Authenticate: Bearer")
    head = "\r\n".join([*lines, "", ""]).encode()
    return head if bodiless else head + body


def _error(status: int, why: str, path: str) -> dict[str, object]:
    if path.startswith("/v1/messages"):
        return {"type": "error", "error": {"type": _ANTHROPIC.get(status, _OTHER), "message": why}}
    if path.startswith("/v1/"):
        return {"error": {"message": why, "type": _OPENAI.get(status, _OTHER), "param": None, "code": None}}
    return {"error": why}
