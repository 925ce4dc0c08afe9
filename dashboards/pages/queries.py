"""PromQL that several pages ask."""

from __future__ import annotations

PREFIX = {"dask": "dask_cluster", "ollama": "ollama", "openwebui": "openwebui"}
"""What a system's metrics begin with."""
TITLES = {"dask": "Dask", "ollama": "Ollama", "openwebui": "Open WebUI"}


def state(system: str, selector: str = "") -> str:
    """State of each target of a system: 2 up, 1 up but a part of it cannot be read, 0 down, -1 the exporter is down.

    A target's own series vanish with the exporter, so its scrape tells that case; no series means not configured.
    """
    prefix = PREFIX[system]
    chosen = f"{{{selector}}}" if selector else ""
    scrape = ", ".join(part for part in ('job="probe"', f'system="{system}"', selector) if part)
    return f"""min by (system, target) (
        {prefix}_up{chosen} == 0
        or 1 + min by (system, target) ({prefix}_collector_success{chosen})
        or (up{{{scrape}}} == 0) - 1
    )"""


def states() -> str:
    """`state` of every target of every system."""
    return " or ".join(state(system) for system in PREFIX)


SCRAPES_FAILING = 'sum(1 - up{job!="native"})'
"""Workers come and go, so their own pages (job native) do not count here."""
FIRING = 'count(ALERTS{{alertstate="firing", severity="{severity}"}}) or sum(prometheus_rule_group_rules) * 0'
"""0 when there are rules and none fires; nothing when there are no rules, which is not the same."""
# Open WebUI's tables are read once a minute (`refresh`), so a shorter window would see steps, not a rate.
TOKENS_PER_SECOND = "sum by ({by}) (rate(openwebui_model_tokens_seen_total{{{selector}}}[5m]))"
CPU = "max by (host) (host:node_cpu_busy:ratio_rate1m{selector})"
LOOKS_FAILING = "max by (system, target, reason) (target_reason:collector_errors:rate1m{selector})"
"""A second; nothing while none fails."""
MEMORY = "1 - node_memory_MemAvailable_bytes{selector} / node_memory_MemTotal_bytes{selector}"
# Space that only root may use counts as used; pseudo file systems have no disk to fill.
FILESYSTEMS = 'fstype!~"tmpfs|ramfs|squashfs|overlay|iso9660|fuse.*"'
DISK = f"""max by (host) (1 - node_filesystem_avail_bytes{{{{{FILESYSTEMS}{{more}}}}}}
    / node_filesystem_size_bytes{{{{{FILESYSTEMS}{{more}}}}}})"""
