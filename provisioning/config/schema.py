"""JSON Schema of `cluster-ai.yml`, for editors that complete and check while one types."""

from __future__ import annotations

from typing import Any

from provisioning.config.durations import DURATION_PATTERN, format_duration
from provisioning.config.model import Config


def schema() -> dict[str, Any]:
    """The schema as data (draft 2020-12), with defaults as they are written in the file."""
    found = Config.model_json_schema()
    found["title"] = "cluster-ai.yml"
    found["description"] = "What a Cluster AI Dashboard watches, and how."
    for name, model in found["$defs"].items():
        model["title"] = name
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_tidy(found)}


def _tidy(node: Any) -> Any:
    """Pydantic's schema without its guesses: titles made of key names, and durations as bare seconds."""
    if isinstance(node, list):
        return [_tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    tidy = {key: _tidy(value) for key, value in node.items()}
    if isinstance(properties := tidy.get("properties"), dict):
        for value in properties.values():
            value.pop("title", None)
    if tidy.get("pattern") == DURATION_PATTERN and isinstance(tidy.get("default"), float):
        tidy["default"] = format_duration(tidy["default"])
    if "patternProperties" in tidy:
        tidy["additionalProperties"] = False
    return tidy
