"""A real Docker engine with Compose, out of Debian's packages unpacked: nothing is installed, and nothing is left.

It runs in network, mount and process namespaces of its own, where it may make bridges and packet filters as it
likes; when the first process of those ends, so does every container. It needs root.

`python -m tests.standins.docker_engine` unpacks it, where there is apt.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from compose.native.places import default_cache_dir

T = TypeVar("T")
HOME = default_cache_dir() / "debian/docker"
# Compose v2 is in Debian 13 alone, whose programs need no newer C library than Debian 12's; runc does.
NEWER = ("docker.io", "docker-cli", "docker-compose", "docker-buildx")
OLDER = ("containerd", "runc", "tini", "iptables", "libxtables12", "libip4tc2", "libip6tc2", "libnftnl11", "libmnl0")
OLDER += ("libnfnetlink0", "libnetfilter-conntrack3", "libseccomp2")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
MIRROR = "http://deb.debian.org/debian"
_NETWORK = 0x40000000  # CLONE_NEWNET


def missing() -> str | None:
    """Why there can be no engine here; None when there can."""
    if os.geteuid() != 0:
        return "only root may run a Docker engine of its own"
    for program in ("unshare", "nsenter", "ip", "debootstrap", "chroot"):
        if shutil.which(program) is None:
            return f"there is no `{program}` on PATH"
    if not (HOME / "usr/sbin/dockerd").exists():
        return "Docker is not unpacked yet (`make test-containers` does it)"
    return None


def unpack() -> None:
    """Downloads and unpacks the programs; root and apt are needed."""
    if (HOME / "usr/sbin/dockerd").exists():
        return
    HOME.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".docker-", dir=HOME.parent) as temporary:
        folder = Path(temporary)
        for needed in ("state/lists/partial", "cache/archives/partial", "parts", "archives", "fresh"):
            (folder / needed).mkdir(parents=True)
        for suite in ("bookworm", "trixie"):
            (folder / f"parts/{suite}.list").write_text(f"deb [signed-by={KEYRING}] {MIRROR} {suite} main\n")
        options = {
            "Dir::State": folder / "state",
            "Dir::State::status": "/var/lib/dpkg/status",
            "Dir::Cache": folder / "cache",
            "Dir::Etc::SourceList": "/dev/null",
            "Dir::Etc::SourceParts": folder / "parts",
            "Debug::NoLocking": 1,
            "APT::Sandbox::User": "",
            "Acquire::Languages": "none",
        }
        apt = ["apt-get", "-q", *(part for key, value in options.items() for part in ("-o", f"{key}={value}"))]
        subprocess.run([*apt, "update"], check=True)
        wanted = [*(f"{name}/trixie" for name in NEWER), *(f"{name}/bookworm" for name in OLDER)]
        subprocess.run([*apt, "download", *wanted], check=True, cwd=folder / "archives")
        for archive in (folder / "archives").iterdir():
            subprocess.run(["dpkg-deb", "-x", archive, folder / "fresh"], check=True)
        _links(folder / "fresh")
        (folder / "fresh").rename(HOME)


def _links(home: Path) -> None:
    """What the packages' scripts would make."""
    for kind in ("iptables", "ip6tables"):
        for what in ("", "-save", "-restore"):
            (home / "usr/sbin" / f"{kind}{what}").unlink(missing_ok=True)
            (home / "usr/sbin" / f"{kind}{what}").symlink_to("xtables-nft-multi")


