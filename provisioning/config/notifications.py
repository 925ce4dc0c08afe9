"""Whom an alert reaches, how and when: routes, hours, mutes, and the accounts that messages leave from.

Field descriptions become the JSON Schema that editors show, so they are written for operators.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from provisioning.config.basics import (
    ACCOUNT_PATTERN,
    ALERT_PATTERN,
    API_KEY_PATTERN,
    EMAIL_PATTERN,
    MESSAGING_SERVICE_PATTERN,
    SMS_PATTERN,
    Count,
    Duration,
    FilePath,
    HttpUrl,
    LabelValue,
    ListenAddress,
    Name,
    Strict,
    Switch,
)
from provisioning.config.hours import Hours, Moment, Zone, parse_moment
from provisioning.config.people import Means, Severity

AlertName = Annotated[str, StringConstraints(pattern=ALERT_PATTERN)]
AlertSystem = Literal["dask", "ollama", "openwebui", "host", "monitoring"]
_LOCAL = ("localhost:", "127.0.0.1:", "[::1]:")


class Mail(Strict):
    """The account that mail leaves from."""

    smarthost: ListenAddress = Field(description="The mail server, such as smtp.sendgrid.net:587; 465 is TLS at once.")
    sender: Annotated[str, StringConstraints(pattern=EMAIL_PATTERN)] = Field(
        description="The address that mail comes from; your provider must let you use it."
    )
    username: str | None = Field(None, description="For SendGrid this is the word apikey.")
    password_file: FilePath | None = Field(None, description="File that holds the password or API key.")
    tls: Switch = Field(True, description="false only for a mail server on this machine or in your own network.")
    ca_file: FilePath | None = Field(None, description="Certificate authority of a mail server of your own (PEM).")
    hello: LabelValue = Field("localhost", description="The name this machine gives to the mail server.")

    @model_validator(mode="after")
    def _credentials(self) -> Mail:
        if (self.username is None) != (self.password_file is None):
            raise ValueError("username and password_file go together: give both or neither")
        if self.username is not None and not self.tls and not self.smarthost.startswith(_LOCAL):
            raise ValueError("a password needs tls, or anyone on the way could read it; take `tls: false` away")
        return self


class Twilio(Strict):
    """An account at Twilio."""

    account_sid: Annotated[str, StringConstraints(pattern=ACCOUNT_PATTERN)] = Field(
        description="Account SID from Twilio's console: AC and 32 hexadecimal digits."
    )
    api_key_sid: Annotated[str, StringConstraints(pattern=API_KEY_PATTERN)] | None = Field(
        None, description="SID of an API key: SK and 32 hexadecimal digits. Better than the account's own token."
    )
    api_key_secret_file: FilePath | None = Field(None, description="File that holds the API key's secret.")
    auth_token_file: FilePath | None = Field(
        None,
        description="File that holds the account's auth token: for sending where there is no API key, and for checking "
        "the signature of delivery reports.",
    )
    sender: Annotated[str, StringConstraints(pattern=SMS_PATTERN)] | None = Field(
        None, description='The number that messages come from, in quotes, such as "+15550001111".'
    )
    messaging_service_sid: Annotated[str, StringConstraints(pattern=MESSAGING_SERVICE_PATTERN)] | None = Field(
        None, description="A messaging service in place of `sender`: MG and 32 hexadecimal digits."
    )
    status_callback: HttpUrl | None = Field(
        None,
        description="Public address under which Twilio reaches the bridge to report deliveries, such as "
        "https://monitoring.example.org/sms/status. It needs auth_token_file.",
    )
    url: HttpUrl = Field("https://api.twilio.com", description="Twilio's API; other regions have their own.")

    @model_validator(mode="after")
    def _credentials(self) -> Twilio:
        if (self.api_key_sid is None) != (self.api_key_secret_file is None):
            raise ValueError("api_key_sid and api_key_secret_file go together: give both or neither")
        if self.api_key_sid is None and self.auth_token_file is None:
            raise ValueError("Twilio needs a secret; give api_key_sid with api_key_secret_file, or auth_token_file")
        if (self.sender is None) == (self.messaging_service_sid is None):
            raise ValueError("messages come from sender or from messaging_service_sid; give one of the two")
        if self.status_callback and self.auth_token_file is None:
            raise ValueError("status_callback needs auth_token_file; Twilio signs its reports with that token")
        return self


class Apprise(Strict):
    """Any other provider, through the apprise library."""

    urls_file: FilePath = Field(
        description="File with one apprise URL a line, such as clicksend://USER:KEY@{to}; {to} stands for the number."
    )


class Sms(Strict):
    """The account that SMS leave from, used by the SMS bridge."""

    twilio: Twilio | None = Field(None, description="An account at Twilio.")
    apprise: Apprise | None = Field(None, description="Any other provider.")
    hourly_cap: Count = Field(
        10, description="Most SMS to one person within an hour; the last says so, and the rest goes by mail."
    )
    redis_url_file: FilePath | None = Field(
        None,
        description="File that holds the address of a Redis, such as redis://:PASSWORD@10.0.0.5:6379/0, where several "
        "bridges share what was told; without it each keeps a file of its own.",
    )
    dry_run: Switch = Field(False, description="true writes messages to the log in place of sending them.")

    @model_validator(mode="after")
    def _one_provider(self) -> Sms:
        if (self.twilio is None) == (self.apprise is None):
            raise ValueError("SMS leave through one provider; give twilio or apprise")
        return self


class Heartbeat(Strict):
    """A service elsewhere that calls you when it no longer hears from this stack."""

    url_file: FilePath = Field(description="File that holds the address to call, which is a secret.")
    every: Duration = Field(
        60.0, ge=1, le=86400, description="Pause between two calls; let the service wait three times as long."
    )


class Which(Strict):
    """Which alerts: those that fit every key given; a list fits when one of its entries does."""

    severities: list[Severity] = Field(default_factory=list, description="How grave; left out: all.")
    systems: list[AlertSystem] = Field(default_factory=list, description="Of which system; left out: all.")
    targets: list[Name] = Field(default_factory=list, description="Names of targets; left out: all.")
    hosts: list[LabelValue] = Field(default_factory=list, description="Machines, by their `host` label; left out: all.")
    alerts: list[AlertName] = Field(
        default_factory=list, description="Names of alerts, such as DaskSchedulerDown; left out: all."
    )


class Escalation(Strict):
    """Whom to tell when nobody has acknowledged."""

    after: Duration = Field(ge=1, le=86400, description="How long after the first alert, such as 15m.")
    to: list[Name] = Field(min_length=1, description="People or teams.")
    by: list[Means] = Field(default_factory=list, description="How; left out: as each person prefers.")


class Route(Which):
    """Who is told of which alerts. The first route that fits an alert at that time is the one followed."""

    name: Name | None = Field(None, description="How `cluster-ai alerts routes` calls it.")
    to: list[Name] = Field(min_length=1, description="People or teams.")
    by: list[Means] = Field(
        default_factory=list, description="How, for every alert of this route; left out: as each person prefers."
    )
    during: Name | None = Field(None, description="One of `hours`: outside of it the next routes are asked.")
    outside: Name | None = Field(None, description="One of `hours`: within it the next routes are asked.")
    escalate: list[Escalation] = Field(
        default_factory=list, description="Whom to tell as well when nobody acknowledges in time."
    )

    @model_validator(mode="after")
    def _one_kind_of_time(self) -> Route:
        if self.during and self.outside:
            raise ValueError("a route has during or outside, not both; write two routes")
        return self


class Mute(Which):
    """When nobody is told, such as during maintenance; alerts still show on the pages."""

    name: Name = Field(description="How pages and commands call it; unique among mutes.")
    hours: Name | None = Field(None, description="One of `hours`: every week.")
    begin: Moment | None = Field(None, description="Once, from such as 2026-12-24 22:00 ...")
    end: Moment | None = Field(None, description="... until such as 2026-12-25 06:00.")
    zone: Zone | None = Field(None, description="Time zone of `begin` and `end`; else `notifications.zone`.")

    @model_validator(mode="after")
    def _when(self) -> Mute:
        if (self.begin is None) != (self.end is None):
            raise ValueError("begin and end go together: give both or neither")
        if (self.hours is None) == (self.begin is None):
            raise ValueError("a mute needs a time; give hours, or begin and end")
        if self.begin and self.end and parse_moment(self.begin) >= parse_moment(self.end):
            raise ValueError("the mute ends before it begins; put the later moment in end")
        return self


class Timing(Strict):
    """How long messages wait for others of the same incident, and when they come again."""

    wait: Duration = Field(
        10.0, ge=0, le=3600, description="The first message of an incident waits this long for more alerts of it."
    )
    update: Duration = Field(
        120.0, ge=1, le=86400, description="Least pause before a message that more broke or some is mended."
    )
    repeat_mail: Duration = Field(7200.0, ge=1, le=432000, description="Mail again while nobody acknowledges.")
    repeat_sms: Duration = Field(3600.0, ge=1, le=432000, description="SMS again while nobody acknowledges.")


class Notifications(Strict):
    """Whom an alert reaches, how and when. With `people` and `mail` alone, operators and admins are told."""

    mail: Mail | None = Field(None, description="The account that mail leaves from; without it there is no mail.")
    sms: Sms | None = Field(None, description="The account that SMS leave from; without it there are no SMS.")
    heartbeat: Heartbeat | None = Field(
        None, description="A service elsewhere that calls you when this whole stack is dead."
    )
    routes: list[Route] = Field(
        default_factory=list,
        description="Who is told of which alerts, the first that fits. Alerts that fit none go to every operator and "
        "admin, as each prefers.",
    )
    hours: list[Hours] = Field(default_factory=list, description="Times of the week that have a name.")
    mutes: list[Mute] = Field(default_factory=list, description="When nobody is told.")
    zone: Zone = Field("UTC", description="Time zone of hours and mutes that give none.")
    timing: Timing = Field(default_factory=Timing, description="How messages are grouped and repeated.")
