"""Paths in an ini file."""

from __future__ import annotations

from pathlib import Path

from provisioning.render.files import RenderError

# Comment signs, quotes, and the signs that Grafana or its ini reader would expand.
_UNSAFE = frozenset(";#%$`\"'\\{}")


def ini_path(path: Path) -> str:
    """The path as it may stand in grafana.ini.

    Raises RenderError when it holds a character that an ini file would not give back as it is.
    """
    text = str(path.absolute())
    bad = sorted({char for char in text if char in _UNSAFE or not char.isprintable()})
    if bad:
        raise RenderError(f"the path {text!r} cannot stand in grafana.ini because of {bad[0]!r}; choose another folder")
    return text
