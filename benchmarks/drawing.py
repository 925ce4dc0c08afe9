"""How long Grafana's pages take to be drawn in Chromium, beside a page of one panel in the same Grafana and run."""

from __future__ import annotations

import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import pytest

from benchmarks.table import Row, Table
from dashboards.build import HOME
from provisioning.config.load import load
from provisioning.render.grafana import FOLDER_UID
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


class _Watch:
    """Times pages of one browser window."""

    def __init__(self, window: Any, end: int) -> None:
        self._window = window
        self._end = end
        self.pages: dict[str, tuple[list[str], str]] = {_ONE: (["One"], "30m")} | {
            page["uid"]: (_first(page), str(page["time"]["from"]).removeprefix("now-"))
            for name, page in PAGES.items()
            if name != "runbooks"
        }

    def reload(self, uid: str) -> float:
        self._window.goto(self._url(uid), wait_until="commit")
        return self._drawn(uid, 0.0)  # the clock of a document begins with its navigation

    def reloads(self, uid: str) -> list[float]:
        """Warm ones."""
        for _ in range(_WARMING):
            self.reload(uid)
        return [self.reload(uid) for _ in range(_TIMES)]

    def goes(self, uid: str, before: str) -> float:
        """From inside, coming from a page `before` that was loaded anew, so that nothing of this one is kept."""
        times = []
        for _ in range(_TIMES):
            self.reload(before)
            times.append(self._drawn(uid, self._window.evaluate(_GO, self._url(uid))))
        return statistics.median(times)

    def _url(self, uid: str) -> str:
        asked = {"30m": 1_800, "24h": 86_400}[self.pages[uid][1]]
        chosen = "&var-dask=main&var-worker=w7" if uid.endswith("-worker") else ""
        return f"/d/{uid}?from={(self._end - asked) * 1000}&to={self._end * 1000}{chosen}"

    def _drawn(self, uid: str, begun: float) -> float:
        asked = {"path": f"/d/{uid}", "titles": self.pages[uid][0], "begun": begun}
        seconds: float = self._window.evaluate(_DRAWN, asked) / 1000
        return seconds


def _rows(window: Any, end: int) -> list[Row]:
    watch = _Watch(window, end)
    cold = watch.reload(_ONE)
    inside = watch.goes(_ONE, f"cluster-ai-{HOME}")
    rows = [Row("a page of one panel", f"from inside {inside:.2f} s", f"{cold:.1f} s at the very first")]
    for uid in watch.pages:
        if uid != _ONE:
            # One panel's just before and just after: a machine is not as fast at any moment.
            before, own, after = watch.reloads(_ONE), watch.reloads(uid), watch.reloads(_ONE)
            one, warm, gone = statistics.median(before + after), statistics.median(own), watch.goes(uid, _ONE)
            rows.append(
                Row(
                    uid.removeprefix("cluster-ai-"),
                    f"from inside {gone:.2f} s, reloaded {warm:.2f} s",
                    f"{warm / one:.2f} of one panel's {one:.2f} s",
                    f"{_INSIDE:g} s, {_OF_ONE:g}",
                    gone <= _INSIDE and warm / one <= _OF_ONE,
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
    with grafana.client("admin", grafana.password) as admin:  # beside the pages: Grafana looks up a page's folder
        admin.post("/api/dashboards/db", json={"dashboard": one, "folderUid": FOLDER_UID}).raise_for_status()
