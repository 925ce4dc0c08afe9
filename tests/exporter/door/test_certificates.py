"""The end of our own certificate is told before it comes, and every day."""

from __future__ import annotations

import logging
import shutil
import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.door import certificates
from exporter.door import settings as module
from exporter.door.settings import WebSettings
from provisioning.checked import load_checked
from provisioning.config.load import ConfigError
from tests.exporter.door.helpers import NOW, Authority

END = NOW.replace(microsecond=0).timestamp() + 86400  # what the helpers' authority gives
SOON = "from then on Prometheus gets nothing from this exporter; renew it"


@pytest.fixture
def web_file(tmp_path: Path) -> Path:
    cert, key = Authority(tmp_path).sign("server")
    file = tmp_path / "web.yml"
    file.write_text(f"tls_server_config: {{cert_file: {cert.name}, key_file: {key.name}}}\n")
    return file


def test_the_end_is_read_as_openssl_reads_it(web_file: Path) -> None:
    pem = (web_file.parent / "server.pem").read_text()
    assert certificates.ends(pem) == END
    assert certificates.ends(f"what a tool wrote above\n{pem}{(web_file.parent / 'authority.pem').read_text()}") == END


@given(st.binary(max_size=60))
def test_what_is_no_certificate_has_no_end(der: bytes) -> None:
    assert certificates.ends(ssl.DER_cert_to_PEM_cert(der)) is None
    assert certificates.ends(der.decode("latin-1")) is None


def test_it_is_said_at_the_start_and_once_a_day_and_not_long_before(web_file, caplog) -> None:
    caplog.set_level(logging.WARNING)
    now = END - 15 * 86400
    settings = WebSettings(web_file, lambda: now)
    assert caplog.messages == []
    now += 2 * 86400
    for _ in range(3):
        settings.now()
    assert len(caplog.messages) == 1
    assert caplog.messages[0].endswith(SOON)
    now = END + 1
    settings.now()
    assert "so Prometheus and browsers refuse this exporter" in caplog.messages[1]


def test_a_pair_that_is_whole_only_after_it_was_refused_is_taken(web_file, monkeypatch) -> None:
    """Who renews a certificate copies two files: in between they make no pair."""
    folder, load = web_file.parent, module.load
    settings = WebSettings(web_file)
    new_cert, new_key = Authority(folder / "new").sign("server")

    def copied_meanwhile(file: Path) -> module.Loaded:
        try:
            return load(file)
        except ConfigError:
            shutil.copy(new_key, folder / "server.key")
            raise

    monkeypatch.setattr(module, "load", copied_meanwhile)
    shutil.copy(new_cert, folder / "server.pem")
    settings.now()
    assert settings.error is not None
    settings.now()
    assert settings.error is None


def test_check_says_so_too(web_file: Path) -> None:
    file = web_file.parent / "cluster-ai.yml"
    target = "{ollama: [{name: a, url: 'http://a:1'}]}"
    file.write_text(f"targets: {target}\nexporter: {{web_config_file: web.yml, ca_file: authority.pem}}\n")
    [warning] = load_checked(file).warnings
    assert warning.text(file).startswith(f"{file}:2: exporter.web_config_file: the certificate ends on ")
    assert warning.text(file).endswith(SOON)
