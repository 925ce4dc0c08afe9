"""What several commands take, and how they end when they cannot do their work."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from provisioning.config.load import ConfigError

DEFAULT_FILE = Path("cluster-ai.yml")
_FAILED = 1
_Command = TypeVar("_Command", bound=Callable[..., Any])


def config_option(meaning: str = "The cluster-ai.yml.", name: str = "config") -> Callable[[_Command], _Command]:
    """`--config FILE`, given to the command as `name`; without it the file of that name in this folder."""
    return click.option(
        "--config", name, type=click.Path(path_type=Path), default=DEFAULT_FILE, show_default=True, help=meaning
    )


@contextmanager
def saying_why(*errors: type[Exception]) -> Iterator[None]:
    """Ends with what is wrong, for people, and exit code 1: of the configuration, or one of these errors."""
    caught: tuple[type[Exception], ...] = (ConfigError, *errors)
    try:
        yield
    except caught as error:
        click.echo(str(error), err=True)
        sys.exit(_FAILED)
