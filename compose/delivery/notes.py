"""The notes of one version, out of docs/CHANGELOG.md: `python -m compose.delivery.notes 0.1.0`."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHANGELOG = ROOT / "docs/CHANGELOG.md"


class NoNotesError(Exception):
    """A version that cannot be released; `str()` says why."""


def notes(version: str, changelog: str, built: str) -> str:
    """What the changelog says of a version; `built` is the one that pyproject.toml has.

    Raises NoNotesError when it says nothing, or of another version than is built.
    """
    if version != built:
        raise NoNotesError(f"pyproject.toml says {built}: raise it to {version} before the tag is made")
    for title, text in re.findall(r"^## ([^\s,]+).*\n((?:(?!## ).*\n?)*)", changelog, re.MULTILINE):
        if title == version and text.strip():
            return str(text).strip() + "\n"
    raise NoNotesError(f"docs/CHANGELOG.md says nothing of {version}")


def main() -> None:
    """Prints them; exit code 1 with the reason when there are none."""
    built = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    try:
        sys.stdout.write(notes(sys.argv[1], CHANGELOG.read_text(encoding="utf-8"), built))
    except NoNotesError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
