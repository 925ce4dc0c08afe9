"""docs/alerts.md and `rendered/`, written from the rules: `python -m alert_rules.reference`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from alert_rules.catalogue import Alert, alerts
from alert_rules.overrides import spoken, subject
from alert_rules.render import rules
from alert_rules.thresholds import defaults
from provisioning.config.durations import format_duration
from provisioning.config.model import Config
from provisioning.config.targets import Targets

RENDERED = Path(__file__).parent / "rendered"
PAGE = Path(__file__).parents[1] / "docs" / "alerts.md"
TITLES = {
    "dask": "Dask",
    "ollama": "Ollama",
    "openwebui": "Open WebUI",
    "host": "Machines and GPUs",
    "monitoring": "The monitoring itself",
}
NOTES = {
    "host": """\
Temperatures come from node_exporter's hwmon collector, GPUs from dcgm-exporter or nvidia_gpu_exporter. We had neither
sensor nor GPU at hand: those rules rest on the names in the exporters' documentation (node_exporter 1.5, dcgm-exporter
4, nvidia_gpu_exporter 1.14) and were never seen to fire on a real one.

Debian's package of node_exporter leaves out file systems under `/mnt` and `/media`; the node_exporter that
`cluster-ai up` starts does not. On other machines put this into `ARGS` of `/etc/default/prometheus-node-exporter`:
`--collector.filesystem.mount-points-exclude=^/(dev|proc|run|sys)($|/)`
""",
}
INTRODUCTION = """\
# Alerts

<!-- Generated from alert_rules/rules/ by `make generate`; edit the templates there. -->

Every alert that is raised, when, and after how long. **critical** wakes somebody, **warning** is for the day, **info**
is for the record; [notifications.md](notifications.md) says who is told and how. Each has a runbook in
[alert_rules/runbooks/](../alert_rules/runbooks/), which Grafana shows and every message links to. In containers
their commands are [called in another way](deployment.md#runbooks-commands-here); what to read when Grafana is down
stands there, too.

Numbers in `code` are thresholds. Change them, or switch alerts off, for all or for one target, in `cluster-ai.yml`:

```yaml
alerts:
  thresholds: {dask_worker_memory_ratio: 0.85}
  disabled: [DaskIdle]
  overrides:
    - target: main # a target or a host
      thresholds: {dask_oldest_task_seconds: 14400}
      disabled: [DaskScaleUpStuck]
```

`cluster-ai check` names what it does not know, and where. Who wants the rules without the rest takes
[alert_rules/rendered/](../alert_rules/rendered/), which has the defaults; its links lead to a Grafana on this machine.

"After" is how long the fault must last. Critical alerts are evaluated every 5 s, the rest every 15 s.
"""


def page() -> str:
    """docs/alerts.md."""
    sections = [_section(system, [alert for alert in alerts() if alert.system == system]) for system in TITLES]
    return "\n".join((INTRODUCTION, *sections, _thresholds()))


def rendered_files() -> dict[str, str]:
    """The rule files with every default, by name."""
    head = "# Generated from alert_rules/rules/ by `make generate`: the default rules, for Prometheus 2.42 and newer.\n"
    return {name: head + text for name, text in rules(Config(targets=Targets())).items()}


def _section(system: str, found: Sequence[Alert]) -> str:
    rows = [
        _row(alert) for severity in ("critical", "warning", "info") for alert in found if alert.severity == severity
    ]
    title = (f"## {TITLES[system]}\n", *([NOTES[system]] if system in NOTES else []))
    return "\n".join((*title, "| Alert | Severity | After | Says | Thresholds |\n|---|---|---|---|---|", *rows, ""))


def _row(alert: Alert) -> str:
    name = f"[{alert.name}](../alert_rules/runbooks/{alert.name}.md)"
    used = ", ".join(f"`{threshold}`" for threshold in alert.thresholds)
    about = "" if subject(alert.labels) else " (for all; not per target)"
    wait = format_duration(alert.wait) if alert.wait else "at once"
    return f"| {name} | {alert.severity} | {wait} | {_plain(alert.summary)}{about} | {used} |"


def _plain(summary: str) -> str:
    """A summary with the names of its labels in place of their values, `…` for numbers, and choices side by side."""
    text = re.sub(r"\{\{ \$labels\.(\w+)[^}]*\}\}", r"*\1*", summary)
    text = re.sub(r"\{\{ (if|end)[^}]*\}\}", "", re.sub(r"\{\{ else[^}]*\}\}", " / ", text))
    return re.sub(r"\{\{[^}]*\}\}", "…", text).replace("|", "\\|")


def _thresholds() -> str:
    users: dict[str, list[str]] = {name: [] for name in defaults()}
    for alert in alerts():
        for name in alert.thresholds:
            users[name].append(alert.name)
    rows = [
        f"| `{name}` | {value:g} | {spoken(name, value)} | {', '.join(users[name]) or 'colours of pages'} |"
        for name, value in defaults().items()
    ]
    head = "| Threshold | Default | That is | Used by |\n|---|---|---|---|"
    return "\n".join(
        ("## Thresholds\n", "What each means stands in [defaults.yml](../alert_rules/defaults.yml).\n", head, *rows, "")
    )


def write() -> None:
    """Brings the generated files up to date."""
    PAGE.write_text(page(), encoding="utf-8")
    RENDERED.mkdir(exist_ok=True)
    wanted = rendered_files()
    for path in RENDERED.glob("*.yml"):
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (RENDERED / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
