"""Loads a `cluster-ai.yml`: every problem at once, each with its line, and nothing half-loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from provisioning.config.checks import errors_between, warnings_about
from provisioning.config.messages import explain
from provisioning.config.model import Config
from provisioning.config.problems import ConfigError, Problem
from provisioning.config.yaml_file import Document, read

__all__ = ["ConfigError", "Loaded", "Problem", "load", "load_with_warnings"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A valid configuration and what a person should still know about it."""

    config: Config
    warnings: list[Problem]
    document: Document
    """The file itself, so that others can say on which line something stands."""


def load(path: Path) -> Config:
    """The configuration in `path`, with every file path in it made absolute.

    Raises ConfigError with all problems found. Secret files are not looked at: a missing one must not keep the
    rest from being watched (see `load_with_warnings`).
    """
    return load_with_warnings(path).config


def load_with_warnings(path: Path) -> Loaded:
    """Like `load`, with warnings: secrets that cannot be read or that others can, keys not used yet."""
    document = read(path)
    if document.problems:
        raise ConfigError(path, document.problems)
    try:
        config = Config.model_validate(document.data, context={"base": path.absolute().parent})
    except ValidationError as error:
        raise ConfigError(path, explain(error, document)) from None
    problems = errors_between(config, document)
    if problems:
        raise ConfigError(path, problems)
    return Loaded(config, warnings_about(config, document), document)
