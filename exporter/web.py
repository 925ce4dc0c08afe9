"""The exporter's HTTP server. It serves; everything it says comes from the fleet."""

from __future__ import annotations

import gzip
import json
import math
import re
import time
from collections.abc import Callable, Sequence

import yaml
from aiohttp import web

from exporter import debug, landing, native_page, sd
from exporter.apart import written
from exporter.client.recording import recorded
from exporter.door.formats import wanted
from exporter.door.guard import MAX_REQUESTS, Guard, Handler
from exporter.door.server import PatientResponse
from exporter.door.settings import WebSettings
from exporter.errors import CollectError
from exporter.families import Family, encode, merge
from exporter.fleet import Fleet, targets_of
from exporter.selfmetrics import SelfMetrics
from exporter.shard import owner
from exporter.silences import Silences
from provisioning.config.hosts import HostNames
from provisioning.config.load import ConfigError
from provisioning.config.shown import shown
from provisioning.config.targets import SYSTEMS

TIMEOUT_HEADER = "X-Prometheus-Scrape-Timeout-Seconds"
MARGIN = 0.5  # seconds of Prometheus's scrape time-out left for encoding and the way back
DEFAULT_BUDGET = 10.0  # seconds, for callers that name no time-out: Prometheus's own default
MOST_BUDGET = 120.0
DISCOVERY_BUDGET = 2.0  # seconds; Prometheus asks every five and gives up after as many
DISCOVERY_AGE = 5.0  # seconds a look at the targets is new enough for discovery and pages
_COMPRESS_ABOVE = 1024  # bytes
_GZIP = 1  # of 9: a fifth more bytes than 4 and half of its CPU, and Prometheus is near
_THREAD_ABOVE = 2000  # series above which encoding would hold up other scrapes noticeably
_HOST = re.compile(r"^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?$")
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{landing.STYLE_HASH}'; frame-ancestors 'none'",
}
# Endpoints that ask targets; --web.max-requests of them run at once.
_COSTLY = frozenset({"/metrics", "/probe", native_page.PATH})


def budget(header: str | None) -> float:
    """Seconds for one collection: Prometheus's time-out less a margin; a header that makes no sense is ignored."""
    try:
        seconds = float(header or "nan")
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        return DEFAULT_BUDGET
    return min(max(seconds - MARGIN, seconds / 4), MOST_BUDGET)


