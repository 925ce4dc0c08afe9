"""When the certificates of targets, and our own, end: told before anybody is locked out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from exporter.client.sockets import expiry
from exporter.client.wires import TargetWires
from exporter.collectors.dask import DaskCollector
from exporter.collectors.ollama import OllamaCollector
from exporter.door.settings import WebSettings
from exporter.families import encode
from exporter.fleet import Fleet
from exporter.scrape import Watch
from exporter.selfmetrics import SelfMetrics
from provisioning.config.hosts import HostNames
from provisioning.config.model import Config
from provisioning.config.targets import DaskTarget, OllamaTarget, Targets
from tests.exporter.doctor.servers import cluster, ollama, scheduler, server_tls, serving
from tests.exporter.door.helpers import LOOPBACK, NOW, Authority

END = NOW.replace(microsecond=0).timestamp() + 86400  # what the helpers' authority gives
HOSTS = HostNames([], "here")


@asynccontextmanager
async def watching(system: str, port: int, *, tls: bool, authority: Authority) -> AsyncIterator[Watch]:
    """A watch of the server on that port."""
    wires, secure = TargetWires(), {"ca_file": authority.file} if tls else {}
    if system == "dask":
        scheme = "tls" if tls else "tcp"
        dask = DaskTarget(name="t", scheduler=f"{scheme}://127.0.0.1:{port}", dashboard="http://127.0.0.1:1", **secure)
        watch = Watch(
            dask, DaskCollector.build(dask, wires, HOSTS, NOW.timestamp), certificate_expiry=wires.certificate_expiry
        )
    else:
        target = OllamaTarget(name="t", url=f"http{'s' if tls else ''}://127.0.0.1:{port}", **secure)
        watch = Watch(
            target,
            OllamaCollector.build(target, wires, HOSTS, NOW.timestamp),
            certificate_expiry=wires.certificate_expiry,
        )
    try:
        yield watch
    finally:
        await watch.close()
        await wires.close()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.mark.parametrize("system", ["dask", "ollama"])
@pytest.mark.parametrize("tls", [True, False], ids=["TLS", "plain"])
async def test_the_end_of_a_targets_certificate_is_told(system: str, tls: bool, authority: Authority) -> None:
    context = server_tls(*authority.sign("server", LOOPBACK)) if tls else None
    server = scheduler(cluster(None), context) if system == "dask" else serving(ollama(), tls=context)
    async with server as port, watching(system, port, tls=tls, authority=authority) as watch:
        for _ in range(2):  # by the second look the connection is an old one
            text = encode((await watch.collect(5)).families, openmetrics=False)
    name = f"{watch.collector.prefix}_tls_certificate_expiry_timestamp_seconds"
    told = [line for line in text.splitlines() if line.startswith(name)]
    assert [float(line.split()[1]) for line in told] == ([END] if tls else [])


@pytest.mark.parametrize(
    ("certificate", "end"),
    [
        ({"notAfter": "Nov 24 07:00:00 2026 GMT"}, 1_795_503_600.0),
        ({"notAfter": "Dec 31 23:59:59 9999 GMT"}, 253_402_300_799.0),
        ({"notAfter": "Bad time value"}, None),
        ({}, None),
        (None, None),
    ],
)
def test_what_is_no_date_is_not_told(certificate: object, end: float | None) -> None:
    assert expiry(certificate) == end


def test_the_end_of_our_own_is_told(authority: Authority) -> None:
    cert, key = authority.sign("server")
    file = authority.folder / "web.yml"
    file.write_text(f"tls_server_config: {{cert_file: {cert.name}, key_file: {key.name}}}\n")
    fleet = Fleet(Path("cluster-ai.yml"), Config(targets=Targets()))
    name = "cluster_ai_exporter_tls_certificate_expiry_timestamp_seconds "
    told = [
        line
        for line in SelfMetrics(fleet, WebSettings(file)).text(openmetrics=False).splitlines()
        if line.startswith(name)
    ]
    assert [float(line.split()[1]) for line in told] == [END]
    assert name not in SelfMetrics(fleet).text(openmetrics=False)
