"""The benchmarks run: what they measure is the real exporter against upstreams it understands."""

from __future__ import annotations

import gzip
import shutil
import time
from contextlib import closing

import pytest

from benchmarks import dask, door, encoding, proxy
from benchmarks.processes import Client, exporter, stand_in
from benchmarks.streams import Streams, connect, request, whole
from benchmarks.table import Row, Table
from exporter.native import PrefixFilter
from tests.standins import nginx_server


def test_the_exporter_understands_the_stand_ins():
    with stand_in("ollama", 3) as ollama, stand_in("dask", 4) as scheduler:
        targets = {
            "ollama": [{"name": "gpu", "url": f"http://127.0.0.1:{ollama.port}/below"}],
            "dask": [{"name": "main", "scheduler": f"tcp://127.0.0.1:{scheduler.port}"}],
        }
        with exporter(targets) as our, closing(Client(our.port)) as client:
            body = client.get("/metrics")[1]
            assert our.cpu() > 0
            assert our.rss() > 10
    text = gzip.decompress(body).decode()
    assert 'ollama_models_installed{location="local",system="ollama",target="gpu"} 3.0' in text
    assert 'dask_cluster_workers{status="running",system="dask",target="main"} 4.0' in text
    assert 'dask_cluster_collector_success{collector="processing",system="dask",target="main"} 1.0' in text


def test_both_encoders_write_the_same():
    assert encoding.ours(3) == encoding.theirs(3)


def test_the_native_page_is_one():
    assert PrefixFilter(10).apply(dask.native_page(20)).dropped == 10


def test_a_table_says_what_is_met_and_what_is_missed():
    text = Table("T", [Row("a", "1", "", "under 2", met=True), Row("b", "3", "", "under 2", met=False)]).text()
    assert "| a | 1 |  | under 2: met |" in text
    assert "| b | 3 |  | under 2: **missed** |" in text


@pytest.mark.skipif(shutil.which("cc") is None, reason="the upstream of streams is a program in C")
def test_streams_through_the_proxy_are_counted_and_timed():
    with proxy.token_stream() as upstream:
        assert upstream is not None
        with proxy.our_proxy(upstream.port) as our:
            for port in (upstream.port, our.port):
                with Streams(port, 3, 20, 1_000) as streams:
                    streams.read(20, timed=True)
                assert streams.pieces == len(streams.late) == 60
                assert all(0 < late < 20 for late in streams.late)
                with closing(connect(port)) as client:
                    begin = time.perf_counter()
                    client.sendall(request(5, 0))
                    first, pieces = whole(client)
                    assert pieces == 5
                    assert begin < first < time.perf_counter()
            assert our.rss() > 10


@pytest.mark.skipif(nginx_server.find() is None, reason="no nginx with brotli; `make tools` unpacks it")
@pytest.mark.parametrize("wrk", [True, False])
def test_pages_and_files_come_through_the_door(monkeypatch, wrk):
    found = door.wrk() if wrk else None
    if wrk and found is None:
        pytest.skip("there is no wrk")
    replaced = {"_ROUNDS": 1, "_PAGES": 20, "_RUN": 1, "wrk": lambda: found, "_fetch_wrk": lambda: None}
    for name, value in replaced.items():
        monkeypatch.setattr(door, name, value)
    pages, files = door.measure()
    assert [row.what for row in pages.rows][:2] == ["direct, median", "the door adds, median"]
    assert files.title.endswith("(wrk)" if wrk else "there is no wrk)")
    assert [row.what for row in files.rows] == ["direct", "door"]
    assert all("a second and core" in row.value for row in files.rows)
