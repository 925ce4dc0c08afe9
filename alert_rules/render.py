"""Templates to Prometheus rules: `rules/*.yml.j2` with this installation's numbers, links and switched-off alerts.

Templates are YAML with Jinja2 between `[[ ]]`, `[% %]` and `[# #]`, which leaves `{{ $labels.target }}` to Prometheus.
What is undefined is an error. The result is read as YAML and written again, so that a template cannot give text that
merely looks like rules; and alerts are put into groups by how soon they must be known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from alert_rules import infos
from alert_rules.overrides import Overrides
from alert_rules.writing import Alert, Writer
from provisioning.config.model import Config

PAGING_INTERVAL = "5s"
"""How often alerts that wake somebody are evaluated."""
INTERVAL = "15s"
SYSTEMS = {"hosts": "host", "production": "monitoring", "proxy": "ollama"}
"""The `system` of a template's alerts where it is not the template's name."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """Rule files by name, and the alerts in them."""

    files: dict[str, str]
    alerts: tuple[Alert, ...]


def rules(config: Config) -> dict[str, str]:
    """Each rule file's text by its name, such as `dask.yml`; valid for Prometheus 2.42."""
    return rendered(config).files


def rendered(config: Config) -> Rendered:
    """The rule files and the alerts in them.

    Raises jinja2.TemplateError (with file and line) or WrongTemplateError for a template that is wrong; nothing in
    a valid `config` can cause either.
    """
    environment = Environment(
        loader=PackageLoader("alert_rules", "rules"),
        undefined=StrictUndefined,
        variable_start_string="[[",
        variable_end_string="]]",
        block_start_string="[%",
        block_end_string="%]",
        comment_start_string="[#",
        comment_end_string="#]",
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701 -- YAML, not HTML; alerts are written as JSON strings
    )
    overrides = Overrides(config.alerts)
    texts: dict[str, str] = {}
    alerts: list[Alert] = []
    for name in templates():
        writer = Writer(SYSTEMS.get(name, name), config.grafana_url, overrides)
        text = environment.get_template(f"{name}.yml.j2").render(
            alert=writer.alert, burn=writer.burn, threshold_records=writer.threshold_records, config=config
        )
        written = yaml.load(text, _Loader)  # noqa: S506 -- a safe one, written in C where that is installed
        texts[f"{name}.yml"] = _normal(_groups(name, written["groups"]))
        alerts += writer.written
    texts["infos.yml"] = _normal(infos.groups(config, alerts))
    return Rendered(texts, tuple(alerts))


def templates() -> tuple[str, ...]:
    """The templates' names without their endings, in order."""
    found = (entry.name for entry in files("alert_rules").joinpath("rules").iterdir())
    return tuple(sorted(name.removesuffix(".yml.j2") for name in found if name.endswith(".yml.j2")))


def _groups(name: str, written: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is recorded, in the groups of the template; then the alerts, those that wake somebody apart."""
    rules = [(group, rule) for group in written for rule in group["rules"] or ()]
    groups = []
    for group in written:
        records = [rule for its, rule in rules if its is group and "record" in rule]
        groups.append({**group, "rules": records})
    paging = [rule for _, rule in rules if "alert" in rule and rule["labels"]["severity"] == "critical"]
    others = [rule for _, rule in rules if "alert" in rule and rule["labels"]["severity"] != "critical"]
    groups.append({"name": f"{name}-paging", "interval": PAGING_INTERVAL, "rules": paging})
    groups.append({"name": name, "interval": INTERVAL, "rules": others})
    return [group for group in groups if group["rules"]]


def _normal(groups: list[dict[str, Any]]) -> str:
    """The rules as YAML for people."""
    return yaml.dump({"groups": groups}, Dumper=_Dumper, sort_keys=False, width=1_000, allow_unicode=True)


_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as such."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)
