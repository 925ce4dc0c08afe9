"""System: are the machines and the monitoring itself well?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashboards.kit import (
    Page,
    Query,
    above,
    choice,
    heading,
    plain,
    row,
    stat,
)
from dashboards.pages import hosts, monitoring, queries
from dashboards.pages.common import restarts_and_alerts


def page(limits: Mapping[str, float]) -> Page:
    """Hosts first, then what watches them."""
    return Page(
        uid="system",
        title="System",
        question="Are the machines well, and is what watches them? The upper half is the hosts, the lower half the "
        "monitoring.",
        variables=[choice("host", "Host", 'label_values(up{job="node"}, host)')],
        refresh="15s",
        rows=[
            row(4, *_tiles(limits)),
            row(4, hosts.table_of_all(limits)),
            row(6, hosts.users(), hosts.gpus(limits), widths=(14, 10)),
            row(6, *hosts.usage(limits)),
            heading(
                "What moves, and what it costs",
                "Waiting, traffic, disks and heat of the hosts, then the monitoring itself.",
            ),
            row(6, hosts.waits(limits), *hosts.traffic()),
            row(6, *hosts.wear(limits)),
            row(7, monitoring.scrapes(), monitoring.targets(limits), widths=(10, 14)),
            row(6, *monitoring.cost()),
            row(6, *monitoring.health(limits)),
        ],
        annotations=restarts_and_alerts(),
    )


def _tiles(limits: Mapping[str, float]) -> list[Any]:
    def tile(title: str, description: str, expr: str, name: str, empty: str = hosts.NO_HOST) -> Any:
        return stat(
            title,
            description=description,
            unit="percentunit",
            queries=[Query(f"max({expr})", every=hosts.SLOW)],
            levels=above(limits[f"{name}_ratio"], limits.get(f"{name}_ratio_critical")),
            empty=empty,
            decimals=0,
            sparkline=True,
        )

    return [
        tile("Busiest CPU", "CPU in use on the busiest host, of all its cores.", hosts.CPU, "host_cpu"),
        tile(
            "Fullest memory",
            "Memory that is not available on the fullest host. Red: the kernel will soon kill something, often a Dask "
            "worker or Ollama's runner.",
            hosts.MEMORY,
            "host_memory",
        ),
        tile(
            "Fullest disk",
            "The fullest file system of any host. Spilled results, models and Prometheus itself need room; a full disk "
            "stops all three.",
            hosts.DISK,
            "host_disk_used",
        ),
        stat(
            "Hottest sensor",
            description="The highest temperature of any sensor. Above the threshold processors slow themselves down.",
            unit="celsius",
            queries=[Query(f"max({hosts.TEMPERATURE})")],
            levels=above(limits["host_temperature_celsius"], limits["host_temperature_celsius_critical"]),
            empty="no sensors",
            decimals=0,
        ),
        stat(
            "Busiest GPU",
            description="Use of the busiest GPU, from dcgm-exporter or nvidia_gpu_exporter. Low while Ollama answers: "
            "the model runs on the CPU. List a host's gpu_exporter in cluster-ai.yml to see its GPUs.",
            unit="percentunit",
            queries=[Query(f"max({hosts.GPU})")],
            levels=plain(),
            empty="no exporter",
            decimals=0,
        ),
        stat(
            "Scrapes failing",
            description="Scrapes that fail right now, those of workers' own pages aside. 0 is good; `What could not be "
            "scraped?` below names them.",
            unit="none",
            queries=[Query(queries.SCRAPES_FAILING)],
            levels=above(limits["scrapes_failing"]),
            empty="nothing is scraped",
        ),
    ]
