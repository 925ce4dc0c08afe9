"""A real certbot and a certificate authority to ask: Debian's certbot and pebble, unpacked as `make tools` does.

`python -m tests.standins.acme` unpacks them, where there is apt; nothing is installed or started.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from compose.native import debian
from compose.native.fetching import FetchError
from compose.native.places import default_cache_dir
from compose.native.tools import Package
from tests.certificates import Authority
from tests.compose.running import until
from tests.ports import free_port

CERTBOT = Package("certbot", {}, needs=("python3-",))
PEBBLE = Package("pebble", {})


@dataclass
class Pebble:
    """The authority; it asks for proof at `proof_port` of this machine, whatever the name.

    Its certificates last `lasts` seconds; it is asked at `address`.
    """

    folder: Path
    proof_port: int
    lasts: int
    address: str = "localhost"

    def __post_init__(self) -> None:
        self.port, self._management = free_port(), free_port()
        self._names = [free_port(), free_port()]
        authority = Authority("the authority of the authority's own door")
        self.ca = authority.write_ca(self.folder)
        self.directory = f"https://{self.address}:{self.port}/dir"
        certificate, key = authority.write_pair(self.folder, name=self.address)
        settings = {
            "listenAddress": f"{self.address}:{self.port}",
            "managementListenAddress": f"127.0.0.1:{self._management}",
            "certificate": str(certificate),
            "privateKey": str(key),
            "httpPort": self.proof_port,
            "tlsPort": free_port(),
            "certificateValidityPeriod": self.lasts,
        }
        self._settings = self.folder / "pebble.json"
        self._settings.write_text(json.dumps({"pebble": settings}))
        self._pebble: subprocess.Popen[bytes] | None = None
        self._dns: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.know_names()
        # No pauses, no errors by chance, and a name is proved anew each time.
        how = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0"}
        dns = f"127.0.0.1:{self._names[0]}"
        self._pebble = self._run(
            "pebble", "-config", str(self._settings), "-dnsserver", dns, environment={**os.environ, **how}
        )
        until(self._answers, "pebble to answer")

    def know_names(self) -> None:
        """From now on every name is 127.0.0.1 to the authority."""
        dns, management = (f"127.0.0.1:{port}" for port in self._names)
        answers = ["-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dns01", dns, "-management", management]
        no_others = ["-http01", "", "-https01", "", "-tlsalpn01", ""]
        self._dns = self._run("pebble-challtestsrv", *answers, *no_others)
        until(lambda: _listens(self._names[1]), "names to be known")

    def forget_names(self) -> None:
        """Nothing can be proved to it any more."""
        _end(self._dns)

    def _run(self, program: str, *arguments: str, environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        command = [_unpacked(PEBBLE) / "usr/bin" / program, *arguments]
        with (self.folder / "pebble.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def _answers(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(self.directory, verify=ssl.create_default_context(cafile=self.ca)).is_success
        return False

    def stop(self) -> None:
        """With it go the accounts and orders that it knew."""
        _end(self._pebble)
        _end(self._dns)


def needed() -> None:
    """Skips the test with the reason when pebble is not there."""
    if not (_unpacked(PEBBLE) / "usr/bin/pebble").exists():
        pytest.skip("pebble is not unpacked yet (`make tools` unpacks it)")


@contextmanager
def authority(folder: Path, proof_port: int, *, lasts: int) -> Iterator[Pebble]:
    """An authority whose certificates last so many seconds, or the test is skipped with the reason."""
    needed()
    pebble = Pebble(folder, proof_port, lasts)
    try:
        pebble.start()
        yield pebble
    finally:
        pebble.stop()


def certbot(folder: Path) -> Path:
    """A folder for PATH with a certbot that anybody may run, or the test is skipped with the reason."""
    program = shutil.which("certbot")
    if program is not None:
        return Path(program).parent
    unpacked = _unpacked(CERTBOT)
    if not (unpacked / "usr/bin/certbot").exists():
        pytest.skip("certbot is not on PATH and not unpacked yet (`make tools` unpacks it)")
    home = folder / "certbot-program"
    shutil.copytree(unpacked / "usr/lib/python3/dist-packages", home / "packages")
    starter = home / "bin/certbot"
    starter.parent.mkdir()
    python = f"env PYTHONPATH={home / 'packages'} /usr/bin/python3"
    code = "import sys; from certbot.main import main; sys.exit(main())"
    starter.write_text(f"#!/bin/sh\nexec {python} -c '{code}' \"$@\"\n")
    starter.chmod(0o755)
    return starter.parent


def _end(process: subprocess.Popen[bytes] | None) -> None:
    if process is not None:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def _unpacked(package: Package) -> Path:
    return default_cache_dir() / "debian" / package.name


def main() -> None:
    """Unpacks what is missing; a machine without it skips some tests."""
    missing = [package for package in (CERTBOT, PEBBLE) if not _unpacked(package).exists()]
    if not missing or not debian.available():
        return
    try:
        debian.fetch(missing, default_cache_dir(), print)
    except FetchError as error:
        sys.stdout.write(f"certbot and pebble could not be had, their tests are skipped: {error}\n")


if __name__ == "__main__":
    main()
