"""Finds a Grafana, or gets the official one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from compose.native.fetching import Failures, FetchError, Say, distrust, fetch_release, release_home
from compose.native.places import shown
from compose.native.tools import GRAFANA

HOME_VARIABLE = "GRAFANA_HOME"
# Where packages put it: Debian and RPM packages of Grafana Labs, Homebrew on both kinds of Mac, FreeBSD.
_PACKAGED = (
    "/usr/share/grafana",
    "/opt/homebrew/opt/grafana/share/grafana",
    "/usr/local/opt/grafana/share/grafana",
    "/usr/local/share/grafana",
)
HOW_TO_GET = "install it (https://grafana.com/grafana/download) or set GRAFANA_HOME to an unpacked one"


@dataclass(frozen=True, slots=True)
class Grafana:
    """A Grafana on this machine."""

    home: Path
    """Its pages and defaults."""
    program: Path

    def command(self, config: Path) -> list[str]:
        """How to start its server; `grafana-server` is the older name of `grafana server`."""
        server = [str(self.program)] if self.program.name == "grafana-server" else [str(self.program), "server"]
        return [*server, "--homepath", str(self.home), "--config", str(config)]


def provide(cache: Path, say: Say, *, retry: bool = False) -> Grafana | None:
    """A Grafana; None, after one line on how to get one, when there is none.

    A GRAFANA_HOME that holds none is said and nothing else is looked for: a choice is not replaced in silence.
    """
    if named := os.environ.get(HOME_VARIABLE):
        chosen = _in_home(Path(named))
        if chosen is None:
            say(f"Grafana: {HOME_VARIABLE} is {named}, where bin/grafana or conf/defaults.ini is missing; none runs.")
        return chosen
    found = find(cache)
    if found is not None:
        return found
    if why := distrust(cache):
        say(f"Grafana: none on this machine, going on without. To have its pages, {HOW_TO_GET} ({why}).")
        return None
    failures = Failures(cache)
    if retry:
        failures.forget()
    title = f"grafana {GRAFANA.version}"
    why = failures.recent(title)
    if why is None:
        say(f"Getting the official release of {title} ({GRAFANA.megabytes} MB) into {shown(cache)} ...")
        try:
            fetch_release(GRAFANA, cache, say)
        except FetchError as error:
            failures.add(title, str(error))
            why = str(error)
    if why is not None:
        say(f"Grafana: none on this machine, going on without. To have its pages, {HOW_TO_GET} (download: {why}).")
    return find(cache)


def find(cache: Path) -> Grafana | None:
    """A Grafana from PATH, a package's folder or our cache."""
    return next((found for found in (_in_home(home) for home in _homes(cache)) if found), None)


def _homes(cache: Path) -> Iterator[Path]:
    for name in ("grafana", "grafana-server"):
        if on_path := shutil.which(name):
            yield Path(on_path).resolve().parent.parent
    yield from map(Path, _PACKAGED)
    if not distrust(cache):
        yield release_home(GRAFANA, cache)


def _in_home(home: Path) -> Grafana | None:
    if not (home / "conf/defaults.ini").is_file():
        return None
    for name in ("grafana", "grafana-server"):
        # A package may keep the program outside its home.
        for program in (home / "bin" / name, Path(shutil.which(name) or "/nonexistent"), Path("/usr/sbin") / name):
            if program.is_file() and os.access(program, os.X_OK):
                return Grafana(home.absolute(), program.absolute())
    return None
