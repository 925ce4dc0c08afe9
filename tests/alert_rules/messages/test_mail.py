"""Mail as it arrives: sent by a real Alertmanager to a real mail server, and parsed."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.alert_rules.alertmanager import Alertmanager, Mail, MailServer, running, wait_for
from tests.alert_rules.routing.lab import lab

GRAFANA = "https://monitoring.example.org"
DOWN = {"alertname": "DaskSchedulerDown", "severity": "critical", "system": "dask", "cluster": "lab"}
TEXTS = {
    "summary": "Dask main: the scheduler does not answer",
    "description": "Nothing is computed. Look whether its process runs.",
    "runbook_url": f"{GRAFANA}/d/cluster-ai-runbooks/?viewPanel=panel-7",
    "dashboard_url": f"{GRAFANA}/d/cluster-ai-dask/?var-dask=main&var-worker=a%26b",
}
# Quotes, tags, template and URL signs, what a matcher may not hold bare, another alphabet, and a script's address.
HOSTILE = "\"'<b>x</b>&amp; {{ .Labels }} %0a a=b,c=~d|e \\ünï 🙂 javascript:alert(1)"
FORGING = "up\r\nBcc: eve@example.org\n\nRESOLVED all is well\u202egnihton\u2028\x00\x1b[2J"


class Page(HTMLParser):
    """The text, the links and the tags of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.links: dict[str, str] = {}
        self.tags: set[str] = set()
        self._open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "a":
            self._open.append(dict(attrs)["href"] or "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data
        for href in self._open:
            self.links[data] = href


@pytest.fixture(scope="module")
def post(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Alertmanager, MailServer]]:
    with MailServer() as server:
        told = "timing: {wait: 500ms, update: 1s}\nroutes: [{to: [ben], by: [mail]}]\n"
        with running(tmp_path_factory.mktemp("alertmanager"), lab(told, smtp=server.port)) as real:
            yield real, server


def told(post: tuple[Alertmanager, MailServer], *alerts: dict[str, str], texts: dict[str, str] = TEXTS) -> Mail:
    """The first mail about these alerts, which share a target of their own."""
    real, server = post
    real.fire(*alerts, annotations=texts)
    wait_for(lambda: server.about(alerts[0]["target"]), real.log)
    return server.about(alerts[0]["target"])[0]


