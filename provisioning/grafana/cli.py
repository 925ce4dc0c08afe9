"""`cluster-ai grafana`: makes a running Grafana what `cluster-ai.yml` says."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from compose.native import record
from compose.native.places import State, default_state_dir, shown
from provisioning.config.addresses import dial_address
from provisioning.config.grafana_checks import ADMINISTRATOR
from provisioning.config.load import ConfigError, load
from provisioning.config.model import Config
from provisioning.config.secrets import SecretError, SecretFile
from provisioning.grafana import apply as applying
from provisioning.grafana.api import Api, GrafanaError, NotDoneError
from provisioning.grafana.passwords import new_password, weakness
from provisioning.grafana.report import Shown, after, before
from provisioning.grafana.wanted import wanted

_FAILED = 1
_DIFFERS = 3
_PATIENCE = 3.0  # s for pages to come after a start
_OWN_FILE = Path("cluster-ai.yml")

_options = (
    click.option(
        "--config",
        type=click.Path(path_type=Path),
        help="The cluster-ai.yml.  [./cluster-ai.yml; without one, the file of what runs]",
    ),
    click.option("--url", help="Where Grafana answers.  [the one that runs, else services.grafana of the file]"),
    click.option(
        "--password-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="File with the password of Grafana's administrator.  [STATE/secrets/grafana-admin-password]",
    ),
    click.option("--login", default=ADMINISTRATOR, show_default=True, help="Grafana's administrator."),
    click.option(
        "--state-dir",
        type=click.Path(path_type=Path, file_okay=False),
        help="Where `cluster-ai up` keeps everything.  [$CLUSTER_AI_STATE_DIR, else ~/.local/state/cluster-ai]",
    ),
)


@click.group()
def grafana() -> None:
    """Bring people, teams, folders and service accounts of cluster-ai.yml into Grafana."""


def _asks_grafana(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_options):
        command = option(command)
    return command


@grafana.command()
@_asks_grafana
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--adopt", is_flag=True, help="Take over users, teams and service accounts of the same name.")
@click.option("--show-passwords", is_flag=True, help="Print first passwords also where the output is no terminal.")
def apply(*, dry_run: bool, adopt: bool, show_passwords: bool, **options: Any) -> None:
    """Make Grafana what cluster-ai.yml says: users, teams, folders, service accounts, preferences.

    What is to change is shown first. What does not come from the file is left as it is and named. A second time
    changes nothing. First passwords are shown once, in a terminal, unless the file names files with them.

    Exit code 0 when Grafana is as the file says, 1 when something was refused, stands in the way or does not answer,
    3 when `--dry-run` found changes.
    """
    with _saying_why():
        there = _There(**options)
        file, here = there.configuration()
        passwords = Shown()
        with there.api(here) as api:
            asked = wanted(here)
            applying.wait_for_pages(api, here.grafana.home, 0 if dry_run else _PATIENCE)
            show = passwords.add if show_passwords or sys.stdout.isatty() else None
            seen = applying.compare(asked, api, adopt=adopt, show=show)
            _say(before(seen, file))
            if dry_run:
                sys.exit(_FAILED if seen.conflicts else _DIFFERS if seen.steps else 0)
            try:
                refused = applying.carry_out(seen.steps)
            finally:  # a user whose password nobody saw would be of no use
                _say(passwords.lines())
        _say(after(seen, refused))
    sys.exit(_FAILED if refused or seen.conflicts else 0)


@grafana.command()
@click.argument("name")
@_asks_grafana
def password(name: str, **options: Any) -> None:
    """Give NAME, somebody of cluster-ai.yml, a new password, shown once; ends their sessions."""
    with _saying_why():
        there = _There(**options)
        _, here = there.configuration()
        if name.lower() not in {person.login for person in wanted(here).people}:
            raise NotDoneError(f"{name} is not among the people of the file")
        made = new_password()
        with there.api(here) as api:
            found = [row["userId"] for row in api.users() if row["login"].lower() == name.lower()]
            if not found:
                raise NotDoneError(f"{name} has no user in Grafana yet; `cluster-ai grafana apply` makes one")
            api.set_password(found[0], made)
            api.sign_out(found[0])
    passwords = Shown()
    passwords.add(name.lower(), made)
    _say(passwords.lines())


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)


@contextmanager
def _saying_why() -> Iterator[None]:
    """Ends with one line on what is wrong in place of a traceback."""
    try:
        yield
    except (ConfigError, GrafanaError, NotDoneError, SecretError) as error:
        click.echo(str(error), err=True)
        sys.exit(_FAILED)


@dataclass(frozen=True, slots=True)
class _There:
    """What the options say of the file and of Grafana."""

    config: Path | None
    url: str | None
    password_file: Path | None
    login: str
    state_dir: Path | None

    def configuration(self) -> tuple[Path, Config]:
        """The file and what is in it. Raises ConfigError."""
        running = record.read(self._state).config
        file = self.config or (_OWN_FILE if _OWN_FILE.exists() or not running else Path(running))
        return file, load(file)

    def api(self, config: Config) -> Api:
        """Grafana, asked as its administrator. Raises SecretError and NotDoneError."""
        service = record.read(self._state).service("grafana")
        url = self.url or (service and service.url) or f"http://{dial_address(config.services.grafana)}"
        file = self.password_file or self._state.secrets / "grafana-admin-password"
        kept = SecretFile(file).read()
        weak = weakness(kept, self.login)
        if weak is not None:
            raise NotDoneError(f"the password in {shown(file)} is not used: {weak}; change it in Grafana and there")
        host = urlsplit(config.grafana_url).hostname if config.production else None
        return Api(url, self.login, kept, host=host)

    @property
    def _state(self) -> State:
        return State((self.state_dir or default_state_dir()).absolute())
