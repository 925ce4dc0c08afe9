"""Certificates, and the exporter served in this process the way the command serves it."""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import bcrypt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from exporter.door.listen import Address
from exporter.door.server import Server
from exporter.door.settings import WebSettings
from exporter.families import Family
from exporter.fleet import Fleet
from exporter.scrape import Watch
from exporter.web import Exporter
from provisioning.config.load import load
from tests.exporter.fakes import FakeCollector, families

NOW = dt.datetime.now(dt.UTC)


def hashed(password: str, cost: int = 4) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()


def basic(user: str, password: str) -> dict[str, str]:
    """The header of RFC 7617."""
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


class Authority:
    """A certificate authority of a test, and what it signs; files lie in `folder`."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._signed(self._name, self._key.public_key(), [], authority=True)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def sign(self, name: str, *sans: x509.GeneralName, password: bytes | None = None) -> tuple[Path, Path]:
        """Files of a new certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._signed(subject, key.public_key(), list(sans), authority=False)
        cert_file, key_file = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        guarded = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, guarded))
        return cert_file, key_file

    def _signed(self, subject: x509.Name, public: Any, sans: list[x509.GeneralName], *, authority: bool) -> Any:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - dt.timedelta(days=1))
            .not_valid_after(NOW + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if sans:
            builder = builder.add_extension(x509.SubjectAlternativeName(sans), critical=False)
        return builder.sign(self._key, hashes.SHA256())


LOOPBACK = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))


def trusting(authority: Path, certificate: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    """A client's context."""
    context = ssl.create_default_context(cafile=authority)
    if certificate is not None:
        context.load_cert_chain(*certificate)
    return context


async def good() -> list[Family]:
    return families("good")


def fleet_of(folder: Path, timeout: str = "20s", **parts: Callable[[], Awaitable[list[Family]]]) -> Fleet:
    """A fleet with one scripted Ollama target for each keyword: its name and its one part."""
    file = folder / "cluster-ai.yml"
    names = parts or {"gpu": good}
    entries = ", ".join(f'{{name: {name}, url: "http://127.0.0.1:9", timeout: {timeout}}}' for name in names)
    file.write_text(f"targets: {{ollama: [{entries}]}}\n")
    fleet = Fleet(file, load(file), {"ollama": FakeCollector})
    for name, part in names.items():
        fleet.watches[name] = Watch(fleet.watches[name].target, FakeCollector(version=part))
    return fleet


@asynccontextmanager
async def serving(
    fleet: Fleet, web_file: Path | None = None, *, max_requests: int = 40, **patience: float
) -> AsyncIterator[str]:
    """The address of a served exporter, such as http://127.0.0.1:40001."""
    settings = WebSettings(web_file)
    server = Server(Exporter(fleet, settings, max_requests=max_requests).application(), settings, **patience)
    try:
        [url] = await server.start([Address("127.0.0.1", 0)])
        yield url
    finally:
        await server.stop()
        await fleet.close()
