"""Files, and that no check can stop another."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest

from exporter.doctor import clocks, examine
from exporter.doctor.examine import local_addresses
from provisioning.config.targets import SYSTEMS
from tests.exporter.doctor.servers import found, ollama, openwebui, serving


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "it is secret"
    path.write_text("hunter2\n")
    path.chmod(0o600)
    return path


async def look(**target):
    async with serving(openwebui()) as port:
        return await found("openwebui", url=f"http://127.0.0.1:{port}", **target)


async def test_a_missing_secret(tmp_path):
    seen = await look(api_key_file=tmp_path / "none")
    assert list(seen) == ["file-missing"]
    assert seen["file-missing"].seen == f"api_key_file {tmp_path / 'none'}: No such file or directory"
    assert list(await look(username="me", password_file=tmp_path / "none")) == ["file-missing"]


@pytest.mark.parametrize("content", [b"", b"alpha\nbravo", b"\xff\xfe"])
async def test_an_unusable_secret(secret, content):
    secret.write_bytes(content)
    seen = await look(api_key_file=secret)
    assert list(seen) == ["secret-unusable"]
    assert "bravo" not in seen["secret-unusable"].seen


async def test_a_secret_that_all_can_read(secret):
    secret.chmod(0o644)
    seen = await look(bearer_token_file=secret)
    assert seen["secret-exposed"].mend == f"run: chmod 600 '{secret}'"
    assert "hunter2" not in str(seen)


async def test_a_secret_that_we_cannot_read(secret, monkeypatch):
    def refused(self, *_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", refused)
        seen = await look(bearer_token_file=secret)
    assert "Permission denied" in seen["file-missing"].seen


async def test_a_missing_authority(tmp_path):
    seen = await found("ollama", url="https://127.0.0.1:1", ca_file=tmp_path / "ca.pem")
    assert list(seen) == ["file-missing"]


@pytest.mark.parametrize("error", [RuntimeError("boom"), KeyError("x"), RecursionError()])
async def test_a_check_that_breaks_is_a_finding_and_no_more(monkeypatch, error, caplog):
    async def broken(*_, **__):
        raise error

    monkeypatch.setattr(clocks, "check", broken)
    async with serving(ollama()) as port:
        seen = await found("ollama", url=f"http://127.0.0.1:{port}", must_be_loaded=["absent"])
    assert set(seen) == {"check-failed", "ollama-model-missing"}
    assert type(error).__name__ in seen["check-failed"].seen
    assert "the check clock failed" in caplog.text


async def test_a_check_that_hangs_is_a_finding(monkeypatch):
    monkeypatch.setattr(clocks, "check", lambda *_, **__: asyncio.Event().wait())
    monkeypatch.setattr(examine, "CHECK_SECONDS", 0.5)
    async with serving(ollama()) as port:
        seen = await found("ollama", url=f"http://127.0.0.1:{port}")
    assert list(seen) == ["check-failed"]
    assert seen["check-failed"].seen == "clock: not done within 0.5 s"


async def test_every_connection_is_closed(monkeypatch):
    closed = []
    real = examine.TargetWires.close

    async def close(self):
        closed.append(self)
        await real(self)

    monkeypatch.setattr(examine.TargetWires, "close", close)
    await found("ollama", url="http://127.0.0.1:1")
    assert len(closed) == 1


def test_own_addresses_are_those_that_others_can_reach():
    assert not [address for address in local_addresses() if address.startswith(("127.", "::1", "fe80"))]


def test_every_system_has_an_exam():
    assert tuple(examine.EXAMS) == SYSTEMS
