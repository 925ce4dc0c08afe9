"""What `cluster-ai.yml` says of a host that the stack is exposed from: its name, certificate, door and backups."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from provisioning.config.basics import (
    AGE_RECIPIENT_PATTERN,
    CLOCK_PATTERN,
    DOMAIN_PATTERN,
    EMAIL_PATTERN,
    ORIGIN_PATTERN,
    Count,
    FilePath,
    HttpUrl,
    ListenAddress,
    Strict,
    Switch,
)

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
Domain = Annotated[str, StringConstraints(pattern=DOMAIN_PATTERN, max_length=253)]
Origin = Annotated[str, StringConstraints(pattern=ORIGIN_PATTERN)]
Clock = Annotated[str, StringConstraints(pattern=CLOCK_PATTERN)]


def _public(value: object) -> object:
    """Refuses the other half of the pair, in words that do not repeat it."""
    if str(value).strip().upper().startswith("AGE-SECRET-KEY-"):
        raise ValueError("this is the secret key, which belongs in no file here; write the public one (age1...)")
    return value


def _network(value: str) -> str:
    try:
        network = ip_network(value)
    except ValueError:
        raise ValueError(f"{value!r} is not a network; write one such as 192.0.2.0/24") from None
    if network.prefixlen == 0:
        raise ValueError("it would believe everybody; name the networks of your CDN or load balancer")
    return str(network)


_Age = Annotated[str, StringConstraints(pattern=AGE_RECIPIENT_PATTERN)]
AgeRecipient = Annotated[_Age, BeforeValidator(_public, json_schema_input_type=_Age)]
Network = Annotated[str, AfterValidator(_network)]


class Acme(Strict):
    """A certificate from Let's Encrypt, or another authority that speaks ACME."""

    email: Annotated[str, StringConstraints(pattern=EMAIL_PATTERN)] = Field(
        description="Whom the authority tells of problems with the account."
    )
    directory: HttpUrl = Field(LETS_ENCRYPT, description="The authority's address; Let's Encrypt unless set.")
    ca_file: FilePath | None = Field(None, description="Authority of the address itself (PEM), for one of your own.")


class Certificate(Strict):
    """Where the certificate of the only door comes from; without either, from an authority made on this host."""

    acme: Acme | None = Field(None, description="Got and renewed from Let's Encrypt or its like.")
    cert_file: FilePath | None = Field(None, description="One of your own with its chain (PEM); needs key_file.")
    key_file: FilePath | None = Field(None, description="Its key (PEM).")

    @model_validator(mode="after")
    def _consistent(self) -> Certificate:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together: give both or neither")
        if self.acme is not None and self.cert_file is not None:
            raise ValueError("acme and cert_file are two ways to the same certificate: keep one")
        return self


class Backup(Strict):
    """Nightly backups: of the database, keys, silences and configuration, encrypted."""

    at: Clock = Field("02:30", description="Time of day, in UTC.")
    keep_days: Count = Field(14, description="How many days of backups are kept on this host.")
    keep_weeks: Count = Field(8, description="For how many weeks the last backup of each week is kept.")
    recipient: AgeRecipient | None = Field(
        None,
        description="The public part (age1...) of a key that only you hold: with it a backup can be opened when this "
        "host is lost. `cluster-ai secrets init` makes a pair when it is left out.",
    )
    check: Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"] = Field(
        "sunday", description="Day of the week on which the newest backup is restored into a scratch database."
    )
    off_site: FilePath | None = Field(
        None, description="Program that is given each finished backup's path, to carry it elsewhere."
    )


class Production(Strict):
    """A host of its own that runs the stack in containers, with nginx as the only door."""

    domain: Domain = Field(description="Name under which people reach it, such as monitoring.example.org.")
    http: ListenAddress = Field("0.0.0.0:80", description="Where nginx listens to send people on to https.")
    https: ListenAddress = Field("0.0.0.0:443", description="Where nginx listens.")
    certificate: Certificate = Field(default_factory=Certificate, description="Where its certificate comes from.")
    hsts_preload: Switch = Field(False, description="Whether browsers may keep the name in their own list for ever.")
    trusted_proxies: list[Network] = Field(
        default_factory=list,
        description="Networks of a CDN or load balancer before nginx; only from them is a visitor's address taken from "
        "`X-Forwarded-For`.",
    )
    cdn_url: HttpUrl | None = Field(None, description="Where browsers get Grafana's static files instead.")
    cors_origins: list[Origin] = Field(
        default_factory=list, description="Pages elsewhere that may ask with a signed-in user's browser."
    )
    grafanas: Annotated[int, Field(strict=True, ge=1, le=9)] = Field(
        1, description="How many Grafanas share the load; all use one PostgreSQL and one Redis."
    )
    logs: Switch = Field(False, description="Whether Loki keeps every container's log for seven days.")
    rum: Switch = Field(False, description="Whether Grafana's pages report how fast they are in people's browsers.")
    gpu: Switch = Field(False, description="Whether NVIDIA's exporter runs on this host.")
    backup: Backup = Field(default_factory=Backup, description="Nightly backups.")

    @model_validator(mode="after")
    def _consistent(self) -> Production:
        if self.rum and not self.logs:
            raise ValueError("rum needs logs: what browsers report is kept in Loki")
        return self
