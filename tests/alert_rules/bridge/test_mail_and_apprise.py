"""Mail in place of SMS, and other providers through apprise, both for real on loopback."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from alert_rules.bridge.apprise_provider import AppriseProvider
from alert_rules.bridge.delivery import Told
from alert_rules.bridge.mail import Mailer, MailError
from alert_rules.bridge.provider import NotTaken, Taken, Unknown
from provisioning.config.notifications import Apprise, Mail
from tests.alert_rules.bridge.making import ANA, sending
from tests.alert_rules.bridge.posts import notification
from tests.certificates import Authority
from tests.ports import free_port
from tests.standins.mailbox import Mailbox

pytestmark = pytest.mark.filterwarnings("ignore:.imghdr. is deprecated:DeprecationWarning")  # apprise's
ACCOUNT: dict[str, Any] = {"sender": "m@example.org", "tls": False}


def mailer(smarthost: str, **more: Any) -> Mailer:
    return Mailer(Mail.model_validate(ACCOUNT | {"smarthost": smarthost} | more))


async def test_a_mail_as_it_arrives(mailbox):
    await mailer(mailbox.address).send("ana@example.org", "a subject\r\nBcc: x@y", "Überraschung\n調度器\n")
    (mail,) = mailbox.mails
    assert (mail["From"], mail["To"]) == ("m@example.org", "ana@example.org")
    assert mail["Subject"] == "a subject Bcc: x@y"
    assert mail["Bcc"] is None
    assert mail["Message-ID"].endswith("@example.org>")
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail.get_content() == "Überraschung\r\n調度器\r\n"


async def test_mail_over_starttls_with_a_login(tmp_path):
    authority = Authority("our own")
    cert, key = authority.write_pair(tmp_path)
    ca = authority.write_ca(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    (tmp_path / "password").write_text("the-password\n")
    login = {"username": "apikey", "password_file": tmp_path / "password", "tls": True}
    with Mailbox(starttls=context, logins={"apikey": "the-password"}) as box:
        await mailer(box.address, ca_file=ca, **login).send("a@example.org", "s", "t")
        assert box.logins == [("apikey", "the-password")]
        assert len(box.mails) == 1
        with pytest.raises(MailError, match="certificate verify failed"):
            await mailer(box.address, **login).send("a@example.org", "s", "t")
        (tmp_path / "password").write_text("wrong")
        with pytest.raises(MailError, match=r"^the mail did not leave: the mail server answers 535$"):
            await mailer(box.address, ca_file=ca, **login).send("a@example.org", "s", "t")


async def test_mail_that_does_not_leave(mailbox):
    with pytest.raises(MailError, match="refused"):
        await mailer(f"127.0.0.1:{free_port()}").send("a@example.org", "s", "t")
    with pytest.raises(MailError, match="STARTTLS"):
        await mailer(mailbox.address, tls=True).send("a@example.org", "s", "t")
    mailbox.refuse = "554 no"
    with pytest.raises(MailError, match="answers 554"):
        await mailer(mailbox.address).send("a@example.org", "s", "t")


class Endpoint:
    """A json:// endpoint, as apprise posts to it."""

    def __init__(self) -> None:
        self.status = 200
        self.posts: list[tuple[str, Any]] = []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                endpoint.posts.append((self.path, json.loads(body)))
                self.send_response(endpoint.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)

    def urls(self, folder: Path) -> Path:
        file = folder / "urls"
        file.write_text(f"# ours\njson://127.0.0.1:{self.server.server_port}/sms/{{to}}?key=the-secret\n\n")
        return file


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


async def test_another_provider_through_apprise(tmp_path, endpoint, mailbox):
    provider = AppriseProvider(Apprise(urls_file=endpoint.urls(tmp_path)))
    async with sending(tmp_path, provider, mailbox.address) as bridge:
        assert await bridge.deliveries.tell(ANA, notification()) is Told.DONE
        assert await bridge.deliveries.tell(ANA, notification()) is Told.DONE
    ((path, body),) = endpoint.posts
    assert path.startswith("/sms/")
    assert "5511999990000" in path
    assert body["message"].startswith("FIRING critical, lab, since 03:12 UTC\nDaskSchedulerDown: Scheduler main has")
    assert mailbox.mails == []


async def test_what_apprise_cannot_hand_over_goes_by_mail_at_once(tmp_path, endpoint, mailbox, caplog):
    endpoint.status = 500
    provider = AppriseProvider(Apprise(urls_file=endpoint.urls(tmp_path)))
    async with sending(tmp_path, provider, mailbox.address) as bridge:
        for _ in range(3):
            assert await bridge.deliveries.tell(ANA, notification()) is Told.DONE
        assert bridge.results() == {"unknown": 1, "duplicate": 2}
    assert len(endpoint.posts) == 1, "it is never handed over twice"
    assert len(mailbox.mails) == 1
    assert "the-secret" not in caplog.text
    assert "5511999990000" not in caplog.text


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (None, NotTaken),
        ("", NotTaken),
        ("# nothing\n", NotTaken),
        ("nonsense", NotTaken),
        ("json://127.0.0.1:9/", Unknown),
    ],
)
async def test_a_file_of_urls_that_is_no_use(tmp_path, content, kind):
    file = tmp_path / "urls"
    if content is not None:
        file.write_text(content)
    handed = await AppriseProvider(Apprise(urls_file=file)).send("+5511999990000", "text", "id1")
    assert type(handed) is kind


async def test_a_dry_run_writes_to_the_log(tmp_path, mailbox, caplog):
    from alert_rules.bridge.provider import DryRun  # noqa: PLC0415

    caplog.set_level("INFO")
    async with sending(tmp_path, DryRun(), mailbox.address) as bridge:
        assert await bridge.deliveries.tell(ANA, notification()) is Told.DONE
        assert bridge.results() == {"sent": 1}
    assert "dry run, this would go to +55...00:\nFIRING critical, lab" in caplog.text
    assert isinstance(await DryRun().send("+5511999990000", "x", "y"), Taken)
    await asyncio.sleep(0)
