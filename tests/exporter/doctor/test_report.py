"""What the command prints and returns; a mixed cluster as a golden, hostile servers, and the page of findings."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import yaml
from aiohttp.test_utils import unused_port
from click.testing import CliRunner

from exporter.doctor import reference
from exporter.doctor.cli import doctor
from exporter.doctor.examine import Report
from exporter.doctor.findings import Severity, kinds
from exporter.doctor.report import as_json, as_text, exit_code
from tests.exporter.doctor.servers import (
    NATIVE,
    NATIVE_WORKER,
    NODE,
    cluster,
    js,
    ollama,
    openwebui,
    scheduler,
    serving,
    text,
    worker,
)

ROOT = Path(__file__).resolve().parents[3]
GOLDEN = ROOT / "tests" / "golden" / "doctor"
HOSTILE = "\x1b[31mred\x1b[0m\r\n  error   fake-finding: \u202eevil\x00"
EVERY = [kind for group in kinds().values() for kind in group]


async def run(folder, targets, *arguments):
    """The command's output and exit code, run in a thread so that the fakes can answer."""
    file = folder / "cluster-ai.yml"
    file.write_text(yaml.safe_dump({"targets": targets}))
    command = ["--config", str(file), *arguments]
    result = await asyncio.to_thread(CliRunner().invoke, doctor, command)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result.output, result.exit_code


@pytest.fixture(autouse=True)
def _own_addresses(monkeypatch):
    monkeypatch.setattr("exporter.doctor.examine.local_addresses", tuple)
    monkeypatch.setattr("exporter.doctor.reach.LOOK_SECONDS", 0.5)


@pytest.fixture
async def mixed(tmp_path):
    """A cluster with something of everything: a good system, errors, warnings and notes."""
    async with AsyncExitStack() as stack:
        web = await stack.enter_async_context(serving({"/metrics": text(NATIVE), "/health": text("ok")}))
        page = await stack.enter_async_context(serving({"/metrics": text(NATIVE_WORKER)}))
        workers = {"tcp://127.0.0.1:1": worker(page, name="w1", nanny=False)}
        rpc = await stack.enter_async_context(scheduler(cluster(web, workers, "2024.2.1")))
        good = await stack.enter_async_context(serving(ollama()))
        chat = await stack.enter_async_context(serving(openwebui(enable_signup=True)))
        node = await stack.enter_async_context(serving({"/metrics": text(NODE)}))
        yield {
            "dask": [
                {"name": "main", "scheduler": f"tcp://127.0.0.1:{rpc}"},
                {"name": "dashboard", "scheduler": f"tcp://127.0.0.1:{web}"},
            ],
            "ollama": [
                {"name": "gpu-1", "url": f"http://127.0.0.1:{good}"},
                {"name": "gpu-2", "url": f"http://127.0.0.1:{unused_port()}"},
                {"name": "swapped", "url": f"http://127.0.0.1:{chat}", "must_be_loaded": ["x"]},
            ],
            "openwebui": [{"name": "chat", "url": f"http://127.0.0.1:{chat}"}],
            "hosts": [{"name": "box", "node_exporter": f"http://127.0.0.1:{node}"}],
        }


@pytest.mark.parametrize(("option", "name"), [((), "mixed.txt"), (("--json",), "mixed.json")])
async def test_a_mixed_cluster(mixed, tmp_path, request, option, name):
    shown, code = await run(tmp_path, mixed, *option)
    shown = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", shown).replace(str(tmp_path), "FOLDER")
    if request.config.getoption("--update-golden"):
        (GOLDEN / name).write_text(shown)
    assert shown == (GOLDEN / name).read_text()
    assert code == 2


async def test_one_target_by_name(mixed, tmp_path):
    shown, code = await run(tmp_path, mixed, "gpu-1")
    assert "nothing found; checked: secret files, answers, certificate, clock" in shown
    assert shown.endswith("\n1 target: 0 errors, 0 warnings, 0 notes\n")
    assert code == 0


async def test_exit_codes(mixed, tmp_path):
    assert (await run(tmp_path, mixed, "main"))[1] == 1
    assert (await run(tmp_path, mixed, "main", "gpu-2"))[1] == 2
    assert (await run(tmp_path, mixed, "main", "--ignore", "dask-no-nanny"))[1] == 0
    assert (await run(tmp_path, mixed, "gpu-2", "--ignore", "connection-refused"))[1] == 0


