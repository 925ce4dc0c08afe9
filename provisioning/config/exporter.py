"""What `cluster-ai.yml` says of the exporter itself: how it is protected, and how the stack gets in."""

from __future__ import annotations

from pydantic import Field, model_validator

from provisioning.config.basics import FilePath
from provisioning.config.targets import TlsFiles


class Exporter(TlsFiles):
    """The exporter's TLS and passwords, seen from both sides."""

    web_config_file: FilePath | None = Field(
        None,
        description="TLS and passwords the exporter asks for, in the format of Prometheus's exporter-toolkit; what "
        "`--web.config.file` says counts before it.",
    )
    ca_file: FilePath | None = Field(
        None, description="Authority that signs the exporter's certificate (PEM); with it Prometheus speaks https."
    )
    cert_file: FilePath | None = Field(None, description="Prometheus's client certificate for mutual TLS (PEM).")
    server_name: str | None = Field(
        None, min_length=1, description="Name in the exporter's certificate where it is not the one dialled."
    )
    username: str | None = Field(
        None, min_length=1, description="User as whom Prometheus asks; the web configuration holds the hash."
    )
    password_file: FilePath | None = Field(None, description="File with that user's password.")

    @model_validator(mode="after")
    def _consistent(self) -> Exporter:
        if (self.username is None) != (self.password_file is None):
            raise ValueError("username and password_file go together: give both or neither")
        if self.ca_file is None and (self.cert_file is not None or self.server_name is not None):
            raise ValueError("cert_file and server_name have a meaning with TLS only: give ca_file too")
        return self

    @property
    def scheme(self) -> str:
        """How it is dialled."""
        return "http" if self.ca_file is None else "https"
