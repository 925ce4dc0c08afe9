"""How this room gets in to the exporter: its TLS and password, as cluster-ai.yml names them."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from provisioning.config.exporter import Exporter

PATIENCE = 3.0  # s


@dataclass(frozen=True, slots=True)
class Access:
    """What a client of one service needs; nothing unless the service is guarded."""

    exporter: Exporter | None = None

    def client(self, **more: Any) -> httpx.AsyncClient:
        """A client that gets in. Raises AccessError when a file it needs cannot be used."""
        return httpx.AsyncClient(**self._options(), **more)

    def get(self, url: str) -> httpx.Response:
        """One answer. Raises httpx.HTTPError, or AccessError when a file it needs cannot be used."""
        with httpx.Client(**self._options()) as http:
            return http.get(url, timeout=PATIENCE, extensions=self.extensions)

    @property
    def extensions(self) -> dict[str, Any]:
        """For each request: the name to check in the certificate, where it is not the one dialled."""
        name = self.exporter.server_name if self.exporter else None
        return {"sni_hostname": name} if name else {}

    def _options(self) -> dict[str, Any]:
        if self.exporter is None:
            return {"trust_env": False}
        return {"trust_env": False, "verify": _context(self.exporter), "auth": _login(self.exporter)}


class AccessError(Exception):
    """A file that access needs cannot be used; `str()` says which and why, for people."""


class _FileLogin(httpx.Auth):
    """HTTP basic authentication with the password that the file holds now: a changed one counts at once."""

    def __init__(self, username: str, file: Path) -> None:
        self._username = username
        self._file = file

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        try:
            password = self._file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise httpx.RequestError(f"{self._file} cannot be read", request=request) from error
        login = base64.b64encode(f"{self._username}:{password}".encode()).decode()
        request.headers["Authorization"] = f"Basic {login}"
        yield request


def _login(exporter: Exporter) -> httpx.Auth | None:
    if exporter.username is None or exporter.password_file is None:
        return None
    return _FileLogin(exporter.username, exporter.password_file)


def _context(exporter: Exporter) -> ssl.SSLContext | bool:
    if exporter.ca_file is None:
        return True
    try:
        context = ssl.create_default_context(cafile=exporter.ca_file)
        if exporter.cert_file is not None:
            context.load_cert_chain(exporter.cert_file, exporter.key_file, password=_no_passphrase)
    except (OSError, ValueError) as error:
        files = " or ".join(str(file) for file in (exporter.ca_file, exporter.cert_file, exporter.key_file) if file)
        why = getattr(error, "strerror", None) or error
        raise AccessError(f"the exporter cannot be asked: {files} cannot be used: {why}") from None
    return context


def _no_passphrase() -> str:
    """OpenSSL would ask the terminal."""
    raise ValueError("the key has a passphrase; remove it, and protect the file instead")
