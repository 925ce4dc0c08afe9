"""The supervisor with fake services: what people are told, and that nothing is ever left running."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from compose import cli
from compose.native import record, stop
from compose.native.places import State
from compose.native.record import Record, ServiceRecord
from compose.native.rotating import RotatingLog, last_lines
from compose.native.service import Condition
from tests.compose.running import alive, stack, until
from tests.ports import free_port

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills children with their parent")


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "state")


def test_an_address_is_told_when_it_answers_and_not_before(state: State, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    quick, slow = free_port(), free_port()
    with stack(state, {"exporter": [quick], "prometheus": [slow, f"wait-for={ready}"]}) as running:
        words = running.said(f"http://127.0.0.1:{quick}")
        assert f"http://127.0.0.1:{slow}" not in words
        assert running.service("prometheus").state is Condition.STARTING
        ready.touch()
        assert "Everything answers" in running.said("Ctrl-C stops it")
        assert f"http://127.0.0.1:{slow}" in running.said("prometheus")


def test_what_dies_is_started_again_and_shown(state: State) -> None:
    with stack(state, {"prometheus": [free_port()]}) as running:
        first = running.running("prometheus")
        os.kill(first, signal.SIGKILL)
        second = running.running("prometheus", not_pid=first)
        assert second != first
        assert running.service("prometheus").restarts == 1
        running.said("FAILED: killed by SIGKILL; starting again in 0.1 s")
        assert "restarted once" in CliRunner().invoke(cli.status, ["--state-dir", str(state.root)]).output


def test_a_crash_loop_slows_down_and_shows_the_last_line_of_the_log(state: State) -> None:
    with stack(state, {"exporter": [free_port()], "prometheus": [free_port(), "fail=no such flag"]}) as running:
        running.running("exporter")
        reason = "FAILED: ended with status 3; starting again in {} s; last line of its log: error: no such flag"
        for pause in ("0.1", "0.2", "0.4"):
            running.said(reason.format(pause))
        until(lambda: running.service("prometheus").restarts >= 4, "still tried")
        assert "starting again in 0.8 s" not in running.said("0.4 s")  # the longest pause here
        running.said("Not everything answers")
        result = CliRunner().invoke(cli.status, ["--state-dir", str(state.root)])
        assert result.exit_code == 1


def test_a_healthy_while_makes_the_next_failure_a_first_one_again(state: State) -> None:
    port = free_port()
    with stack(state, {"prometheus": [port]}) as running:
        pid: int | None = None
        for _ in range(2):
            pid = running.running("prometheus", not_pid=pid)
            time.sleep(1.1)  # it is this time itself that counts
            with pytest.raises(httpx.HTTPError):
                httpx.get(f"http://127.0.0.1:{port}/die")
        running.running("prometheus", not_pid=pid)
        said = running.said("ended with status 7")
        assert said.count("starting again in 0.1 s") == 2


def test_a_service_that_hangs_is_shown_as_failed_though_alive(state: State) -> None:
    port = free_port()
    with stack(state, {"prometheus": [port]}) as running:
        running.running("prometheus")
        httpx.get(f"http://127.0.0.1:{port}/deaf")
        until(lambda: running.service("prometheus").state is Condition.FAILED, "seen")
        assert "alive, but" in running.service("prometheus").detail
        assert running.service("prometheus").pid is not None


def test_a_taken_port_is_named_with_its_holder_before_anything_starts(state: State) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with stack(state, {"exporter": [free_port()], "prometheus": [port]}) as running:
            code, output = running.ended()
    assert code == 1
    assert f"prometheus: 127.0.0.1:{port} is taken by process {os.getpid()} (" in output
    assert "cluster-ai up --listen prometheus=127.0.0.1:" in output
    assert not (state.logs / "exporter.log").exists()
    assert record.supervisor(state) is None


def test_a_second_up_is_refused_with_the_first_ones_pid(state: State) -> None:
    plan: dict[str, list[object]] = {"exporter": [free_port()]}
    with stack(state, plan) as first:
        first.running("exporter")
        with stack(state, plan) as second:
            code, output = second.ended()
        assert code == 1
        assert f"already running (process {first.process.pid})" in output
        assert first.service("exporter").state is Condition.RUNNING


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_everything(state: State, tmp_path: Path, number: signal.Signals) -> None:
    pids = tmp_path / "grandchild"
    with stack(
        state, {"exporter": [free_port()], "dask": [free_port(), f"grandchild={pids}", "ignore-term"]}
    ) as running:
        services = [running.running("exporter"), running.running("dask"), int(pids.read_text())]
        os.kill(running.process.pid, number)
        code, output = running.ended()
        assert code == 0
        assert output.endswith("Stopping ...\nEverything is stopped.\n")
        assert not any(alive(pid) for pid in services)
        assert not state.status.exists()


def test_a_service_that_has_more_time_than_others_to_end_may_take_it(state: State, tmp_path: Path) -> None:
    done, not_done = tmp_path / "done", tmp_path / "not-done"
    plan: dict[str, list[object]] = {
        "ollama_proxy": [free_port(), f"slow-end={done}", "grace=8"],
        "exporter": [free_port(), f"slow-end={not_done}"],
    }
    with stack(state, plan) as running:
        running.running("ollama_proxy")
        running.running("exporter")
        os.kill(running.process.pid, signal.SIGTERM)
        assert running.ended()[0] == 0
    assert done.exists()
    assert not not_done.exists()


def test_down_ends_everything_and_says_so(state: State) -> None:
    with stack(state, {"exporter": [free_port()]}) as running:
        pid = running.running("exporter")
        result = CliRunner().invoke(cli.down, ["--state-dir", str(state.root)])
        assert (result.exit_code, result.output) == (0, "Stopping ...\nEverything is stopped.\n")
        assert not alive(pid)
        assert running.ended()[0] == 0
    again = CliRunner().invoke(cli.down, ["--state-dir", str(state.root)])
    assert again.output == f"Nothing runs with state in {state.root}.\n"


@linux
def test_a_killed_supervisor_leaves_nothing_and_does_not_block_the_next(state: State) -> None:
    plan: dict[str, list[object]] = {"exporter": [free_port()], "dask": [free_port(), "ignore-term"]}
    with stack(state, plan) as running:
        pids = [running.running("exporter"), running.running("dask")]
        os.kill(running.process.pid, signal.SIGKILL)
        until(lambda: not any(alive(pid) for pid in pids), "services die with it", seconds=5)
        until(lambda: record.supervisor(state) is None, "its last thread is gone", seconds=5)
        result = CliRunner().invoke(cli.status, ["--state-dir", str(state.root)])
        assert result.exit_code == 3
        assert "nothing runs" in result.output
        with stack(state, plan) as again:
            assert again.running("exporter", not_pid=pids[0]) not in pids


def test_down_ends_what_outlived_a_killed_supervisor(state: State) -> None:
    """As on systems whose kernel does not do it: a recorded process that is still the same one."""
    state.create()
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    stranger = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        services = [
            ServiceRecord("prometheus", Condition.RUNNING, pid=child.pid, started=time.time()),
            # The same number, long ago: another process has it now.
            ServiceRecord("dask", Condition.RUNNING, pid=stranger.pid, started=time.time() - 3600),
        ]
        record.write(state, Record(services=services))
        result = CliRunner().invoke(cli.down, ["--state-dir", str(state.root)])
        assert result.output == "Ended what a killed supervisor had left: prometheus.\n"
        assert child.wait(5) == -signal.SIGKILL
        assert stranger.poll() is None
    finally:
        for process in (child, stranger):
            process.kill()
            process.wait()


def test_status_for_programs_has_exactly_the_promised_keys(state: State) -> None:
    port = free_port()
    with stack(state, {"exporter": [port]}) as running:
        pid = running.running("exporter")
        result = CliRunner().invoke(cli.status, ["--state-dir", str(state.root), "--json"])
        assert result.exit_code == 0
        assert httpx.Response(200, text=result.output).json() == {
            "services": [{"name": "exporter", "state": "running", "url": f"http://127.0.0.1:{port}", "pid": pid}],
            "targets": [
                {"name": "main", "system": "dask", "up": True, "error": None},
                {"name": "gpu", "system": "ollama", "up": False, "error": "refused"},
            ],
        }


def test_a_chatty_service_does_not_fill_the_disk(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "dask.log", limit=1000)
    for number in range(1000):
        log.write(b"line %d\n" % number)
    log.close()
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert set(sizes) == {"dask.log", "dask.log.1"}
    assert max(sizes.values()) <= 1010
    assert last_lines(tmp_path / "dask.log", 120) == [f"line {number}" for number in range(880, 1000)]


def test_rotation_of_one_long_burst_keeps_lines_whole(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "dask.log", limit=100)
    log.write(b"".join(b"line %02d\n" % number for number in range(20)))
    log.close()
    assert (tmp_path / "dask.log.1").read_text().endswith("\n")
    assert last_lines(tmp_path / "dask.log", 20) == [f"line {number:02d}" for number in range(20)]


def test_logs_shows_the_end_and_follows_across_rotation(state: State) -> None:
    state.create()
    log = RotatingLog(state.logs / "dask.log", limit=1000)
    log.write(b"early\nlate\n")
    command = [
        sys.executable,
        "-m",
        "provisioning.cli",
        "logs",
        "dask",
        "-n",
        "1",
        "-f",
        "--state-dir",
        str(state.root),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        try:
            assert follower.stdout.readline() == "late\n"
            for line in ("new\n", "x" * 1000 + "\n", "after rotation\n"):
                log.write(line.encode())
                assert follower.stdout.readline() == line
            follower.send_signal(signal.SIGINT)
            assert follower.wait(5) == 130
        finally:
            follower.kill()
    log.close()


def test_only_the_owner_may_look_into_the_state(state: State) -> None:
    state.create()
    assert state.root.stat().st_mode & 0o777 == 0o700


@linux
def test_down_kills_a_supervisor_that_does_not_end_by_itself(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop, "_PATIENCE", 0.5)
    with stack(state, {"exporter": [free_port()]}) as running:
        pid = running.running("exporter")
        os.kill(running.process.pid, signal.SIGSTOP)
        result = CliRunner().invoke(cli.down, ["--state-dir", str(state.root)])
        assert f"(process {running.process.pid}) does not end by itself and is killed" in result.output
        until(lambda: not alive(pid), "its service dies with it", seconds=5)
        assert record.supervisor(state) is None
