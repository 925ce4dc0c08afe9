"""The hosts of the System page: how each is, and what uses it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashboards.kit import UP_DOWN, Column, Query, above, plain, table, timeseries
from dashboards.kit.house import AMBER
from dashboards.kit.language import say
from dashboards.pages import queries

SELECTED = 'host=~"$host"'
MORE = f", {SELECTED}"
CPU = queries.CPU.format(selector=f"{{{SELECTED}}}")
MEMORY = f"max by (host) ({queries.MEMORY.format(selector=f'{{{SELECTED}}}')})"
DISK = queries.DISK.format(more=MORE)
TEMPERATURE = f"max by (host) (node_hwmon_temp_celsius{{{SELECTED}}})"
# The two exporters people use; each has names of its own.
GPU = f"""max by (host) (DCGM_FI_DEV_GPU_UTIL{{{SELECTED}}} / 100)
    or max by (host) (nvidia_smi_utilization_gpu_ratio{{{SELECTED}}})"""
GPU_MEMORY = f"""max by (host) (DCGM_FI_DEV_FB_USED{{{SELECTED}}}
        / (DCGM_FI_DEV_FB_USED{{{SELECTED}}} + DCGM_FI_DEV_FB_FREE{{{SELECTED}}}))
    or max by (host) (nvidia_smi_memory_used_bytes{{{SELECTED}}} / nvidia_smi_memory_total_bytes{{{SELECTED}}})"""
NO_HOST = "no host has a node_exporter"
SLOW = "15s"


def table_of_all(limits: Mapping[str, float]) -> Any:
    """Each host in a row."""

    def gauge(title: str, expr: str, name: str) -> Column:
        levels = above(limits[f"{name}_ratio"], limits.get(f"{name}_ratio_critical"))
        return Column(title=title, query=expr, unit="percentunit", decimals=0, levels=levels, gauge=True, every=SLOW)

    def rate(metric: str) -> str:
        return f'sum by (host) (rate({metric}{{device!~"lo|veth.*|docker.*|br-.*"{MORE}}}[$__rate_interval]))'

    return table(
        "How is each host?",
        description="Every host of cluster-ai.yml with a node_exporter as it is now, the one with the least memory "
        "left first. Down: its node_exporter does not answer, so nothing else is known of it.",
        columns=[
            Column(title="Host", field="host"),
            Column(title="State", query=f'max by (host) (up{{job="node", {SELECTED}}})', states=UP_DOWN, width=70),
            gauge("CPU", CPU, "host_cpu"),
            gauge("Memory", MEMORY, "host_memory"),
            gauge("Disk", DISK, "host_disk_used"),
            Column(
                title="Load per core",
                query=f"max by (host) (node_load5{{{SELECTED}}}) / count by (host) "
                f'(node_cpu_seconds_total{{mode="idle"{MORE}}})',
                unit="none",
                decimals=2,
            ),
            Column(title="Received", query=rate("node_network_receive_bytes_total"), unit="Bps", every=SLOW),
            Column(title="Sent", query=rate("node_network_transmit_bytes_total"), unit="Bps", every=SLOW),
            Column(
                title="Hottest",
                query=TEMPERATURE,
                unit="celsius",
                decimals=0,
                levels=above(limits["host_temperature_celsius"], limits["host_temperature_celsius_critical"]),
            ),
            Column(
                title="Up for",
                query=f"max by (host) (node_time_seconds{{{SELECTED}}} - node_boot_time_seconds{{{SELECTED}}})",
                unit="s",
                decimals=1,
            ),
        ],
        empty=NO_HOST,
        sort="Memory",
    )


def users() -> Any:
    """What of ours uses the hosts most: workers, models in main memory, the monitoring's own parts."""
    by = "host, what, kind"

    def named(metric: str, label: str, kind: str) -> str:
        what = f'label_replace({metric}, "what", "$1", "{label}", "(.+)")'
        return f'max by ({by}) (label_replace({what}, "kind", "{say(kind)}", "", ""))'

    own = '{job!~"native|node|probe"}'
    memory = " or ".join(
        (
            named(f"dask_cluster_worker_memory_rss_bytes{{{SELECTED}}}", "worker", "Dask worker"),
            named(f"ollama_loaded_model_cpu_bytes{{{SELECTED}}}", "model", "model"),
            named(f"process_resident_memory_bytes{own}", "job", "monitoring"),
        )
    )
    cpu = " or ".join(
        (
            named(f"dask_cluster_worker_cpu_ratio{{{SELECTED}}}", "worker", "Dask worker"),
            named(f"rate(process_cpu_seconds_total{own}[$__rate_interval])", "job", "monitoring"),
        )
    )
    largest = f"topk(20, {memory})"
    return table(
        "What uses the hosts?",
        description="The twenty largest of what is known to run: Dask workers, models in main memory (not those on a "
        "GPU), and the parts of the monitoring, which name no host. A host that is full while these are small is full "
        "of something else: look there with top.",
        columns=[
            Column(title="What", field="what"),
            Column(title="Kind", field="kind", width=120),
            Column(title="Host", field="host"),
            Column(title="Memory", query=largest, unit="bytes", width=110),
            Column(
                title="CPU cores",
                query=f"({cpu}) and on ({by}) {largest}",
                unit="none",
                decimals=2,
                width=110,
                every=SLOW,
            ),
        ],
        empty="nothing known runs there",
        sort="Memory",
    )


