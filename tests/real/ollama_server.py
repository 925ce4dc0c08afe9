"""A real Ollama for tests: found or built, on a free loopback port, with a home and models of its own."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.ports import free_port
from tests.real.tiny_gguf import write_tiny_model

MODULE = "github.com/ollama/ollama@v0.6.5"  # the newest that builds as it is; one that is found may be newer
CACHE = Path(__file__).resolve().parents[2] / ".cache" / "ollama"
TINY = "tiny"


def find_ollama() -> Path:
    """OLLAMA_BINARY, else one on PATH or in ~/go/bin, else built with Go; skips the test when none can be had."""
    named = os.environ.get("OLLAMA_BINARY")
    if named:
        return Path(named)
    installed = shutil.which("ollama") or shutil.which("ollama", path=str(Path.home() / "go" / "bin"))
    if installed:
        return Path(installed)
    return _built()


def _built() -> Path:
    binary = CACHE / "ollama"
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if binary.exists():
            return binary
        if go is None:
            pytest.skip("no Ollama: set OLLAMA_BINARY, install ollama, or install Go to build one")
        print(f"building {MODULE} into {CACHE}, which takes minutes")  # noqa: T201
        run = subprocess.run(
            ["nice", go, "install", MODULE],
            env=os.environ | {"GOBIN": str(CACHE), "GOFLAGS": "-p=2"},
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode:
            pytest.skip(f"no Ollama: go install {MODULE} failed: {run.stderr.strip()[-500:]}")
    return binary


class OllamaServer:
    """One `ollama serve`, with the model `tiny`."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self._environment = environment
        self.binary = find_ollama()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self.http = httpx.Client(base_url=self.url, timeout=60, trust_env=False)

    def start(self) -> None:
        """Start the server and return when it answers."""
        home = self.folder / "home"
        home.mkdir(parents=True, exist_ok=True)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "OLLAMA_HOST": f"127.0.0.1:{self.port}",
            "OLLAMA_MODELS": str(self.folder / "models"),
        }
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.binary, "serve"], env=environment | self._environment, stdout=log, stderr=log
            )
        wait_until(self._answers, f"{self.binary} serve")

    def stop(self) -> None:
        """Stop the server and its runners, frozen ones too."""
        if self.process is None:
            return
        for runner in self.runners():
            os.kill(runner, signal.SIGKILL)
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        self.process = None

    def runners(self) -> list[int]:
        """Process ids of the model runners."""
        assert self.process is not None
        found = []
        for status in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = status.read_text().rpartition(")")[2].split()
                if int(fields[1]) == self.process.pid and fields[0] != "Z":
                    found.append(int(status.parent.name))
        return found

    def create(self, name: str, title: str = TINY, **parameters: object) -> None:
        """Make a model of this name from the tiny weights; with a `title` of its own it shares no runner."""
        weights = self.folder / "tiny.gguf"
        write_tiny_model(weights, title)
        lines = [f"FROM {weights}", *(f"PARAMETER {key} {value}" for key, value in parameters.items())]
        modelfile = self.folder / "Modelfile"
        modelfile.write_text("\n".join(lines) + "\n")
        subprocess.run(
            [self.binary, "create", name, "-f", str(modelfile)],
            env={"HOME": str(self.folder / "home"), "OLLAMA_HOST": f"127.0.0.1:{self.port}"},
            check=True,
            capture_output=True,
        )

    def delete(self, name: str) -> None:
        """Remove a model from the disk."""
        self.http.request("DELETE", "/api/delete", json={"model": name}).raise_for_status()

    def generate(self, name: str = TINY, tokens: int = 1, **fields: Any) -> dict[str, Any]:
        """A whole generation."""
        body = {"model": name, "prompt": "a", "raw": True, "stream": False, "options": {"num_predict": tokens}}
        return dict(self.http.post("/api/generate", json=body | fields).raise_for_status().json())

    def unload(self, name: str = TINY) -> None:
        """Take a model out of memory and return when it is gone."""
        self.http.post("/api/generate", json={"model": name, "keep_alive": 0}).raise_for_status()
        wait_until(lambda: name not in self.loaded(), f"{name} unloaded")

    def loaded(self) -> dict[str, dict[str, Any]]:
        """/api/ps by model name without :latest."""
        models = self.http.get("/api/ps").raise_for_status().json()["models"]
        return {model["name"].removesuffix(":latest"): model for model in models}

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            log = (self.folder / "log").read_text(errors="replace")
            raise RuntimeError(f"ollama serve ended with {self.process.returncode}:\n{log[-2000:]}")
        with contextlib.suppress(httpx.TransportError):
            return self.http.get("/api/version").is_success
        return False


@contextlib.contextmanager
def running(folder: Path, **environment: str) -> Iterator[OllamaServer]:
    """A started server with the model `tiny`, stopped at the end."""
    server = OllamaServer(folder, **environment)
    try:
        server.start()
        server.create(TINY)
        yield server
    finally:
        server.stop()
        server.http.close()


def wait_until(true: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    """Return as soon as `true()`; fail after `seconds`."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.05)
