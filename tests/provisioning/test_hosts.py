from __future__ import annotations

import socket

import pytest

from provisioning.config.hosts import LOOPBACK, HostNames, this_machine
from provisioning.config.model import Config, Services
from provisioning.config.targets import HostTarget, Targets


def config(*hosts: HostTarget, node_exporter: str = "127.0.0.1:9100") -> Config:
    return Config(targets=Targets(hosts=list(hosts)), services=Services(node_exporter=node_exporter))


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "Laptop")


def test_every_way_to_write_a_machine_gives_its_one_name() -> None:
    host = HostTarget(
        name="gpu-1",
        node_exporter="http://10.0.0.7:9100",
        gpu_exporter="http://GPU.example.org:9400",
        addresses=["fd00::7"],
    )
    names = HostNames.of(config(host))
    assert {names.name_of(address) for address in ("GPU-1", "10.0.0.7", "gpu.example.org", "FD00::7")} == {"gpu-1"}


def test_an_address_nobody_named_is_its_own_name() -> None:
    assert HostNames.of(config()).name_of("10.9.9.9") == "10.9.9.9"


def test_loopback_is_this_machine() -> None:
    names = HostNames.of(config())
    assert {names.name_of(address) for address in (*LOOPBACK, "laptop")} == {"Laptop"}


@pytest.mark.parametrize(
    "entry", [HostTarget(name="lab1", node_exporter="http://localhost:9100"), HostTarget(name="laptop")]
)
def test_the_entry_of_this_machine_names_it(entry: HostTarget) -> None:
    names = HostNames.of(config(entry))
    assert this_machine(config(entry)) == entry.name
    assert {names.name_of(address) for address in (*LOOPBACK, "LAPTOP")} == {entry.name}


def test_a_tunnel_does_not_rename_this_machine() -> None:
    far = HostTarget(name="far", node_exporter="http://127.0.0.1:19100")
    assert HostNames.of(config(far)).name_of("127.0.0.1") == "Laptop"
    assert HostNames.of(config(far, node_exporter="127.0.0.1:19100")).name_of("127.0.0.1") == "far"
