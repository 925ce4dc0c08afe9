"""What is started, with which flags, from which configuration."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from compose import cli
from compose.native import binaries, demo_config, grafana, neighbours, prepare, report, stack, stop
from compose.native.places import State, default_cache_dir, default_state_dir
from compose.native.ports import Address, holder, why_not
from compose.native.prepare import StartError, Wishes
from compose.native.service import Condition
from exporter.proxy import serving
from provisioning.config.load import load

CONFIG = """\
targets:
  ollama:
    - {name: gpu-1, url: "http://10.0.0.7:11434"}
services: {exporter: "127.0.0.1:19860", prometheus: "0.0.0.0:19090"}
retention: {time: 30d, size: 5GB}
"""
DEMO = Address("127.0.0.1", 18786)
LOOK = neighbours.node_exporter


@pytest.fixture
def state(tmp_path: Path) -> State:
    made = State(tmp_path / "state")
    made.create()
    return made


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> dict[str, Path | None]:
    """What the machine has, as a test wants it; nothing is fetched, and no node_exporter of its own runs."""
    found: dict[str, Path | None] = {
        "prometheus": Path("/x/prometheus"),
        "alertmanager": Path("/x/alertmanager"),
        "node_exporter": Path("/x/node_exporter"),
    }
    monkeypatch.setattr(binaries, "provide", lambda *_args, **_options: found)
    monkeypatch.setattr(grafana, "provide", lambda *_args, **_options: None)
    monkeypatch.setattr(neighbours, "node_exporter", lambda _config: None)
    monkeypatch.setattr(demo_config, "OLLAMA", "http://127.0.0.1:9")
    monkeypatch.setattr(demo_config, "OPENWEBUI", ("http://127.0.0.1:9", "http://127.0.0.1:9"))
    return found


def wishes(config: Path | None = None, **listen: str) -> Wishes:
    return Wishes(config=config, listen=listen, retry=False)


@pytest.mark.usefixtures("programs")
def test_a_configuration_of_ones_own_decides(state: State, tmp_path: Path) -> None:
    file = tmp_path / "cluster-ai.yml"
    file.write_text(CONFIG)
    said: list[str] = []
    plan = prepare.prepare(state, wishes(file, alertmanager="127.0.0.1:19093"), said.append)
    commands = {service.name: service.command for service in plan.services}
    assert said == []
    assert list(commands) == ["exporter", "prometheus", "alertmanager", "node_exporter"]
    assert commands["exporter"][-4:] == ("--config", str(file), "--web.listen-address", "127.0.0.1:19860")
    assert {"--storage.tsdb.retention.time=30d", "--storage.tsdb.retention.size=5GB"} <= set(commands["prometheus"])
    assert "--web.listen-address=0.0.0.0:19090" in commands["prometheus"]
    assert next(one.url for one in plan.services if one.name == "prometheus") == "http://127.0.0.1:19090"
    # Gossip would open a port on every address.
    assert "--cluster.listen-address=" in commands["alertmanager"]
    assert f"--collector.textfile.directory={state.root}/textfile" in commands["node_exporter"]
    assert (state.root / "textfile").is_dir()
    states = {service.name: service.state for service in plan.record.services}
    assert states["grafana"] is states["dask"] is Condition.ABSENT
    rendered = yaml.safe_load((state.rendered / "prometheus.yml").read_text())
    assert rendered["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] == ["127.0.0.1:19093"]


@pytest.mark.usefixtures("programs")
def test_without_one_the_demo_is_written_and_used(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    plan = prepare.prepare(state, wishes(dask="127.0.0.1:28786"), said.append)
    config = load(state.demo / "cluster-ai.yml")
    assert config.targets.dask[0].scheduler == "tcp://127.0.0.1:28786"
    dask = next(service for service in plan.services if service.name == "dask")
    assert dask.ports == (Address("127.0.0.1", 28786), Address("127.0.0.1", 28787))
    assert "demo" in said[0]
    assert {one.name: one.optional for one in plan.record.targets} == {"demo": False}


@pytest.mark.usefixtures("programs")
def test_the_demo_watches_what_answers_where_it_usually_is(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answers = {
        "http://127.0.0.1:11434/api/version": {"version": "0.6.5"},
        "http://127.0.0.1:3000/api/config": {"version": 3},  # somebody else's
        "http://127.0.0.1:8080/api/config": {"version": "0.8.5", "features": {}},
    }
    monkeypatch.setattr(demo_config, "OLLAMA", "http://127.0.0.1:11434")
    monkeypatch.setattr(demo_config, "OPENWEBUI", ("http://127.0.0.1:3000", "http://127.0.0.1:8080"))
    monkeypatch.setattr(demo_config, "_json", answers.get)
    plan = prepare.prepare(state, wishes(dask="127.0.0.1:28786"), lambda _line: None)
    assert {one.name: one.optional for one in plan.record.targets} == {
        "demo": False,
        "local": True,
        "local-chat": True,
    }
    targets = load(state.demo / "cluster-ai.yml").targets
    assert (targets.ollama[0].url, targets.openwebui[0].url) == ("http://127.0.0.1:11434", "http://127.0.0.1:8080")


@pytest.mark.usefixtures("programs")
def test_a_cluster_ai_yml_in_this_folder_is_used(state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cluster-ai.yml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    plan = prepare.prepare(state, wishes(), lambda _line: None)
    assert plan.record.config == str(tmp_path / "cluster-ai.yml")
    assert not plan.record.demo


@pytest.mark.usefixtures("programs")
def test_a_broken_configuration_starts_nothing(state: State, tmp_path: Path) -> None:
    file = tmp_path / "cluster-ai.yml"
    file.write_text("targets: {dusk: []}\n")
    with pytest.raises(StartError, match=r"cluster-ai\.yml:1: .*dusk"):
        prepare.prepare(state, wishes(file), lambda _line: None)


def test_without_prometheus_nothing_starts_and_without_others_it_goes_on(
    state: State, tmp_path: Path, programs: dict[str, Path | None]
) -> None:
    file = tmp_path / "cluster-ai.yml"
    file.write_text(CONFIG)
    said: list[str] = []
    programs["node_exporter"] = None
    plan = prepare.prepare(state, wishes(file), said.append)
    assert "node_exporter is missing" in said[0]
    assert "node" not in [
        job["job_name"] for job in yaml.safe_load((state.rendered / "prometheus.yml").read_text())["scrape_configs"]
    ]
    assert {service.name for service in plan.services} == {"exporter", "prometheus", "alertmanager"}
    programs["prometheus"] = None
    with pytest.raises(StartError, match="Prometheus is missing"):
        prepare.prepare(state, wishes(file), said.append)


@contextlib.contextmanager
def answering(body: str) -> Iterator[str]:
    """A web server with one page; gives its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def chat() -> Iterator[str]:
    """Something that answers as Open WebUI does to a stranger."""
    with answering(json.dumps({"status": True, "version": "0.12.4", "features": {}})) as url:
        yield url


