"""What everybody sees first, and in which language, until they choose otherwise."""

from __future__ import annotations

from provisioning.grafana.steps import Comparison
from provisioning.grafana.wanted import Wanted

_HOME = "homeDashboardUID"


def compare(wanted: Wanted, seen: Comparison) -> None:
    """Plans what is to change; preferences that the file does not have stay."""
    found = seen.api.preferences()
    values = {key: value for key, value in wanted.preferences.items() if found.get(key) != value}
    if _HOME in values and seen.api.page(values[_HOME]) is None:
        seen.conflicts.append(f"the first page cannot be {values[_HOME]}: Grafana has no page of that uid")
        del values[_HOME]
    if values:
        changes = ", ".join(f"{key} {found.get(key) or 'unset'} -> {value}" for key, value in values.items())
        seen.step("~", f"preferences: {changes}", lambda: seen.api.set_preferences(values))
