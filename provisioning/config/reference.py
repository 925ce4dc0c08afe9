"""docs/configuration.md, written from the model: `python -m provisioning.config.reference > docs/configuration.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, get_args

from provisioning.config.basics import (
    HTTP_PATTERN,
    LABEL_NAME_PATTERN,
    LISTEN_PATTERN,
    PATTERNS,
    PLAIN_PATTERN,
    SCHEDULER_PATTERN,
)
from provisioning.config.durations import DURATION_PATTERN, format_duration
from provisioning.config.messages import field_of
from provisioning.config.model import Config
from provisioning.config.schema import schema
from provisioning.config.targets import RESERVED_LABELS
from provisioning.config.yaml_file import Key

INTRODUCTION = """\
# cluster-ai.yml

<!-- Generated from provisioning/config/model.py by `make generate`; edit the descriptions there. -->

One file says what is watched and how. Only `targets` is needed. A complete, commented example is
[provisioning/example.yml](../provisioning/example.yml); `cluster-ai check` says what is wrong with a file and where,
and `cluster-ai schema` prints a JSON Schema that lets editors complete keys and mark mistakes while you type.

- A **duration** is a number with a unit, or several: `5s`, `1m30s`, `90d` (ms, s, m, h, d, w, y).
- A **path** is relative to the folder of the file, and `~` is your home folder.
- **Secrets** stand in files of their own, never in this one. A file is read again when it changes. One that is missing
  is a warning of `cluster-ai check` and shows in the exporter's metrics; everything else goes on.
- Anchors (`&name`, `*name`, `<<`) work. Unknown and repeated keys are errors.
"""
_PATTERN_WORDS = {
    DURATION_PATTERN: "duration",
    HTTP_PATTERN: "address (`http://` or `https://`)",
    SCHEDULER_PATTERN: "address (`tcp://` or `tls://`)",
    LISTEN_PATTERN: "`host:port`",
    **{pattern: what.split(" ", 1)[1] for pattern, (what, _) in PATTERNS.items()},
    PLAIN_PATTERN: "text",
}
_TYPE_WORDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "`true` or `false`"}


def reference() -> str:
    """The page as Markdown."""
    found = schema()
    sections = "\n".join(_sections(found, found, (), set()))
    return f"{INTRODUCTION}\n{sections}\n{_closing()}"


def _sections(model: dict[str, Any], root: dict[str, Any], at: Key, done: set[str]) -> Iterator[str]:
    """A table for the model at `at`, then one for each model below it."""
    yield f"## `{_path(at)}`\n\n{model['description']}\n" if at else "## The file\n"
    yield "| Key | What it takes | Default | Meaning |\n|---|---|---|---|"
    required = model.get("required", ())
    for key, field in sorted(model["properties"].items(), key=lambda item: item[0] not in required):
        default = "**needed**" if key in required else _default(field)
        takes = ", ".join((_takes(field), *_bounds((*at, key))))
        yield f"| `{key}` | {takes} | {default} | {_escape(field['description'])} |"
    yield ""
    for key, may_be_null in model["properties"].items():
        field = _not_null(may_be_null)
        name = _model_name(field)
        if name and name not in done:
            done.add(name)
            below: Key = (*at, key, 0) if "items" in field else (*at, key)
            if "additionalProperties" in field:
                below = (*at, key, "*")
            yield from _sections(root["$defs"][name], root, below, done)


def _path(at: Key) -> str:
    return "".join("[]" if part == 0 else f".{part}" for part in at).removeprefix(".")


def _takes(field: dict[str, Any]) -> str:
    field = _not_null(field)
    if "enum" in field:
        return " or ".join(f"`{choice}`" for choice in field["enum"])
    if _model_name(field):
        return {"items": "list of maps", "additionalProperties": "map of names to maps"}.get(
            next((kind for kind in ("items", "additionalProperties") if kind in field), ""), "map"
        ) + ", below"
    if "items" in field:
        return f"list of {_takes(field['items'])}"
    if "patternProperties" in field:
        ((pattern, value),) = field["patternProperties"].items()
        return f"map of {_PATTERN_WORDS[pattern]} to {_takes(value)}"
    if field.get("format") == "path":
        return "path"
    return _PATTERN_WORDS.get(field.get("pattern", "")) or _TYPE_WORDS[field["type"]]


def _not_null(field: dict[str, Any]) -> dict[str, Any]:
    """The one kind of value that a key takes which may be left out."""
    return next((option for option in field.get("anyOf", ()) if option.get("type") != "null"), field)


def _bounds(key: Key) -> Iterator[str]:
    """The limits of a key, in the words of its type."""
    info = field_of(key)
    for name, said in {"gt": "more than", "ge": "at least", "le": "at most"}.items():
        for limit in info.metadata if info else ():
            if hasattr(limit, name):
                bound = getattr(limit, name)
                yield f"{said} {format_duration(bound) if info and _is_duration(info.annotation) else bound}"


def _is_duration(annotation: Any) -> bool:
    """Whether a key that takes this, perhaps or left out, takes a duration; other bounds are plain numbers."""
    return annotation is float or any(_is_duration(one) for one in get_args(annotation))


def _default(field: dict[str, Any]) -> str:
    value = field.get("default")
    if value is None or value in ([], {}):
        return ""
    if isinstance(value, list):
        return f"`[{', '.join(value)}]`"
    if isinstance(value, list):
        return f"`[{', '.join(value)}]`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _model_name(field: dict[str, Any]) -> str | None:
    of_any_name = field.get("additionalProperties")
    kinds = (field, field.get("items", {}), *field.get("anyOf", ()), *([of_any_name] if of_any_name else ()))
    reference = next((kind["$ref"] for kind in kinds if "$ref" in kind), None)
    return reference.rpartition("/")[2] if reference else None


def _escape(text: str) -> str:
    return text.replace("|", "\\|")


def _closing() -> str:
    reserved = ", ".join(f"`{label}`" for label in sorted(RESERVED_LABELS))
    return f"""\
## Limits

- A name has at most 63 letters, digits, `_`, `.` and `-`, and begins with a letter or digit. Target names are unique
  across all systems.
- Label names match `{LABEL_NAME_PATTERN}`; {reserved}
  are set by the product itself.
- A collection ends after the target's `timeout` or half a second before Prometheus would give up, which is 4s with
  the rendered `prometheus.yml`, whichever is shorter.
- The names of `alerts.thresholds` are those of [defaults.yml](../alert_rules/defaults.yml).
- Prometheus' external label `cluster` is the file's `name` (default `{Config.model_fields["name"].default}`).
"""


if __name__ == "__main__":
    sys.stdout.write(reference())
