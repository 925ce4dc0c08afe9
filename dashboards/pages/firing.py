"""What fires now, and every alert that could: the tables of the Alerts page."""

from __future__ import annotations

from typing import Any

from dashboards.kit import AMBER, GREY, RED, Column, State, cell, table
from dashboards.kit.house import BLUE
from dashboards.kit.language import say

SEVERITIES = {"critical": ("critical", RED), "warning": ("warning", AMBER), "info": ("info", BLUE)}
_PLAIN = {name: (word, GREY) for name, (word, _) in SEVERITIES.items()}  # of what could be: nothing is wrong yet
PAGES = {
    "dashboard": ("Dashboard", GREY),
    "system": ("System", GREY),
    "workers": ("Workers", GREY),
    "worker": ("Dask worker", GREY),
    "dask": ("Dask cluster", GREY),
    "ollama": ("Ollama", GREY),
    "proxy": ("Ollama proxy", GREY),
    "openwebui": ("Open WebUI", GREY),
    "alerts": ("Alerts", GREY),
    "settings": ("Settings", GREY),
}
CHOSEN = 'alertname=~"$alert", alertname!="Watchdog"'
_INFO = "cluster_ai:alert:info"
_LINKING = ("page", "runbook", "target_as", "host_as", "worker_as")
_TOLD = "alertname, severity, system, target, host, worker, model, backend"  # what acknowledgements are told by
_LABELS = f"{_TOLD}, job, instance, mountpoint"
_FIRING = f'ALERTS{{alertstate="firing", {CHOSEN}}}'
_RANKS = (State(0, "critical", RED), State(1, "warning", AMBER), State(2, "info", BLUE))
# What an alert is about: the label, and its column.
_ABOUT = (("target", "Target"), ("host", "Host"), ("worker", "Worker"))


def now() -> Any:
    """Each alert that fires, and what to do about it."""
    linked = f"{_FIRING} * on (alertname) group_left ({', '.join(_LINKING)}) {_INFO}"
    rows = f"max by ({_LABELS}, {', '.join(_LINKING)}) ({linked} or {_FIRING} unless on (alertname) {_INFO})"
    shown = f'label_replace({rows}, "shown", "$1", "page", "(.*)")'
    return table(
        "What fires now?",
        description="Every alert that fires, the worst first. Its name leads to its runbook, `Cause` to the page that "
        "shows why, `acknowledge` to a silence filled in for it, for all workers and models of the target: say there "
        "for how long you have it. Until then people are told again and again.",
        columns=[
            Column(
                title="Severity",
                query=_rank(_LABELS, _FIRING),
                states=_RANKS,
                width=105,
            ),
            Column(
                title="Alert",
                field="alertname",
                query=f'label_replace({shown}, "do", "{say("acknowledge")}", "", "")',
                links=[_runbook()],
                width=240,
            ),
            *(Column(title=title, field=label) for label, title in _ABOUT),
            Column(title="Model", field="model"),
            Column(title="Backend", field="backend"),
            Column(title="Part", field="job"),
            Column(title="Address", field="instance"),
            Column(title="Directory", field="mountpoint"),
            Column(
                title="Since",
                query=f"max by ({_LABELS}) (ALERTS_FOR_STATE * 1000 and ignoring (alertstate) {_FIRING})",
                unit="dateTimeFromNow",
                width=120,
            ),
            Column(
                title="Acknowledged until",
                query=f"max by ({_TOLD}) (cluster_ai_alert_silenced_until_timestamp_seconds{{{CHOSEN}}}) * 1000",
                unit="dateTimeFromNow",
                width=150,
            ),
            Column(title="Cause", field="shown", words=PAGES, links=[_cause()], width=95),
            Column(title="To do", field="do", links=[_acknowledge()], width=110),
            *(Column(title=name, field=name, hidden=True) for name in ("severity", "system", *_LINKING)),
        ],
        empty="nothing fires",
        says="target",
        sort="Severity",
        descending=False,
    )


