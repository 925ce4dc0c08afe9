"""What runs on this machine already and does what a service of ours would do."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import httpx

from compose.native.ports import Address, why_not
from provisioning.config.hosts import LOOPBACK
from provisioning.config.model import Config

_PATIENCE = 3.0  # s; a node_exporter looks at the whole machine before it answers
_ENOUGH = 4 << 20  # bytes of a page; its own lines come long before
_ITS_OWN = re.compile(r"node_(exporter_build_info|cpu_seconds_total)\{")


def node_exporter(config: Config) -> str | None:
    """Where a node_exporter answers that has the address of ours; None when none does.

    Machines that are watched already have one, as a package's service, and `cluster-ai init` writes it down.
    """
    address = Address.parse(config.services.node_exporter)
    if why_not(address) is None:
        return None
    return next((url for url in (*_listed(config, address), address.url) if _is_node_exporter(url)), None)


def _listed(config: Config, address: Address) -> list[str]:
    """How `targets.hosts` writes our address: with TLS or a path, perhaps."""
    urls = [host.node_exporter.rstrip("/") for host in config.targets.hosts if host.node_exporter]
    return [url for url in urls if urlsplit(url).port == address.port and urlsplit(url).hostname in LOOPBACK]


def _is_node_exporter(url: str) -> bool:
    seen = 0
    try:
        # Nothing of ours is sent, and Prometheus checks certificates itself.
        with httpx.stream("GET", f"{url}/metrics", timeout=_PATIENCE, trust_env=False, verify=False) as answer:  # noqa: S501
            for line in answer.iter_lines():
                if _ITS_OWN.match(line):
                    return answer.is_success
                seen += len(line)
                if seen > _ENOUGH:
                    return False
    except httpx.HTTPError:
        return False
    return False
