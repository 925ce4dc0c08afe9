"""The systems that `cluster-ai.yml` names, key by key.

Field descriptions become the JSON Schema that editors show, so they are written for operators.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from provisioning.config.basics import (
    Count,
    Duration,
    FilePath,
    HttpUrl,
    LabelName,
    LabelValue,
    Name,
    Price,
    SchedulerUrl,
    Strict,
    Switch,
)
from provisioning.config.ollama_proxy import OllamaProxy
from provisioning.config.problems import brief

System = Literal["dask", "ollama", "openwebui"]
SYSTEMS: tuple[System, ...] = ("dask", "ollama", "openwebui")
RESERVED_LABELS = frozenset({"target", "system", "worker", "model", "backend", "host", "job", "instance"})


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

    worker_price_per_hour: Price | None = Field(
        None, description="What a worker costs, in any currency; the Workers page then says what idle ones cost."
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
    proxy: OllamaProxy | None = Field(
        None, description="A proxy in front of it that measures what people wait for; none unless given."
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
