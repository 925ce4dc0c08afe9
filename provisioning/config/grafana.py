"""What `cluster-ai.yml` says of Grafana, where people see the pages."""

from __future__ import annotations

from pydantic import Field

from provisioning.config.basics import HttpUrl, Strict


class Grafana(Strict):
    """The pages' own address and their people."""

    url: HttpUrl | None = Field(
        None,
        description="Where people reach Grafana, such as https://monitoring.example.org: the links in messages begin "
        "with it. Left out, it is where Grafana listens, which other machines cannot reach.",
    )
