"""How long Grafana's pages take to be drawn in Chromium, beside a page of one panel in the same Grafana and run."""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.table import Row, Table
from dashboards.build import HOME
from provisioning.config.load import load
from tests.dashboards.reading import PAGES
from tests.ports import free_port
from tests.real.browser import chromium, signed_in
from tests.real.grafana_server import GrafanaServer, running

_WARMING, _TIMES = 3, 5  # a browser keeps what it has compiled only after a page's second or third time
_INSIDE, _OF_ONE = 2.0, 1.6  # s; warm reloads, of the one-panel page's
_ONE = "benchmark-one-panel"
_CONFIG = """\
targets: {{}}
services: {{prometheus: "127.0.0.1:{prometheus}", grafana: "127.0.0.1:{grafana}"}}
"""

# Counts what is asked and not answered; on each page before Grafana's own scripts.
_COUNT = """
window.unanswered = 0;
const ask = window.fetch;
window.fetch = async (...asked) => {
  const data = String(asked[0]?.url ?? asked[0]).includes('/api/ds/query');
  window.unanswered += data;
  try { return await ask(...asked) } finally { window.unanswered -= data }
};
"""
# When the last panel of the first screen was there, in ms since `begun`; looks at every frame until it stays so.
_DRAWN = """
({path, titles, begun}) => new Promise((resolve, reject) => {
  let since = null;
  const look = () => {
    const now = performance.now();
    if (now - begun > 60000) return reject(new Error('never drawn: ' + path));
    const panels = [...document.querySelectorAll('[data-viz-panel-key]')].filter(panel => {
      const place = panel.getBoundingClientRect();
      return place.height > 0 && place.top < innerHeight && place.bottom > 0;
    });
    const there = panels.map(panel => panel.querySelector('h2')?.title ?? '');
    const whole = location.pathname.startsWith(path) && titles.every(title => there.includes(title))
      && window.unanswered === 0 && panels.every(panel => {
        const content = panel.querySelector('[data-testid="data-testid panel content"]');
        return content && (content.innerText.trim() || content.querySelector('canvas'));
      });
    if (!whole) since = null;
    else if (since === null) since = now;
    else if (now - since > 400) return resolve(since - begun);
    requestAnimationFrame(look);
  };
  look();
})
"""
# A link of Grafana's own kind, clicked: it goes there without loading anew.
_GO = """
url => {
  const link = Object.assign(document.createElement('a'), {href: url});
  document.body.append(link);
  const begun = performance.now();
  link.click();
  link.remove();
  return begun;
}
"""


def measure(prometheus: int, end: int) -> Table:
    """Each page with the history that `prometheus`, a port, has up to `end`; a word instead where that cannot be."""
    title = "Pages in Chromium, drawn to the last panel of the first screen at 1600x900"
    if "GRAFANA_HOME" not in os.environ:
        return Table(title, [Row("skipped: GRAFANA_HOME is not set", "")])
    try:
        with tempfile.TemporaryDirectory() as folder, chromium() as browser:
            file = Path(folder) / "cluster-ai.yml"
            file.write_text(_CONFIG.format(prometheus=prometheus, grafana=free_port()))
            with running(Path(folder) / "stack", load(file)) as grafana:
                _make_one(grafana)
                with signed_in(browser, grafana.url, "admin", grafana.password) as context:
                    context.add_init_script(_COUNT)
                    return Table(title, _rows(context.new_page(), end))
    except pytest.skip.Exception as missing:
        return Table(title, [Row(f"skipped: {missing}", "")])


def _rows(window: Any, end: int) -> list[Row]:
    def url(uid: str, span: str) -> str:
        asked = {"30m": 1_800, "24h": 86_400}[span]
        chosen = "&var-dask=main&var-worker=w7" if uid.endswith("-worker") else ""
        return f"/d/{uid}?from={(end - asked) * 1000}&to={end * 1000}{chosen}"

    def took(uid: str, begin: Callable[[str], float]) -> float:
        titles, span = pages[uid]
        begun = begin(url(uid, span))
        seconds: float = window.evaluate(_DRAWN, {"path": f"/d/{uid}", "titles": titles, "begun": begun}) / 1000
        return seconds

    def load_anew(there: str) -> float:
        window.goto(there, wait_until="commit")
        return 0.0  # the clock of a document begins with its navigation

    def inside(there: str) -> float:
        begun: float = window.evaluate(_GO, there)
        return begun

    pages: dict[str, tuple[list[str], str]] = {_ONE: (["One"], "30m")} | {
        page["uid"]: (_first(page), str(page["time"]["from"]).removeprefix("now-"))
        for name, page in PAGES.items()
        if name != "runbooks"
    }
    cold = took(_ONE, load_anew)
    warm, gone = {}, {}
    for uid in pages:
        for _ in range(_WARMING):
            took(uid, load_anew)
        warm[uid] = statistics.median(took(uid, load_anew) for _ in range(_TIMES))
        times = []
        for _ in range(_TIMES):
            took(_ONE if uid != _ONE else f"cluster-ai-{HOME}", load_anew)  # so that nothing of the page is kept
            times.append(took(uid, inside))
        gone[uid] = statistics.median(times)
    first = f"from inside {gone[_ONE]:.2f} s, reloaded {warm[_ONE]:.2f} s"
    rows = [Row("a page of one panel", first, f"{cold:.1f} s at the very first")]
    for uid in pages:
        if uid != _ONE:
            ratio = warm[uid] / warm[_ONE]
            rows.append(
                Row(
                    uid.removeprefix("cluster-ai-"),
                    f"from inside {gone[uid]:.2f} s, reloaded {warm[uid]:.2f} s",
                    f"{ratio:.2f} of one panel's reload",
                    f"{_INSIDE:g} s, {_OF_ONE:g}",
                    gone[uid] <= _INSIDE and ratio <= _OF_ONE,
                )
            )
    return rows


def _first(page: dict[str, Any]) -> list[str]:
    """Titles that are on the first screen in any case: those of the first row."""
    return [panel["title"] for panel in page["panels"] if panel["gridPos"]["y"] == 0]


def _make_one(grafana: GrafanaServer) -> None:
    panel = next(one for one in PAGES[HOME]["panels"] if one["type"] == "timeseries")
    one = {**PAGES[HOME], "uid": _ONE, "title": "One", "annotations": {"list": []}, "links": []}
    one["panels"] = [{**panel, "title": "One", "gridPos": {"x": 0, "y": 0, "w": 24, "h": 8}}]
    with grafana.client("admin", grafana.password) as admin:
        admin.post("/api/dashboards/db", json={"dashboard": one}).raise_for_status()
