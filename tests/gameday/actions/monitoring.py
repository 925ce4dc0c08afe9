"""What goes wrong with the stack's own configuration, and waiting for the middle of an incident."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

from tests.gameday.actions.registry import action
from tests.gameday.stack import SECOND
from tests.gameday.stage import Stage
from tests.gameday.waiting import surely

_HANDED_ON = re.compile(r"^alertmanager_nflog_gossip_messages_propagated_total (\S+)$", re.MULTILINE)


@action
async def forget_target(stage: Stage, target: str) -> AsyncIterator[None]:
    """A target is taken out of cluster-ai.yml, and only the exporter is told to read it again."""
    targets = stage.config["targets"]
    stage.config["targets"] = {
        system: [one for one in entries if one["name"] != target] for system, entries in targets.items()
    }
    stage.write_config()
    stage.reload("exporter")
    yield
    stage.config["targets"] = targets
    stage.write_config()
    stage.reload("exporter")


@action
async def bad_file(stage: Stage, file: str, service: str) -> AsyncIterator[None]:
    """A file of the rendered configuration is broken by hand, and a service is told to read it."""
    path = stage.state.rendered / file
    _break(stage, path, service)
    yield
    _mend(path)
    stage.reload(service)


@action
async def bad_config(stage: Stage) -> AsyncIterator[None]:
    """cluster-ai.yml is broken by hand, and the exporter is told to read it."""
    _break(stage, stage.config_file, "exporter")
    yield
    _mend(stage.config_file)
    stage.reload("exporter")


@action
async def bad_rule(stage: Stage, expr: str) -> AsyncIterator[None]:
    """A rule that cannot be evaluated comes with the next reload."""
    path = stage.state.rendered / "rules" / "broken.yml"
    path.write_text(f"groups: [{{name: broken, interval: 1s, rules: [{{record: broken, expr: {expr!r}}}]}}]\n")
    stage.reload("prometheus")
    yield
    path.unlink()
    stage.reload("prometheus")


@action
async def firing(stage: Stage, alert: str) -> AsyncIterator[None]:
    """Waits until an alert has begun, so that what follows happens in the middle of it."""
    await surely(lambda: _fires(stage, alert), f"{alert} to fire", 60)
    yield


@action
async def told(stage: Stage, messages: int) -> AsyncIterator[None]:
    """Waits until that many messages were sent and both Alertmanagers know it: docs/gameday.md, what it taught."""
    before = await _handed_on(stage)

    async def known() -> bool:
        return await _handed_on(stage) >= before + messages

    await surely(known, f"{messages} messages to be sent and known to both Alertmanagers", 60)
    yield


async def _handed_on(stage: Stage) -> float:
    """How many messages of one Alertmanager's the other one has heard of."""
    pages = [(await stage.http.get(f"{stage.url(name)}/metrics")).text for name in ("alertmanager", SECOND)]
    return sum(float(count) for page in pages for count in _HANDED_ON.findall(page))


async def _fires(stage: Stage, name: str) -> bool:
    answer = await stage.http.get(f"{stage.url('prometheus')}/api/v1/alerts")
    alerts = answer.json()["data"]["alerts"]
    return any(one["state"] == "firing" and one["labels"]["alertname"] == name for one in alerts)


def _break(stage: Stage, path: Path, service: str) -> None:
    path.with_name(f"{path.name}.good").write_text(path.read_text())
    path.write_text("{ this is: [not YAML\n")
    stage.reload(service)


def _mend(path: Path) -> None:
    good = path.with_name(f"{path.name}.good")
    path.write_text(good.read_text())
    good.unlink()
