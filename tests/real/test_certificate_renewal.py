"""The certificate of the door from an authority that speaks ACME: Debian's certbot, pebble and our nginx."""

from __future__ import annotations

import os
import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509

from provisioning.config.production import Acme, Certificate
from provisioning.render import certbot
from provisioning.render.places import Places
from tests.compose.running import until
from tests.standins import acme, nginx_server
from tests.standins.acme import Pebble
from tests.standins.nginx_server import DOMAIN, Door

pytestmark = pytest.mark.real
HOUR, QUARTER = 3600, 90 * 86400


@dataclass
class Loop:
    """certbot's loop beside the door, as the same user."""

    door: Door
    pebble: Pebble
    programs: Path

    def __post_init__(self) -> None:
        trust = self.door.folder / "authority.pem"
        trust.write_bytes(self.pebble.ca.read_bytes())
        certificate = Certificate(acme=Acme(email="ops@example.org", directory=self.pebble.directory, ca_file=trust))
        stack = self.door.config.production
        assert stack is not None
        config = self.door.config.model_copy(
            update={"production": stack.model_copy(update={"certificate": certificate})}
        )
        places = Places(data=self.door.folder, secrets=self.door.folder, production=self.door.places)
        for name, text in certbot.files(config, places, self.door.folder, "cluster-ai.yml").items():
            (self.door.folder / name).parent.mkdir(exist_ok=True)
            (self.door.folder / name).write_text(text)
        self.door.programs.give(self.door.folder)

    def once(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", self.door.folder / certbot.LOOP, "once"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            cwd="/",
            env={"PATH": f"{self.programs}:{os.environ['PATH']}", "HOME": "/nonexistent"},
            **self.door.programs.owner,
        )

    def told(self, what: str) -> int:
        text = self.door.places.textfiles.joinpath("cluster-ai-certificate.prom").read_text()
        found = re.search(rf"^cluster_ai_certificate_renewal_{what} (\d+)$", text, re.MULTILINE)
        assert found, text
        return int(found[1])

    def shown(self) -> x509.Certificate:
        """What nginx shows now."""
        with (
            socket.create_connection(("127.0.0.1", self.door.port), 20) as plain,
            _blind().wrap_socket(plain, server_hostname=DOMAIN) as connection,
        ):
            told = connection.getpeercert(binary_form=True)
        assert told
        return x509.load_der_x509_certificate(told)

    def on_disk(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate((self.door.certificates / "fullchain.pem").read_bytes())


def _blind() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.fixture(params=[HOUR], ids=["due"])
def loop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Loop]:
    to_come = Certificate(acme=Acme(email="ops@example.org"))
    with (
        nginx_server.running("127.0.0.1:9", certificate=to_come) as door,
        acme.authority(tmp_path, door.http, lasts=request.param) as pebble,
    ):
        yield Loop(door, pebble, acme.certbot(door.folder))


def test_it_is_got_and_renewed_and_nginx_shows_it_without_a_restart(loop: Loop):
    """Those of this authority end within the hour, so each attempt renews."""
    process = loop.door.process
    assert process is not None
    master = process.pid
    serials = [loop.shown().serial_number]
    for _ in range(2):
        done = loop.once()
        assert done.returncode == 0, done.stdout + done.stderr
        assert "a new one is in place, good until" in done.stdout
        new = loop.on_disk()
        assert "Pebble" in new.issuer.rfc4514_string()
        assert new.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
            x509.DNSName
        ) == [DOMAIN]
        until(lambda: loop.shown().serial_number == loop.on_disk().serial_number, "nginx to show the new one")
        serials.append(loop.shown().serial_number)
        assert loop.told("success") == 1
    assert len(set(serials)) == 3
    assert process.poll() is None
    assert process.pid == master
    modes = {path.name: path.stat().st_mode & 0o777 for path in loop.door.certificates.iterdir()}
    assert modes == {"fullchain.pem": 0o600, "privkey.pem": 0o600}


def test_what_fails_leaves_the_old_one_in_place_and_is_told(loop: Loop):
    """The name cannot be resolved, then it can, then the authority is away."""
    assert loop.once().returncode == 0
    since = loop.told("last_success_timestamp_seconds")
    loop.pebble.forget_names()
    _fails_and_keeps_what_is_there(loop)
    assert loop.told("last_success_timestamp_seconds") == since
    loop.pebble.know_names()
    assert loop.once().returncode == 0
    assert loop.told("success") == 1
    loop.pebble.stop()
    _fails_and_keeps_what_is_there(loop)


def _fails_and_keeps_what_is_there(loop: Loop) -> None:
    good = loop.on_disk()
    done = loop.once()
    assert done.returncode == 1
    assert re.search(r"certificate: could not be renewed; the one in use is good until .* GMT", done.stdout)
    assert loop.on_disk() == good
    until(lambda: loop.shown() == good, "nginx to show what is there")
    assert loop.told("success") == 0


@pytest.mark.parametrize("loop", [QUARTER], ids=["fresh"], indirect=True)
def test_one_that_is_not_due_is_left_alone(loop: Loop):
    assert loop.once().returncode == 0
    first = loop.on_disk()
    done = loop.once()
    assert done.returncode == 0, done.stdout + done.stderr
    assert loop.on_disk() == first
    assert "a new one is in place" not in done.stdout
    assert loop.told("success") == 1
