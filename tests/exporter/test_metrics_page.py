"""docs/metrics.md is what the goldens say."""

from __future__ import annotations

from tests.exporter.metrics_page import ROOT, page


def test_the_page_is_up_to_date():
    assert (ROOT / "docs" / "metrics.md").read_text() == page(), "run make generate and read the difference"
