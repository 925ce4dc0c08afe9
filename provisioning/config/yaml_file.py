"""Reads YAML into plain data and remembers the line of every key and value.

Only plain maps, lists and scalars: no tags, no duplicate keys, and bounds on size, depth and what aliases unfold to.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from provisioning.config.problems import Problem, brief

Key = tuple[str | int, ...]

MAX_BYTES = 1 << 20
MAX_NODES = 50_000
MAX_DEPTH = 20

_PREFIX = "tag:yaml.org,2002:"
_PLAIN = frozenset({"null", "bool", "int", "float", "str"})
_SYNTAX = (
    # what PyYAML says, what is wrong, what was meant
    ("'\\t' that cannot start", "a tab is used for indentation", "YAML wants spaces there"),
    (
        "mapping values are not allowed",
        "a ':' where no key can be",
        "check the indentation, or put the value in quotes",
    ),
    ("could not find expected ':'", "a key without its ':'", "write it as `key: value`"),
    ("expected <block end>", "the indentation does not match the lines above", "line keys up with their neighbours"),
    (
        "expected ',' or",
        "a list or map in brackets is not closed",
        "add the missing ] or } or the comma between entries",
    ),
    ("unexpected end of stream", "a quote is never closed", "add the missing quote"),
    ("undefined alias", "an alias (*name) without its anchor (&name)", "put the value in quotes if no alias was meant"),
    ("cannot start any token", "a character that cannot start a value", "put the value in quotes"),
    ("expected alphabetic or numeric", "an alias (*) or anchor (&) without a name", "put the value in quotes"),
    ("but found another document", "a second document begins here (---)", "keep one document in the file"),
    ("duplicate anchor", "an anchor (&name) is defined twice", "give each anchor its own name"),
    ("found undefined tag handle", "tags (!name) are not used here", "take the tag away"),
)


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a value stands and how it was written (scalars only)."""

    line: int
    raw: str | None = None


@dataclass(slots=True)
class Document:
    """A parsed file: plain data, the mark of every path in it, and what was wrong."""

    data: Any = None
    marks: dict[Key, Mark] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line_of(self, key: Key) -> int:
        """Line of the deepest part of `key` that is in the file."""
        while key and key not in self.marks:
            key = key[:-1]
        mark = self.marks.get(key)
        return mark.line if mark else 1


def read(path: Path) -> Document:
    """Parses a file; whatever is wrong with it is in `problems`, and then `data` is not to be used."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return _failed(0, "there is no such file", "give the path of yours, or begin one with `cluster-ai init`")
    except IsADirectoryError:
        return _failed(0, "this is a directory", "give the path of the cluster-ai.yml in it")
    except OSError as error:
        return _failed(0, f"the file cannot be read: {error.strerror}")
    if len(raw) > MAX_BYTES:
        return _failed(0, "the file is larger than 1 MiB", "this is not a cluster-ai.yml")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return _failed(raw.count(b"\n", 0, error.start) + 1, "this is not UTF-8 text", "save the file as UTF-8")
    return parse(text)


def parse(text: str) -> Document:
    """Parses YAML text; see `read`."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        return _failed(line, f"the character U+{ord(text[error.position]):04X} is not allowed here", "take it away")
    except yaml.MarkedYAMLError as error:
        return _syntax_error(error)
    except RecursionError:
        return _failed(1, "lists and maps are nested too deeply", f"{MAX_DEPTH} levels are the most")
    if root is None:
        return _failed(0, "the file is empty", "begin with `targets:`; `cluster-ai schema` describes every key")
    reader = _Reader()
    reader.document.data = reader.value(root, ())
    return reader.document


def _failed(line: int, message: str, hint: str = "") -> Document:
    return Document(problems=[Problem(line, message, hint)])


def _syntax_error(error: yaml.MarkedYAMLError) -> Document:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    said = error.problem or error.context or "it cannot be parsed"
    for words, message, hint in _SYNTAX:
        if words in said:
            return _failed(line, message, hint)
    return _failed(line, f"this is not YAML: {said}", "put values with special characters in quotes")


