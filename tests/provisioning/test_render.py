from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from alert_rules.messages.templates import templates
from alert_rules.render import rules
from dashboards.build import PAGES
from provisioning.config.exporter import Exporter
from provisioning.config.load import load
from provisioning.config.model import Alerts, Config, Services
from provisioning.config.targets import DaskTarget, HostTarget, OllamaTarget, Targets
from provisioning.render import Places, RenderError, make_secrets, render
from provisioning.render.files import header
from tests.tools import tool

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/golden/render"
FILES = (
    "prometheus.yml",
    "alertmanager.yml",
    "grafana/grafana.ini",
    "grafana/provisioning/datasources/cluster-ai.yml",
    "grafana/provisioning/dashboards/cluster-ai.yml",
)
RULE_FILES = tuple(f"rules/{name}" for name in rules(Config(targets=Targets())))
PAGE_FILES = tuple(f"grafana/pages/{name}.json" for name in PAGES)
MESSAGE_FILES = tuple(f"alertmanager/{name}" for name in templates(Config(targets=Targets())))
PLACES = Places(data=Path("/srv/cluster-ai/data"), secrets=Path("/srv/cluster-ai/secrets"), local_host="laptop")
# Without the exporter's certificates, which promtool would look for.
EXAMPLE = load(ROOT / "provisioning/example.yml").model_copy(update={"exporter": Exporter()})
SMALLEST = Config(targets=Targets())
BARE = Places(
    data=Path("/d"), secrets=Path("/s"), local_host="laptop", alertmanager=False, node_exporter=False, grafana=False
)


def prometheus(out: Path, config: Config, places: Places = PLACES) -> dict[str, Any]:
    render(config, out, places=places)
    data: dict[str, Any] = yaml.safe_load((out / "prometheus.yml").read_text())
    return data


def jobs(out: Path, config: Config, places: Places = PLACES) -> dict[str, dict[str, Any]]:
    return {job["job_name"]: job for job in prometheus(out, config, places)["scrape_configs"]}


