"""The typed form of `cluster-ai.yml`: every key, its default and what it means.

Field descriptions become the JSON Schema that editors show, so they are written for operators.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from provisioning.config.addresses import http_url, listen_address, scheduler_url
from provisioning.config.durations import DURATION_PATTERN, format_duration, parse_duration
from provisioning.config.problems import brief

System = Literal["dask", "ollama", "openwebui"]
SYSTEMS: tuple[System, ...] = ("dask", "ollama", "openwebui")

Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN}),
]
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"
LABEL_NAME_PATTERN = r"^[a-zA-Z][a-zA-Z0-9_]*$"
LABEL_VALUE_PATTERN = r"^[^\x00-\x1f\x7f]*$"
THRESHOLD_PATTERN = r"^[a-z][a-z0-9_]*$"
EMAIL_PATTERN = r"^[^@\s]+@[^@\s]+$"
SMS_PATTERN = r"^\+[1-9][0-9]{6,14}$"
SIZE_PATTERN = r"^[1-9][0-9]*(MB|GB|TB)$"
HTTP_PATTERN = "^https?://"
SCHEDULER_PATTERN = "^(tcp|tls)://"
LISTEN_PATTERN = "^.+:[0-9]+$"
PATTERNS = {
    # pattern: what it stands for, what was meant
    NAME_PATTERN: ("a name", "use letters, digits, '_', '.' and '-', 63 at most, a letter or digit first"),
    LABEL_NAME_PATTERN: ("a label name", "use letters, digits and '_', a letter first"),
    LABEL_VALUE_PATTERN: ("a label value", "take out line breaks and control characters"),
    THRESHOLD_PATTERN: ("a threshold's name", "use small letters, digits and '_', such as dask_worker_memory_ratio"),
    EMAIL_PATTERN: ("an e-mail address", "write it as name@example.org"),
    SMS_PATTERN: ("a phone number", 'write it with its country code, in quotes, such as "+5511999990000"'),
    SIZE_PATTERN: ("a size", "write a whole number of MB, GB or TB, such as 20GB"),
}

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
LabelName = Annotated[str, StringConstraints(pattern=LABEL_NAME_PATTERN)]
ThresholdName = Annotated[str, StringConstraints(pattern=THRESHOLD_PATTERN)]
LabelValue = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=LABEL_VALUE_PATTERN)]
RESERVED_LABELS = frozenset({"target", "system", "worker", "model", "backend", "host", "job", "instance"})
SECRET_FILES = frozenset({"password_file", "bearer_token_file", "api_key_file", "key_file"})


def _absolute(value: Path, info: ValidationInfo) -> Path:
    if value == Path():
        raise ValueError("the path is empty; give the path of a file or leave the key out")
    base: Path = (info.context or {}).get("base", Path())
    return base / value.expanduser()


HttpUrl = Annotated[
    str, BeforeValidator(http_url), WithJsonSchema({"type": "string", "format": "uri", "pattern": HTTP_PATTERN})
]
SchedulerUrl = Annotated[
    str,
    BeforeValidator(scheduler_url),
    WithJsonSchema({"type": "string", "format": "uri", "pattern": SCHEDULER_PATTERN}),
]
ListenAddress = Annotated[
    str, BeforeValidator(listen_address), WithJsonSchema({"type": "string", "pattern": LISTEN_PATTERN})
]
FilePath = Annotated[Path, AfterValidator(_absolute)]
Threshold = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Switch = Annotated[bool, Field(strict=True)]
Count = Annotated[int, Field(strict=True, gt=0)]


class Strict(BaseModel):
    """Unknown keys are errors, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Target(Strict):
    """What every watched system has."""

    name: Name = Field(description="How pages, alerts and `/probe?target=` call it; unique among all targets.")
    timeout: Duration = Field(5.0, gt=0.1, le=120, description="Longest wait for one collection, such as 5s.")
    labels: dict[LabelName, LabelValue] = Field(
        default_factory=dict, description="Labels that service discovery adds to every series of this target."
    )
    series_limit: Count = Field(50_000, description="Most series one collection may give.")

    @model_validator(mode="after")
    def _labels_are_free(self) -> Target:
        taken = sorted(RESERVED_LABELS & self.labels.keys())
        if taken:
            raise ValueError(f"the label {brief(taken[0])} is set by the product itself; choose another name")
        return self


class TlsFiles(Strict):
    """Certificates for a TLS connection; paths are relative to cluster-ai.yml."""

    ca_file: FilePath | None = Field(None, description="Certificate authority that signs the other side (PEM).")
    cert_file: FilePath | None = Field(None, description="Our client certificate for mutual TLS (PEM).")
    key_file: FilePath | None = Field(None, description="Key of cert_file (PEM).")

    @model_validator(mode="after")
    def _pair(self) -> TlsFiles:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together: give both or neither")
        return self


class DaskTarget(Target, TlsFiles):
    """A Dask cluster, read through its scheduler."""

    scheduler: SchedulerUrl = Field(description="Scheduler address: tcp://HOST:8786, or tls:// with ca_file.")
    dashboard: HttpUrl | None = Field(
        None, description="Scheduler's HTTP address; found through the scheduler when left out."
    )
    worker_series: Switch = Field(
        True, description="false leaves out the series of each worker and keeps totals and quantiles (large fleets)."
    )

    native: Literal["direct", "filtered"] = Field(
        "direct",
        description="Where Prometheus reads the scheduler's own /metrics: direct, at the scheduler and all of it; or "
        "filtered, through the exporter and with a cap on task prefixes.",
    )
    native_prefix_limit: Count = Field(100, description="Task prefixes that the filtered /metrics gives one by one.")

    @model_validator(mode="after")
    def _tls_needs_a_ca(self) -> DaskTarget:
        tls = self.scheduler.startswith("tls:")
        if tls and self.ca_file is None:
            raise ValueError("a tls:// scheduler needs ca_file (and cert_file with key_file, which Dask asks for)")
        return self