class Exporter:
    """The application: its endpoints and what they share."""

    def __init__(
        self,
        fleet: Fleet,
        settings: WebSettings | None = None,
        *,
        max_requests: int = MAX_REQUESTS,
        alertmanager: str | None = None,
    ) -> None:
        """`settings` say who comes in (everybody by default); `max_requests` how many scrapes run at once.

        `alertmanager`: where it is asked for what is acknowledged, in place of the configuration's address.
        """
        settings = settings or WebSettings(None)
        self._fleet = fleet
        self._silences = Silences(alertmanager or fleet.config.services.alertmanager)
        self._settings = settings
        self._self = SelfMetrics(fleet, settings)
        self._guard = Guard(
            settings, count=self._self.answered, headers=_HEADERS, costly=_COSTLY, max_requests=max_requests
        )

    def application(self) -> web.Application:
        """An aiohttp application, ready to be served."""
        app = web.Application(middlewares=[self._guard.middleware], client_max_size=0)
        app.on_cleanup.append(self._guard.close)
        app.on_cleanup.append(self._close)
        routes: dict[str, Handler] = {
            "/": self._landing,
            "/metrics": self._metrics,
            "/probe": self._probe,
            native_page.PATH: self._native,
            "/sd": self._discover,
            "/targets": self._targets,
            "/config": self._config,
            "/-/healthy": self._healthy,
            "/-/ready": self._ready,
        }
        for path, handler in routes.items():
            app.router.add_get(path, handler)
        app.router.add_post("/-/reload", self._reload)
        return app

    async def _probe(self, request: web.Request) -> web.Response:
        watch = self._fleet.watches[self._name(request)]
        seconds = budget(request.headers.get(TIMEOUT_HEADER))
        if request.query.get("debug") == "true":
            with recorded() as recording:
                collection = await watch.collect_anew(seconds)
            return PatientResponse(text=debug.page(watch, self._fleet.config, collection, recording))
        collection = await watch.collect(seconds)
        openmetrics, content_type = wanted(request)
        text = await _off_loop(
            collection.series, lambda: encode(collection.families, openmetrics=openmetrics) + "# EOF\n" * openmetrics
        )
        return await _exposition(request, text, content_type)

    async def _native(self, request: web.Request) -> web.Response:
        name = self._name(request)
        page = self._fleet.native_pages.get(name)
        if page is None:
            raise web.HTTPBadRequest(text=f"{name} is no Dask cluster; only those have a /native.\n")
        try:
            filtered = await page.get(budget(request.headers.get(TIMEOUT_HEADER)))
        except CollectError as error:
            raise web.HTTPBadGateway(text=f"{name}: {error}.\n") from None
        kind = "application/openmetrics-text; version=1.0.0" if filtered.openmetrics else "text/plain; version=0.0.4"
        return await _exposition(request, filtered.text, f"{kind}; charset=utf-8")

    def _name(self, request: web.Request) -> str:
        """The configured target that is asked for; 400 for an unknown one, 421 for one of another shard."""
        name = request.query.get("target", "")
        fleet = self._fleet
        if name in fleet.watches:
            return name
        if fleet.shard is not None and any(target.name == name for _, target in targets_of(fleet.config)):
            whose = f"{owner(name, fleet.shard.count)}/{fleet.shard.count}"
            raise web.HTTPMisdirectedRequest(
                text=f"{name} is watched by the exporter with --shard {whose}; this one is {fleet.shard}.\n"
            )
        raise web.HTTPBadRequest(
            text=f"No target is called {name[:63]!r} in the configuration; ask for one of: "
            f"{', '.join(fleet.watches) or 'none are configured'}.\n"
        )

    async def _metrics(self, request: web.Request) -> web.Response:
        asked = request.query.getall("collect[]", ["self", *SYSTEMS])
        unknown = sorted(set(asked) - {"self", *SYSTEMS})
        if unknown:
            known = ", ".join(("self", *SYSTEMS))
            raise web.HTTPBadRequest(text=f"Unknown collect[] {unknown[0][:63]!r}; use {known}, or leave it out.\n")
        fleet = self._fleet
        collections = await fleet.collect(budget(request.headers.get(TIMEOUT_HEADER)), asked)
        openmetrics, content_type = wanted(request)
        groups: list[tuple[Sequence[Family], tuple[tuple[str, str], ...]]] = [
            (collection.families, (("target", name), ("system", fleet.watches[name].collector.system)))
            for name, collection in collections.items()
            if name in fleet.watches  # a reload may have come between
        ]
        if "self" in asked:
            groups.append((await self._silences.families(), ()))
        series = sum(collection.series for collection in collections.values())
        text = await _off_loop(series, lambda: merge(groups, openmetrics=openmetrics))
        text += self._self.text(openmetrics=openmetrics) if "self" in asked else "# EOF\n" * openmetrics
        return await _exposition(request, text, content_type)

    async def _discover(self, request: web.Request) -> web.Response:
        kind = request.query.get("kind", "")
        if kind in sd.KINDS and not _HOST.match(request.host):
            raise web.HTTPBadRequest(text="The Host header is no host name; discovery cannot name this exporter.\n")
        if kind == "probe":
            hosts = HostNames.of(self._fleet.config)
            return _json(sd.probes(self._fleet, request.host, hosts))
        if kind in sd.KINDS:
            await self._fleet.refresh(DISCOVERY_AGE, DISCOVERY_BUDGET)
            if kind == "native":
                return _json(sd.natives(self._fleet))
            return _json(sd.filtered(self._fleet, request.host, request.scheme))
        raise web.HTTPBadRequest(text=f"Unknown kind {kind[:63]!r}; use {', '.join(sd.KINDS)}.\n")

    async def _targets(self, _request: web.Request) -> web.Response:
        await self._fleet.refresh(3 * DISCOVERY_AGE, DISCOVERY_BUDGET)
        return _json(
            [
                {
                    "name": name,
                    "system": watch.collector.system,
                    "up": watch.last.up if watch.last else None,
                    "error": watch.last.error if watch.last else None,
                    "last_seconds": watch.last.seconds if watch.last else None,
                    "last_finished": watch.last.finished if watch.last else None,
                    "series": watch.last.series if watch.last else None,
                }
                for name, watch in self._fleet.watches.items()
            ]
        )

    async def _landing(self, _request: web.Request) -> web.Response:
        await self._fleet.refresh(3 * DISCOVERY_AGE, DISCOVERY_BUDGET)
        return PatientResponse(
            text=landing.page(self._fleet, time.time(), self._settings.error), content_type="text/html"
        )

    async def _config(self, _request: web.Request) -> web.Response:
        text = yaml.safe_dump(shown(self._fleet.config), sort_keys=False, allow_unicode=True)
        return PatientResponse(text=text, content_type="text/plain")

    async def _healthy(self, _request: web.Request) -> web.Response:
        return web.Response(text="Healthy.\n")

    async def _ready(self, _request: web.Request) -> web.Response:
        return web.Response(text="Ready.\n")

    async def _close(self, _application: web.Application) -> None:
        await self._silences.close()

    async def _reload(self, _request: web.Request) -> web.Response:
        try:
            await self._fleet.reload()
        except ConfigError as error:
            raise web.HTTPInternalServerError(text=f"{error}\nThe old configuration stays in use.\n") from None
        waiting = self._fleet.waiting
        more = f"This counts only after a restart: {', '.join(waiting)}.\n" if waiting else ""
        return web.Response(text=f"Reloaded.\n{more}")


def _json(data: object) -> web.Response:
    return PatientResponse(text=json.dumps(data), content_type="application/json")


async def _off_loop(series: int, make: Callable[[], str]) -> str:
    return await written(make) if series > _THREAD_ABOVE else make()


async def _exposition(request: web.Request, text: str, content_type: str) -> web.Response:
    body = text.encode()
    headers = {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
    if len(body) > _COMPRESS_ABOVE and _takes_gzip(request.headers.get("Accept-Encoding", "")):
        body = await written(gzip.compress, body, _GZIP)
        headers["Content-Encoding"] = "gzip"
    return PatientResponse(body=body, headers=headers)


def _takes_gzip(accept: str) -> bool:
    for offer in accept.lower().split(","):
        coding, _, parameters = offer.partition(";")
        if coding.strip() in ("gzip", "*"):
            return parameters.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
