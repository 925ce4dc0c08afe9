"""Loki and Alloy: where every container's log is kept for seven days, and how it gets there.

Docker hands each container's lines to Alloy through a socket in the installation's folder, with the service as their
tag. Nobody is given Docker's own socket, and no log is read from Docker's folders, which would take root.
What browsers report of Grafana's pages comes by nginx.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from provisioning.config.addresses import dial_address
from provisioning.config.model import Config
from provisioning.render.files import header, yaml_text
from provisioning.render.places import Places
from provisioning.render.production_places import ProductionPlaces

LOKI = "loki.yml"
ALLOY = "alloy/config.alloy"
LOKI_UID = "cluster-ai-loki"
KEPT = "168h"
LABELS = ("service", "stream")
"""All that lines are found by, and few: each combination is a file of its own. The rest is searched for as text."""
BROWSERS = "browser"
"""The `service` of what browsers report."""


def files(config: Config, places: Places, out: Path, source: str) -> dict[str, str]:  # noqa: ARG001 -- as every part
    """Both files; none without `logs`."""
    production, there = config.production, places.production
    assert production is not None  # noqa: S101 -- a part of production
    assert there is not None  # noqa: S101
    if not production.logs:
        return {}
    origin = config.grafana_url if production.rum else ""
    return {LOKI: yaml_text(_loki(there), source), ALLOY: header(source, "//") + _alloy(there, origin)}


def datasources(config: Config, places: Places) -> list[dict[str, Any]]:
    """What Grafana reads logs from, as its provisioning has it; none without `logs`."""
    if config.production is None or places.production is None or not config.production.logs:
        return []
    return [
        {
            "name": "Loki",
            "uid": LOKI_UID,
            "type": "loki",
            "access": "proxy",
            "url": f"http://{dial_address(places.production.loki)}",
            "editable": False,
            "jsonData": {"maxLines": 1000, "timeout": 60},
        }
    ]


def _loki(there: ProductionPlaces) -> dict[str, Any]:
    data = there.loki_data
    address, port = _listened(there.loki)
    return {
        "auth_enabled": False,  # only Grafana, Alloy and Prometheus reach it
        "analytics": {"reporting_enabled": False},
        "server": {
            "http_listen_address": address,
            "http_listen_port": port,
            "grpc_listen_address": "127.0.0.1",
            "grpc_listen_port": 9095,
            "log_level": "warn",
            "log_format": "json",
        },
        "common": {
            "path_prefix": str(data),
            "replication_factor": 1,
            "instance_addr": "127.0.0.1",
            "ring": {"kvstore": {"store": "inmemory"}},
            "storage": {
                "filesystem": {"chunks_directory": str(data / "chunks"), "rules_directory": str(data / "rules")}
            },
        },
        "schema_config": {
            "configs": [
                {
                    "from": "2024-01-01",
                    "store": "tsdb",
                    "object_store": "filesystem",
                    "schema": "v13",
                    "index": {"prefix": "index_", "period": "24h"},
                }
            ]
        },
        "limits_config": {
            "retention_period": KEPT,
            "reject_old_samples_max_age": KEPT,
            "max_query_length": KEPT,
            "max_label_names_per_series": len(LABELS) + 2,
            "max_streams_per_user": 500,
            "max_line_size": "64KB",
            "max_line_size_truncate": True,
            # One that writes without end loses lines of its own, and fills the disk for nobody else.
            "per_stream_rate_limit": "1MB",
            "per_stream_rate_limit_burst": "8MB",
            "discover_service_name": [],
            "discover_log_levels": False,
            "volume_enabled": False,
            "allow_structured_metadata": True,
        },
        "compactor": {
            "working_directory": str(data / "compactor"),
            "retention_enabled": True,
            "delete_request_store": "filesystem",
        },
    }


def _alloy(there: ProductionPlaces, origin: str) -> str:
    """Alloy's own language; texts in it are written like JSON's."""
    store = f"http://{dial_address(there.loki)}/loki/api/v1/push"
    text = _CONTAINERS.format(
        socket=json.dumps(f"unix://{there.alloy_socket}"),
        store=json.dumps(store),
        hints=json.dumps(", ".join(LABELS)),
        labels=json.dumps(list(LABELS)),
    )
    if origin:
        address, port = _listened(there.faro)
        text += _BROWSERS.format(
            address=json.dumps(address), port=port, origin=json.dumps(origin), service=json.dumps(BROWSERS)
        )
    return text


def _listened(dialled: str) -> tuple[str, int]:
    """Where to listen for those who dial this: on every address of a container, for its name is not known inside it."""
    host, _, port = dialled.rpartition(":")
    return host if host.startswith("127.") else "0.0.0.0", int(port)  # noqa: S104 -- of the networks it has joined


_CONTAINERS = """\
logging {{
  level  = "warn"
  format = "json"
}}

otelcol.receiver.fluentforward "containers" {{
  endpoint = {socket}
  output {{
    logs = [otelcol.processor.attributes.named.input]
  }}
}}

// The tag is the service, as the compose files have it; `source` is stdout or stderr.
otelcol.processor.attributes "named" {{
  action {{
    key            = "service"
    action         = "insert"
    from_attribute = "fluent.tag"
  }}
  action {{
    key            = "stream"
    action         = "insert"
    from_attribute = "source"
  }}
  action {{
    key    = "loki.attribute.labels"
    action = "insert"
    value  = {hints}
  }}
  action {{
    key    = "loki.format"
    action = "insert"
    value  = "raw"
  }}
  output {{
    logs = [otelcol.processor.batch.containers.input]
  }}
}}

otelcol.processor.batch "containers" {{
  timeout = "1s"
  output {{
    logs = [otelcol.exporter.loki.containers.input]
  }}
}}

otelcol.exporter.loki "containers" {{
  forward_to = [loki.process.few.receiver]
}}

loki.process "few" {{
  stage.label_keep {{
    values = {labels}
  }}
  forward_to = [loki.write.store.receiver]
}}

loki.write "store" {{
  endpoint {{
    url = {store}
  }}
}}
"""

# One address may send no more than nginx lets through; all together no more than this.
_BROWSERS = """
faro.receiver "browsers" {{
  extra_log_labels = {{ service = {service} }}
  server {{
    listen_address           = {address}
    listen_port              = {port}
    cors_allowed_origins     = [{origin}]
    max_allowed_payload_size = "32KiB"
    rate_limiting {{
      rate       = 20
      burst_size = 100
    }}
  }}
  sourcemaps {{
    download = false
  }}
  output {{
    logs = [loki.process.few.receiver]
  }}
}}
"""
