"""Ollama servers: do they answer, are they open to the network, are the wanted models there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import cast

from exporter.collectors.ollama_answers import Installed, canonical, decode_installed, decode_version
from exporter.discover import What, bracketed
from exporter.doctor import clocks, reach
from exporter.doctor.exam import LOOK_SECONDS, Check, Exam, Visit, count, is_loopback, some
from exporter.doctor.findings import Finding, info, warning
from exporter.errors import CollectError, Reason
from provisioning.config.targets import OllamaTarget

OPEN = warning(
    "ollama-open",
    "Ollama answers on the network without credentials. Whoever reaches it can use, pull and delete models.",
    "bind it to 127.0.0.1 (OLLAMA_HOST), let only known machines reach the port, or put a proxy that asks for "
    "credentials before it",
)
FORBIDS = warning(
    "ollama-host-refused",
    "Ollama that listens on 127.0.0.1 answers 403 to host names it does not know, and a proxy before it passes such a "
    "name on.",
    "have the proxy send `Host: localhost`, or check the credentials",
)
NO_PS = warning(
    "ollama-too-old",
    "This version has no /api/ps, so loaded models are unknown (before 0.1.38).",
    "take a newer Ollama",
)
OLD = info(
    "ollama-old",
    "This version does not tell all that newer ones do: the context of loaded models (0.10), capabilities in the list "
    "(0.30; before that each model is asked about once, and before 0.6.4 they are unknown).",
    "take a newer Ollama if you want these numbers",
)
MODEL_MISSING = warning(
    "ollama-model-missing",
    "A model under must_be_loaded is not installed there, so its alert can never clear.",
    "run `ollama pull MODEL` there, or correct its name",
)
MODEL_REMOTE = warning(
    "ollama-model-remote",
    "A model under must_be_loaded runs in a cloud: it is never in this server's memory.",
    "take it out of must_be_loaded",
)

_VERSION = re.compile(r"v?(\d{1,6})\.(\d{1,6})\.(\d{1,6})")
_FEATURES = (((0, 6, 4), "capabilities of models"), ((0, 10, 0), "the context of loaded models"))
_PS_SINCE = (0, 1, 38)
_UNSTAMPED = (0, 0, 0)  # built from source without a version


class OllamaExam(Exam):
    """One Ollama server."""

    def __init__(self, visit: Visit) -> None:
        super().__init__(visit)
        self._target = cast("OllamaTarget", visit.target)
        self._http = visit.wires.http(self._target)
        self._installed: Mapping[str, Installed] = {}

    async def knock(self) -> list[Finding]:
        """Whether an Ollama answers at the address: its version and its list of models."""
        timeout = self._target.timeout
        try:
            version = decode_version(await self._http.json("/api/version", timeout=timeout))
            self._installed = decode_installed(await self._http.json("/api/tags", timeout=timeout)).models
        except CollectError as failure:
            found = await reach.why(failure, self.visit.address, self._target, What.OLLAMA, timeout=timeout)
            return [*found, FORBIDS.found(str(failure))] if failure.reason is Reason.FORBIDDEN else found
        self.visit.version = version
        self.answered = True
        return []

    def checks(self) -> Mapping[str, Check]:
        """What else is looked at."""
        return {
            "certificate": partial(reach.certificate, self.visit, self._target),
            "clock": partial(clocks.check, self._http, "/api/version", self.visit.clock, timeout=self._target.timeout),
            "version": self._version,
            "wanted models": self._models,
            "exposure": self._exposure,
        }

    async def _version(self) -> list[Finding]:
        match = _VERSION.match(self.visit.version)
        version = tuple(map(int, match.groups())) if match else _UNSTAMPED
        if version == _UNSTAMPED:
            return []
        if version < _PS_SINCE:
            self.visit.explained |= {"loaded", "capabilities"}
            return [NO_PS.found(f"Ollama {self.visit.version}")]
        missing = [what for since, what in _FEATURES if version < since]
        return [OLD.found(f"Ollama {self.visit.version} does not tell {' and '.join(missing)}")] if missing else []

    async def _models(self) -> list[Finding]:
        there = {canonical(name).casefold(): model for name, model in self._installed.items()}
        wanted = {name: there.get(canonical(name).casefold()) for name in self._target.must_be_loaded}
        missing = [name for name, model in wanted.items() if model is None]
        remote = [name for name, model in wanted.items() if model is not None and model.cloud]
        found = []
        if missing:
            found.append(MODEL_MISSING.found(f"not among its {count(len(there), 'model')}: {some(missing)}"))
        if remote:
            found.append(MODEL_REMOTE.found(some(remote)))
        return found

    async def _exposure(self) -> list[Finding]:
        if self._target.cert_file is not None:
            return []  # it was asked with our certificate, which others do not have
        url = self.visit.url
        if not is_loopback(url.hostname or ""):
            return await self._answers_all(self.visit.address)
        port = url.port or (443 if url.scheme == "https" else 80)
        for address in self.visit.own_addresses:
            found = await self._answers_all(f"{url.scheme}://{bracketed(address)}:{port}{url.path}")
            if found:
                return found
        return []

    async def _answers_all(self, address: str) -> list[Finding]:
        http = self.visit.wires.http(self._target, address)  # without credentials
        try:
            decode_installed(await http.json("/api/tags", timeout=LOOK_SECONDS))
        except CollectError:
            return []
        return [OPEN.found(f"{address} gives its models to everyone")]