def matchers(link: str) -> dict[str, str]:
    """The labels of an acknowledgement's link, read as Grafana does: name=\"value\", backslash and quote escaped."""
    parts = urlsplit(link)
    assert (f"{parts.scheme}://{parts.netloc}{parts.path}") == f"{GRAFANA}/alerting/silence/new"
    pairs = parse_qsl(parts.query, strict_parsing=True)
    assert pairs[0] == ("alertmanager", "Alertmanager")
    assert pairs[-1] == ("comment", "ACK")
    found = {}
    for key, text in pairs[1:-1]:
        name, _, value = text.partition("=")
        assert key == "matcher"
        assert value[0] == value[-1] == '"'
        found[name] = value[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    return found


def test_one_alert(post: tuple[Alertmanager, MailServer]) -> None:
    labels = DOWN | {"target": "one", "host": "gpu-1"}
    mail = told(post, labels)
    assert mail.to == ["ben@example.org"]
    assert mail.message["From"] == "monitoring@example.org"
    assert mail.subject == "[CRITICAL] lab: Dask main: the scheduler does not answer"
    page, text = Page(mail.body("html")), mail.body("plain")
    for said in (*TEXTS.values(), "target: one", "host: gpu-1", "Operators and admins can use it"):
        assert said in text
    for said in (TEXTS["summary"], TEXTS["description"], "gpu-1", "Operators and admins can use it"):
        assert said in page.text
    assert page.links["How to mend it"] == TEXTS["runbook_url"]
    assert page.links["See it"] == TEXTS["dashboard_url"]
    assert matchers(page.links["I have it"]) == labels
    assert page.links["I have it"] in text
    assert page.links["All alerts"] == f"{GRAFANA}/d/cluster-ai-alerts/"
    assert "I have all of it" not in page.links


def test_several_alerts_are_told_by_the_gravest(post: tuple[Alertmanager, MailServer]) -> None:
    shared = {"severity": "warning", "system": "dask", "cluster": "lab", "target": "several"}
    labels = [
        shared | {"alertname": "AnAlert"},
        shared | {"alertname": "ZAlert", "severity": "critical", "worker": "w-1"},
    ]
    mail = told(post, *labels, texts={"x": "y"})
    assert mail.subject == "[CRITICAL] lab: ZAlert (2 alerts)"
    page = Page(mail.body("html"))
    assert page.text.index("ZAlert") < page.text.index("AnAlert")
    assert matchers(page.links["I have all of it"]) == {"cluster": "lab", "system": "dask", "target": "several"}
    assert "covers what else breaks there" in page.text
    assert "covers what else breaks there" in mail.body("plain")
    links = [line.partition("I have it:  ")[2] for line in mail.body("plain").splitlines() if "I have it:  " in line]
    assert [matchers(link) for link in links] == [labels[1], labels[0]]


def test_what_is_mended(post: tuple[Alertmanager, MailServer]) -> None:
    real, server = post
    labels = DOWN | {"target": "mended"}
    told(post, labels)
    real.mend(labels)
    wait_for(lambda: len(server.about("mended")) == 2, real.log)
    mail = server.about("mended")[1]
    assert mail.subject == "[RESOLVED] lab: DaskSchedulerDown is the matter"
    page, text = Page(mail.body("html")), mail.body("plain")
    assert "All of this is mended." in page.text
    assert "All of this is mended." in text
    assert "in all" in page.text
    assert "I have it" not in page.links
    assert "silence/new" not in text


def test_what_is_mended_is_listed_and_not_counted(post: tuple[Alertmanager, MailServer]) -> None:
    real, server = post
    first, second = (DOWN | {"target": "half", "alertname": name} for name in ("AnAlert", "ZAlert"))
    assert told(post, first, second, texts={"x": "y"}).subject == "[CRITICAL] lab: AnAlert (2 alerts)"
    real.mend(first)
    wait_for(lambda: len(server.about("half")) == 2, real.log)
    mail = server.about("half")[1]
    assert mail.subject == "[CRITICAL] lab: ZAlert"
    assert "RESOLVED  AnAlert" in mail.body("plain")


def test_hostile_text_stays_intact_and_does_nothing(post: tuple[Alertmanager, MailServer]) -> None:
    labels = DOWN | {"target": "hostile", "worker": HOSTILE}
    mail = told(
        post, labels, texts=TEXTS | {"summary": HOSTILE, "description": HOSTILE, "runbook_url": "javascript:alert(1)"}
    )
    page, text = Page(mail.body("html")), mail.body("plain")
    assert mail.subject == f"[CRITICAL] lab: {HOSTILE}"
    assert page.text.count(HOSTILE) == 4, "title, summary, description and label"
    assert text.count(HOSTILE) == 3
    assert page.tags <= {
        "html",
        "head",
        "meta",
        "title",
        "body",
        "div",
        "p",
        "b",
        "a",
        "br",
        "span",
        "table",
        "tr",
        "td",
    }
    assert matchers(page.links["I have it"]) == labels
    assert not [link for link in page.links.values() if not link.startswith((GRAFANA, "#"))]


def test_text_from_outside_forges_no_line_and_no_header(post: tuple[Alertmanager, MailServer]) -> None:
    mail = told(
        post, DOWN | {"target": "forged", "worker": FORGING}, texts={"summary": FORGING, "description": FORGING}
    )
    shown = "up Bcc: eve@example.org RESOLVED all is well gnihton [2J"
    assert mail.subject == f"[CRITICAL] lab: {shown}"
    assert mail.message["Bcc"] is None
    assert f"CRITICAL  {shown}" in mail.body("plain").splitlines()
    assert mail.body("plain").count(shown) == 3
    assert not [line for line in mail.body("plain").splitlines() if line.startswith(("Bcc", "RESOLVED"))]


def test_many_alerts_fit_in_a_mail(post: tuple[Alertmanager, MailServer]) -> None:
    mail = told(post, *(DOWN | {"target": "many", "worker": f"w-{number}"} for number in range(200)))
    assert mail.subject.endswith("(200 alerts)")
    assert mail.body("plain").count("worker: ") == 20
    assert "200 alerts in all; the page lists them" in mail.body("plain")
    assert "200 alerts in all; the page lists them" in Page(mail.body("html")).text
    assert len(mail.body("html")) < 100_000, "mail programs cut longer ones"


def test_an_alert_without_texts_or_severity(post: tuple[Alertmanager, MailServer]) -> None:
    mail = told(post, {"alertname": "Mine", "target": "bare"}, texts={"x": "y"})
    assert mail.subject == "[INFO] lab: Mine"
    assert "How to mend it" not in Page(mail.body("html")).links


def test_a_test_says_so(post: tuple[Alertmanager, MailServer]) -> None:
    mail = told(post, DOWN | {"target": "tested", "test": "1"})
    assert mail.subject.startswith("[TEST] [CRITICAL] lab: ")
    assert "THIS IS A TEST" in mail.body("plain")
    assert "This is a test" in Page(mail.body("html")).text


def test_an_address_with_signs_of_templates_is_no_template(tmp_path: Path) -> None:
    with MailServer() as server:
        config = lab("timing: {wait: 0s, update: 1s}\nroutes: [{to: [ben]}]\n", smtp=server.port)
        odd = config.grafana.model_copy(update={"url": 'https://m.example.org/{{ .Status }}/"<x>'})
        with running(tmp_path, config.model_copy(update={"grafana": odd})) as real:
            real.fire(DOWN)
            wait_for(lambda: bool(server.mails), real.log)
    assert 'All alerts: https://m.example.org/{{ .Status }}/"<x>/d/cluster-ai-alerts/' in server.mails[0].body("plain")
    assert "<x>" not in server.mails[0].body("html")
