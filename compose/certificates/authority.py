"""An authority of this host, which may sign for the name of its door and nothing else."""

from __future__ import annotations

import secrets
import tempfile
from pathlib import Path

from compose.certificates import program

AUTHORITY_DAYS = 3650
SERVER_DAYS = 90

# Ours alone: openssl's own file differs from one system to the next.
_SETTINGS = """\
[req]
distinguished_name = name
prompt = no
string_mask = utf8only

[name]
CN = {name}

[authority]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign
nameConstraints = critical, permitted;DNS:{domain}
subjectKeyIdentifier = hash

[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:{domain}
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


def new_authority(domain: str) -> tuple[bytes, bytes]:
    """Its certificate and key. People have their browsers trust the certificate; it is good for `domain` alone."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = _settings(folder, f"Cluster AI, {domain}"[:64], domain)
        key, certificate = folder / "key", folder / "certificate"
        how = ["-x509", "-days", str(AUTHORITY_DAYS), "-extensions", "authority", "-config", str(settings)]
        program.new_key(key, [*how, "-out", str(certificate)])
        return certificate.read_bytes(), key.read_bytes()


def sign(domain: str, authority: Path, authority_key: Path) -> tuple[bytes, bytes]:
    """A server's certificate for `domain`, and its key."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = _settings(folder, domain[:64], domain)
        key, request, certificate = folder / "key", folder / "request", folder / "certificate"
        program.new_key(key, ["-new", "-config", str(settings), "-out", str(request)])
        program.ask(
            *("x509", "-req", "-in", str(request), "-out", str(certificate), "-days", str(SERVER_DAYS)),
            *("-CA", str(authority), "-CAkey", str(authority_key), "-set_serial", f"0x{secrets.randbits(126):x}"),
            *("-extfile", str(settings), "-extensions", "server"),
        )
        return certificate.read_bytes(), key.read_bytes()


def _settings(folder: Path, name: str, domain: str) -> Path:
    path = folder / "openssl.cnf"
    path.write_text(_SETTINGS.format(name=name, domain=domain))
    return path
