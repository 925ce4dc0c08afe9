"""Brings people, teams and folders of the file into Grafana once it answers; a failure is said and ends nothing."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from compose.native.places import shown
from provisioning.config.command import command
from provisioning.config.grafana_checks import ADMINISTRATOR
from provisioning.config.model import Config
from provisioning.config.secrets import SecretError, SecretFile
from provisioning.grafana.api import Api, GrafanaError, NotDoneError
from provisioning.grafana.apply import carry_out, compare, wait_for_pages
from provisioning.grafana.report import Shown
from provisioning.grafana.wanted import wanted
from provisioning.render import make_password

DETACHED = "CLUSTER_AI_DETACHED"
"""Tells a supervisor that its caller waits for its first words only: `terminal`, or `1` where no person reads them."""
DEMO = {"operator": "may silence alerts", "viewer": "may look"}
_PATIENCE = 30.0  # s for Grafana to read its pages


def somebody_reads() -> bool:
    """Whether what is printed goes to a person and not into somebody's log."""
    return sys.stdout.isatty() or os.environ.get(DETACHED) == "terminal"


def demo_people(secrets: Path) -> list[dict[str, str]]:
    """The demo's people, each with a password made now or at an earlier start."""
    made = []
    for name in DEMO:
        file = secrets / f"grafana-{name}-password"
        make_password(file)
        made.append({"name": name, "role": name, "password_file": str(file)})
    return made


@dataclass(frozen=True, slots=True)
class Brought:
    """What to tell people of it."""

    said: list[str]
    """What went wrong; may be kept in a log."""
    private: list[str]
    """First passwords, which may not."""


@dataclass(frozen=True, slots=True)
class People:
    """Who is to be in Grafana."""

    config: Config
    url: str
    administrator: Path
    """The file with the password of Grafana's administrator."""
    demo: bool

    def bring(self, *, watched: bool) -> Brought:
        """Makes Grafana what the file says. `watched`: somebody may still read what is printed."""
        try:
            return self._bring(watched=watched)
        except (GrafanaError, NotDoneError, SecretError) as error:
            why = str(error)
        except Exception:  # noqa: BLE001 -- a mistake of ours here must not end what watches the cluster
            why = traceback.format_exc()
        return Brought([f"  people and teams are not in Grafana: {why}; `{command()} grafana apply` tries again"], [])

    def _bring(self, *, watched: bool) -> Brought:
        passwords = Shown()
        show = passwords.add if watched and somebody_reads() else None
        with Api(self.url, ADMINISTRATOR, SecretFile(self.administrator).read()) as api:
            wait_for_pages(api, self.config.grafana.home, _PATIENCE)
            seen = compare(wanted(self.config), api, show=show)
            refused = carry_out(seen.steps)
        said = [f"  Grafana refused {refusal}" for refusal in refused]
        said += [f"  Grafana: {conflict} (`{command()} grafana apply`)" for conflict in seen.conflicts]
        first_time = any(step.sign == "+" and step.what.startswith("user ") for step in seen.steps)
        demo = self._demo_passwords() if self.demo and first_time else ()
        return Brought(said, [*passwords.lines(), *demo])

    def _demo_passwords(self) -> Iterator[str]:
        yield f"  Sign in to Grafana as one of these; their passwords stay in {shown(self.administrator.parent)}:"
        yield f"    {ADMINISTRATOR:<9} {SecretFile(self.administrator).read()}  may do everything"
        for person in self.config.people:
            if person.password_file is not None:
                yield f"    {person.name:<9} {SecretFile(person.password_file).read()}  {DEMO.get(person.name, '')}"
