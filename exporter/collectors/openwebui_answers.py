"""Reading Open WebUI's answers: shapes, versions, and the web page it sends where a route is missing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from exporter.collectors.base import Answer
from exporter.errors import CollectError, Reason

SMALL = 256 << 10  # bytes, decoded here and now: others wait for a millisecond or two
Version = tuple[int, int, int]
_VERSION = re.compile(r"v?(\d{1,6})\.(\d{1,6})\.(\d{1,6})", re.ASCII)


def version_of(text: str) -> Version | None:
    """`0.12.4` (or `v0.12.4-dev`) as numbers that compare; None when it is something else."""
    match = _VERSION.match(text)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def is_missing(answer: Answer) -> bool:
    """Whether the route does not exist in that installation.

    Open WebUI gives its web page with status 200 for every unknown path (SPAStaticFiles in its main.py), and 404 only
    when it runs without its frontend.
    """
    return answer.status == 404 or (answer.status == 200 and "html" in answer.content_type)  # noqa: PLR2004


def content(answer: Answer) -> Any:
    """The JSON of a small answer; None when it is not JSON, or not small."""
    if len(answer.body) > SMALL:
        return None
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        return None


def detail(answer: Answer) -> str:
    """FastAPI's `detail`, the sentence that comes with an error; empty when there is none."""
    body = content(answer)
    text = body.get("detail") if isinstance(body, dict) else None
    return text if isinstance(text, str) else ""


def mapping(value: Any, path: str) -> dict[str, Any]:
    """`value` if it is a JSON object; anything else is a CollectError."""
    if isinstance(value, dict):
        return value
    raise CollectError(Reason.SHAPE, f"{path} answered {_kind(value)} where an object belongs")


def rows(value: Any, path: str) -> Iterator[dict[str, Any]]:
    """The objects of a JSON list; anything but a list is a CollectError, an odd entry is passed over."""
    if not isinstance(value, list):
        raise CollectError(Reason.SHAPE, f"{path} answered {_kind(value)} where a list belongs")
    return (row for row in value if isinstance(row, dict))


def _kind(value: Any) -> str:
    # The kind of value and never the value: answers hold people's names and providers' keys.
    return {dict: "an object", list: "a list", str: "a text", type(None): "null"}.get(type(value), "a bare value")
