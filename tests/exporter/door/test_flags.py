"""The command's flags, their environment variables, and sockets from systemd."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from exporter import cli
from exporter.door.listen import Address, CannotListenError, NoSocketsError, address, systemd_sockets
from tests.exporter.test_process import CLUSTER_AI, wait_for

CONFIG = "services: {exporter: 127.0.0.1:9001}\ntargets: {}\n"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """What the command would have served."""
    calls: list[dict[str, object]] = []

    async def serve(file: Path, config: object, settings: object, **options: object) -> None:
        calls.append({"file": file, **options})

    monkeypatch.setattr(cli, "serve", serve)
    monkeypatch.setattr(cli.logs, "setup", lambda level, form: calls.append({"level": level, "form": form}))
    return calls


def run(folder: Path, *arguments: str, **environment: str) -> Result:
    (folder / "cluster-ai.yml").write_text(CONFIG)
    env = {f"CLUSTER_AI_EXPORTER_{name}": value for name, value in environment.items()}
    command = [*arguments] if "--config" in arguments else ["--config", str(folder / "cluster-ai.yml"), *arguments]
    return CliRunner().invoke(cli.exporter, command, env=env)


def test_a_flag_counts_before_the_environment_and_that_before_the_file(tmp_path, served):
    run(tmp_path)
    run(tmp_path, WEB_LISTEN_ADDRESS="127.0.0.1:9002 [::1]:9002", LOG_FORMAT="json", WEB_MAX_REQUESTS="7")
    run(tmp_path, "--web.listen-address", ":9003", "--log.format", "text", WEB_LISTEN_ADDRESS="x:1", LOG_FORMAT="json")
    assert [call["addresses"] for call in served if "addresses" in call] == [
        (Address("127.0.0.1", 9001),),
        (Address("127.0.0.1", 9002), Address("::1", 9002)),
        (Address("", 9003),),
    ]
    assert [call["form"] for call in served if "form" in call] == ["text", "json", "text"]
    assert [call["max_requests"] for call in served if "max_requests" in call] == [40, 7, 40]


def test_what_a_flag_stands_in_for_is_not_awaited_from_the_file(tmp_path, served):
    run(tmp_path)
    run(tmp_path, "--web.listen-address", ":9003", "--alertmanager.address", "127.0.0.1:9093")
    run(tmp_path, "--shard", "1/2")
    assert [call["fixed"] for call in served if "fixed" in call] == [
        ["exporter.web_config_file", "services.alertmanager", "services.exporter"],
        ["exporter.web_config_file"],
        ["exporter.web_config_file", "services.alertmanager", "services.exporter_shards"],
    ]


def test_every_flag_names_its_variable_in_the_help():
    text = CliRunner().invoke(cli.exporter, ["--help"], terminal_width=200).output
    for name in (
        "CONFIG",
        "WEB_LISTEN_ADDRESS",
        "WEB_SYSTEMD_SOCKET",
        "WEB_CONFIG_FILE",
        "WEB_MAX_REQUESTS",
        "LOG_LEVEL",
    ):
        assert f"CLUSTER_AI_EXPORTER_{name}" in text


def test_config_check_says_ok_and_serves_nothing(tmp_path, served):
    web_file = tmp_path / "web.yml"
    web_file.write_text("")
    done = run(tmp_path, "--config.check", "--web.config.file", str(web_file))
    assert done.exit_code == 0
    assert done.output == f"{tmp_path}/cluster-ai.yml: ok\n{web_file}: ok\n"
    assert not [call for call in served if "file" in call]


def test_a_broken_web_configuration_keeps_the_exporter_from_starting_without_its_protection(tmp_path, served):
    web_file = tmp_path / "web.yml"
    web_file.write_text("basic_auth_users:\n  ana: hunter2\n")
    done = run(tmp_path, "--web.config.file", str(web_file))
    assert done.exit_code == 1
    assert done.output.startswith(f"Error: {web_file}:2: basic_auth_users.ana: this is not a bcrypt hash")
    assert "hunter2" not in done.output
    assert not [call for call in served if "file" in call]


@pytest.mark.parametrize("text", ["", "9860", "127.0.0.1", "a b:1", "127.0.0.1:99999", "::1:9860", "127.0.0.1:-1"])
def test_an_address_that_is_none_is_refused_in_words(tmp_path, served, text):
    done = run(tmp_path, "--web.listen-address", text)
    assert done.exit_code == 2
    assert "Invalid value for '--web.listen-address'" in done.output


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("127.0.0.1:9860", Address("127.0.0.1", 9860)),
        ("[::1]:9860", Address("::1", 9860)),
        (":9860", Address("", 9860)),
        ("localhost:0", Address("localhost", 0)),
    ],
)
def test_addresses_as_people_write_them(text, found):
    assert address(text) == found


@pytest.mark.parametrize(
    "environ",
    [{}, {"LISTEN_FDS": "1"}, {"LISTEN_FDS": "1", "LISTEN_PID": "1"}, {"LISTEN_FDS": "x", "LISTEN_PID": "me"}],
)
def test_without_sockets_for_this_process_systemd_mode_says_so(environ):
    environ = {name: str(os.getpid()) if value == "me" else value for name, value in environ.items()}
    with pytest.raises(NoSocketsError, match=r"start this as the service of a \.socket unit"):
        systemd_sockets(environ)
    assert environ == {}


def test_it_serves_on_a_socket_that_systemd_opened_and_logs_its_start_as_json(tmp_path):
    (tmp_path / "cluster-ai.yml").write_text(CONFIG)
    log = tmp_path / "log"
    # As systemd starts a service: the socket is descriptor 3, LISTEN_PID is the process itself.
    start = "import os, sys; os.environ['LISTEN_PID'] = str(os.getpid()); os.execv(sys.argv[1], sys.argv[1:])"
    with socket.create_server(("127.0.0.1", 0)) as listening, log.open("wb") as lines:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        process = subprocess.Popen(
            [sys.executable, "-c", f"import os; os.dup2({listening.fileno()}, 3); {start}", CLUSTER_AI, "exporter",
             "--config", str(tmp_path / "cluster-ai.yml"), "--web.systemd-socket", "--log.format", "json"],
            env=os.environ | {"LISTEN_FDS": "1"}, stderr=lines, pass_fds=[listening.fileno()],
        )  # fmt: skip
        try:
            assert httpx.get(f"{url}/-/ready", timeout=20).status_code == 200  # systemd's socket keeps who comes early
            wait_for(lambda: b"serving on" in log.read_bytes())
        finally:
            process.terminate()
            assert process.wait(20) == 0
    first = log.read_text().splitlines()[0]
    assert f'"message": "serving on {url}"' in first
    if os.geteuid() == 0:
        assert log.read_text().count("running as root") == 1


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EADDRINUSE, "x"), "[::1]:9860: in use by another program, maybe another exporter; stop it"),
        (OSError(errno.EADDRNOTAVAIL, "x"), "[::1]:9860: this machine has no such address"),
        (OSError(errno.EACCES, "x"), "[::1]:9860: ports below 1024 need a right"),
        (socket.gaierror(socket.EAI_NONAME, "x"), "[::1]:9860: this is a host name nobody knows"),
        (OSError(errno.ENOBUFS, "No buffers"), "[::1]:9860: No buffers"),
    ],
)
def test_an_address_that_cannot_be_had_is_named_with_what_to_do(error, words):
    assert str(CannotListenError(Address("::1", 9860), error)).startswith(words)
