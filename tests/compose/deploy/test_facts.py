"""What is seen of this host."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from compose.deploy import facts
from compose.deploy.engine import Versions
from provisioning.config.model import Config

CONFIG = Config.model_validate({"targets": {}, "production": {"domain": "localhost.localdomain"}})


@pytest.fixture(autouse=True)
def _no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "versions", Versions)


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_port_that_is_taken_is_seen(family: int, address: str, tmp_path: Path) -> None:
    if family == socket.AF_INET6 and not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    with socket.create_server((address, 0), family=family) as server:
        port = server.getsockname()[1]
        assert (address, port) in facts.gather(CONFIG, tmp_path).listening
        with socket.create_connection((address, port)) as client:
            assert (address, client.getsockname()[1]) not in facts.gather(CONFIG, tmp_path).listening


def test_the_folder_and_this_host_are_seen(tmp_path: Path) -> None:
    (tmp_path / "cluster-ai.yml").write_text("")
    seen = facts.gather(CONFIG, tmp_path)
    assert seen.modes == {path: path.stat().st_mode for path in (tmp_path, tmp_path / "cluster-ai.yml")}
    assert seen.owner == tmp_path.stat().st_uid
    assert seen.memory > 1 << 28
    assert set(seen.free) == {tmp_path}
    assert "127.0.0.1" in seen.own
    assert seen.synchronised in {True, False}
    assert seen.overcommits is (Path("/proc/sys/vm/overcommit_memory").read_text() == "1\n")
    assert not seen.running


def test_a_name_that_nobody_knows_has_no_address(tmp_path: Path) -> None:
    nobody = Config.model_validate({"targets": {}, "production": {"domain": "monitoring.invalid"}})
    assert facts.gather(nobody, tmp_path).resolved == ()
