"""The compose files on a real engine: everything healthy, dies and comes back, and shows no secret.

Official images are stood in for by Debian's programs (tests/standins/container_images.py); ours are built by their own
Dockerfiles. Run by `make test-containers`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from compose.images import IMAGES
from provisioning.render.containers import UNSAVED
from provisioning.secrets.names import SECRETS
from tests.certificates import Authority
from tests.compose.audit import problems
from tests.compose.installation import TARGETS, stack
from tests.real.compose_host import ACME, DOMAIN, FILE, OWNER, SERVICES, Host, as_owner, pid
from tests.standins import acme, container_images, docker_engine
from tests.standins.docker_engine import until

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    why = docker_engine.missing()
    if why is not None:
        pytest.skip(why)
    # Short, and where the owner may look in: pytest's folders are the tester's own.
    folder = Path(tempfile.mkdtemp(prefix="cluster-ai-"))
    folder.chmod(0o755)
    home = folder / "host"
    home.mkdir()
    try:
        with docker_engine.running(folder) as engine:
            why = as_owner(engine, folder, "-c", "import psutil, pydantic_core, yaml").stderr
            if why:
                pytest.skip(f"there is no Python for another user than root: {why.splitlines()[-1]}")
            container_images.build(engine, OWNER)
            (folder / "docker.sock").chmod(0o666)
            (home / "cluster-ai.yml").write_text(FILE)
            (home / "heartbeat-url").write_text("https://192.0.2.1/beat")
            authority = Authority("somebody")
            authority.write_pair(home, name=DOMAIN)
            authority.write_ca(home)
            for path in (home, *home.iterdir()):
                os.chown(path, *OWNER)
            yield Host(engine, home)
    finally:
        subprocess.run(["rm", "-rf", folder], check=False)


@pytest.fixture(scope="module")
def up(host: Host) -> Host:
    """Started as an operator does; `deploy up` itself waits until all are healthy."""
    result = host.command("deploy", "up", check=False)
    status = host.command("deploy", "status", check=False)
    logs = host.compose("logs", "--no-color", "--tail", "20", check=False)
    said = f"{result.stdout}{result.stderr}{status.stdout}{logs}"
    assert host.healthy() == SERVICES, said
    assert result.returncode == 0 or "GRAFANA_HOME" not in os.environ, said  # people were brought into a real one
    return host


def test_our_image_is_small_and_holds_nothing_that_installs(host: Host) -> None:
    image = IMAGES["cluster-ai"]
    with subprocess.Popen(["docker", "save", image], env=host.engine.environment, stdout=subprocess.PIPE) as saved:
        packed = subprocess.run(["gzip", "-1"], stdin=saved.stdout, capture_output=True, check=True).stdout
    assert len(packed) < 150 << 20
    run = ["run", "--rm", "--read-only", "--network=none", "--user=1234:1235", "--entrypoint=sh", image, "-c"]
    names = "-path '*/bin/pip*' -o -path '*/bin/*gcc*' -o -path '*/bin/cc' -o -path '*/pip' -o -path '*/ensurepip'"
    looked = f"find / -xdev \\( {names} \\) 2>/dev/null; id -u"
    assert host.engine.docker(*run, looked).stdout.split() == ["1234"]
    as_root = [part.replace("1234:1235", "0:0") for part in run]
    assert host.engine.docker(*as_root, "find / -xdev -type f -perm /6000").stdout == ""
    version = host.engine.docker("run", "--rm", image, "--version").stdout
    assert version.split()[-1] == image.rpartition(":")[2]
    [row] = json.loads(host.engine.docker("inspect", image).stdout)
    assert row["Config"]["User"] == "10001:10001"
    assert row["Config"]["Healthcheck"]["Test"][:2] == ["CMD", "python"]
    assert row["Config"]["Labels"]["org.opencontainers.image.version"] == image.rpartition(":")[2]


def test_the_same_source_gives_the_same_files_byte_for_byte(host: Host) -> None:
    container_images.build_ours(host.engine, "cluster-ai", "cluster-ai:again", "--no-cache")
    found = json.loads(host.engine.docker("inspect", IMAGES["cluster-ai"], "cluster-ai:again").stdout)
    assert found[0]["RootFS"]["Layers"] == found[1]["RootFS"]["Layers"]
    assert len(found[0]["RootFS"]["Layers"]) == 1


def test_compose_reads_the_files_as_the_audit_does(up: Host) -> None:
    whole = yaml.safe_load(up.compose("config"))
    ours = stack(up.folder)
    assert problems(ours, up.folder) == []
    for name, service in whole["services"].items():
        for key in ("image", "user", "read_only", "cap_drop", "security_opt", "pids_limit", "restart"):
            told = "1234:1235" if key == "user" and name != "node-exporter" else ours["services"][name][key]
            assert service[key] == told, (name, key)
        mounts = {volume["target"] for volume in ours["services"][name].get("volumes", [])}
        assert {volume["target"] for volume in service.get("volumes", [])} == mounts


def test_no_container_has_more_rights_than_it_was_given(up: Host) -> None:
    for name, row in up.containers().items():
        status = Path(f"/proc/{pid(row)}/status").read_text()
        fields = dict(re.findall(r"^(\w+):\s+(.*)$", status, re.MULTILINE))
        assert int(fields["Uid"].split()[0]) in {OWNER[0], 65534}, name
        assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0, name
        assert fields["NoNewPrivs"] == "1", name
        assert fields["Seccomp"] == "2", name
        assert row["HostConfig"]["ReadonlyRootfs"] is True
        assert bool(row["NetworkSettings"]["Ports"].get("8443/tcp")) == (name == "nginx")


def test_everything_is_scraped_and_the_door_answers(up: Host) -> None:
    def down() -> bool:
        return {row["metric"]["job"] for row in up.query("up==0")} <= {"ollama_proxy"} and len(up.query("up==1")) >= 12

    until(down, "all jobs", 60)
    assert up.get("/api/health").startswith(b"HTTP/1.1 200")
    assert up.sql("select string_agg(rolname, ',' order by rolname) from pg_roles where rolcanlogin") == (
        "backup,grafana,monitoring,postgres"
    )


def test_no_secret_is_to_be_seen(up: Host) -> None:
    values = {name: (up.folder / "secrets" / name).read_text().strip() for name in (secret.name for secret in SECRETS)}
    shown = {
        "inspect": json.dumps(up.containers()),
        "logs": up.compose("logs", "--no-color"),
        "config": up.compose("config"),
        "processes": "\n".join(
            path.read_text(errors="replace") for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()
        ),
        **{
            tag: up.engine.docker("history", "--no-trunc", IMAGES[tag]).stdout
            for tag in ("cluster-ai", "nginx", "backup")
        },
    }
    assert [(where, name) for where, text in shown.items() for name, value in values.items() if value in text] == []


@pytest.mark.skipif(not container_images.logs_at_hand(), reason="Loki and Alloy are not at hand ($LOKI, $ALLOY)")
def test_what_containers_say_is_in_loki_and_still_where_docker_shows_it(up: Host) -> None:
    """All but the two that keep it; some have nothing to say while all is well."""
    talkative = {"grafana-1", "grafana-2", "nginx", "postgres", "prometheus", "exporter", "alertmanager"}
    up.get("/login")
    until(lambda: up.log_services() >= talkative, "lines of every part", 60)
    assert up.log_services() <= SERVICES - set(container_images.LOG_STORE)
    assert "ready to accept connections" in up.compose("logs", "--no-color", "postgres")


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_what_is_killed_comes_back(name: str, up: Host) -> None:
    before = up.containers()[name]
    os.kill(pid(before), signal.SIGKILL)

    def back() -> bool:
        row = up.containers()[name]
        again = row["State"]["StartedAt"] != before["State"]["StartedAt"]
        return again and row["State"]["Health"]["Status"] == "healthy"

    until(back, f"{name} after kill -9", 90)


def test_a_second_up_changes_nothing_and_a_new_secret_only_its_readers(up: Host) -> None:
    before = {name: row["Id"] for name, row in up.containers().items()}
    up.command("deploy", "up", check=False)
    assert {name: row["Id"] for name, row in up.containers().items()} == before
    os.utime(up.folder / "secrets/redis-exporter-passwords")
    up.command("deploy", "up", check=False)
    after = {name: row["Id"] for name, row in up.containers().items()}
    assert {name for name in before if before[name] != after[name]} == {"redis-exporter"}


def test_nothing_is_lost_when_the_engine_starts_again_or_all_goes_down_and_up(up: Host) -> None:
    up.sql("create table kept (what text)")
    up.sql("insert into kept values ('before')")
    samples = until(lambda: up.query("prometheus_build_info offset 10s"), "a sample")
    assert samples
    begun = time.time()
    up.engine.stop()
    up.engine.start()
    (Path(up.engine.environment["DOCKER_HOST"].removeprefix("unix://"))).chmod(0o666)
    until(lambda: up.healthy() == SERVICES, "everything after the engine's restart", 120)
    assert up.sql("select what from kept") == "before"
    up.command("deploy", "down")
    assert up.containers() == {}
    up.command("deploy", "up", check=False)
    assert up.healthy() == SERVICES
    assert up.sql("select what from kept") == "before"
    assert up.query(f"prometheus_build_info @ {begun - 5:.0f}")


def test_all_of_it_comes_back_on_an_empty_machine(up: Host) -> None:
    up.sql("create table saved (what text)")
    up.sql("insert into saved values ('by the backup')")
    made = up.compose("exec", "-T", "backup", "cluster-ai", "backup", "now", "--config", f"{up.folder}/cluster-ai.yml")
    [backup] = (path for path in (up.folder / "backups").iterdir() if path.name in made)
    keys = {path.name: path.read_text() for path in (up.folder / "secrets").iterdir()}
    elsewhere = up.folder.parent / "elsewhere"
    elsewhere.mkdir()
    for path in (backup, up.folder / "secrets/backup-operator-key"):
        shutil.copy(path, elsewhere)
    for path in (elsewhere, *elsewhere.iterdir()):
        os.chown(path, *OWNER)
    up.command("deploy", "down")
    for path in up.folder.iterdir():
        if path.name != "ca.pem":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    identity = str(elsewhere / "backup-operator-key")
    result = up.command("deploy", "restore", str(elsewhere / backup.name), "--identity", identity, check=False)
    assert up.healthy() == SERVICES, result.stdout + result.stderr
    assert up.sql("select what from saved") == "by the backup"
    restored = {path.name: path.read_text() for path in (up.folder / "secrets").iterdir()}
    saved = keys.keys() - UNSAVED
    assert {name: restored[name] for name in saved} == {name: keys[name] for name in saved}
    assert up.get("/api/health").startswith(b"HTTP/1.1 200")


def test_a_certificate_comes_from_an_authority_and_the_door_shows_it(host: Host) -> None:
    """certbot's container asks it, which looks at the door, and nginx reads what came: nobody restarts anything."""
    acme.needed()
    host.command("deploy", "down", check=False)
    folder, asked = host.folder.parent / "acme", host.folder.parent / "authority"
    folder.mkdir()
    asked.mkdir()
    bridge = json.loads(host.engine.docker("network", "inspect", "bridge").stdout)[0]["IPAM"]["Config"][0]["Gateway"]
    pebble = acme.Pebble(asked, 20080, lasts=3600, address=bridge)
    shutil.copy(pebble.ca, folder / "authority.pem")
    (folder / "cluster-ai.yml").write_text(ACME.format(directory=pebble.directory))
    subprocess.run(["chown", "-R", f"{OWNER[0]}:{OWNER[1]}", folder], check=True)
    (asked / "hosts").write_text(f"127.0.0.1 localhost {DOMAIN}\n")
    there = Host(host.engine, folder, hosts=asked / "hosts")
    host.engine.inside(pebble.start)
    try:
        result = there.command("deploy", "up", check=False)
        assert there.healthy() >= {"certbot", "nginx", "grafana-1"}, result.stderr
        until(lambda: "Pebble" in there.issuer(), "the authority's certificate at the door", 120)
        told = (folder / "data/textfile/cluster-ai-certificate.prom").read_text()
        assert "cluster_ai_certificate_renewal_success 1" in told
    finally:
        pebble.stop()
        there.command("deploy", "down", check=False)


