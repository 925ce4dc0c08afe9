"""api.yml beside the description that a Grafana brings along."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.provisioning.grafana.description import Call, calls


@pytest.fixture(scope="module")
def theirs() -> dict[str, Any]:
    home = os.environ.get("GRAFANA_HOME")
    if home is None:
        pytest.skip("GRAFANA_HOME is not set: Grafana's own description of its API is not at hand")
    path = Path(home) / "public/api-merged.json"
    if not path.exists():
        pytest.skip(f"there is no {path}")
    described: dict[str, Any] = json.loads(path.read_text())
    return described


@pytest.mark.parametrize("call", calls(), ids=lambda call: f"{call.method} {call.path}")
def test_grafana_describes_the_call_so(call: Call, theirs: dict[str, Any]) -> None:
    operation = theirs["paths"][call.path][call.method]
    assert operation["operationId"] == call.says["id"]
    parameters = [resolved(one, theirs) for one in operation.get("parameters", ())]
    assert set(call.says.get("query", ())) <= {one["name"] for one in parameters if one["in"] == "query"}
    bodies = [one for one in parameters if one["in"] == "body"]
    if "body" in call.says:
        fields = resolved(bodies[0]["schema"], theirs)["properties"]
        compare(call.says["body"], fields, theirs)
        beyond = call.says.get("beyond", {})
        assert set(beyond) <= set(call.says["body"])
        if "items" in call.says:
            compare(call.says["items"], resolved(fields["items"]["items"], theirs)["properties"], theirs)
    else:
        assert not [one for one in bodies if one.get("required")]
    given = resolved(operation["responses"][str(call.says.get("answers", 200))], theirs).get("schema", {})
    answer = resolved(given, theirs)
    compare(call.says.get("gives", {}), answer.get("properties", {}), theirs)
    if "rows" in call.says:
        rows = resolved(answer["properties"][call.says["rows_of"]], theirs) if "rows_of" in call.says else answer
        compare(call.says["rows"], resolved(rows["items"], theirs)["properties"], theirs)


def compare(ours: dict[str, Any], fields: dict[str, Any], theirs: dict[str, Any]) -> None:
    lower = {name.lower(): field for name, field in fields.items()}  # Go takes a field's name in either case
    for name, kind in ours.items():
        field = resolved(lower[name.lower()], theirs)
        if isinstance(kind, list):
            assert field["enum"] == [str(word) for word in kind], name
        else:
            assert field["type"] == kind, name


def resolved(node: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        _, kind, name = node["$ref"].split("/")
        node = theirs[kind][name]
    return node