def wrong() -> Any:
    """The same in short, for the first page."""
    by = "alertname, target, host"
    everything = 'ALERTS{alertstate="firing", alertname!="Watchdog"}'
    return table(
        "What is wrong?",
        description="Every alert that fires, the worst first, with what it is about. Its name leads to the Alerts "
        "page: to its runbook, to the page that shows the cause, and to where you say that you have it. Empty is good.",
        columns=[
            Column(title="Severity", query=_rank(by, everything), states=_RANKS, width=105),
            Column(
                title="Alert",
                field="alertname",
                query=f"count by ({by}) ({everything})",
                links=[_link("What fires", f"/d/cluster-ai-alerts?${{__url_time_range}}&var-alert={cell('Alert')}")],
                width=210,
            ),
            Column(title="Target", field="target"),
            Column(title="Host", field="host"),
            Column(
                title="Since",
                query=f"min by ({by}) (ALERTS_FOR_STATE * 1000 and ignoring (alertstate) {everything})",
                unit="dateTimeFromNow",
                width=130,
            ),
        ],
        empty="nothing fires",
        says="target",
        sort="Severity",
        descending=False,
    )


def _rank(by: str, firing: str) -> str:
    """A number for each alert that puts the worst first."""
    critical, warning = (f'{firing[:-1]}, severity="{name}"}}' for name in ("critical", "warning"))
    return f"min by ({by}) ({critical} * 0 or {warning} * 1 or {firing} * 2)"


def catalogue() -> Any:
    """Every alert there is."""
    chosen = 'alertname=~"$alert"'
    info = f"max by (alertname, severity, system, runbook) ({_INFO}{{{chosen}}})"

    def of(expr: str) -> str:
        return f"{info} * 0 + on (alertname) group_left () {expr}"

    return table(
        "Which alerts are there?",
        description="Every alert this installation has, and how often it fired within 90 days. One that never did is "
        "tested all the same; `cluster-ai alerts test` shows whom it would reach. One that fires daily and is daily "
        "ignored needs another threshold, or its cause mended.",
        columns=[
            Column(title="Alert", field="alertname", query=info, links=[_runbook(), _rule()], width=290),
            Column(title="Severity", field="severity", words=_PLAIN, width=85),
            Column(title="System", field="system", width=110),
            Column(
                title="Now",
                query=of(
                    f'(max by (alertname) (ALERTS{{{chosen}, alertstate="firing"}})'
                    f" or max by (alertname) (ALERTS{{{chosen}}}) * 0)"
                ),
                states=(State(0, "pending", AMBER), State(1, "fires", RED)),
                width=90,
            ),
            Column(
                title="Fired in 90 days",
                query=of(f"sum by (alertname) (cluster_ai:alert_fired:count90d{{{chosen}}})"),
                unit="none",
                width=140,
            ),
            Column(
                title="Began last",
                query=of(f"max by (alertname) (cluster_ai:alert_last_since:seconds90d{{{chosen}}}) * 1000"),
                unit="dateTimeFromNow",
            ),
            Column(title="runbook", field="runbook", hidden=True),
        ],
        empty="no rules",
        says="system",
        sort="Alert",
        descending=False,
    )


def _runbook() -> dict[str, Any]:
    return _link("Its runbook", f"/d/cluster-ai-runbooks?${{__url_time_range}}&viewPanel={cell('runbook')}")


def _rule() -> dict[str, Any]:
    return _link("Its rule, in Grafana", f"/alerting/${{datasource:text}}/{cell('Alert')}/find")


def _cause() -> dict[str, Any]:
    """The page that shows what the alert is about, with that chosen; a variable called `none` is on no page."""
    chosen = "".join(f"&var-{cell(f'{label}_as')}={cell(title)}" for label, title in _ABOUT)
    there = f"/d/cluster-ai-{cell('page')}?${{__url_time_range}}&var-datasource=${{datasource}}"
    return _link("The page that shows the cause", f"{there}{chosen}")


def _acknowledge() -> dict[str, Any]:
    """Grafana's form for a silence of this alert on this target and host."""
    about = (("alertname", "Alert"), *_ABOUT[:2])  # all workers of a target: one matter is acknowledged once
    matchers = "".join(f"&matcher={label}%3D{cell(title)}" for label, title in about)
    return _link("Acknowledge: silence it", f"/alerting/silence/new?alertmanager=Alertmanager{matchers}&comment=ACK")


def _link(title: str, url: str) -> dict[str, Any]:
    return {"title": say(title), "url": url, "targetBlank": False}
