"""Compares a Grafana with `cluster-ai.yml`, and makes it what the file says."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from provisioning.config.secrets import SecretError
from provisioning.grafana import accounts, folders, people, preferences, teams
from provisioning.grafana.api import Api, NotDoneError
from provisioning.grafana.steps import Comparison, Step
from provisioning.grafana.wanted import Wanted

_PAUSE = 0.2  # s


@dataclass(frozen=True, slots=True)
class Refusal:
    """A step that could not be made, and why."""

    step: Step
    reason: str

    def __str__(self) -> str:
        return f"{self.step.what}: {self.reason}"


def compare(
    wanted: Wanted, api: Api, *, adopt: bool = False, show: Callable[[str, str], None] | None = None
) -> Comparison:
    """What is to change, in the order in which it can be. Changes nothing.

    Raises GrafanaError or RefusedError when Grafana does not let itself be read.
    """
    seen = Comparison(api, adopt=adopt, show=show)
    present = api.teams()
    people.compare(wanted, seen, teams.marked(present, seen))
    teams.compare(wanted, present, seen)
    accounts.compare(wanted, seen)
    folders.compare(wanted, seen)
    preferences.compare(wanted, seen)
    return seen


def carry_out(steps: list[Step]) -> list[Refusal]:
    """Makes the changes, each whatever became of the others, and returns those that Grafana refused.

    Raises GrafanaError when Grafana is gone.
    """
    refused = []
    for step in steps:
        try:
            step.run()
        except (NotDoneError, SecretError) as error:
            refused.append(Refusal(step, str(error)))
        except OSError as error:
            refused.append(Refusal(step, f"{error.filename}: {error.strerror}"))
    return refused


def wait_for_pages(api: Api, uid: str, patience: float) -> None:
    """Gives a Grafana that has just started time to read its pages; returns once this one is there or time is up."""
    until = time.monotonic() + patience
    while api.page(uid) is None and time.monotonic() < until:
        time.sleep(_PAUSE)