async def test_what_cannot_be_asked_for(mixed, tmp_path):
    shown, code = await run(tmp_path, mixed, "absent")
    assert code == 2
    assert "there is no target absent; known: main, dashboard, gpu-1, gpu-2, swapped, chat, box" in shown
    shown, code = await run(tmp_path, mixed, "--ignore", "x")
    assert code == 2
    assert "there is no finding x" in shown


async def test_a_configuration_that_cannot_be_used(tmp_path):
    shown, code = await run(tmp_path, {"olama": []})
    assert code == 2
    assert "olama" in shown


async def test_without_targets(tmp_path):
    assert await run(tmp_path, {}) == ("0 targets: 0 errors, 0 warnings, 0 notes\n", 0)
    shown, code = await run(tmp_path, {}, "--json")
    assert code == 0
    assert json.loads(shown)["targets"] == []


async def test_names_from_outside_do_not_reach_the_terminal(tmp_path):
    async with AsyncExitStack() as stack:
        web = await stack.enter_async_context(serving({"/metrics": text(NATIVE)}))
        workers = {"tcp://127.0.0.1:1": worker(name=HOSTILE, nanny=False)}
        rpc = await stack.enter_async_context(scheduler(cluster(web, workers, HOSTILE)))
        lama = await stack.enter_async_context(
            serving(ollama(HOSTILE) | {"/api/ps": js({"error": HOSTILE}, status=500)})
        )
        chat = await stack.enter_async_context(serving(openwebui(HOSTILE)))
        targets = {
            "dask": [{"name": "a", "scheduler": f"tcp://127.0.0.1:{rpc}"}],
            "ollama": [{"name": "b", "url": f"http://127.0.0.1:{lama}"}],
            "openwebui": [{"name": "c", "url": f"http://127.0.0.1:{chat}"}],
        }
        shown, _ = await run(tmp_path, targets)
        raw, _ = await run(tmp_path, targets, "--json")
    assert "red" in shown
    assert all(char == "\n" or char.isprintable() for char in shown)
    assert not re.search(r"^  error +fake-finding", shown, re.MULTILINE)
    assert raw.isascii()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", raw)
    assert json.loads(raw)["targets"][1]["version"] == HOSTILE


async def test_secrets_are_not_shown(mixed, tmp_path):
    secret = tmp_path / "token"
    secret.write_text("hunter2-hunter2")
    mixed["openwebui"][0]["bearer_token_file"] = str(secret)
    for option in ((), ("--json",)):
        shown, _ = await run(tmp_path, mixed, "chat", *option)
        assert "secret-exposed" in shown
        assert "hunter2" not in shown


def test_long_answers_are_cut():
    report = Report("a", "ollama", "http://x", findings=[EVERY[0].found("x" * 10_000)])
    assert max(map(len, as_text([report]).splitlines())) < 500


def test_the_code_follows_the_worst_finding():
    by_severity = {kind.severity: kind for kind in EVERY}
    for severities, code in (((), 0), (("info",), 0), (("info", "warning"), 1), (("warning", "error"), 2)):
        findings = [by_severity[Severity(severity)].found("seen") for severity in severities]
        assert exit_code([Report("a", "dask", "tcp://x", findings=findings)]) == code
        assert json.loads(as_json([Report("a", "dask", "x", findings=findings)], "f"))["exit_code"] == code


def test_every_kind_has_an_id_of_its_own_and_words():
    ids = [kind.id for kind in EVERY]
    assert len(ids) == len(set(ids))
    for kind in EVERY:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", kind.id)
        assert kind.meaning.endswith(".")
        assert kind.mend
        assert not kind.mend.endswith(".")
        assert kind.mend[0].islower()


def test_the_page_of_findings_is_up_to_date():
    assert reference.text() == (ROOT / "docs" / "doctor.md").read_text(), "run `make generate`"
    assert all(f"### {kind.id}\n" in reference.text() for kind in EVERY)


def test_every_finding_is_tried():
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    tried = {kind.id for kind in EVERY if f'"{kind.id}"' in tests}
    assert {kind.id for kind in EVERY} - tried == set()
