"""What `cluster-ai.yml` changes about the alert rules: numbers, and alerts that are not wanted."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from provisioning.config.basics import ALERT_PATTERN, Name, Strict, Threshold, ThresholdName

AlertName = Annotated[str, StringConstraints(pattern=ALERT_PATTERN)]


class AlertOverride(Strict):
    """What holds for one target or host in place of what holds for all."""

    target: Name = Field(description="Name of the target or host, as under `targets`.")
    thresholds: dict[ThresholdName, Threshold] = Field(
        default_factory=dict, description="Numbers that hold for it alone, by name."
    )
    disabled: list[AlertName] = Field(default_factory=list, description="Alerts that are never raised for it.")


class Alerts(Strict):
    """Changes to the alert rules' defaults; docs/alerts.md lists alerts and thresholds."""

    thresholds: dict[ThresholdName, Threshold] = Field(
        default_factory=dict, description="Numbers that replace the defaults, by name."
    )
    disabled: list[AlertName] = Field(default_factory=list, description="Alerts that are never raised.")
    overrides: list[AlertOverride] = Field(
        default_factory=list, description="What differs for single targets and hosts."
    )
