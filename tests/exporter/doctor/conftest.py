from __future__ import annotations

import pytest

from exporter.discover import USUAL_PORTS


@pytest.fixture(autouse=True)
def _nothing_usual_here(monkeypatch):
    """What this machine runs at the usual ports is none of a test's business."""
    for port in list(USUAL_PORTS):
        monkeypatch.delitem(USUAL_PORTS, port)
