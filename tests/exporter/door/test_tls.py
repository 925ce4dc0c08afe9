"""TLS as clients meet it: who gets in, what changes without a restart, and who cannot hold up the others."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import ssl
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509

from exporter.door.settings import load
from tests.exporter.door.helpers import LOOPBACK, Authority, basic, fleet_of, hashed, serving, trusting

PAIR = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"
SELF = "/metrics?collect[]=self"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    authority = Authority(tmp_path / "tls")
    authority.sign("server", LOOPBACK)
    return authority


def web_file(authority: Authority, text: str = PAIR) -> Path:
    file = authority.folder / "web.yml"
    before = file.stat().st_mtime_ns if file.exists() else 0
    file.write_text(text)
    os.utime(file, ns=(before + 10**9, before + 10**9))  # two writes within one tick of the clock are two versions
    return file


async def get(url: str, context: ssl.SSLContext) -> str:
    async with aiohttp.ClientSession() as session, session.get(url, ssl=context) as answer:
        assert answer.status == 200
        return await answer.text()


async def peer(url: str, context: ssl.SSLContext) -> str:
    """The name on the certificate that a new connection meets."""
    host, _, port = url.removeprefix("https://").partition(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    certificate = x509.load_der_x509_certificate(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return certificate.subject.rfc4514_string()


async def test_it_speaks_tls_and_no_plain_http_beside(tmp_path, authority):
    async with serving(fleet_of(tmp_path), web_file(authority)) as url:
        assert url.startswith("https://")
        assert "ollama_up 1.0" in await get(f"{url}/probe?target=gpu", trusting(authority.file))
        with pytest.raises(aiohttp.ClientError):
            await get(url.replace("https", "http"), trusting(authority.file))


async def test_tls_1_2_is_the_lowest_and_1_3_can_be_demanded(tmp_path, authority):
    assert load(web_file(authority)).tls.minimum_version is ssl.TLSVersion.TLSv1_2
    old = trusting(authority.file)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    async with serving(fleet_of(tmp_path), web_file(authority)) as url:
        await get(url, old)
        web_file(authority, PAIR + "  min_version: TLS13\n")
        with pytest.raises(aiohttp.ClientConnectorError):
            await get(url, old)
        await get(url, trusting(authority.file))


async def test_a_suite_and_a_curve_that_are_asked_for_are_used(tmp_path, authority):
    suite = "  cipher_suites: [TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256]\n  curve_preferences: [CurveP384]\n"
    client = trusting(authority.file)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    async with serving(fleet_of(tmp_path), web_file(authority, PAIR + suite)) as url:
        _, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]), ssl=client)
        assert writer.get_extra_info("cipher")[0] == "ECDHE-ECDSA-CHACHA20-POLY1305"
        writer.close()
        client.set_ecdh_curve("prime256v1")
        with pytest.raises(aiohttp.ClientConnectorError):
            await get(url, client)


async def test_only_clients_with_a_good_certificate_and_an_allowed_name_get_in(tmp_path, authority):
    mutual = PAIR + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: authority.pem\n"
    prometheus = authority.sign("prometheus", x509.DNSName("prometheus.lab"))
    named = authority.sign("named", x509.IPAddress(ipaddress.ip_address("2001:db8::1")))
    stranger = Authority(tmp_path / "elsewhere", "elsewhere").sign("prometheus", x509.DNSName("prometheus.lab"))
    trust = authority.file

    async def refused(context: ssl.SSLContext) -> bool:
        try:
            await get(url, context)
        except (aiohttp.ClientError, OSError):
            return True
        return False

    async with serving(fleet_of(tmp_path), web_file(authority, mutual)) as url:
        assert not await refused(trusting(trust, prometheus))
        assert await refused(trusting(trust))
        assert await refused(trusting(trust, stranger))
        web_file(authority, mutual + '  client_allowed_sans: ["prometheus.lab", "2001:DB8:0::1"]\n')
        assert not await refused(trusting(trust, prometheus))
        assert not await refused(trusting(trust, named))
        assert await refused(trusting(trust, authority.sign("grafana", x509.DNSName("grafana.lab"))))
        assert await refused(trusting(trust, authority.sign("nameless")))
        web_file(authority, mutual.replace("RequireAndVerify", "Verify").replace("ClientCert\n", "ClientCertIfGiven\n"))
        assert not await refused(trusting(trust))
        assert await refused(trusting(trust, stranger))


async def test_a_renewed_certificate_is_served_to_the_next_connection(tmp_path, authority):
    trust = trusting(authority.file)
    async with serving(fleet_of(tmp_path), web_file(authority)) as url:
        assert await peer(url, trust) == "CN=server"
        cert_file, key_file = authority.sign("renewed", LOOPBACK)
        cert_file.replace(authority.folder / "server.pem")
        assert await peer(url, trust) == "CN=server"  # a certificate without its key: the old pair stays
        assert "web_config_last_reload_successful 0.0" in await get(url + SELF, trust)
        key_file.replace(authority.folder / "server.key")
        assert await peer(url, trust) == "CN=renewed"
        assert "web_config_last_reload_successful 1.0" in await get(url + SELF, trust)


async def test_a_broken_file_keeps_the_old_one_in_force_and_is_logged_once(tmp_path, authority, caplog):
    trust = trusting(authority.file)
    users = f"basic_auth_users: {{ana: {hashed('right')}}}\n"
    async with (
        serving(fleet_of(tmp_path), web_file(authority, PAIR + users)) as url,
        aiohttp.ClientSession() as session,
    ):

        async def status(path: str = "/", password: str | None = None) -> int:
            headers = basic("ana", password) if password else {}
            async with session.get(url + path, ssl=trust, headers=headers) as answer:
                return answer.status

        assert await status() == 401
        for broken in (PAIR + "basic_auth_user: {}\n", PAIR + "  min_version: TLS99\n", "[", users):
            caplog.clear()
            web_file(authority, broken)
            assert [await status() for _ in range(3)] == [401, 401, 401]
            assert await status(password="right") == 200
            [record] = [record for record in caplog.records if record.levelname == "ERROR"]
            assert "the old one stays in force" in record.getMessage()
        assert "restart the exporter" in record.getMessage()  # the last one would have turned TLS off
        web_file(authority, PAIR)
        assert await status() == 200


async def test_mending_a_certificate_that_a_refused_file_names_is_enough(tmp_path, authority):
    trust = trusting(authority.file)
    async with serving(fleet_of(tmp_path), web_file(authority)) as url:
        web_file(authority, PAIR.replace("server.", "later."))
        assert await peer(url, trust) == "CN=server"
        authority.sign("later", LOOPBACK)
        assert await peer(url, trust) == "CN=later"