@pytest.mark.parametrize("name", FILES)
def test_the_example_renders_as_it_did(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    render(EXAMPLE, tmp_path, places=PLACES, source="cluster-ai.yml")
    text = (tmp_path / name).read_text().replace(str(tmp_path), "/etc/cluster-ai")
    text = text.replace(f"{ROOT}/provisioning", "/srv/cluster-ai")
    golden = GOLDEN / name
    if request.config.getoption("--update-golden"):
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text()


def test_nothing_else_is_written(tmp_path: Path) -> None:
    changed = render(EXAMPLE, tmp_path, places=PLACES)
    assert sorted(changed) == sorted(tmp_path / name for name in (*FILES, *RULE_FILES, *MESSAGE_FILES, *PAGE_FILES))
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(changed)


@pytest.mark.parametrize("config", [EXAMPLE, SMALLEST], ids=["example", "smallest"])
@pytest.mark.parametrize("places", [PLACES, BARE], ids=["all-parts", "bare"])
def test_prometheus_takes_it(config: Config, places: Places, tmp_path: Path) -> None:
    promtool = tool("promtool")
    render(config, tmp_path, places=places)
    done = subprocess.run(
        [promtool, "check", "config", str(tmp_path / "prometheus.yml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_alertmanager_takes_it(tmp_path: Path) -> None:
    amtool = tool("amtool")
    render(EXAMPLE, tmp_path, places=PLACES)
    done = subprocess.run(
        [amtool, "check-config", str(tmp_path / "alertmanager.yml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_the_same_file_gives_the_same_bytes_in_any_process(hash_seed: str, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from provisioning.config.load import load;"
        "from provisioning.render import Places, render;"
        "from provisioning.config.exporter import Exporter;"
        "config = load(Path(sys.argv[1])).model_copy(update={'exporter': Exporter()});"
        "render(config, Path('out'),"
        " places=Places(data=Path('/d'), secrets=Path('/s'), local_host='laptop'))"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "provisioning/example.yml")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        check=True,
    )
    here = tmp_path / "here"
    render(EXAMPLE, here, places=Places(data=Path("/d"), secrets=Path("/s"), local_host="laptop"))
    for name in (*FILES, *RULE_FILES, *PAGE_FILES):
        there = (tmp_path / "out" / name).read_text().replace(str(tmp_path / "out"), str(here))
        assert hashlib.sha256(there.encode()).digest() == hashlib.sha256((here / name).read_bytes()).digest()


def test_every_target_has_one_way_to_be_scraped(tmp_path: Path) -> None:
    found = jobs(tmp_path, EXAMPLE)
    parts = ["ollama_proxy", "prometheus", "alertmanager", "sms_bridge", "grafana"]
    assert list(found) == ["exporter", "probe", "native", "node", "gpu", *parts]
    assert found["exporter"]["params"] == {"collect[]": ["self"]}
    assert found["probe"]["http_sd_configs"] == [
        {"url": "http://127.0.0.1:9860/sd?kind=probe", "refresh_interval": "5s"}
    ]
    assert found["native"]["http_sd_configs"] == [
        {"url": "http://127.0.0.1:9860/sd?kind=native", "refresh_interval": "5s"}
    ]


def test_only_the_exporter_may_set_its_series_labels(tmp_path: Path) -> None:
    assert [name for name, job in jobs(tmp_path, EXAMPLE).items() if job.get("honor_labels")] == ["probe"]


def test_no_credentials_go_to_addresses_that_a_cluster_names(tmp_path: Path) -> None:
    keys = {"basic_auth", "authorization", "oauth2", "tls_config", "bearer_token", "bearer_token_file"}
    assert not keys & jobs(tmp_path, EXAMPLE)["native"].keys()


def test_a_scrape_ends_before_the_next_begins_and_brings_a_bounded_amount(tmp_path: Path) -> None:
    data = prometheus(tmp_path, EXAMPLE)
    for job in data["scrape_configs"]:
        interval, timeout = (
            milliseconds(job.get(key, data["global"][key])) for key in ("scrape_interval", "scrape_timeout")
        )
        assert timeout < interval, job["job_name"]
    for name in ("probe", "native"):
        job = jobs(tmp_path, EXAMPLE)[name]
        assert {"sample_limit", "body_size_limit", "label_limit", "label_value_length_limit"} <= job.keys()


def milliseconds(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(ms|s)", text).groups()  # type: ignore[union-attr]
    return int(number) * (1 if unit == "ms" else 1000)


def test_prometheus_lets_through_what_the_largest_target_may_give(tmp_path: Path) -> None:
    large = DaskTarget(name="a", scheduler="tcp://h:1", series_limit=80_000)
    small = OllamaTarget(name="b", url="http://h:2", series_limit=10)
    config = Config(targets=Targets(dask=[large], ollama=[small]))
    assert jobs(tmp_path, config)["probe"]["sample_limit"] == 81_000


def test_this_machine_is_watched_without_being_listed(tmp_path: Path) -> None:
    node = jobs(tmp_path, EXAMPLE)["node"]["static_configs"]
    assert node == [
        {"targets": ["127.0.0.1:9100"], "labels": {"host": "laptop"}},
        {"targets": ["10.0.0.7:9100"], "labels": {"host": "gpu-1"}},
    ]


@pytest.mark.parametrize("url", ["http://127.0.0.1:9100", "http://localhost:9100", "http://192.168.1.2:9100"])
def test_this_machine_is_not_scraped_twice_when_it_is_listed(url: str, tmp_path: Path) -> None:
    config = Config(targets=Targets(hosts=[HostTarget(name="laptop", node_exporter=url)]))
    node = jobs(tmp_path, config)["node"]["static_configs"]
    assert node == [{"targets": [url.removeprefix("http://")], "labels": {"host": "laptop"}}]


def test_a_tunnel_on_another_port_is_another_machine(tmp_path: Path) -> None:
    config = Config(targets=Targets(hosts=[HostTarget(name="far", node_exporter="http://127.0.0.1:19100")]))
    hosts = [group["labels"]["host"] for group in jobs(tmp_path, config)["node"]["static_configs"]]
    assert hosts == ["laptop", "far"]


def test_a_host_behind_a_path_and_tls(tmp_path: Path) -> None:
    host = HostTarget(name="h", node_exporter="https://[fd00::1]/node", gpu_exporter="http://gpu.example.org")
    found = jobs(tmp_path, Config(targets=Targets(hosts=[host])), BARE)
    labels = {"host": "h", "__scheme__": "https", "__metrics_path__": "/node/metrics"}
    assert found["node"]["static_configs"] == [{"targets": ["[fd00::1]:443"], "labels": labels}]
    assert found["gpu"]["static_configs"] == [{"targets": ["gpu.example.org:80"], "labels": {"host": "h"}}]


def test_parts_that_are_not_there_are_not_scraped(tmp_path: Path) -> None:
    data = prometheus(tmp_path, SMALLEST, BARE)
    assert [job["job_name"] for job in data["scrape_configs"]] == ["exporter", "probe", "native", "prometheus"]
    assert "alerting" not in data
    assert "cluster-ai-alertmanager" not in (tmp_path / FILES[3]).read_text()


def test_what_listens_everywhere_is_reached_on_loopback(tmp_path: Path) -> None:
    services = Services(exporter="0.0.0.0:1", prometheus="[::]:2", grafana="0.0.0.0:3")
    found = jobs(tmp_path, Config(targets=Targets(), services=services))
    assert found["exporter"]["static_configs"] == [{"targets": ["127.0.0.1:1"]}]
    assert found["prometheus"]["static_configs"] == [{"targets": ["[::1]:2"]}]
    ini = (tmp_path / "grafana/grafana.ini").read_text()
    assert "\nhttp_addr = 0.0.0.0\nhttp_port = 3\nroot_url = http://laptop:3/\n" in ini


def test_secrets_are_named_by_path_and_never_read(tmp_path: Path) -> None:
    places = Places(data=tmp_path / "data", secrets=tmp_path / "secrets")
    make_secrets(places)
    render(EXAMPLE, tmp_path / "out", places=places)
    written = "".join((tmp_path / "out" / name).read_text() for name in FILES)
    assert f"admin_password = $__file{{{places.grafana_admin_password}}}\n" in written
    assert f"secret_key = $__file{{{places.grafana_secret_key}}}\n" in written
    for path in (places.grafana_admin_password, places.grafana_secret_key, places.sms_bridge_token):
        assert path.read_text() not in written
    assert "openwebui-key" not in written
    assert "chat-password" not in written


def test_secrets_are_made_once_random_and_for_the_owner_alone(tmp_path: Path) -> None:
    places = Places(data=tmp_path, secrets=tmp_path / "secrets")
    other = Places(data=tmp_path, secrets=tmp_path / "other")
    made = make_secrets(places)
    assert made == [places.grafana_admin_password, places.grafana_secret_key, places.sms_bridge_token]
    before = [path.read_text() for path in made]
    assert make_secrets(places) == []
    make_secrets(other)
    assert [path.read_text() for path in made] == before
    assert other.grafana_admin_password.read_text() != before[0]
    assert stat.S_IMODE(places.secrets.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o600}


def test_a_secret_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    places = Places(data=tmp_path, secrets=tmp_path / "secrets")
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        with pytest.raises(RenderError, match=r"cannot make secrets in .*: No space left on device"):
            make_secrets(places)
    assert list(places.secrets.iterdir()) == []
    assert len(make_secrets(places)) == 3


def test_the_first_password_follows_the_policy_that_grafana_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "token_urlsafe", lambda length: "x" * length)  # chance must not be needed
    places = Places(data=tmp_path, secrets=tmp_path)
    make_secrets(places)
    password = places.grafana_admin_password.read_text()
    assert len(password) >= 12
    assert all(re.search(kind, password) for kind in ("[A-Z]", "[a-z]", "[0-9]", "[^A-Za-z0-9]"))


def test_files_that_do_not_change_are_not_touched(tmp_path: Path) -> None:
    render(EXAMPLE, tmp_path, places=PLACES)
    before = {name: (tmp_path / name).stat() for name in FILES}
    renamed = EXAMPLE.model_copy(update={"name": "other"})
    changed = [tmp_path / "prometheus.yml", tmp_path / "alertmanager/place.tmpl"]
    assert render(renamed, tmp_path, places=PLACES) == changed
    for name in FILES[1:]:
        after = (tmp_path / name).stat()
        assert (after.st_ino, after.st_mtime_ns) == (before[name].st_ino, before[name].st_mtime_ns)


def test_somebody_elses_file_is_not_replaced_and_nothing_is_half_written(tmp_path: Path) -> None:
    (tmp_path / "grafana").mkdir()
    own = tmp_path / "grafana/grafana.ini"
    own.write_text("[server]\n; mine\n")
    with pytest.raises(RenderError, match=rf"{own} was not generated by cluster-ai; move it away or choose another"):
        render(EXAMPLE, tmp_path, places=PLACES)
    assert own.read_text() == "[server]\n; mine\n"
    assert not (tmp_path / "prometheus.yml").exists()


def test_a_file_in_the_way_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(RenderError, match="cannot write"):
        render(EXAMPLE, tmp_path / "out", places=PLACES)


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    render(EXAMPLE, tmp_path, places=PLACES)
    old = (tmp_path / "prometheus.yml").read_text()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RenderError, match=r"cannot write .*/prometheus\.yml: No space left on device"):
        render(EXAMPLE.model_copy(update={"name": "other"}), tmp_path, places=PLACES)
    assert (tmp_path / "prometheus.yml").read_text() == old
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "alertmanager",
        "alertmanager.yml",
        "grafana",
        "prometheus.yml",
        "rules",
    ]


@pytest.mark.parametrize("char", list(";#%$`\"'\\{}\n\x1b"))
def test_a_path_that_an_ini_file_would_bend_is_refused(char: str, tmp_path: Path) -> None:
    places = Places(data=Path(f"/srv/a{char}b"), secrets=Path("/s"))
    with pytest.raises(RenderError, match=r"cannot stand in grafana\.ini"):
        render(EXAMPLE, tmp_path, places=places)
    assert list(tmp_path.iterdir()) == []


def test_paths_with_spaces_and_umlauts_are_fine(tmp_path: Path) -> None:
    render(EXAMPLE, tmp_path, places=Places(data=Path("/srv/Müller & Co [x]"), secrets=Path("/s (y)")))
    assert "\ndata = /srv/Müller & Co [x]/grafana\n" in (tmp_path / "grafana/grafana.ini").read_text()


def test_the_source_cannot_break_out_of_the_first_line(tmp_path: Path) -> None:
    render(EXAMPLE, tmp_path, places=PLACES, source="a\nglobal: {evil: 1}\r\u2028{{ $x }}.yml")
    lines = (tmp_path / "prometheus.yml").read_text().split("\n")
    assert lines[0].startswith("# Generated by")
    assert lines[0].endswith("{{ $x }}.yml; changes made here are lost.")
    assert lines[1] == "global:"
    assert header("x", ";").startswith("; Generated by")


def test_labels_of_targets_are_left_to_service_discovery(tmp_path: Path) -> None:
    """Hostile label values never pass through Prometheus' templates or Grafana's `$` expansion."""
    hostile = DaskTarget(name="a", scheduler="tcp://h:1", labels={"site": "$HOME {{ printf }} ${1} '\""})
    render(Config(targets=Targets(dask=[hostile])), tmp_path, places=PLACES)
    assert not [name for name in FILES if "printf" in (tmp_path / name).read_text()]


def test_no_value_in_a_data_source_is_one_that_grafana_would_expand(tmp_path: Path) -> None:
    render(EXAMPLE, tmp_path, places=PLACES)
    assert "$" not in (tmp_path / FILES[3]).read_text()


def test_grafana_sends_nothing_out_and_lets_nobody_in(tmp_path: Path) -> None:
    render(EXAMPLE, tmp_path, places=PLACES)
    section = ""
    found: dict[tuple[str, str], str] = {}
    for line in (tmp_path / "grafana/grafana.ini").read_text().splitlines():
        if match := re.fullmatch(r"\[(.+)\]", line):
            section = match[1]
        elif " = " in line:
            key, _, value = line.partition(" = ")
            found[section, key] = value
    off = [
        *(("analytics", key) for key in ("reporting_enabled", "check_for_updates", "check_for_plugin_updates")),
        ("analytics", "feedback_links_enabled"),
        ("auth.anonymous", "enabled"),
        ("news", "news_feed_enabled"),
        ("plugins", "plugin_admin_enabled"),
        ("public_dashboards", "enabled"),
        ("snapshots", "external_enabled"),
        ("users", "allow_sign_up"),
        ("users", "allow_org_create"),
        ("unified_alerting", "execute_alerts"),
    ]
    on = [
        ("security", "disable_gravatar"),
        ("plugins", "preinstall_disabled"),
        ("plugins", "public_key_retrieval_disabled"),
        ("auth.basic", "password_policy"),
    ]
    assert {key: found.get(key) for key in (*off, *on)} == dict.fromkeys(off, "false") | dict.fromkeys(on, "true")
    assert not re.search("grafana\\.(com|net|org)", (tmp_path / "grafana/grafana.ini").read_text())


def test_grafana_knows_every_key(tmp_path: Path) -> None:
    home = os.environ.get("GRAFANA_HOME")
    if not home:
        pytest.skip("GRAFANA_HOME is not set")
    render(EXAMPLE, tmp_path, places=PLACES)
    ours, known = (keys(path) for path in (tmp_path / "grafana/grafana.ini", Path(home) / "conf/defaults.ini"))
    assert ours - known == set()


def keys(ini: Path) -> set[tuple[str, str]]:
    section = ""
    found = set()
    for line in ini.read_text().splitlines():
        if match := re.fullmatch(r"\[(.+)\]", line):
            section = match[1]
        elif "=" in line and not line.startswith((";", "#")):
            found.add((section, line.partition("=")[0].strip()))
    return found


def test_the_pages_have_the_thresholds_of_this_installation(tmp_path: Path) -> None:
    config = Config(targets=Targets(), alerts=Alerts(thresholds={"dask_worker_memory_ratio": 0.61}))
    render(config, tmp_path, places=PLACES)
    page = json.loads((tmp_path / "grafana/pages/dashboard.json").read_text())
    shown = [panel["fieldConfig"]["defaults"] for panel in page["panels"] if panel["type"] != "text"]
    steps = [step["value"] for defaults in shown for step in defaults["thresholds"]["steps"]]
    assert 0.61 in steps
    assert 0.8 not in steps


def test_a_page_says_on_its_first_line_that_it_is_generated(tmp_path: Path) -> None:
    render(SMALLEST, tmp_path, places=PLACES, source="lab.yml")
    for name in PAGE_FILES:
        text = (tmp_path / name).read_text()
        assert "Generated by `cluster-ai render` from lab.yml" in text.split("\n", 1)[0]
        assert json.loads(text)["uid"] == f"cluster-ai-{Path(name).stem}"


def test_a_page_that_is_no_more_goes_and_somebody_elses_stays(tmp_path: Path) -> None:
    render(SMALLEST, tmp_path, places=PLACES)
    pages = tmp_path / "grafana/pages"
    (pages / "gone.json").write_text((pages / "dashboard.json").read_text())
    (pages / "mine.json").write_text("{}\n")
    render(SMALLEST, tmp_path, places=PLACES)
    assert sorted(path.name for path in pages.iterdir()) == sorted(
        [*(Path(name).name for name in PAGE_FILES), "mine.json"]
    )


def test_grafana_begins_with_our_page_and_lets_nobody_change_it(tmp_path: Path) -> None:
    render(SMALLEST, tmp_path, places=PLACES)
    ini = (tmp_path / "grafana/grafana.ini").read_text()
    home = re.search("^default_home_dashboard_path = (.+)$", ini, re.MULTILINE)
    assert home is not None
    assert json.loads(Path(home[1]).read_text())["title"] == "Dashboard"
    provider = yaml.safe_load((tmp_path / "grafana/provisioning/dashboards/cluster-ai.yml").read_text())["providers"][0]
    assert (provider["allowUiUpdates"], provider["disableDeletion"], provider["folder"]) == (False, True, "Cluster AI")
    assert provider["options"]["path"] == str(tmp_path / "grafana/pages")
