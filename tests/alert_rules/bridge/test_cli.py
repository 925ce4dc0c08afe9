"""The command from outside: what it refuses to start with, and TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner
from redis import Redis

from alert_rules.bridge.cli import sms_bridge
from tests.alert_rules.bridge.posts import post
from tests.alert_rules.bridge.process import TOKEN, Bridge, running
from tests.certificates import Authority


@pytest.fixture
def bridge(tmp_path: Path) -> Bridge:
    return Bridge(tmp_path / "one", "http://127.0.0.1:9", "127.0.0.1:9")


@contextlib.contextmanager
def refused(bridge: Bridge, *more: str) -> Iterator[list[str]]:
    said: list[str] = []
    yield said
    options = ["--config", str(bridge.config), "--token-file", str(bridge.token), "--ledger", str(bridge.ledger)]
    result = CliRunner().invoke(sms_bridge, [*options, *more])
    assert result.exit_code in (1, 2)
    for words in said:
        assert words in result.output


def test_passwords_and_a_token_do_not_go_together(bridge, tmp_path):
    file = tmp_path / "web.yml"
    file.write_text("basic_auth_users: {a: $2b$10$" + "." * 22 + "e" * 31 + "}\n")
    with refused(bridge, "--web.config.file", str(file)) as said:
        said.append("callers come with a bearer token here; take basic_auth_users out")


def test_an_address_that_is_taken(bridge):
    with socket.create_server(("127.0.0.1", bridge.port)), refused(bridge) as said:
        said.append("cannot serve: ")


def test_an_address_that_is_none(bridge):
    with refused(bridge, "--web.listen-address", "nonsense") as said:
        said.append("--web.listen-address")


@pytest.mark.parametrize(
    ("library", "key", "says"),
    [
        ("apprise", "apprise: {urls_file: urls}", "install cluster-ai-dashboard[apprise]"),
        ("redis", "redis_url_file: url", "install cluster-ai-dashboard[redis]"),
    ],
)
def test_a_library_that_is_not_installed(bridge, monkeypatch, library, key, says):
    monkeypatch.setitem(sys.modules, library, None)
    text = bridge.config.read_text()
    if library == "apprise":
        begin, end = text.index("    twilio:"), text.index("  heartbeat:")
        text = text[:begin] + text[end:]
    bridge.config.write_text(text.replace("  sms:\n", f"  sms:\n    {key}\n"))
    with refused(bridge) as said:
        said.append(says)


def test_a_token_that_is_not_there_yet_is_waited_for(bridge):
    """The bridge serves, and says what it lacks until it has it."""
    later = bridge.token.rename(bridge.token.with_name("later"))
    ready = bridge.ready

    def put_there_once_asked_for() -> bool:
        if later.exists() and "token: No such file or directory" in bridge.log.read_text():
            later.rename(bridge.token)
        return ready()

    bridge.ready = put_there_once_asked_for  # type: ignore[method-assign]
    with running(bridge):
        assert not later.exists()


def test_a_redis_by_flag_holds_what_was_told(bridge, redis):
    """As in a production stack, whose secrets `cluster-ai.yml` does not name."""
    with running(bridge.with_options("--redis-url-file", str(redis.url_file))):
        assert bridge.tell(post()).status_code == 503, "Twilio is not there"
    with Redis.from_url(redis.url_file.read_text()) as asked:
        assert asked.info("commandstats")["cmdstat_evalsha"]["calls"] > 0
    assert not bridge.ledger.exists()


def test_over_tls(bridge, tmp_path):
    authority = Authority("our own")
    authority.write_pair(tmp_path)
    ca = authority.write_ca(tmp_path)
    file = tmp_path / "web.yml"
    file.write_text("tls_server_config: {cert_file: cert.pem, key_file: key.pem}\n")
    context = ssl.create_default_context(cafile=ca)
    with httpx.Client(verify=context, base_url=f"https://127.0.0.1:{bridge.port}") as http:

        def ready() -> bool:
            with contextlib.suppress(httpx.HTTPError):
                return http.get("/-/ready").status_code == 200
            return False

        bridge.ready = ready  # type: ignore[method-assign]
        with running(bridge.with_options("--web.config.file", str(file))):
            answer = http.post("/v1/alerts/ana", json=post(), headers={"Authorization": f"Bearer {TOKEN}"})
            assert answer.status_code == 503, "Twilio is not there"
