"""Where the programs come from, with a release server of our own and, where there is one, the real apt."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from compose.native import binaries, debian, fetching, grafana, tools

ALL = ("prometheus", "promtool", "alertmanager", "amtool", "node_exporter")


class Server:
    """Official releases, as far as a test needs them."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                body = outer.files.get(self.path)
                self.send_response(404 if body is None else 200)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.base = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def publish(self, release: tools.Release, members: dict[str, str], *, checksum: str | None = None) -> None:
        archive = release.url(release.archive, "")
        body = tarball(f"{release.name}-{release.version}", members)
        digest = checksum or hashlib.sha256(body).hexdigest()
        self.files[archive] = body
        self.files[release.url(release.checksums, "")] = (
            f"{'0' * 64}  another-file.tar.gz\n{digest}  {archive.rpartition('/')[2]}\n".encode()
        )


def tarball(folder: str, members: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in members.items():
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.mode, entry.size = 0o755, len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


def program(name: str, version: str) -> str:
    return f"#!/bin/sh\necho '{name}, version {version} (branch: x)'\n"


def place(folder: Path, name: str, version: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(program(name, version))
    path.chmod(0o755)
    return path


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    made = Server()
    monkeypatch.setenv("CLUSTER_AI_PROMETHEUS_RELEASES", made.base)
    monkeypatch.setenv("CLUSTER_AI_GRAFANA_RELEASES", made.base)
    yield made
    made.close()


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A PATH with a shell and tar, and nothing of ours or Debian's package tools."""
    folder = tmp_path / "path"
    folder.mkdir()
    for name in ("sh", "tar", "gzip", "echo"):
        real = next(Path(place) / name for place in ("/bin", "/usr/bin") if (Path(place) / name).exists())
        (folder / name).symlink_to(real)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("GRAFANA_HOME", raising=False)
    monkeypatch.setattr(grafana, "_PACKAGED", ())
    return folder


def test_programs_on_path_come_first_also_by_debians_names(bare: Path, tmp_path: Path, server: Server) -> None:
    ours = place(bare, "prometheus", "3.1.0")
    theirs = place(bare, "prometheus-alertmanager", "0.25.0")
    said: list[str] = []
    found = binaries.provide(("prometheus", "alertmanager"), tmp_path / "cache", said.append)
    assert found == {"prometheus": ours, "alertmanager": theirs}
    assert said == []
    assert server.asked == []


def test_a_program_too_old_for_us_or_not_what_its_name_says_is_passed_over(bare: Path, tmp_path: Path) -> None:
    place(bare, "prometheus", "2.24.1")
    (bare / "amtool").write_text("#!/bin/sh\necho hello\n")
    (bare / "amtool").chmod(0o755)
    assert binaries.find("prometheus", tmp_path) is None
    assert binaries.find("amtool", tmp_path) is None


@pytest.mark.usefixtures("bare")
def test_a_release_is_fetched_checked_and_kept(tmp_path: Path, server: Server) -> None:
    server.publish(tools.PROMETHEUS, {"prometheus": program("prometheus", "3"), "promtool": program("promtool", "3")})
    said: list[str] = []
    found = binaries.provide(("prometheus", "promtool"), tmp_path, said.append)
    home = tmp_path / "releases" / f"prometheus-{tools.PROMETHEUS.version}"
    assert found == {"prometheus": home / "prometheus", "promtool": home / "promtool"}
    assert subprocess.run([home / "promtool"], capture_output=True, check=True).stdout.startswith(b"promtool, version")
    title = f"prometheus {tools.PROMETHEUS.version} (130 MB)"
    assert said == [f"Getting the official release of {title} into {tmp_path} ..."]
    asked = len(server.asked)
    assert binaries.provide(("prometheus",), tmp_path, said.append)["prometheus"] == home / "prometheus"
    assert len(server.asked) == asked


@pytest.mark.usefixtures("bare")
def test_programs_that_anybody_may_have_put_there_are_not_run(tmp_path: Path, server: Server) -> None:
    cache = tmp_path / "cache"
    planted = cache / "releases" / f"prometheus-{tools.PROMETHEUS.version}" / "prometheus"
    home = cache / "releases" / f"grafana-{tools.GRAFANA.version}"
    for file in (planted, home / "bin/grafana", home / "conf/defaults.ini"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"#!/bin/sh\ntouch {tmp_path}/owned\n")
        file.chmod(0o755)
    cache.chmod(0o755)
    assert binaries.find("prometheus", cache) == planted
    cache.chmod(0o1777)
    said: list[str] = []
    assert binaries.provide(("prometheus",), cache, said.append) == {"prometheus": None}
    assert grafana.provide(cache, said.append) is None
    assert "everybody may write" in said[0]
    assert "everybody may write" in said[1]
    assert server.asked == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_cache_of_somebody_else_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chown(tmp_path, 4242, 4242)
    assert fetching.distrust(tmp_path) is None
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "belongs to somebody else" in (fetching.distrust(tmp_path) or "")


def test_a_new_cache_is_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        fetching.Failures(tmp_path / "new").add("this", "because")
    finally:
        os.umask(before)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("text", ['{"a": 1}', '{"a": {}}', '{"a": {"at": "x", "why": 1}}', "[]", "[" * 100_000])
def test_a_spoiled_memory_of_failures_is_no_memory(tmp_path: Path, text: str) -> None:
    (tmp_path / "failed.json").write_text(text)
    failures = fetching.Failures(tmp_path)
    assert failures.recent("a") is None
    failures.add("a", "because")
    assert "because" in (failures.recent("a") or "")


@pytest.mark.usefixtures("bare")
def test_a_wrong_checksum_leaves_nothing_behind(tmp_path: Path, server: Server) -> None:
    server.publish(tools.NODE_EXPORTER, {"node_exporter": program("node_exporter", "1.11.1")}, checksum="f" * 64)
    said: list[str] = []
    assert binaries.provide(("node_exporter",), tmp_path, said.append) == {"node_exporter": None}
    assert "does not match its published checksum" in said[-1]
    assert list((tmp_path / "releases").iterdir()) == []


@pytest.mark.usefixtures("bare")
def test_a_failed_fetch_is_remembered_for_a_while_unless_asked(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    binaries.provide(("amtool",), tmp_path, said.append)
    assert "there is no release at http://127.0.0.1" in said[-1]
    first = len(server.asked)
    binaries.provide(("amtool",), tmp_path, said.append)
    assert len(server.asked) == first
    assert "tried again in 6 h 0 min, or now with --retry" in said[-1]
    binaries.provide(("amtool",), tmp_path, said.append, retry=True)
    assert len(server.asked) > first
    second, now = len(server.asked), time.time()
    monkeypatch.setattr(fetching.time, "time", lambda: now + fetching.RETRY_AFTER + 1)
    binaries.provide(("amtool",), tmp_path, said.append)
    assert len(server.asked) > second


@pytest.mark.usefixtures("bare")
def test_a_server_that_cannot_be_reached_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTER_AI_PROMETHEUS_RELEASES", "http://127.0.0.1:9")
    said: list[str] = []
    begun = time.monotonic()
    assert binaries.provide(("prometheus",), tmp_path, said.append) == {"prometheus": None}
    assert "127.0.0.1 cannot be reached" in said[-1]
    assert time.monotonic() - begun < 10


@pytest.mark.usefixtures("bare")
def test_a_machine_without_a_release_is_told_so(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.publish(tools.PROMETHEUS, {"prometheus": ""})
    monkeypatch.setattr(tools.platform, "machine", lambda: "riscv64")
    said: list[str] = []
    binaries.provide(("prometheus",), tmp_path, said.append)
    assert "there is no release for linux on riscv64" in said[-1]


@pytest.mark.parametrize(
    ("machine", "arch"), [("x86_64", "amd64"), ("AMD64", "amd64"), ("aarch64", "arm64"), ("arm64", "arm64")]
)
def test_processors_have_gos_names(machine: str, arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools.platform, "machine", lambda: machine)
    assert tools.this_machine()[1] == arch


@pytest.mark.usefixtures("bare")
def test_grafana_comes_from_the_official_archive_with_its_one_line_checksum(tmp_path: Path, server: Server) -> None:
    members = {"bin/grafana": program("grafana", "12.4"), "conf/defaults.ini": "", "public/x.js": ""}
    server.publish(tools.GRAFANA, members)
    archive = tools.GRAFANA.url(tools.GRAFANA.archive, "")
    checksums = tools.GRAFANA.url(tools.GRAFANA.checksums, "")
    server.files[checksums] = f"{hashlib.sha256(server.files[archive]).hexdigest()}\n".encode()
    found = grafana.provide(tmp_path, lambda _line: None)
    assert found is not None
    home = tmp_path / "releases" / f"grafana-{tools.GRAFANA.version}"
    assert found.command(Path("/g.ini")) == [
        str(home / "bin/grafana"), "server", "--homepath", str(home), "--config", "/g.ini"
    ]  # fmt: skip


def test_grafana_home_is_used_and_never_replaced_in_silence(
    bare: Path, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "grafana"
    place(home / "bin", "grafana-server", "9.5.0")
    monkeypatch.setenv("GRAFANA_HOME", str(home))
    said: list[str] = []
    assert grafana.provide(tmp_path, said.append) is None
    assert "conf/defaults.ini is missing" in said[0]
    assert server.asked == []
    (home / "conf").mkdir()
    (home / "conf/defaults.ini").touch()
    found = grafana.provide(tmp_path, said.append)
    assert found is not None
    assert found.command(Path("/g.ini"))[:2] == [str(home / "bin/grafana-server"), "--homepath"]


@pytest.mark.usefixtures("bare")
def test_without_grafana_one_line_says_how_to_get_it(tmp_path: Path, server: Server) -> None:
    said: list[str] = []
    assert grafana.provide(tmp_path, said.append) is None
    assert "going on without" in said[-1]
    assert "GRAFANA_HOME" in said[-1]
    said.clear()
    asked = len(server.asked)
    assert grafana.provide(tmp_path, said.append) is None
    assert len(server.asked) == asked
    assert len(said) == 1


@pytest.mark.skipif(not debian.available(), reason="no apt-get and dpkg-deb here: not a Debian")
def test_alertmanager_unpacked_from_debian_works_where_it_is_not_installed(tmp_path: Path) -> None:
    """The smallest package with the largest trick: its templates are found though its folder is elsewhere."""
    try:
        debian.fetch([tools.DEBIAN["alertmanager"]], tmp_path, lambda _line: None)
    except fetching.FetchError as error:
        pytest.skip(f"Debian's packages cannot be reached: {error}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["debian"]
    alertmanager = debian.find("alertmanager", tools.DEBIAN["alertmanager"], tmp_path)
    assert alertmanager is not None
    config = tmp_path / "alertmanager.yml"
    config.write_text("route: {receiver: none}\nreceivers: [{name: none}]\n")
    command = [
        alertmanager, f"--config.file={config}", f"--storage.path={tmp_path}/data",
        "--web.listen-address=127.0.0.1:0", "--cluster.listen-address=",
    ]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd="/") as process:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "Listening on" in line or "failed to apply" in line:
                break
        process.terminate()
        process.communicate(timeout=10)
    assert "Listening on" in lines[-1], "".join(lines)


def test_links_for_tests_lead_to_what_was_found(bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTER_AI_CACHE_DIR", str(tmp_path / "cache"))
    for name, version in zip(ALL, ("3.0.0", "3.0.0", "0.27.0", "0.27.0", "1.8.0"), strict=True):
        place(bare, name, version)
    links = tmp_path / "links"
    result = CliRunner().invoke(binaries.main, ["--links", str(links)])
    assert (result.exit_code, result.output) == (0, "")
    assert {path.name: path.readlink() for path in links.iterdir()} == {name: bare / name for name in ALL}
    # Through the links themselves, as in a second `make test`.
    monkeypatch.setenv("PATH", f"{links}:{os.environ['PATH']}")
    assert CliRunner().invoke(binaries.main, ["--links", str(links)]).exit_code == 0
    assert (links / "promtool").readlink() == bare / "promtool"


def test_a_cache_that_cannot_be_made_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(debian, "available", lambda: True)
    (tmp_path / "file").touch()
    said: list[str] = []
    for name in ("amtool", "node_exporter"):
        assert binaries.provide((name,), tmp_path / "file/cache", said.append) == {name: None}
    refusals = [line for line in said if line.startswith("  not there: ")]
    assert refusals
    assert all(line.endswith("Not a directory") for line in refusals)
