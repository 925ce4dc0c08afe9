"""Finds the stack's programs, or gets them: PATH, our cache, Debian's packages, the official releases."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import click

from compose.native import debian
from compose.native.fetching import Failures, FetchError, Say, distrust, fetch_release, release_home
from compose.native.places import default_cache_dir, shown
from compose.native.tools import TOOLS, Tool

_VERSION = re.compile(r"version v?(\d+)\.(\d+)")


def find(name: str, cache: Path) -> Path | None:
    """A program that is on this machine already; None when there is none that is new enough."""
    tool = TOOLS[name]
    for candidate in tool.names:
        on_path = shutil.which(candidate)
        if on_path and _new_enough(Path(on_path), tool):
            return Path(on_path)
    if distrust(cache):
        return None
    unpacked = debian.find(name, tool.package, cache)
    if unpacked is not None:
        return unpacked
    released = release_home(tool.release, cache) / name
    return released if released.exists() else None


def provide(names: Iterable[str], cache: Path, say: Say, *, retry: bool = False) -> dict[str, Path | None]:
    """The programs, after getting those that are missing; None for one that cannot be had.

    Every attempt to get something is announced with `say`. What failed lately is not tried again unless `retry`.
    """
    wanted = list(names)
    if why := distrust(cache):
        say(f"{why}.")
        return {name: find(name, cache) for name in wanted}
    failures = Failures(cache)
    if retry:
        failures.forget()
    for source in (_from_debian, _from_releases):
        missing = [TOOLS[name] for name in wanted if find(name, cache) is None]
        if missing:
            source(missing, cache, failures, say)
    return {name: find(name, cache) for name in wanted}


def _from_debian(missing: list[Tool], cache: Path, failures: Failures, say: Say) -> None:
    if not debian.available():
        return
    packages = {tool.package.name: tool.package for tool in missing}
    title = ", ".join(packages)
    key = f"debian {title}"
    if why := failures.recent(key):
        say(f"Debian's packages {title} could not be had: {why}.")
        return
    say(f"Getting {title} from Debian's packages: unpacked into {shown(cache)}, nothing is installed ...")
    try:
        debian.fetch(packages.values(), cache, say)
    except FetchError as error:
        failures.add(key, str(error))
        say(f"  not there: {error}")


def _from_releases(missing: list[Tool], cache: Path, failures: Failures, say: Say) -> None:
    for release in {tool.release.name: tool.release for tool in missing}.values():
        title = f"{release.name} {release.version}"
        if why := failures.recent(title):
            say(f"The official release of {title} could not be had: {why}.")
            continue
        say(f"Getting the official release of {title} ({release.megabytes} MB) into {shown(cache)} ...")
        try:
            fetch_release(release, cache, say)
        except FetchError as error:
            failures.add(title, str(error))
            say(f"  not there: {error}")


def _new_enough(path: Path, tool: Tool) -> bool:
    """Whether the program says it is a version that we work with; one that says nothing of the kind is not it."""
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    said = _VERSION.search(done.stdout + done.stderr)  # node_exporter 1.5 speaks on standard error
    return said is not None and (int(said[1]), int(said[2])) >= tool.oldest


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(TOOLS)))
@click.option("--links", type=click.Path(path_type=Path, file_okay=False), help="Folder to put links to them in.")
@click.option("--retry", is_flag=True, help="Try downloads again that failed lately.")
def main(names: tuple[str, ...], links: Path | None, *, retry: bool) -> None:
    """Find or fetch the programs NAMES (all without any), for tests and scripts. Exit code 1 when one is missing."""
    found = provide(names or TOOLS, default_cache_dir(), click.echo, retry=retry)
    for name, path in found.items():
        if path is None:
            click.echo(f"{name} is missing and could not be fetched; put one on PATH", err=True)
        elif links is None:
            click.echo(path)
        else:
            _link(links.absolute() / name, path)
    sys.exit(None in found.values())


def _link(link: Path, program: Path) -> None:
    if program == link:  # it was found through the link itself
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    partial = link.with_name(f".{link.name}.new")
    partial.unlink(missing_ok=True)
    partial.symlink_to(program)
    partial.replace(link)


if __name__ == "__main__":
    main()
