"""The pages in both themes, held by axe to WCAG 2.1 A and AA in what is ours to choose; runbooks on a phone.

Needs GRAFANA_HOME, Chromium, the package playwright, and axe-core: the file that AXE_CORE names, or npm to get it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from alert_rules.runbooks import panel_id
from tests.compose.running import until
from tests.dashboards.reading import PAGES
from tests.real.browser import chromium, look, signed_in
from tests.real.test_stack import Stack

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]
AXE = "axe-core@4.14.1"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
# Buttons of Grafana's own in a panel's head, such as the one that says that refreshing is paused.
GRAFANAS = frozenset({"button-name"})


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    if "GRAFANA_HOME" not in os.environ:
        pytest.skip("GRAFANA_HOME is not set: there is no Grafana to ask")
    made = Stack(tmp_path_factory.mktemp("accessible"))
    try:
        done = made.up()
        assert done.returncode == 0, done.stdout + done.stderr
        until(lambda: made.value('count(up{job="native"} == 1)') is not None, "workers to be read", seconds=90)
        yield made
    finally:
        made.command("down")


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """axe's script."""
    if "AXE_CORE" in os.environ:
        return Path(os.environ["AXE_CORE"]).read_text()
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no axe-core: set AXE_CORE to its axe.min.js, or install npm")
    folder = tmp_path_factory.mktemp("axe")
    packed = subprocess.run([npm, "pack", AXE], cwd=folder, capture_output=True, text=True, check=False)
    if packed.returncode:
        pytest.skip(f"npm pack {AXE} failed: {packed.stderr.strip()[-300:]}")
    with tarfile.open(folder / packed.stdout.split()[-1]) as archive:
        script = archive.extractfile("package/axe.min.js")
        assert script is not None
        return script.read().decode()


@pytest.fixture
def window(stack: Stack, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The administrator's, of the size that the test's marker names."""
    password = (stack.state.secrets / "grafana-admin-password").read_text().strip()
    url = f"http://127.0.0.1:{stack.ports['grafana']}"
    with chromium() as browser, signed_in(browser, url, "admin", password, request.param) as context:
        yield context


@pytest.mark.parametrize("window", ["desktop"], indirect=True)
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_axe_finds_nothing_that_is_ours_to_choose(theme: str, window: Any, stack: Stack, axe: str) -> None:
    found: dict[str, list[str]] = {}
    for name in PAGES:
        page = window.new_page()
        url = f"http://127.0.0.1:{stack.ports['grafana']}/d/cluster-ai-{name}?theme={theme}&refresh="
        found[name] = look(page, url, [])
        page.evaluate(axe)
        result = page.evaluate("tags => axe.run('[data-viz-panel-key]', {runOnly: tags})", TAGS)
        found[name] += [
            f"{broken['id']}: {node['html'][:120]} {node['failureSummary'][:200]}"
            for broken in result["violations"]
            if broken["id"] not in GRAFANAS
            for node in broken["nodes"]
        ]
        page.close()
    assert found == {name: [] for name in PAGES}


@pytest.mark.parametrize("window", ["phone"], indirect=True)
def test_a_runbook_opens_alone_on_a_phone(window: Any) -> None:
    """As the link in a message does."""
    page = window.new_page()
    page.goto(f"/d/cluster-ai-runbooks/?viewPanel=panel-{panel_id('DaskSchedulerDown')}")
    page.get_by_role("heading", name="Mitigation").wait_for(timeout=60_000)
    assert page.get_by_role("heading", name="Meaning").count() == 1, "one runbook, not all"
    assert not page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
