"""Every image that the compose files name, in one place; a test holds the files against it.

A name without a registry's digest is an exact version: what is delivered is built from images whose digest was looked
up (docs/deployment.md, "Images").
"""

from __future__ import annotations

from compose.native.tools import ALERTMANAGER, GRAFANA, NODE_EXPORTER, PROMETHEUS

VERSION = "0.1.0"
"""Of our own images, as in pyproject.toml."""

PYTHON = "python:3.13.16-slim-trixie"
"""What our own image is built on."""
DEBIAN = "debian:bookworm-20260918-slim"
"""What nginx's is built on."""
POSTGRES = "postgres:17.11-bookworm"

IMAGES = {
    "cluster-ai": f"cluster-ai:{VERSION}",
    "prometheus": f"prom/prometheus:v{PROMETHEUS.version}",
    "alertmanager": f"prom/alertmanager:v{ALERTMANAGER.version}",
    "node-exporter": f"prom/node-exporter:v{NODE_EXPORTER.version}",
    "grafana": f"grafana/grafana:{GRAFANA.version}",
    "nginx": f"cluster-ai-nginx:{VERSION}",
    "postgres": POSTGRES,
    "redis": "redis:8.2.8-bookworm",
    "postgres-exporter": "prometheuscommunity/postgres-exporter:v0.19.1",
    "redis-exporter": "oliver006/redis_exporter:v1.89.0-alpine",
    "blackbox": "prom/blackbox-exporter:v0.28.0",
    "certbot": "certbot/certbot:v5.7.0",
    "gpu-exporter": "utkuozdemir/nvidia_gpu_exporter:1.15.1",
    "loki": "grafana/loki:3.7.7",
    "alloy": "grafana/alloy:v1.19.2",
    "backup": f"cluster-ai-backup:{VERSION}",
}
"""What each kind of container is made from."""