class Engine:
    """One engine; what it keeps is in a folder, and survives `restart`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = (folder / "engine.log").open("ab")
        self._dockerd: subprocess.Popen[bytes] | None = None
        libraries = f"{HOME}/usr/lib/x86_64-linux-gnu:{HOME}/lib/x86_64-linux-gnu"
        (folder / "config/cli-plugins").mkdir(parents=True)
        (folder / "bin").mkdir()
        for plugin in (HOME / "usr/libexec/docker/cli-plugins").iterdir():
            shutil.copy(plugin, folder / "config/cli-plugins")
        shutil.copy(HOME / "usr/bin/docker", folder / "bin")
        self.client = f"{folder}/bin:/usr/local/bin:/usr/bin:/bin"
        """A PATH with the client for users who may not look into root's cache."""
        self.environment = {
            **os.environ,
            "PATH": f"{HOME}/usr/bin:{HOME}/usr/sbin:{os.environ['PATH']}",
            "LD_LIBRARY_PATH": libraries,
            "XTABLES_LIBDIR": f"{HOME}/usr/lib/x86_64-linux-gnu/xtables",
            "DOCKER_HOST": f"unix://{folder}/docker.sock",
            "DOCKER_CONFIG": str(folder / "config"),
        }
        first = "ip link set lo up && mount --make-rshared / && exec sleep infinity"
        spaces = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        self._holder = subprocess.Popen([*spaces, "sh", "-c", first], stdout=self._log, stderr=self._log)
        self._first = until(lambda: _child(self._holder.pid), "the first process of the namespaces")

    def start(self) -> None:
        """Starts the engine and waits until it answers."""
        own = {
            "--data-root": self._folder / "data",
            "--exec-root": self._folder / "run",
            "--pidfile": self._folder / "docker.pid",
            "--host": self.environment["DOCKER_HOST"],
            "--init-path": HOME / "usr/bin/tini-static",
        }
        command = ["nsenter", f"--target={self._first}", "--net", "--mount", "--pid", "dockerd"]
        command += [str(part) for key, value in own.items() for part in (key, value)]
        (self._folder / "docker.pid").unlink(missing_ok=True)
        self._dockerd = subprocess.Popen(command, env=self.environment, stdout=self._log, stderr=self._log)
        until(lambda: self.docker("version", check=False).returncode == 0, "the engine", 60)

    def stop(self) -> None:
        """As a reboot would: the engine ends, and so does every container."""
        assert self._dockerd is not None
        engine = _child(self._dockerd.pid)
        assert engine is not None
        os.kill(engine, signal.SIGTERM)
        self._dockerd.wait(60)

    def end(self) -> None:
        """Everything ends and nothing is left but the folder."""
        if self._dockerd is not None and self._dockerd.poll() is None:
            self.stop()
        self._holder.kill()
        self._holder.wait()
        self._log.close()

    def docker(self, *arguments: str, check: bool = True, **more: object) -> subprocess.CompletedProcess[str]:
        """One call of the client."""
        done = subprocess.run(
            ["docker", *arguments], env=self.environment, capture_output=True, text=True, check=False, **more
        )
        assert not check or done.returncode == 0, f"docker {' '.join(arguments)}:\n{done.stdout}{done.stderr}"
        return done

    def inside(self, do: Callable[[], T]) -> T:
        """Does something in the engine's network, where published ports are."""
        result: list[T] = []
        failed: list[Exception] = []

        def run() -> None:
            try:
                with Path(f"/proc/{self._first}/ns/net").open("rb") as space:
                    assert ctypes.CDLL(None).setns(space.fileno(), _NETWORK) == 0
                result.append(do())
            except (AssertionError, OSError) as error:
                failed.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        if failed:
            raise failed[0]
        return result[0]

    def listening(self) -> socket.socket:
        """A socket that containers of the network `host` can reach, as builds are."""
        return self.inside(lambda: socket.create_server(("127.0.0.1", 0)))


def _child(pid: int) -> int | None:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else None


def until(look: Callable[[], T], what: str, seconds: float = 30.0) -> T:
    """Waits for a true answer."""
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < end, f"{what} does not come"
        time.sleep(0.1)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Engine]:
    """An engine, or the test is skipped with the reason."""
    why = missing()
    if why is not None:
        pytest.skip(why)
    engine = Engine(folder)
    try:
        engine.start()
        yield engine
    finally:
        engine.end()


if __name__ == "__main__":
    if os.geteuid() == 0 and shutil.which("apt-get"):
        unpack()
    else:
        sys.stdout.write("Docker could not be had without root and apt; its tests are skipped\n")
