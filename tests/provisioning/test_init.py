"""The first cluster-ai.yml: what it says about what answers, and that it never replaces a file."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack

import pytest
import yaml
from click.testing import CliRunner

from exporter.discover import USUAL_PORTS, Service, What
from provisioning.cli import main
from provisioning.config.load import load_with_warnings
from provisioning.init.cli import init
from provisioning.init.first_file import Machine, text
from tests.certificates import Authority
from tests.exporter.doctor.servers import (
    NATIVE,
    NODE,
    cluster,
    listening,
    ollama,
    openwebui,
    scheduler,
    server_tls,
    serving,
    silent,
)
from tests.exporter.doctor.servers import text as page

HOSTILE = 'evil"]\n  dask: [{name: x}] \x1b[31m'
LOCAL = socket.gethostname()


@pytest.fixture
def usual(monkeypatch):
    """Sets the ports that are looked at; none of this machine's own at first."""
    for port in list(USUAL_PORTS):
        monkeypatch.delitem(USUAL_PORTS, port)
    return lambda port, what: monkeypatch.setitem(USUAL_PORTS, port, what)


async def run(*arguments):
    result = await asyncio.to_thread(CliRunner().invoke, init, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.output, result.exit_code


def read(path):
    """The file's targets and its warnings."""
    loaded = load_with_warnings(path)
    return loaded.config.targets, [warning.message for warning in loaded.warnings]


async def test_everything_that_answers_is_written(usual, tmp_path):
    out = tmp_path / "cluster-ai.yml"
    async with AsyncExitStack() as stack:
        fakes = {
            What.DASK: scheduler(cluster(None)),
            What.DASK_DASHBOARD: serving({"/metrics": page(NATIVE)}),
            What.OLLAMA: serving(ollama(loaded=("tiny:latest", HOSTILE))),
            What.OPENWEBUI: serving(openwebui()),
            What.NODE_EXPORTER: serving({"/metrics": page(NODE)}),
            What.GPU_EXPORTER: serving({"/metrics": page('nvidia_smi_gpu_info{uuid="x"} 1\n')}),
        }
        ports = {what: await stack.enter_async_context(fake) for what, fake in fakes.items()}
        for what, port in ports.items():
            usual(port, what)
        shown, code = await run("--out", out)
    assert code == 0
    targets, warnings = read(out)
    assert [(target.name, target.scheduler) for target in targets.dask] == [
        ("dask", f"tcp://127.0.0.1:{ports[What.DASK]}")
    ]
    assert [(target.name, target.url) for target in targets.ollama] == [
        ("ollama", f"http://127.0.0.1:{ports[What.OLLAMA]}")
    ]
    assert [(target.name, target.url) for target in targets.openwebui] == [
        ("openwebui", f"http://127.0.0.1:{ports[What.OPENWEBUI]}")
    ]
    assert [(host.node_exporter, host.gpu_exporter) for host in targets.hosts] == [
        (f"http://127.0.0.1:{ports[What.NODE_EXPORTER]}", f"http://127.0.0.1:{ports[What.GPU_EXPORTER]}")
    ]
    assert warnings == []
    content = out.read_text()
    assert '# must_be_loaded: ["tiny:latest", "evil\\"]\\n  dask' in content
    assert "# api_key_file: " in content
    assert f"  {ports[What.OLLAMA]}: Ollama\n" in shown
    assert f"  {ports[What.DASK_DASHBOARD]}: the dashboard of a Dask scheduler, not written\n" in shown
    assert "\x1b" not in content + shown


async def test_comments_can_be_taken_away(usual, tmp_path):
    """What the file offers is valid once it is uncommented."""
    out = tmp_path / "cluster-ai.yml"
    async with serving(ollama(loaded=("tiny:latest",))) as lama, serving(openwebui()) as chat:
        usual(lama, What.OLLAMA)
        usual(chat, What.OPENWEBUI)
        await run("--out", out)
    lines = [
        line.replace("# ", "", 1) if line.strip().startswith(("# must_be_loaded", "# api_key_file", "# dask:", "#   "))
        else line
        for line in out.read_text().splitlines()
    ]  # fmt: skip
    out.write_text("\n".join(lines))
    targets, _ = read(out)
    assert targets.ollama[0].must_be_loaded == ["tiny:latest"]
    assert targets.openwebui[0].api_key_file == tmp_path / "secrets" / "openwebui-key"
    assert targets.dask[0].scheduler == "tcp://HOST:8786"


async def test_nothing_answers(usual, tmp_path):
    usual(1, What.OLLAMA)
    out = tmp_path / "cluster-ai.yml"
    shown, code = await run("--out", out)
    assert code == 0
    assert "this machine\n  nothing at 1 (Ollama)\n" in shown
    targets, warnings = read(out)
    assert targets.model_dump() == {"dask": [], "ollama": [], "openwebui": [], "hosts": []}
    assert warnings == ["no target is given, so only this machine is watched"]
    checked = CliRunner().invoke(main, ["check", str(out)])
    assert checked.exit_code == 0
    assert "add entries under dask, ollama, openwebui or hosts" in checked.output
    examples = [line.replace("# ", "", 1) for line in out.read_text().splitlines() if line.startswith("  # ")]
    uncommented = "\n".join(line for line in examples if not line.endswith("one:") and "{" not in line)
    assert set(yaml.safe_load(uncommented)) == {"dask", "ollama", "openwebui"}


async def test_what_does_not_answer_as_itself_is_not_written(usual, tmp_path, monkeypatch):
    """A web page on Ollama's port, half an Ollama, Ollama on Open WebUI's port, a silent port."""
    out = tmp_path / "cluster-ai.yml"
    half = ollama(tags={"models": "none"})
    async with AsyncExitStack() as stack:
        fakes = [
            serving({"*": page("hello")}),
            serving(half),
            serving({"/metrics": page('grafana_build_info{a=""} 1\n')}),
        ]
        odd, broken, grafana = [await stack.enter_async_context(fake) for fake in fakes]
        mute = await stack.enter_async_context(listening(silent))
        usual(odd, What.OLLAMA)
        usual(broken, What.OLLAMA)
        usual(grafana, What.OPENWEBUI)
        usual(mute, What.NODE_EXPORTER)
        monkeypatch.setattr("provisioning.init.cli.SECONDS", 0.3)
        shown, _ = await run("--out", out)
    targets, _ = read(out)
    assert not targets.ollama
    assert not targets.openwebui
    assert not targets.hosts
    assert f"{odd}: something this command does not know, not written" in shown
    assert f"{grafana}: Grafana, not written" in shown
    assert f"nothing at {mute} (node_exporter)" in shown


async def test_hosts_that_are_named(usual, tmp_path):
    out = tmp_path / "cluster-ai.yml"
    async with serving(ollama(), hosts=("127.0.0.1", "127.0.0.2")) as port:
        usual(port, What.OLLAMA)
        shown, _ = await run("127.0.0.2", "localhost", "127.0.0.2", "nobody.invalid", "--out", out)
    targets, _ = read(out)
    assert [(target.name, target.url) for target in targets.ollama] == [
        ("ollama", f"http://127.0.0.1:{port}"),
        ("127.0.0.2-ollama", f"http://127.0.0.2:{port}"),
    ]
    assert "nobody.invalid\n  is a host name nobody knows" in shown
    assert shown.count("127.0.0.2\n") == 1
    assert "looked at: this machine, 127.0.0.2, nobody.invalid." in out.read_text()


async def test_a_scheduler_that_wants_tls_is_a_comment(usual, tmp_path):
    out = tmp_path / "cluster-ai.yml"
    tls = server_tls(*Authority("a").write_pair(tmp_path))
    async with scheduler(cluster(None), tls) as port:
        usual(port, What.DASK)
        shown, _ = await run("--out", out)
    assert f"tls://127.0.0.1:{port}" in out.read_text()
    assert "wants TLS" in shown
    targets, _ = read(out)
    assert not targets.dask


@pytest.mark.parametrize("host", ["10.0.0.0/24", "10.0.0.5:8786", "http://x", "a b", "", "user@host", "x\x1b[31m"])
async def test_only_hosts_are_taken(tmp_path, host):
    shown, code = await run(host, "--out", tmp_path / "new.yml")
    assert code == 2
    assert "is not one host" in shown
    assert "\x1b" not in shown
    assert not (tmp_path / "new.yml").exists()


async def test_a_file_that_is_there_stays(usual, tmp_path, monkeypatch):
    async def looked(*_):
        raise AssertionError("the network was looked at")

    monkeypatch.setattr("provisioning.init.cli.look_around", looked)
    there, link = tmp_path / "there.yml", tmp_path / "link.yml"
    there.write_text("mine")
    link.symlink_to(tmp_path / "nowhere.yml")
    for path in (there, link):
        shown, code = await run("--out", path)
        assert code == 1
        assert shown == f"{path} is there already and is left as it is; give another name with --out\n"
    assert there.read_text() == "mine"
    assert not (tmp_path / "nowhere.yml").exists()


async def test_a_file_that_appears_meanwhile_stays(usual, tmp_path, monkeypatch):
    out = tmp_path / "cluster-ai.yml"

    async def slow(*_):
        out.write_text("mine")
        return []

    monkeypatch.setattr("provisioning.init.cli.look_around", slow)
    shown, code = await run("--out", out)
    assert (code, out.read_text()) == (1, "mine")
    assert f"cannot write {out}: File exists" in shown


async def test_a_folder_that_is_not_there(usual, tmp_path):
    out = tmp_path / "none" / "cluster-ai.yml"
    shown, code = await run("--out", out)
    assert code == 1
    assert f"cannot write {out}: No such file or directory" in shown


def test_names_are_valid_and_used_once(tmp_path):
    machines = [
        Machine("::1", [Service(What.OLLAMA, "http://[::1]:11434"), Service(What.OLLAMA, "http://[::1]:11435")]),
        Machine("x" * 90, [Service(What.OLLAMA, "http://x:1"), Service(What.NODE_EXPORTER, "http://x:9100")]),
        Machine("_", [Service(What.OLLAMA, "http://y:1"), Service(What.NODE_EXPORTER, "http://y:9100")]),
    ]
    out = tmp_path / "cluster-ai.yml"
    out.write_text(text(machines, LOCAL))
    targets, _ = read(out)
    names = [target.name for target in targets.ollama]
    assert names[:2] == ["1-ollama", "1-ollama-2"]
    assert len(set(names)) == 4
    assert len({host.name for host in targets.hosts}) == 2


def test_a_dashboard_or_a_worker_tells_where_to_look():
    dashboard = Service(What.DASK_DASHBOARD, "http://127.0.0.1:8787")
    assert "is the dashboard of a Dask scheduler that does not answer at port 8786" in text(
        [Machine("", [dashboard])], LOCAL
    )
    both = [dashboard, Service(What.DASK, "tcp://127.0.0.1:8786")]
    assert "dashboard" not in text([Machine("", both)], LOCAL)
    worker = Service(What.DASK_WORKER, "tcp://127.0.0.1:8786", scheduler=f"tcp://10.0.0.9:8786{HOSTILE}")
    said = text([Machine("", [worker])], LOCAL)
    assert 'its scheduler is at "tcp://10.0.0.9:8786evil' in said
    assert yaml.safe_load(said)["targets"] == {"hosts": []}


@pytest.mark.parametrize("host", ["yes", "1e3", "0x10", "2026-01-01", "12:30", "null", "10"])
def test_host_names_that_yaml_would_read_as_something_else(tmp_path, host):
    out = tmp_path / "cluster-ai.yml"
    out.write_text(text([Machine(host, [Service(What.NODE_EXPORTER, "http://y:9100")])], LOCAL))
    assert [entry.name for entry in read(out)[0].hosts] == [host.replace(":", "-")]