def test_those_who_change_it_see_their_changes_at_once(host: Host) -> None:
    host.command("deploy", "down", check=False)
    source, folder = host.folder.parent / "source", host.folder.parent / "dev"
    for room in ("alert_rules", "compose", "dashboards", "exporter", "provisioning"):
        shutil.copytree(container_images.ROOT / room, source / room, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "ours").mkdir(parents=True)
    (folder / "ours/token").write_text("a-token")
    (folder / "cluster-ai.yml").write_text(TARGETS.replace('proxy: {listen: "0.0.0.0:11435"}, ', ""))
    subprocess.run(["chown", "-R", f"{OWNER[0]}:{OWNER[1]}", folder], check=True)
    dev = Host(host.engine, folder, source, "dev")
    result = dev.command("deploy", "up", check=False)
    assert dev.healthy() == {"alertmanager", "exporter", "grafana-1", "node-exporter", "prometheus"}, result.stderr
    for port in (3001, 9090, 9093, 9860):
        host.engine.inside(lambda port=port: socket.create_connection(("127.0.0.1", port), 5).close())

    with (source / "exporter/cli.py").open("a") as code:
        code.write("# a change\n")
    until(lambda: dev.compose("logs", "exporter").count("serving on") == 2, "the exporter with the change")
    page = folder / "rendered/grafana/pages/dashboard.json"
    code = source / "dashboards/pages/dashboard.py"
    changed = "import dataclasses\n_page = page\npage = lambda n: dataclasses.replace(_page(n), title='A new title')\n"
    code.write_text(code.read_text() + changed)
    until(lambda: '"title": "A new title"' in page.read_text(), "the page with the change", 60)
    dev.command("deploy", "down")
