"""System: are the machines and the monitoring itself well?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashboards.kit import (
    UP_DOWN,
    Column,
    Page,
    Query,
    above,
    choice,
    plain,
    row,
    stat,
    state_timeline,
    table,
    timeseries,
)
from dashboards.kit.house import AMBER
from dashboards.pages import queries
from dashboards.pages.common import restarts_and_alerts

_SELECTED = 'host=~"$host"'
_MORE = f", {_SELECTED}"
_CPU = queries.CPU.format(more=_MORE)
_MEMORY = f"max by (host) ({queries.MEMORY.format(selector=f'{{{_SELECTED}}}')})"
_DISK = queries.DISK.format(more=_MORE)
_TEMPERATURE = f"max by (host) (node_hwmon_temp_celsius{{{_SELECTED}}})"
# The two exporters people use; each has names of its own.
_GPU = f"""max by (host) (DCGM_FI_DEV_GPU_UTIL{{{_SELECTED}}} / 100)
    or max by (host) (nvidia_smi_utilization_gpu_ratio{{{_SELECTED}}})"""
_GPU_MEMORY = f"""max by (host) (DCGM_FI_DEV_FB_USED{{{_SELECTED}}}
        / (DCGM_FI_DEV_FB_USED{{{_SELECTED}}} + DCGM_FI_DEV_FB_FREE{{{_SELECTED}}}))
    or max by (host) (nvidia_smi_memory_used_bytes{{{_SELECTED}}} / nvidia_smi_memory_total_bytes{{{_SELECTED}}})"""
_NO_HOST = "no host has a node_exporter"
_SLOW = "15s"


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
            row(5, _hosts(limits)),
            row(6, *_usage(limits)),
            row(6, *_traffic(limits)),
            row(7, _scrapes(), _targets(limits), widths=(10, 14)),
            row(6, *_cost()),
            row(6, *_health(limits)),
        ],
        annotations=restarts_and_alerts(),
    )


def _tiles(limits: Mapping[str, float]) -> list[Any]:
    def tile(title: str, description: str, expr: str, name: str, empty: str = _NO_HOST) -> Any:
        return stat(
            title,
            description=description,
            unit="percentunit",
            queries=[Query(f"max({expr})", every=_SLOW)],
            levels=above(limits[f"{name}_ratio"], limits.get(f"{name}_ratio_critical")),
            empty=empty,
            decimals=0,
            sparkline=True,
        )

    return [
        tile("Busiest CPU", "CPU in use on the busiest host, of all its cores.", _CPU, "host_cpu"),
        tile(
            "Fullest memory",
            "Memory that is not available on the fullest host. Red: the kernel will soon kill something, often a Dask "
            "worker or Ollama's runner.",
            _MEMORY,
            "host_memory",
        ),
        tile(
            "Fullest disk",
            "The fullest file system of any host. Spilled results, models and Prometheus itself need room; a full disk "
            "stops all three.",
            _DISK,
            "host_disk_used",
        ),
        stat(
            "Hottest sensor",
            description="The highest temperature of any sensor. Above the threshold processors slow themselves down.",
            unit="celsius",
            queries=[Query(f"max({_TEMPERATURE})")],
            levels=above(limits["host_temperature_celsius"], limits["host_temperature_celsius_critical"]),
            empty="no sensors",
            decimals=0,
        ),
        stat(
            "Busiest GPU",
            description="Use of the busiest GPU, from dcgm-exporter or nvidia_gpu_exporter. Low while Ollama answers: "
            "the model runs on the CPU. List a host's gpu_exporter in cluster-ai.yml to see its GPUs.",
            unit="percentunit",
            queries=[Query(f"max({_GPU})")],
            levels=plain(),
            empty="no gpu_exporter",
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


def _hosts(limits: Mapping[str, float]) -> Any:
    def gauge(title: str, expr: str, name: str) -> Column:
        levels = above(limits[f"{name}_ratio"], limits.get(f"{name}_ratio_critical"))
        return Column(title=title, query=expr, unit="percentunit", decimals=0, levels=levels, gauge=True, every=_SLOW)

    def rate(metric: str) -> str:
        return f'sum by (host) (rate({metric}{{device!~"lo|veth.*|docker.*|br-.*"{_MORE}}}[$__rate_interval]))'

    return table(
        "How is each host?",
        description="Every host with a node_exporter as it is now, the one with the least memory left first. A host "
        "that is missing here does not answer: see `What could not be scraped?`.",
        columns=[
            Column(title="Host", field="host"),
            gauge("CPU", _CPU, "host_cpu"),
            gauge("Memory", _MEMORY, "host_memory"),
            gauge("Disk", _DISK, "host_disk_used"),
            Column(
                title="Load per core",
                query=f"max by (host) (node_load5{{{_SELECTED}}}) / count by (host) "
                f'(node_cpu_seconds_total{{mode="idle"{_MORE}}})',
                unit="none",
                decimals=2,
            ),
            Column(title="Received", query=rate("node_network_receive_bytes_total"), unit="Bps", every=_SLOW),
            Column(title="Sent", query=rate("node_network_transmit_bytes_total"), unit="Bps", every=_SLOW),
            Column(title="GPU", query=_GPU, unit="percentunit", decimals=0),
            Column(title="GPU memory", query=_GPU_MEMORY, unit="percentunit", decimals=0),
            Column(
                title="Up for",
                query=f"max by (host) (node_time_seconds{{{_SELECTED}}} - node_boot_time_seconds{{{_SELECTED}}})",
                unit="s",
                decimals=1,
            ),
        ],
        empty=_NO_HOST,
        sort="Memory",
    )


def _usage(limits: Mapping[str, float]) -> list[Any]:
    memory = above(limits["host_memory_ratio"], limits["host_memory_ratio_critical"])
    waits = "max by (host) (rate(node_pressure_{}_waiting_seconds_total{{{}}}[$__rate_interval]))"
    return [
        timeseries(
            "How busy are the CPUs?",
            description="CPU in use, of all cores of a host. Near 100 % for long: work queues. Compare with `What do "
            "programs wait for?`.",
            unit="percentunit",
            queries=[Query(_CPU, "{{host}}", every=_SLOW)],
            levels=above(limits["host_cpu_ratio"]),
            empty=_NO_HOST,
            maximum=1,
        ),
        timeseries(
            "How full is the memory?",
            description="Memory that programs cannot have any more. A line that only climbs is a leak; a cliff after a "
            "climb is something that was killed.",
            unit="percentunit",
            queries=[Query(_MEMORY, "{{host}}")],
            levels=memory,
            empty=_NO_HOST,
            maximum=1,
        ),
        timeseries(
            "What do programs wait for?",
            description="Share of the time in which some program waited for a CPU, for memory or for the disk (Linux's "
            "pressure figures): which resource is short, even where its use looks fine.",
            unit="percentunit",
            queries=[
                Query(waits.format(kind, _SELECTED), f"{{{{host}}}}: {name}", every=_SLOW)
                for kind, name in (("cpu", "CPU"), ("memory", "memory"), ("io", "disk"))
            ],
            levels=above(limits["host_pressure_ratio"], worst=AMBER),
            empty="no host tells: Linux 4.20 or newer does",
        ),
    ]


def _traffic(limits: Mapping[str, float]) -> list[Any]:
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
                Query(net.format("receive", _SELECTED), "{{host}}: in", every=_SLOW),
                Query(net.format("transmit", _SELECTED), "{{host}}: out", every=_SLOW),
            ],
            levels=plain(),
            empty=_NO_HOST,
        ),
        timeseries(
            "What goes to the disks?",
            description="Bytes a second read and written. Much reading when a model loads is right; much of both "
            "without end is spilling or swapping.",
            unit="Bps",
            queries=[
                Query(disk.format("read", _SELECTED), "{{host}}: read", every=_SLOW),
                Query(disk.format("written", _SELECTED), "{{host}}: written", every=_SLOW),
            ],
            levels=plain(),
            empty=_NO_HOST,
        ),
        timeseries(
            "How full are the disks?",
            description="The fullest file system of each host. Extend the line in your head: where does it meet the "
            "top?",
            unit="percentunit",
            queries=[Query(_DISK, "{{host}}")],
            levels=above(limits["host_disk_used_ratio"], limits["host_disk_used_ratio_critical"]),
            empty=_NO_HOST,
            maximum=1,
        ),
    ]


def _scrapes() -> Any:
    return state_timeline(
        "What could not be scraped?",
        description="One band for each kind of scrape; down when any of its targets was. exporter is ours, probe your "
        "systems through it, native the Dask workers' own pages (they come and go), node the hosts. A gap: Prometheus "
        "was not running.",
        queries=[Query("min by (job) (up)", "{{job}}")],
        states=UP_DOWN,
        empty="Prometheus scrapes nothing: is this its data source?",
        seen="up[15m]",
    )


def _targets(limits: Mapping[str, float]) -> Any:
    by = "job, instance, host, target"
    return table(
        "What is scraped, and what does it cost?",
        description="Every scrape target: whether the last scrape worked, how long it took, how many series it "
        "brought. Down ones stand first. A scrape near its limit (4.5 s for probes) will soon fail.",
        columns=[
            Column(title="Job", field="job"),
            Column(title="Address", field="instance", width=150),
            Column(title="Target", field="target"),
            Column(title="Host", field="host"),
            Column(title="State", query=f"max by ({by}) (up)", states=UP_DOWN),
            Column(
                title="Took",
                query=f"max by ({by}) (scrape_duration_seconds)",
                unit="s",
                levels=above(limits["target_scrape_seconds"], limits["target_scrape_seconds_critical"]),
            ),
            Column(title="Series", query=f"max by ({by}) (scrape_samples_post_metric_relabeling)", unit="short"),
        ],
        empty="Prometheus scrapes nothing: is this its data source?",
        sort="State",
        descending=False,
    )


def _cost() -> list[Any]:
    return [
        timeseries(
            "What CPU does the monitoring take?",
            description="Cores that each part of the monitoring uses. All together should be a small part of one core; "
            "much in Prometheus is many series or heavy pages, much in the exporter very large clusters.",
            unit="none",
            queries=[
                Query(
                    'sum by (job) (rate(process_cpu_seconds_total{job!="native"}[$__rate_interval]))',
                    "{{job}}",
                    every=_SLOW,
                )
            ],
            levels=plain(),
            empty="the parts are not scraped",
            decimals=2,
            stacked=True,
        ),
        timeseries(
            "What memory does the monitoring take?",
            description="Resident memory of each part. Prometheus grows with the number of series; a part that climbs "
            "for days leaks.",
            unit="bytes",
            queries=[Query('sum by (job) (process_resident_memory_bytes{job!="native"})', "{{job}}")],
            levels=plain(),
            empty="the parts are not scraped",
            stacked=True,
        ),
        timeseries(
            "How many series are kept?",
            description="Series that Prometheus holds now. Each costs some kilobytes of memory. A climb without new "
            "workers or models is a label that never repeats.",
            unit="short",
            queries=[
                Query("sum(prometheus_tsdb_head_series)", "all"),
                Query("sum by (target) (cluster_ai_exporter_target_series)", "{{target}}"),
            ],
            levels=plain(),
            empty="Prometheus is not scraped",
        ),
    ]


def _health(limits: Mapping[str, float]) -> list[Any]:
    took = " or ".join(
        f"max by (system, target) ({prefix}_scrape_duration_seconds)" for prefix in queries.PREFIX.values()
    )
    failed = " or ".join(
        f"sum by (system, target, reason) (rate({prefix}_collector_errors_total[$__rate_interval])) > 0"
        for prefix in queries.PREFIX.values()
    )
    return [
        timeseries(
            "How long does a look at a target take?",
            description="Time the exporter needs to ask each target. A climb says that the target is slow to answer, "
            "often before its users notice. Prometheus gives up at 4.5 s.",
            unit="s",
            queries=[Query(took, "{{target}} ({{system}})")],
            levels=above(limits["target_scrape_seconds"], limits["target_scrape_seconds_critical"]),
            empty="no targets",
        ),
        timeseries(
            "Which looks fail, and why?",
            description="Failed calls to a target, a second, by reason. None is good. timeout: slow or blocked. "
            "unauthorized, forbidden: its key. connection_refused: it is not running. `cluster-ai doctor` says what "
            "to do.",
            unit="ops",
            queries=[Query(failed, "{{target}}: {{reason}}")],
            levels=plain(),
            empty="none fail",
        ),
        timeseries(
            "Does Prometheus keep up?",
            description="Alerts that could not be sent, rule groups that took too long, failed reads of a target's "
            "page, a second. All at 0 is good; anything else means that alerts may be late or lost.",
            unit="ops",
            queries=[
                Query("sum(rate(prometheus_notifications_dropped_total[$__rate_interval]))", "alerts dropped", "15s"),
                Query("sum(rate(prometheus_rule_evaluation_failures_total[$__rate_interval]))", "rules failed", "15s"),
                Query(
                    "sum(rate(prometheus_rule_group_iterations_missed_total[$__rate_interval]))", "rules late", "15s"
                ),
                Query(
                    "sum(rate(prometheus_target_scrapes_exceeded_sample_limit_total[$__rate_interval]))",
                    "pages too large",
                    "15s",
                ),
            ],
            levels=plain(),
            empty="Prometheus is not scraped, or has no rules",
        ),
    ]
