"""Who there is: the people and teams of `cluster-ai.yml`, and how each wants to be told."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from provisioning.config.basics import EMAIL_PATTERN, SMS_PATTERN, FilePath, Name, Strict

Severity = Literal["critical", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "info")
Means = Literal["mail", "sms"]


class Person(Strict):
    """Somebody who may see the pages or is told of alerts."""

    name: Name = Field(description="What they sign in as; unique among people.")
    email: Annotated[str, StringConstraints(pattern=EMAIL_PATTERN)] | None = Field(
        None, description="Address for messages, such as ana@example.org."
    )
    sms: Annotated[str, StringConstraints(pattern=SMS_PATTERN)] | None = Field(
        None, description='Phone number with its country code, in quotes, such as "+5511999990000".'
    )
    role: Literal["admin", "operator", "viewer"] = Field("viewer", description="What they may do.")
    password_file: FilePath | None = Field(
        None, description="File with their first password for the pages. Left out, one is made and shown once."
    )
    mail_for: list[Severity] = Field(
        ["critical", "warning"], description="Which alerts reach them by mail, where a route does not say otherwise."
    )
    sms_for: list[Severity] = Field(
        ["critical"], description="Which alerts reach them by SMS, where a route does not say otherwise."
    )
    hours: Name | None = Field(
        None,
        description="One of `notifications.hours`: outside of it only critical alerts reach them; others wait and are "
        "told when it begins, if they still matter then.",
    )

    @model_validator(mode="after")
    def _has_what_it_prefers(self) -> Person:
        for means, address, key in (("mail", self.email, "email"), ("sms", self.sms, "sms")):
            if f"{means}_for" in self.model_fields_set and getattr(self, f"{means}_for") and address is None:
                raise ValueError(f"{means}_for needs {key}; give the person one or leave {means}_for out")
        return self


class Team(Strict):
    """People who are told together."""

    name: Name = Field(description="How routes call it; no person has the same name.")
    members: list[Name] = Field(description="Names of people.", min_length=1)