class _TooMuchError(Exception):
    """The file unfolds to more than any configuration needs."""


class _Reader:
    """Turns composed nodes into plain data, noting marks and problems."""

    def __init__(self) -> None:
        self.document = Document()
        self._nodes = 0
        self._scalars = yaml.constructor.SafeConstructor()

    def value(self, node: yaml.Node, key: Key, line: int | None = None) -> Any:
        """Plain data of one node; stops quietly once the file has proved to be too much."""
        try:
            return self._value(node, key, line)
        except _TooMuchError as error:
            self._wrong(node, str(error), "this is not what a cluster-ai.yml looks like; use no aliases (*name)")
            return None

    def _value(self, node: yaml.Node, key: Key, line: int | None = None) -> Any:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise _TooMuchError(f"the file unfolds to more than {MAX_NODES} values")
        if len(key) > MAX_DEPTH:
            raise _TooMuchError(f"lists and maps are nested more than {MAX_DEPTH} levels deep")
        line = line or node.start_mark.line + 1
        if isinstance(node, yaml.ScalarNode):
            self.document.marks[key] = Mark(line, node.value)
            return self._scalar(node)
        self.document.marks[key] = Mark(line)
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_PREFIX}map":
            return self._map(node, key)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_PREFIX}seq":
            return [self._value(item, (*key, index)) for index, item in enumerate(node.value)]
        return self._tagged(node)

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        kind = node.tag.removeprefix(_PREFIX)
        if kind in ("timestamp", "value", "merge"):  # YAML 1.1 sees a date or `=`; here it is what was written
            return node.value
        if kind not in _PLAIN or not node.tag.startswith(_PREFIX):
            return self._tagged(node)
        if kind in ("int", "float") and ":" in node.value:  # YAML 1.1 reads 1:30 as ninety
            return node.value
        try:
            return self._scalars.construct_object(node)
        except (ValueError, KeyError, yaml.YAMLError):
            self._wrong(node, f"{brief(node.value)} cannot be read as a value", "put it in quotes if it is text")
            return None

    def _map(self, node: yaml.MappingNode, key: Key) -> dict[str, Any]:
        found: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for name_node, value_node in node.value:  # merged keys first, so that the map's own replace them
            if name_node.tag == f"{_PREFIX}merge":
                self._merge(value_node, key, found)
        for name_node, value_node in node.value:
            line = name_node.start_mark.line + 1
            if name_node.tag == f"{_PREFIX}merge":
                continue
            if not isinstance(name_node, yaml.ScalarNode) or name_node.tag == f"{_PREFIX}null":
                self._wrong(name_node, "a key must be a plain word", "write it as `key: value`")
            elif name_node.value in lines:
                first = lines[name_node.value]
                self._wrong(
                    name_node, f"the key {brief(name_node.value)} is given twice", f"the first is on line {first}"
                )
            else:
                lines[name_node.value] = line
                found[name_node.value] = self._value(value_node, (*key, name_node.value), line)
        return found

    def _merge(self, node: yaml.Node, key: Key, found: dict[str, Any]) -> None:
        """`<<: *defaults` and `<<: [*first, *second]`, where the first wins."""
        for source in reversed(node.value) if isinstance(node, yaml.SequenceNode) else [node]:
            self._nodes += 1
            if isinstance(source, yaml.MappingNode):
                found.update(self._map(source, key))
            else:
                self._wrong(source, "`<<` takes a map", "give it an alias (*name) of a map")

    def _tagged(self, node: yaml.Node) -> None:
        tag = node.tag.replace(_PREFIX, "!!")
        self._wrong(node, f"tags such as {tag} are not used here", "write the plain value")

    def _wrong(self, node: yaml.Node, message: str, hint: str) -> None:
        self.document.problems.append(Problem(node.start_mark.line + 1, message, hint))
