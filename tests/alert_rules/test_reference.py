from __future__ import annotations

import re
from pathlib import Path

from alert_rules.catalogue import alerts
from alert_rules.reference import PAGE, RENDERED, page, rendered_files
from alert_rules.thresholds import defaults


def test_the_page_is_up_to_date():
    assert PAGE.read_text() == page(), "run: make generate"


def test_the_rendered_rules_are_up_to_date():
    assert {path.name: path.read_text() for path in RENDERED.glob("*.yml")} == rendered_files(), "run: make generate"


def test_every_alert_and_threshold_is_on_the_page():
    text = page()
    assert not [alert.name for alert in alerts() if f"[{alert.name}]" not in text]
    assert not [name for name in defaults() if f"| `{name}` |" not in text]


def test_cells_show_no_template():
    assert not re.search(r"\{\{|\$labels|\$value", page())


def test_links_lead_to_files():
    for link in re.findall(r"\]\((\.\./[^)]+|[a-z]+\.md)\)", page()):
        assert (Path(PAGE).parent / link).exists(), link
