"""More processes on the same ports: counts add up, and none outlives the others or is missed for long."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from functools import partial

import httpx
import psutil
import pytest

from provisioning.config.load import ConfigError, load
from provisioning.render.places import Places
from provisioning.render.prometheus import settings
from tests.exporter.proxy.process import Proxied, proxied
from tests.exporter.proxy.recorded import recorded

CHAT = {"model": "tiny", "messages": [], "stream": True}


@pytest.fixture
def proxy(tmp_path) -> Iterator[Proxied]:
    with recorded() as upstream, proxied(tmp_path, upstream, workers=1) as made:
        yield made


def ask(proxy: Proxied, times: int) -> None:
    """Each on a connection of its own, which the kernel gives to one of the processes."""
    for _ in range(times):
        httpx.post(f"{proxy.url}/api/chat", json=CHAT, trust_env=False, timeout=20).raise_for_status()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_counts_of_all_processes_add_up(proxy):
    threads = [threading.Thread(target=ask, args=(proxy, 15)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    labels = ('outcome="complete"', 'model="tiny"')
    ports = (proxy.metrics_port, *proxy.workers)
    counted = [proxy.value("ollama_proxy_requests_total", *labels, port=port) for port in ports]
    assert sum(counted) == 60
    assert min(counted) > 0
    tokens = [proxy.value("ollama_proxy_tokens_total", 'type="output"', port=port) for port in ports]
    assert sum(tokens) == 60 * 8


def test_a_worker_that_dies_comes_back_and_all_end_together(proxy):
    [worker] = psutil.Process(proxy.process.pid).children()
    worker.kill()
    proxy.until(lambda: not proxy.ready(proxy.workers[0]) or worker.pid not in children(proxy))
    proxy.until(partial(proxy.ready, proxy.workers[0]))
    ask(proxy, 10)
    assert "ended with -9 and is started again" in proxy.log()
    [worker] = psutil.Process(proxy.process.pid).children()
    proxy.process.terminate()
    assert proxy.process.wait(20) == 0
    assert not worker.is_running()
    assert not listens(proxy.port)


def children(proxy: Proxied) -> list[int]:
    return [one.pid for one in psutil.Process(proxy.process.pid).children()]


def test_a_worker_does_not_outlive_the_first_even_when_that_is_killed(proxy):
    proxy.process.kill()
    proxy.until(lambda: not listens(proxy.port) and not listens(proxy.workers[0]))


def test_prometheus_reads_all_of_them(tmp_path):
    file = tmp_path / "c.yml"
    file.write_text(
        "targets:\n  ollama:\n    - {name: a, url: 'http://a:1', proxy: {listen: 127.0.0.1:11435}}\n"
        "services: {ollama_proxy_workers: [127.0.0.1:9865, '[::1]:9866']}\n"
    )
    jobs = {
        job["job_name"]: job for job in settings(load(file), Places(data=tmp_path, secrets=tmp_path))["scrape_configs"]
    }
    [group] = jobs["ollama_proxy"]["static_configs"]
    assert group["targets"] == ["127.0.0.1:9862", "127.0.0.1:9865", "[::1]:9866"]


def test_limits_that_each_would_count_alone_are_refused(tmp_path):
    file = tmp_path / "c.yml"
    file.write_text(
        "targets:\n  ollama:\n    - {name: a, url: 'http://a:1', proxy: {listen: 127.0.0.1:11435, limits: {}}}\n"
        "services: {ollama_proxy_workers: [127.0.0.1:9865]}\n"
    )
    with pytest.raises(ConfigError, match="each process of the proxy would count for itself alone"):
        load(file)