def at(url: str, folder: Path, *, listed: bool) -> Path:
    """A configuration whose node_exporter belongs at `url`, and is under `targets.hosts` too or not."""
    entry = f'{{hosts: [{{name: rack-1, node_exporter: "{url}"}}]}}' if listed else "{}"
    file = folder / "cluster-ai.yml"
    file.write_text(f'targets: {entry}\nservices: {{node_exporter: "{url.removeprefix("http://")}"}}\n')
    return file


@pytest.mark.parametrize("listed", [True, False])
def test_a_node_exporter_that_answers_at_our_address_is_used_instead_of_ours(
    state: State, tmp_path: Path, programs: dict[str, Path | None], monkeypatch: pytest.MonkeyPatch, *, listed: bool
) -> None:
    monkeypatch.setattr(neighbours, "node_exporter", LOOK)
    del programs["node_exporter"]  # none is looked for
    said: list[str] = []
    with answering('# HELP x\ngo_threads 7\nnode_cpu_seconds_total{cpu="0",mode="idle"} 1\n') as url:
        plan = prepare.prepare(state, wishes(at(url, tmp_path, listed=listed)), said.append)
    assert f"A node_exporter already answers at {url} and is used; ours is not started." in said
    assert "node_exporter" not in [service.name for service in plan.services]
    there = plan.record.service("node_exporter")
    assert there is not None
    assert (there.state, there.detail) == (Condition.ABSENT, f"the one that already answers at {url} is used")
    shown = report.as_text(report.Seen(running=True, record=plan.record, targets=[]))
    assert f"node_exporter absent the one that already answers at {url} is used" in " ".join(shown.split())
    assert shown.endswith("\n\nNo Dask, Ollama or Open WebUI is in this configuration.")
    jobs = yaml.safe_load((state.rendered / "prometheus.yml").read_text())["scrape_configs"]
    [group] = next(job for job in jobs if job["job_name"] == "node")["static_configs"]
    assert group["targets"] == [url.removeprefix("http://")]
    assert (group["labels"]["host"] == "rack-1") is listed


