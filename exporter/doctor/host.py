"""Hosts: the node_exporter and the GPU exporter that Prometheus scrapes directly."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from exporter.client.http import HttpClient
from exporter.discover import What, by_metrics
from exporter.doctor import clocks, reach
from exporter.doctor.exam import Check, Exam, Visit
from exporter.doctor.findings import Finding
from exporter.errors import CollectError, Reason
from provisioning.config.targets import TlsFiles

_TIMEOUT = 5.0  # seconds
_NO_FILES = TlsFiles()


class HostExam(Exam):
    """One exporter of a machine."""

    def __init__(self, visit: Visit, expected: What) -> None:
        super().__init__(visit)
        self._expected = expected
        self._http = HttpClient(visit.address, _NO_FILES)

    async def knock(self) -> list[Finding]:
        """Whether that exporter answers at the address."""
        try:
            what = by_metrics(await self._http.ask("/metrics", timeout=_TIMEOUT))
        except CollectError as failure:
            return await self._why(failure)
        if what is not self._expected:
            return await self._why(CollectError(Reason.SHAPE, "its /metrics is not that"))
        self.answered = True
        return []

    def checks(self) -> Mapping[str, Check]:
        """What else is looked at."""
        return {
            "certificate": partial(reach.certificate, self.visit, _NO_FILES),
            "clock": partial(clocks.check, self._http, "/", self.visit.clock, timeout=_TIMEOUT),
        }

    async def close(self) -> None:
        """Close the connection."""
        await self._http.close()

    async def _why(self, failure: CollectError) -> list[Finding]:
        return await reach.why(failure, self.visit.address, _NO_FILES, self._expected, timeout=_TIMEOUT)
