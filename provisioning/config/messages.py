"""Says what validation found in the words of the file: keys as people name them, plain sentences, a hint."""

from __future__ import annotations

import difflib
import types
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from provisioning.config.basics import PATTERNS
from provisioning.config.durations import format_duration, is_duration
from provisioning.config.model import Config
from provisioning.config.problems import Problem, brief
from provisioning.config.yaml_file import Document, Key

_LEAVE_OUT = "give a value or leave the key out"


def explain(error: ValidationError, document: Document, root: type[BaseModel] = Config) -> list[Problem]:
    """One problem for each thing pydantic found in a file that `root` describes, at its line."""
    found = error.errors(include_url=False)
    # A misspelt key is also a missing one; one problem is enough.
    misspelt = {
        (*details["loc"][:-1], near)
        for details in found
        if details["type"] == "extra_forbidden"
        and (near := _nearest(str(details["loc"][-1]), _known_keys(details["loc"][:-1], root)))
    }
    return [
        _problem(details, document, root)
        for details in found
        if details["type"] != "missing" or details["loc"] not in misspelt
    ]


def key_text(key: Key, data: Any) -> str:
    """`("targets", "dask", 0, "timeout")` as `targets.dask "main": timeout`, by the entry's name where it has one."""
    text = ""
    for part in key:
        if isinstance(part, int):
            data = data[part] if isinstance(data, list) and part < len(data) else None
            name = data.get("name") if isinstance(data, dict) else None
            text += f" {brief(name)}: " if isinstance(name, str) and name else f"[{part}]"
        else:
            data = data.get(part) if isinstance(data, dict) else None
            text += part if not text or text.endswith(": ") else f".{part}"
    return text.removesuffix(": ")


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """A hint that names the nearest known word, or all of them."""
    near = _nearest(word, known)
    return f'did you mean "{near}"?' if near else f"known here: {', '.join(known)}"


def _nearest(word: str, known: Sequence[str]) -> str | None:
    near = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.65)
    return near[0] if near else None


def _problem(details: ErrorDetails, document: Document, root: type[BaseModel]) -> Problem:
    key: Key = tuple(part for part in details["loc"] if part != "[key]")
    message, hint = _words(details, key, document, root)
    return Problem(document.line_of(key), message, hint, key_text(key, document.data))


def _words(details: ErrorDetails, key: Key, document: Document, root: type[BaseModel]) -> tuple[str, str]:
    kind = details["type"]
    mark = document.marks.get(key)
    if kind == "missing":
        info = field_of(key, root)
        said = "is missing", _lower(info.description or "") if info else ""
    elif kind == "extra_forbidden":
        said = "there is no such key", did_you_mean(str(key[-1]), _known_keys(key[:-1], root))
    elif details["input"] is None:
        said = "nothing is given here", _LEAVE_OUT
    elif kind in _WRONG_TYPES:
        said = _wrong_type(details["input"], mark.raw if mark else None, _WRONG_TYPES[kind])
    elif kind in _BOUNDS:
        said = _out_of_bounds(details, (mark and mark.raw) or "")
    else:
        said = _TEXTS[kind](details) if kind in _TEXTS else (details["msg"], "")
    return said


def _of_validator(details: ErrorDetails) -> tuple[str, str]:
    """Our own validators say `what is wrong; what was meant`."""
    message, _, hint = str(details["ctx"]["error"]).partition("; ")
    return message, hint


_WRONG_TYPES = {
    "model_type": "a map of `key: value` lines",
    "dict_type": "a map of `key: value` lines",
    "list_type": "a list",
    "string_type": "text",
    "path_type": "the path of a file",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
}
_BOUNDS = {
    "greater_than": ("gt", "too small", "more than"),
    "greater_than_equal": ("ge", "too small", "at least"),
    "less_than": ("lt", "too large", "less than"),
    "less_than_equal": ("le", "too large", "at most"),
}


def _wrong_type(value: Any, raw: str | None, wanted: str) -> tuple[str, str]:
    if isinstance(value, dict):
        return f"{wanted} belongs here, not a map", _list_hint(wanted)
    if isinstance(value, list):
        return f"{wanted} belongs here, not a list", "take away the `- `" if "map" in wanted else ""
    shown = brief(raw if raw is not None else value)
    if isinstance(value, bool) and wanted == "text":
        return f"text belongs here, and YAML reads {shown} as {str(value).lower()}", f"write it in quotes: {shown}"
    if isinstance(value, int | float) and wanted == "text":
        return f"text belongs here, and YAML reads {shown} as a number", f"write it in quotes: {shown}"
    return f"{wanted} belongs here, not {shown}", _list_hint(wanted)


def _list_hint(wanted: str) -> str:
    return "start each entry with `- `" if "list" in wanted else ""


def _out_of_bounds(details: ErrorDetails, raw: str) -> tuple[str, str]:
    name, judged, relation = _BOUNDS[details["type"]]
    bound = details["ctx"][name]
    if is_duration(raw):
        judged = {"too small": "too short", "too large": "too long"}[judged]
        return f"{raw} is {judged}", f"it must be {relation} {format_duration(bound)}"
    return f"{raw} is {judged}", f"it must be {relation} {bound}"


def _pattern(details: ErrorDetails) -> tuple[str, str]:
    what, meant = PATTERNS[details["ctx"]["pattern"]]
    return f"{brief(details['input'])} is not {what}", meant


def _choice(details: ErrorDetails) -> tuple[str, str]:
    expected = details["ctx"]["expected"].replace("'", "")
    return f"{brief(details['input'])} is not one of {expected.replace(' or ', ', ')}", ""


_TEXTS: dict[str, Callable[[ErrorDetails], tuple[str, str]]] = {
    "value_error": _of_validator,
    "string_pattern_mismatch": _pattern,
    "literal_error": _choice,
    "too_short": lambda _: ("the list is empty", "name at least one"),
    "string_too_short": lambda _: ("the text is empty", _LEAVE_OUT),
    "string_too_long": lambda details: (
        f"the text has {len(details['input'])} characters",
        f"{details['ctx']['max_length']} are the most",
    ),
}


def _lower(sentence: str) -> str:
    """A description as the second half of a sentence: `Such as 90d.` -> `such as 90d`."""
    return (sentence[:1].lower() + sentence[1:]).removesuffix(".")


def field_of(key: Key, root: type[BaseModel] = Config) -> FieldInfo | None:
    """The model's field that `key` names, or None where the model has none."""
    model = _model_at(key[:-1], root)
    return model.model_fields.get(str(key[-1])) if model and key else None


def _known_keys(key: Key, root: type[BaseModel]) -> list[str]:
    model = _model_at(key, root)
    return list(model.model_fields) if model else []


def _model_at(key: Key, root: type[BaseModel]) -> type[BaseModel] | None:
    """The model that describes the map at `key`."""
    kind: Any = root
    for part in key:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            info = kind.model_fields.get(str(part))
            kind = info.annotation if info else None
        else:
            kind = (get_args(kind) or (None,))[-1]
        kind = _bare(kind)
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _bare(kind: Any) -> Any:
    """Without `Annotated` and `| None`."""
    if get_origin(kind) is Annotated:
        return _bare(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return _bare(next(arg for arg in get_args(kind) if arg is not type(None)))
    return kind
