"""Prunes grafanalib's document, made for schema 12, to what schema 42 has.

Found by a round trip through Grafana's own SDK: whatever it did not give back is not in the schema.
"""

from __future__ import annotations

from typing import Any

_PAGE = frozenset(("annotations", "description", "editable", "fiscalYearStartMonth", "graphTooltip", "links", "panels"))
_PAGE |= {"refresh", "schemaVersion", "tags", "templating", "time", "timepicker", "timezone", "title", "uid", "version"}
_PANEL = frozenset(("datasource", "description", "fieldConfig", "gridPos", "id", "interval", "links", "maxDataPoints"))
_PANEL |= {"options", "targets", "timeFrom", "title", "transformations", "transparent", "type"}
_TARGET = frozenset(("datasource", "expr", "format", "instant", "legendFormat", "refId"))


def finish(page: dict[str, Any]) -> dict[str, Any]:
    """The document without what its schema lacks, without nulls where they mean nothing."""
    kept = _some(page, _PAGE)
    kept["panels"] = [_panel(panel) for panel in page["panels"]]
    kept["fiscalYearStartMonth"] = 0
    return kept


def _panel(panel: dict[str, Any]) -> dict[str, Any]:
    kept = _some(panel, _PANEL)
    if panel["type"] == "text":
        for key in ("targets", "fieldConfig", "datasource", "maxDataPoints"):
            kept.pop(key, None)
        return kept
    kept.pop("maxDataPoints", None)  # Grafana takes the panel's width in pixels
    kept["targets"] = [_target(target) for target in panel["targets"]]
    field = kept["fieldConfig"]
    field["defaults"] = {key: value for key, value in field["defaults"].items() if value not in (None, "")}
    field["defaults"]["custom"] = _without_null(field["defaults"].get("custom", {}))
    field["defaults"].setdefault("mappings", [])
    field.setdefault("overrides", [])
    if panel["type"] == "table":
        field["defaults"]["custom"].pop("displayMode", None)  # cellOptions took its place
    for holder in (kept, field["defaults"]):
        if not holder.get("links"):
            holder.pop("links", None)
    if not kept.get("transformations"):
        kept.pop("transformations", None)
    return kept


def _target(target: dict[str, Any]) -> dict[str, Any]:
    kept = _some(target, _TARGET)
    if target["interval"]:
        kept["interval"] = target["interval"]
    kept["range"] = not kept["instant"]
    if kept["datasource"]["type"] == "loki":
        kept.pop("format", None)
    kept["editorMode"] = "code"
    return kept


def _some(data: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key in names and value is not None}


def _without_null(data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if value is not None}
