"""The calls of api.yml: which one a request is, and whether it is a good one."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import yaml

TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "boolean": bool,
    "array": list,
    "number": (int, float),
}


@dataclass(frozen=True)
class Call:
    path: str
    method: str
    says: dict[str, Any]

    def values(self, path: str) -> dict[str, str]:
        """What stands in the path's braces."""
        found = re.fullmatch(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", self.path), path)
        assert found
        return found.groupdict()


@cache
def calls() -> tuple[Call, ...]:
    described = yaml.safe_load(Path(__file__).with_name("api.yml").read_text())
    return tuple(Call(path, method, says) for path, ways in described.items() for method, says in ways.items())


def call_of(request: httpx.Request) -> Call:
    """The call that a request is. Raises AssertionError for one that is not described, or not as described."""
    path = request.url.path.removeprefix("/api")
    fitting = [
        call
        for call in calls()
        if call.method.upper() == request.method and re.fullmatch(re.sub(r"{\w+}", "[^/]+", call.path), path)
    ]
    exact = [call for call in fitting if "{" not in call.path] or fitting
    assert len(exact) == 1, f"{request.method} {path} is not described"
    call = exact[0]
    assert set(request.url.params) <= set(call.says.get("query", ())), request.url
    check(call, json.loads(request.content) if request.content else None)
    return call


def check(call: Call, body: Any) -> None:
    if "body" not in call.says:
        assert body is None, f"{call.path} takes no body, not {body}"
        return
    assert isinstance(body, dict), body
    beyond = call.says.get("beyond", {})
    for key, value in body.items():
        assert key in call.says["body"], f"{call.path} takes no {key}"
        assert_fits(value, call.says["body"][key], beyond.get(key), f"{call.path} {key}")
    for item in body.get("items", ()):
        assert item.keys() <= call.says["items"].keys(), item
        for key, value in item.items():
            assert_fits(value, call.says["items"][key], None, key)


def assert_fits(value: Any, kind: str | list[str], beyond: Any, where: str) -> None:
    if isinstance(kind, list):
        allowed = [str(word) for word in kind]
        assert isinstance(value, str), where
        assert value in allowed or beyond == "anything" or value in (beyond or ()), f"{where}: {value}"
    else:
        assert isinstance(value, TYPES[kind]), f"{where}: {value!r}"
        assert not (kind == "integer" and isinstance(value, bool)), where