class HttpTarget(Target, TlsFiles):
    """A system read over HTTP."""

    url: HttpUrl = Field(description="Base address, such as http://10.0.0.7:11434.")
    username: str | None = Field(None, description="User name for HTTP basic authentication.")
    password_file: FilePath | None = Field(None, description="File that holds the basic-authentication password.")
    bearer_token_file: FilePath | None = Field(None, description="File that holds a bearer token.")

    @model_validator(mode="after")
    def _one_kind_of_credentials(self) -> HttpTarget:
        if (self.username is None) != (self.password_file is None):
            raise ValueError("username and password_file go together: give both or neither")
        if self.username is not None and self.bearer_token_file is not None:
            raise ValueError("give either username with password_file or bearer_token_file, not both")
        return self


class GenerationProbe(Strict):
    """A one-token generation on models that are already loaded: finds a hang behind an open port."""

    enabled: Switch = Field(False, description="true asks each loaded model for one token now and then.")
    every: Duration = Field(60.0, ge=5, description="Pause between two probes of a model.")
    timeout: Duration = Field(30.0, ge=1, description="No token after this long while nothing else runs: hung.")


class OllamaTarget(HttpTarget):
    """An Ollama server."""

    must_be_loaded: list[str] = Field(default_factory=list, description="Models that should stay in memory.")
    generation_probe: GenerationProbe = Field(
        default_factory=GenerationProbe, description="One-token generation probe; off unless enabled."
    )


class OpenWebUITarget(HttpTarget):
    """An Open WebUI server."""

    api_key_file: FilePath | None = Field(
        None, description="File with an administrator's API key (sk-...); without it only the public part is read."
    )
    refresh: Duration = Field(
        60.0, ge=5, description="How long answers that cost Open WebUI a table scan are kept before asking again."
    )


class HostTarget(Strict):
    """A machine watched through node_exporter, and its GPUs through a GPU exporter."""

    name: Name = Field(description="The `host` label on its node, GPU and worker series.")
    node_exporter: HttpUrl | None = Field(None, description="Such as http://10.0.0.7:9100.")
    gpu_exporter: HttpUrl | None = Field(
        None, description="dcgm-exporter or nvidia_gpu_exporter, http://10.0.0.7:9400."
    )
    addresses: list[str] = Field(
        default_factory=list, description="Other addresses of this machine, so that its workers get the same `host`."
    )


class Targets(Strict):
    """Everything that is watched."""

    dask: list[DaskTarget] = Field(default_factory=list, description="Dask clusters.")
    ollama: list[OllamaTarget] = Field(default_factory=list, description="Ollama servers.")
    openwebui: list[OpenWebUITarget] = Field(default_factory=list, description="Open WebUI servers.")
    hosts: list[HostTarget] = Field(default_factory=list, description="Machines; this one is watched without an entry.")


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


class Alerts(Strict):
    """Changes to the alert rules' defaults."""

    thresholds: dict[ThresholdName, Threshold] = Field(
        default_factory=dict, description="Numbers that replace the defaults, by name."
    )


class Services(Strict):
    """Where each part of the stack listens; loopback unless you say otherwise."""

    exporter: ListenAddress = Field("127.0.0.1:9860", description="The exporter of this project.")
    exporter_shards: list[ListenAddress] = Field(
        default_factory=list,
        description="Addresses of N exporters that share the targets, in place of `exporter`; the first runs with "
        "`--shard 1/N`, the next with `--shard 2/N`.",
    )
    prometheus: ListenAddress = Field("127.0.0.1:9090", description="Prometheus, which keeps the metrics.")
    alertmanager: ListenAddress = Field("127.0.0.1:9093", description="Alertmanager, which groups alerts.")
    node_exporter: ListenAddress = Field("127.0.0.1:9100", description="node_exporter of this machine.")
    grafana: ListenAddress = Field("127.0.0.1:3001", description="Grafana; 3001 leaves 3000 to Open WebUI.")


class Retention(Strict):
    """How long Prometheus keeps metrics and alert history."""

    time: Duration = Field(90 * 86400.0, ge=3600, description="Such as 90d.")
    size: Annotated[str, StringConstraints(pattern=SIZE_PATTERN)] = Field(
        "20GB", description="Disk that metrics may take, such as 20GB; the oldest go first."
    )


class Config(Strict):
    """A whole `cluster-ai.yml`."""

    name: Name = Field("cluster", description="Shown on pages and in messages.")
    targets: Targets = Field(description="Where your systems are.")
    people: list[Person] = Field(default_factory=list, description="Who may see the pages and whom to tell.")
    alerts: Alerts = Field(default_factory=Alerts, description="Numbers that replace those of the alert rules.")
    services: Services = Field(default_factory=Services, description="Where each part of the stack listens.")
    retention: Retention = Field(default_factory=Retention, description="How long metrics are kept.")
