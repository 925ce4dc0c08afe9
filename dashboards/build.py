"""Every page as text: what `dashboards/json` holds with the default thresholds, and Grafana with an installation's."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from alert_rules.thresholds import defaults
from dashboards.kit.language import ENGLISH, catalogue, spoken
from dashboards.kit.sharing import share
from dashboards.pages import watched

PAGES = (
    *("dashboard", "system", "workers", "alerts", "settings"),
    *("dask", "worker", "ollama", "proxy", "openwebui", "runbooks"),
)
"""The modules of `dashboards.pages` that are pages: the five of the product, then the details."""
LOGS = "logs"
"""The page of an installation that keeps logs; elsewhere there is nothing that it could ask."""
NOT_COMMITTED = frozenset({"runbooks"})
"""Pages without a committed file: this one is the Markdown of `alert_rules/runbooks`, which reviews show as it is."""
HOME = "dashboard"
"""What people see first."""
FOLDER = Path(__file__).parent / "json"


def documents(
    thresholds: Mapping[str, float] | None = None, language: str = ENGLISH, *, logs: bool = False
) -> dict[str, dict[str, Any]]:
    """Each page by name, coloured by `thresholds` (the defaults when None) and in that language, as Grafana's JSON."""
    numbers = defaults() if thresholds is None else thresholds
    names = (*PAGES, LOGS) if logs else PAGES
    with spoken(catalogue(language)):
        return {name: share(watched.link(name, _module(name).page(numbers).document())) for name in names}


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"dashboards.pages.{name}")


def texts() -> dict[Path, str]:
    """The committed files: sorted keys, so that a change in the code is the same change in the file."""
    return {
        FOLDER / f"{name}.json": json.dumps(page, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        for name, page in documents(logs=True).items()
        if name not in NOT_COMMITTED
    }


def stale() -> list[Path]:
    """Committed files that are not what the code gives, surplus ones too."""
    wanted = texts()
    surplus = [path for path in sorted(FOLDER.glob("*.json")) if path not in wanted]
    changed = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    return changed + surplus


def write() -> list[Path]:
    """Brings the committed files up to date and returns those that changed."""
    wanted, changed = texts(), stale()
    FOLDER.mkdir(exist_ok=True)
    for path in changed:
        if path in wanted:
            path.write_text(wanted[path], encoding="utf-8")
        else:
            path.unlink()
    return changed
