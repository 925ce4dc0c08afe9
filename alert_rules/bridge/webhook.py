"""What Alertmanager posts: its webhook data, version "4" (Alertmanager 0.25 to 0.34)."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Status = Literal["firing", "resolved"]


class Alert(BaseModel):
    """One alert of a notification. Its times are as Alertmanager writes them, to the nanosecond."""

    model_config = ConfigDict(frozen=True)

    status: Status
    labels: dict[str, str]
    annotations: dict[str, str] = Field(default_factory=dict)
    starts_at: str = Field(alias="startsAt")
    ends_at: str = Field("", alias="endsAt")
    fingerprint: str

    @property
    def name(self) -> str:
        """The rule's name."""
        return self.labels.get("alertname", "an alert without a name")

    @property
    def severity(self) -> str:
        """`critical`, `warning`, `info`, or what the rule says."""
        return self.labels.get("severity", "")

    @property
    def started(self) -> datetime | None:
        """When it began to fire."""
        return _time(self.starts_at)

    @property
    def ended(self) -> datetime | None:
        """When it stopped, for a resolved one."""
        return _time(self.ends_at)


class Notification(BaseModel):
    """One group of alerts for one receiver."""

    model_config = ConfigDict(frozen=True)

    version: Literal["4"]
    group_key: str = Field(alias="groupKey")
    truncated: int = Field(0, alias="truncatedAlerts", ge=0)
    """Alerts of the group that Alertmanager left out (`max_alerts`)."""
    status: Status
    receiver: str = ""
    group_labels: dict[str, str] = Field(default_factory=dict, alias="groupLabels")
    common_labels: dict[str, str] = Field(default_factory=dict, alias="commonLabels")
    alerts: list[Alert] = Field(min_length=1)

    @property
    def current(self) -> list[Alert]:
        """What this notification is about: all of a resolved group, else the ones that fire."""
        return [alert for alert in self.alerts if alert.status == self.status]


def _time(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
