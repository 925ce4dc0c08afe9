"""The flags that all programs of ours that serve have in common."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from exporter.door.listen import Address, address

Option = Callable[[Callable[..., None]], Callable[..., None]]
FILE = click.Path(path_type=Path, dir_okay=False)


class Flags:
    """Options of one command, each of which an environment variable of the same name can give too."""

    def __init__(self, variables: str) -> None:
        """`variables` is what the names of the environment variables begin with."""
        self._variables = variables

    def __call__(self, name: str, *more: str, **options: Any) -> Option:
        """One option."""
        variable = f"{self._variables}_{name.strip('-').replace('.', '_').replace('-', '_').upper()}"
        return click.option(name, *more, envvar=variable, show_envvar=True, **options)

    def config(self) -> Option:
        """Which cluster-ai.yml: `file`."""
        default = Path("cluster-ai.yml")
        return self("--config", "file", type=FILE, default=default, show_default=True, help="The configuration file.")

    def listen(self, help: str) -> Option:
        """Where to serve: `addresses`, none of them when nothing was said."""
        name, callback = "--web.listen-address", _addresses
        return self(name, "addresses", multiple=True, metavar="HOST:PORT", callback=callback, help=help)

    def web_config(self, help: str) -> Option:
        """TLS and passwords: `web_file`."""
        return self("--web.config.file", "web_file", type=FILE, help=help)

    def logs(self) -> Option:
        """What is logged, and how: `level` and `form`, for `exporter.logs.setup`."""
        levels = click.Choice(["debug", "info", "warning", "error"])
        forms = click.Choice(["text", "json"])
        least, people = "Least important lines to log.", "Log lines for people or for machines."
        level = self("--log.level", "level", type=levels, default="info", show_default=True, help=least)
        form = self("--log.format", "form", type=forms, default="text", show_default=True, help=people)
        return lambda command: level(form(command))


def leave_no_core() -> None:
    """Keys and passwords are in this process's memory: it must not land on a disk, should the process ever crash."""
    with contextlib.suppress(OSError, ValueError):  # what cannot be lowered is 0 already
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _addresses(_context: click.Context, _parameter: click.Parameter, value: tuple[str, ...]) -> tuple[Address, ...]:
    try:
        return tuple(map(address, value))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
