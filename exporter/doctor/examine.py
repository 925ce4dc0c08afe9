"""Runs the examinations: targets side by side, a target's checks side by side, and no check stops another."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import psutil

from exporter.client.wires import TargetWires
from exporter.collectors.base import Clock
from exporter.discover import What
from exporter.doctor import collection, secret_files
from exporter.doctor.dask import DaskExam
from exporter.doctor.exam import Check, Exam, Visit, is_loopback
from exporter.doctor.findings import Finding, Severity, warning
from exporter.doctor.host import HostExam
from exporter.doctor.ollama import OllamaExam
from exporter.doctor.openwebui import OpenWebUIExam
from exporter.errors import CollectError
from exporter.fleet import targets_of
from provisioning.config.hosts import HostNames
from provisioning.config.model import Config
from provisioning.config.targets import DaskTarget

log = logging.getLogger(__name__)

CHECK_FAILED = warning(
    "check-failed",
    "One of the doctor's own checks could not be carried out; the others were.",
    "follow the message; when it names an exception, please report it",
)

TARGETS_AT_ONCE = 8
CHECK_SECONDS = 30.0
EXAMS: dict[str, type[Exam]] = {"dask": DaskExam, "ollama": OllamaExam, "openwebui": OpenWebUIExam}
_ORDER = list(Severity)


@dataclass(slots=True)
class Report:
    """What was found on one target; `checked` says what was looked at."""

    name: str
    system: str
    address: str
    version: str = ""
    checked: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


async def examine(
    config: Config,
    names: Collection[str] = (),
    *,
    clock: Clock = time.time,
    own_addresses: tuple[str, ...] | None = None,
) -> list[Report]:
    """Examine the targets and hosts of these names, or all, in the order of the file."""
    hosts = HostNames(config.targets.hosts, socket.gethostname())
    own = local_addresses() if own_addresses is None else own_addresses
    slots = asyncio.Semaphore(TARGETS_AT_ONCE)

    async def one(visit: Visit, expected: What | None) -> Report:
        async with slots:
            try:
                return await _examine(visit, expected)
            finally:
                await visit.wires.close()

    visits = [pair for pair in _visits(config, hosts, clock, own) if not names or pair[0].name in names]
    return await asyncio.gather(*(one(visit, expected) for visit, expected in visits))


def local_addresses() -> tuple[str, ...]:
    """This machine's addresses that others may reach: loopback and link-local ones aside."""
    families = (socket.AF_INET, socket.AF_INET6)
    known = [
        entry.address for entries in psutil.net_if_addrs().values() for entry in entries if entry.family in families
    ]
    return tuple(address for address in known if not is_loopback(address) and "%" not in address)


def _visits(
    config: Config, hosts: HostNames, clock: Clock, own: tuple[str, ...]
) -> Iterator[tuple[Visit, What | None]]:
    for system, target in targets_of(config):
        address = target.scheduler if isinstance(target, DaskTarget) else target.url
        yield Visit(system, target.name, address, target, TargetWires(), hosts, clock, own), None
    for host in config.targets.hosts:
        for url, what in ((host.node_exporter, What.NODE_EXPORTER), (host.gpu_exporter, What.GPU_EXPORTER)):
            if url is not None:
                yield Visit("host", host.name, url, host, TargetWires(), hosts, clock, own), what


async def _examine(visit: Visit, expected: What | None) -> Report:
    report = Report(visit.name, visit.system, visit.address)
    exam = EXAMS[visit.system](visit) if expected is None else HostExam(visit, expected)
    try:
        await _run(report, {"secret files": partial(secret_files.check, visit), "answers": exam.knock})
        if exam.answered:
            await _run(report, exam.checks())
            if expected is None:  # after the others, whose questions would make it slower
                await _run(report, {"collection": partial(collection.check, visit)})
    finally:
        await exam.close()
    report.version = visit.version
    report.findings.sort(key=lambda finding: _ORDER.index(finding.severity))
    return report


async def _run(report: Report, checks: Mapping[str, Check]) -> None:
    found = await asyncio.gather(*(_guarded(what, check) for what, check in checks.items()))
    report.checked.extend(checks)
    for findings in found:
        report.findings.extend(findings)


async def _guarded(what: str, check: Check) -> list[Finding]:
    """The findings of one check; its failure is a finding too."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await check()
    except CollectError as failure:
        return [CHECK_FAILED.found(f"{what}: {failure}")]
    except TimeoutError:
        return [CHECK_FAILED.found(f"{what}: not done within {CHECK_SECONDS:g} s")]
    except Exception as failure:
        log.exception("the check %s failed", what)
        return [CHECK_FAILED.found(f"{what}: {type(failure).__name__}: {failure}")]
