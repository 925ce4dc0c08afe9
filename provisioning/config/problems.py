"""What is wrong with a `cluster-ai.yml`, said so that it can be mended without a manual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend: where it stands, what is wrong and what was probably meant."""

    line: int
    """Line in the file, from 1; 0 when it concerns the file as a whole."""
    message: str
    hint: str = ""
    key: str = ""
    """The key as people say it: `targets.dask "main": scheduler`."""

    def text(self, file: Path, level: str = "") -> str:
        """`FILE:LINE: LEVEL: KEY: what is wrong; what was meant`, on one line whatever the file holds."""
        where = f"{file}:{self.line}" if self.line else str(file)
        said = f"{self.message}; {self.hint}" if self.hint else self.message
        return printable(": ".join(part for part in (where, level, self.key, said) if part))


class ConfigError(Exception):
    """A `cluster-ai.yml` that cannot be used; `str()` gives one line for each problem."""

    def __init__(self, file: Path, problems: Sequence[Problem]) -> None:
        self.file = file
        self.problems = sorted(problems, key=lambda problem: problem.line)
        super().__init__("\n".join(problem.text(file) for problem in self.problems))


def printable(text: str) -> str:
    """The text with control characters shown as escapes, so that a file cannot paint on a terminal."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def brief(value: object, limit: int = 60) -> str:
    """The value as a person would quote it, cut to a length that fits a message."""
    text = printable(str(value))
    return f'"{text}"' if len(text) <= limit else f'"{text[: limit - 3]}..."'
