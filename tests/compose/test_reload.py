from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tests.compose.running import until

COMMAND = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).open('a').write('run\\n'); time.sleep(600)"


def test_a_command_runs_anew_when_the_code_changes(tmp_path: Path) -> None:
    code, runs = tmp_path / "code", tmp_path / "runs"
    code.mkdir()
    (code / "one.py").write_text("")
    command = [sys.executable, "-m", "compose.reload", str(code), "--", sys.executable, "-c", COMMAND, str(runs)]
    with subprocess.Popen(command) as process:
        try:
            until(lambda: runs.exists() and runs.read_text() == "run\n", "another run")
            (code / "notes.txt").write_text("nobody runs this")
            (code / "two.py").write_text("")
            until(lambda: runs.read_text() == "run\nrun\n", "another run")
            (code / "one.py").unlink()
            until(lambda: runs.read_text() == "run\nrun\nrun\n", "another run")
            process.send_signal(signal.SIGTERM)
            assert process.wait(15) == 0
        finally:
            process.kill()