@pytest.mark.usefixtures("programs")
def test_a_node_exporter_is_not_taken_for_running_because_it_is_listed(
    state: State, tmp_path: Path, chat: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something else there is refused as any taken port is; where nothing is, as after our `down`, ours is started."""
    monkeypatch.setattr(neighbours, "node_exporter", LOOK)
    for url in (chat, "http://127.0.0.1:9"):
        plan = prepare.prepare(state, wishes(at(url, tmp_path, listed=True)), lambda _line: None)
        assert [service.name for service in plan.services if service.name == "node_exporter"]


def test_the_demo_finds_open_webui_where_it_answers(state: State, chat: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_config, "OPENWEBUI", ("http://127.0.0.1:9", chat))
    config = load(demo_config.write(state, DEMO, stack.dashboard_of(DEMO)))
    assert config.targets.openwebui[0].url == chat
    monkeypatch.setattr(demo_config, "OPENWEBUI", ("http://127.0.0.1:9", "http://127.0.0.1:9"))
    config = load(demo_config.write(state, DEMO, stack.dashboard_of(DEMO)))
    assert config.targets.openwebui == []


@pytest.mark.parametrize("value", ["prometheus", "nginx=127.0.0.1:1", "prometheus=9091", "prometheus=127.0.0.1:99999"])
def test_listen_says_what_it_wants(value: str) -> None:
    result = CliRunner().invoke(cli.up, ["--listen", value])
    assert result.exit_code == 2
    assert "is not NAME=HOST:PORT with NAME one of exporter, prometheus" in " ".join(result.output.split())


def test_folders_follow_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("CLUSTER_AI_STATE_DIR", "CLUSTER_AI_CACHE_DIR", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/ana")
    assert default_state_dir() == Path("/home/ana/.local/state/cluster-ai")
    assert default_cache_dir() == Path("/home/ana/.cache/cluster-ai")
    monkeypatch.setenv("XDG_STATE_HOME", "relative/is/ignored")
    assert default_state_dir() == Path("/home/ana/.local/state/cluster-ai")
    monkeypatch.setenv("XDG_STATE_HOME", "/var/ana")
    assert default_state_dir() == Path("/var/ana/cluster-ai")
    monkeypatch.setenv("CLUSTER_AI_STATE_DIR", str(tmp_path))
    assert default_state_dir() == tmp_path


def test_addresses_are_read_and_shown() -> None:
    assert Address.parse("[::1]:9090") == Address("::1", 9090)
    assert str(Address("::1", 9090)) == "[::1]:9090"
    assert Address("0.0.0.0", 9090).url == "http://127.0.0.1:9090"
    assert Address("::", 9090).url == "http://[::1]:9090"
    assert "is not an address of this machine" in (why_not(Address("no such host", 9090)) or "")
    assert "cannot listen on 192.0.2.1:9090" in (why_not(Address("192.0.2.1", 9090)) or "")


def test_a_port_held_by_somebody_we_cannot_see_comes_with_the_way_to_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compose.native.ports.psutil.net_connections", lambda kind: [])
    monkeypatch.setattr("compose.native.ports.os.geteuid", lambda: 1000)
    monkeypatch.setattr("compose.native.ports.sys.platform", "linux")
    assert holder(9090) == "a process of somebody else (`sudo ss -ltnp 'sport = :9090'` shows it)"


@pytest.mark.usefixtures("programs")
def test_the_shards_of_this_machine_run_here(state: State, tmp_path: Path) -> None:
    file = tmp_path / "cluster-ai.yml"
    shards = '["127.0.0.1:19860", "192.0.2.1:9860", "127.0.0.1:19861"]'
    file.write_text(f"targets: {{}}\nservices: {{exporter_shards: {shards}}}\n")
    plan = prepare.prepare(state, wishes(file), lambda _line: None)
    commands = {service.name: service.command for service in plan.services}
    assert commands["exporter-1"][-4:] == ("--web.listen-address", "127.0.0.1:19860", "--shard", "1/3")
    assert commands["exporter-3"][-4:] == ("--web.listen-address", "127.0.0.1:19861", "--shard", "3/3")
    assert not {"exporter", "exporter-2"} & set(commands)
    elsewhere = next(one for one in plan.record.services if one.name == "exporter-2")
    assert (elsewhere.state, elsewhere.detail) == (Condition.ABSENT, "192.0.2.1:9860 is another machine's")


@pytest.mark.usefixtures("programs")
def test_the_sms_bridge_runs_where_it_has_work(state: State, tmp_path: Path) -> None:
    """For SMS or a heartbeat; `status` shows it all the same, and says why it is not there."""
    file = tmp_path / "own.yml"
    file.write_text(CONFIG)
    plan = prepare.prepare(state, wishes(file), lambda _: None)
    assert "sms_bridge" not in {service.name for service in plan.services}
    shown = plan.record.service("sms_bridge")
    assert shown is not None
    assert (shown.state, shown.detail) == (Condition.ABSENT, "nobody is told by SMS, and there is no heartbeat")

    file.write_text(f"{CONFIG}notifications: {{heartbeat: {{url_file: beat}}}}\n")
    plan = prepare.prepare(state, wishes(file, sms_bridge="127.0.0.1:19861"), lambda _: None)
    (bridge,) = [service for service in plan.services if service.name == "sms_bridge"]
    assert bridge.ready == "http://127.0.0.1:19861/-/ready"
    assert f"--token-file {state.secrets}/sms-bridge-token" in " ".join(bridge.command)
    assert f"--ledger {state.root}/sms-bridge/ledger.db" in " ".join(bridge.command)
    assert (state.secrets / "sms-bridge-token").exists()
    rendered = yaml.safe_load((state.rendered / "prometheus.yml").read_text())
    jobs = {job["job_name"]: job for job in rendered["scrape_configs"]}
    assert jobs["sms_bridge"]["static_configs"] == [{"targets": ["127.0.0.1:19861"]}]


@pytest.mark.usefixtures("programs")
def test_the_proxy_may_let_answers_end(state: State, tmp_path: Path) -> None:
    file = tmp_path / "cluster-ai.yml"
    target = '{name: gpu, url: "http://10.0.0.7:11434", proxy: {listen: "127.0.0.1:21435"}}'
    file.write_text(f"targets: {{ollama: [{target}]}}\n")
    plan = prepare.prepare(state, wishes(file, ollama_proxy="127.0.0.1:19862"), lambda _: None)
    graces = {service.name: service.grace for service in plan.services}
    assert graces.pop("ollama_proxy") == stack.PROXY_GRACE > serving.DRAIN + serving.SPARE
    assert set(graces.values()) == {None}
    assert stop._PATIENCE > stack.PROXY_GRACE


def test_an_exporter_that_is_moved_is_one(state: State, tmp_path: Path) -> None:
    file = tmp_path / "cluster-ai.yml"
    file.write_text('targets: {}\nservices: {exporter_shards: ["127.0.0.1:19860", "127.0.0.1:19861"]}\n')
    plan = prepare.prepare(state, wishes(file, exporter="127.0.0.1:19870"), lambda _line: None)
    assert [one.name for one in plan.services if one.name.startswith("exporter")] == ["exporter"]
    assert plan.services[0].url == "http://127.0.0.1:19870"


def test_a_state_folder_of_somebody_else_is_not_used(tmp_path, monkeypatch):
    """They could read the secrets in it, and may have put some there that they know."""
    monkeypatch.setattr("os.geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(PermissionError, match="somebody else"):
        State(tmp_path).create()
    assert list(tmp_path.iterdir()) == []