def gpus(limits: Mapping[str, float]) -> Any:
    """Each GPU, by whichever of the two exporters is there."""
    by = "host, gpu"

    def either(dcgm: str, smi: str) -> str:
        """dcgm-exporter numbers GPUs in `gpu`; nvidia_gpu_exporter names them by `uuid` alone."""
        short = f'label_replace({smi}, "gpu", "$1", "uuid", "(.{{8}}).*")'
        return f"max by ({by}) ({dcgm}) or max by ({by}) ({short})"

    chosen = f"{{{SELECTED}}}"
    used, free = f"DCGM_FI_DEV_FB_USED{chosen}", f"DCGM_FI_DEV_FB_FREE{chosen}"
    return table(
        "How is each GPU?",
        description="From dcgm-exporter or nvidia_gpu_exporter, where a host's gpu_exporter is in cluster-ai.yml. "
        "Little use while Ollama answers: the model runs on the CPU. Hot: it slows itself down.",
        columns=[
            Column(title="Host", field="host"),
            Column(title="GPU", field="gpu", width=90),
            Column(
                title="Use",
                query=either(f"DCGM_FI_DEV_GPU_UTIL{chosen} / 100", f"nvidia_smi_utilization_gpu_ratio{chosen}"),
                unit="percentunit",
                decimals=0,
                gauge=True,
            ),
            Column(
                title="Memory",
                query=either(
                    f"{used} / ({used} + {free})",
                    f"nvidia_smi_memory_used_bytes{chosen} / nvidia_smi_memory_total_bytes{chosen}",
                ),
                unit="percentunit",
                decimals=0,
                gauge=True,
            ),
            Column(
                title="Hot",
                query=either(f"DCGM_FI_DEV_GPU_TEMP{chosen} < 200", f"nvidia_smi_temperature_gpu{chosen}"),
                unit="celsius",
                decimals=0,
                levels=above(limits["host_gpu_temperature_celsius"]),
                width=70,
            ),
            Column(
                title="Power",
                query=either(f"DCGM_FI_DEV_POWER_USAGE{chosen}", f"nvidia_smi_power_draw_watts{chosen}"),
                unit="watt",
                decimals=0,
                width=80,
            ),
        ],
        empty="no gpu_exporter",
        sort="Memory",
    )


def usage(limits: Mapping[str, float]) -> list[Any]:
    """CPU and memory."""
    memory = above(limits["host_memory_ratio"], limits["host_memory_ratio_critical"])
    return [
        timeseries(
            "How busy are the CPUs?",
            description="CPU in use, of all cores of a host. Near 100 % for long: work queues. Compare with `What do "
            "programs wait for?`.",
            unit="percentunit",
            queries=[Query(CPU, "{{host}}", every=SLOW)],
            levels=above(limits["host_cpu_ratio"]),
            empty=NO_HOST,
            maximum=1,
        ),
        timeseries(
            "How full is the memory?",
            description="Memory that programs cannot have any more. A line that only climbs is a leak; a cliff after a "
            "climb is something that was killed.",
            unit="percentunit",
            queries=[Query(MEMORY, "{{host}}")],
            levels=memory,
            empty=NO_HOST,
            maximum=1,
        ),
    ]


def waits(limits: Mapping[str, float]) -> Any:
    """Linux's pressure figures."""
    share = "max by (host) (rate(node_pressure_{}_waiting_seconds_total{{{}}}[$__rate_interval]))"
    return timeseries(
        "What do programs wait for?",
        description="Share of the time in which some program waited for a CPU, for memory or for the disk (Linux's "
        "pressure figures): which resource is short, even where its use looks fine.",
        unit="percentunit",
        queries=[
            Query(share.format(kind, SELECTED), f"{{{{host}}}}: {name}", every=SLOW)
            for kind, name in (("cpu", "CPU"), ("memory", "memory"), ("io", "disk"))
        ],
        levels=above(limits["host_pressure_ratio"], worst=AMBER),
        empty="no host tells: Linux 4.20 or newer does",
    )


def traffic() -> list[Any]:
    """Network and disks."""
    net = (
        'sum by (host) (rate(node_network_{}_bytes_total{{device!~"lo|veth.*|docker.*|br-.*", {}}}[$__rate_interval]))'
    )
    disk = "sum by (host) (rate(node_disk_{}_bytes_total{{{}}}[$__rate_interval]))"
    return [
        timeseries(
            "What goes over the network?",
            description="Bytes a second in and out, loopback and containers' own links aside. A flat top is a full "
            "link.",
            unit="Bps",
            queries=[
                Query(net.format("receive", SELECTED), "{{host}}: in", every=SLOW),
                Query(net.format("transmit", SELECTED), "{{host}}: out", every=SLOW),
            ],
            levels=plain(),
            empty=NO_HOST,
        ),
        timeseries(
            "What goes to the disks?",
            description="Bytes a second read and written. Much reading when a model loads is right; much of both "
            "without end is spilling or swapping.",
            unit="Bps",
            queries=[
                Query(disk.format("read", SELECTED), "{{host}}: read", every=SLOW),
                Query(disk.format("written", SELECTED), "{{host}}: written", every=SLOW),
            ],
            levels=plain(),
            empty=NO_HOST,
        ),
    ]


def wear(limits: Mapping[str, float]) -> list[Any]:
    """Room on the disks, heat."""
    return [
        timeseries(
            "How full are the disks?",
            description="The fullest file system of each host. Extend the line in your head: where does it meet the "
            "top?",
            unit="percentunit",
            queries=[Query(DISK, "{{host}}")],
            levels=above(limits["host_disk_used_ratio"], limits["host_disk_used_ratio_critical"]),
            empty=NO_HOST,
            maximum=1,
        ),
        timeseries(
            "How hot is it?",
            description="The hottest sensor of each host. At the line processors slow themselves down; a climb without "
            "more work is a fan or a filter.",
            unit="celsius",
            queries=[Query(TEMPERATURE, "{{host}}", every=SLOW)],
            levels=above(limits["host_temperature_celsius"], limits["host_temperature_celsius_critical"]),
            empty="no sensors",
        ),
    ]
