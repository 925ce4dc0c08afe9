"""From the mail to the silence: a real Alertmanager's mail, its link in a real Grafana, on a phone.

Needs GRAFANA_HOME, Chromium and the package playwright.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from provisioning.config.model import Config
from tests.alert_rules.alertmanager import Alertmanager, MailServer, wait_for
from tests.alert_rules.alertmanager import running as alertmanager
from tests.alert_rules.messages.test_mail import HOSTILE, Page
from tests.alert_rules.routing.lab import lab
from tests.ports import free_port
from tests.real.browser import chromium, signed_in
from tests.real.grafana_server import GrafanaServer, home
from tests.real.grafana_server import running as grafana

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]
DOWN = {"alertname": "DaskSchedulerDown", "severity": "critical", "system": "dask", "cluster": "lab"}
QUICK = "timing: {wait: 500ms, update: 1s}\nroutes: [{to: [ben], by: [mail]}]\n"


@dataclass
class Scene:
    mail: MailServer
    alertmanager: Alertmanager
    grafana: GrafanaServer
    pages: Any

    def told(self, *alerts: dict[str, str]) -> Page:
        self.alertmanager.fire(*alerts)
        wait_for(lambda: self.mail.about(alerts[0]["target"]), self.alertmanager.log)
        return Page(self.mail.about(alerts[0]["target"])[0].body("html"))

    def save(self, link: str) -> dict[str, Any]:
        """Opens the link, presses the button, and gives the silence that came of it."""
        before = {silence["id"] for silence in self.alertmanager.silences()}
        page = self.pages.new_page()
        page.goto(link, wait_until="domcontentloaded")
        page.get_by_role("button", name="Save silence").click()
        made: list[dict[str, Any]] = []

        def new() -> bool:
            made[:] = [silence for silence in self.alertmanager.silences() if silence["id"] not in before]
            return bool(made)

        wait_for(new, lambda: page.inner_text("body"))
        page.close()
        return made[0]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    home()
    with contextlib.ExitStack() as open_now:
        mail, browser = open_now.enter_context(MailServer()), open_now.enter_context(chromium())
        config = _moved(lab(QUICK, smtp=mail.port))
        folder = tmp_path_factory.mktemp("alertmanager")
        port = int(config.services.alertmanager.rpartition(":")[2])
        real = open_now.enter_context(alertmanager(folder, config, port=port))
        server = open_now.enter_context(grafana(tmp_path_factory.mktemp("grafana"), config))
        pages = open_now.enter_context(signed_in(browser, server.url, "admin", server.password, "phone"))
        yield Scene(mail, real, server, pages)


def _moved(config: Config) -> Config:
    """Grafana and Alertmanager where nobody else listens, and links that lead to this Grafana."""
    listen = {"grafana": f"127.0.0.1:{free_port()}", "alertmanager": f"127.0.0.1:{free_port()}"}
    services = config.services.model_copy(update=listen)
    here = config.grafana.model_copy(update={"url": f"http://{listen['grafana']}"})
    return config.model_copy(update={"services": services, "grafana": here})


def exact(labels: dict[str, str]) -> list[tuple[str, str, bool, bool]]:
    return sorted((name, value, True, False) for name, value in labels.items())


def matchers(silence: dict[str, Any]) -> list[tuple[str, str, bool, bool]]:
    return sorted((found["name"], found["value"], found["isEqual"], found["isRegex"]) for found in silence["matchers"])


@pytest.mark.parametrize("worker", ["tcp://10.0.0.5:41234", HOSTILE], ids=["plain", "hostile"])
def test_one_alert(scene: Scene, worker: str) -> None:
    labels = DOWN | {"target": f"one-{len(worker)}", "worker": worker}
    silence = scene.save(scene.told(labels).links["I have it"])
    assert matchers(silence) == exact(labels)
    assert (silence["createdBy"], silence["comment"]) == ("admin", "ACK")
    wait_for(lambda: labels["target"] in scene.alertmanager.silenced(), scene.alertmanager.log)


def test_all_of_an_incident(scene: Scene) -> None:
    several = [DOWN | {"target": "several", "alertname": name} for name in ("DaskNoWorkers", "DaskManyWorkersLost")]
    several.append(DOWN | {"target": "several", "alertname": "DaskTasksFailing", "severity": "warning"})
    silence = scene.save(scene.told(*several).links["I have all of it"])
    assert matchers(silence) == exact({"cluster": "lab", "system": "dask", "target": "several"})
