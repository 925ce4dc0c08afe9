"""The web configuration file: what is taken, what is refused and how, and what promtool says of the same files."""

from __future__ import annotations

import re
import ssl
import subprocess
from pathlib import Path

import pytest

from exporter.door import tls
from exporter.door.settings import WebSettings, load
from provisioning.config.load import ConfigError
from tests.exporter.door.helpers import LOOPBACK, Authority, hashed
from tests.tools import tool

TLS = "tls_server_config: {cert_file: server.pem, key_file: server.key"
HASH = hashed("hunter2-secret")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("web")
    authority = Authority(folder)
    authority.sign("server", LOOPBACK)
    authority.sign("other", LOOPBACK)
    authority.sign("locked", LOOPBACK, password=b"open sesame")
    (folder / "junk.pem").write_text("junk\n")
    return folder


def inline(folder: Path) -> str:
    parts = {"cert": "server.pem", "key": "server.key", "client_ca": "authority.pem"}
    texts = {key: (folder / name).read_text().replace("\n", "\n    ").rstrip() for key, name in parts.items()}
    blocks = "".join(f"  {key}: |\n    {text}\n" for key, text in texts.items())
    return f"tls_server_config:\n{blocks}  client_auth_type: VerifyClientCertIfGiven\n"


GOOD = {
    "empty": "",
    "only comments": "# nothing yet\n",
    "tls": TLS + "}",
    "mutual": TLS + ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: authority.pem}",
    "names": TLS
    + ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: authority.pem, client_allowed_sans: [prom]}",
    "newest only": TLS + ", min_version: TLS13}",
    "suites": TLS + ", cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256],"
    " prefer_server_cipher_suites: false}",
    "curve": TLS + ", curve_preferences: [CurveP384]}",
    "users": f"basic_auth_users: {{ana: {HASH}, bob: {HASH.replace('$2b$', '$2y$')}}}",
    "headers": "http_server_config: {http2: false, headers: {Strict-Transport-Security: max-age=31536000,"
    " X-Frame-Options: deny, X-Content-Type-Options: nosniff, X-XSS-Protection: '1',"
    " Content-Security-Policy: 'default-src https:'}}",
}
NEWER = {"rate": "rate_limit: {interval: 1s, burst: 20}"}  # exporter-toolkit 0.15 and later


def written(folder: Path, text: str) -> Path:
    file = folder / "web.yml"
    file.write_text(text)
    return file


@pytest.mark.parametrize("text", [*GOOD.values(), *NEWER.values()], ids=[*GOOD, *NEWER])
def test_good_files_are_taken(folder, text):
    load(written(folder, text))


@pytest.mark.parametrize("error", [ssl.SSLError(1, "[EC: UNKNOWN_GROUP] unknown group"), ValueError("unknown")])
def test_a_curve_that_this_python_cannot_ask_for_is_refused_with_a_word(folder, monkeypatch, error):
    """Python 3.11.2 knows only curves of the older kind, and X25519 is none."""

    def set_ecdh_curve(self, name):
        raise error

    monkeypatch.setattr(tls.ServerContext, "set_ecdh_curve", set_ecdh_curve)
    file = written(folder, TLS + ", curve_preferences: [X25519]}")
    with pytest.raises(ConfigError, match=r"curve_preferences: this Python's TLS cannot be told to use X25519; leave"):
        load(file)


def test_a_certificate_can_stand_in_the_file_itself(folder):
    assert load(written(folder, inline(folder))).tls is not None


@pytest.mark.parametrize("name", [*GOOD, "inline"])
def test_promtool_takes_what_we_take(folder, name):
    file = written(folder, inline(folder) if name == "inline" else GOOD[name])
    done = subprocess.run(
        [tool("promtool"), "check", "web-config", str(file)], capture_output=True, text=True, timeout=30, check=False
    )
    if name == "inline" and "field cert not found" in done.stderr:
        pytest.skip("this promtool is older than inline certificates")
    if name == "names" and "field client_allowed_sans not found" in done.stderr:
        pytest.skip("this promtool is older than client_allowed_sans")
    assert done.returncode == 0, done.stderr


BAD = [
    ("basic_auth_user: {}", '1: basic_auth_user: there is no such key; did you mean "basic_auth_users"?'),
    ("[]", "1: a map of `key: value` lines belongs here, not a list; take away the `- `"),
    (
        "tls_server_config: {cert_file: server.pem, key_fil: x}",
        '1: tls_server_config.key_fil: there is no such key; did you mean "key_file"?',
    ),
    (
        "tls_server_config: {cert_file: server.pem}",
        "1: tls_server_config: the certificate's key is missing; give key_file",
    ),
    (
        "tls_server_config: {key_file: server.key}",
        "1: tls_server_config: the certificate is missing; give cert_file, or take tls_server_config away",
    ),
    (
        "tls_server_config:\n  cert_file: none.pem\n  key_file: server.key",
        "2: tls_server_config.cert_file: FOLDER/none.pem cannot be read: No such file or directory",
    ),
    (
        "tls_server_config:\n  cert_file: server.pem\n  key_file: other.key",
        "2: tls_server_config.cert_file: certificate and key do not make a pair (PEM): KEY_VALUES_MISMATCH",
    ),
    (
        "tls_server_config:\n  cert_file: locked.pem\n  key_file: locked.key",
        "3: tls_server_config.key_file: the key is encrypted; give a key without a password",
    ),
    (
        TLS + ", client_auth_type: RequireAndVerifyClientCert}",
        "1: tls_server_config: clients cannot be verified without an authority; give client_ca_file",
    ),
    (
        TLS + ", client_ca_file: authority.pem}",
        (
            "1: tls_server_config: a client authority is given and not used; add "
            "client_auth_type: RequireAndVerifyClientCert"
        ),
    ),
    (
        TLS + ", client_allowed_sans: [x]}",
        (
            "1: tls_server_config: client_allowed_sans is given and not used; add "
            "client_auth_type: RequireAndVerifyClientCert"
        ),
    ),
    (
        TLS + ",\n client_auth_type: RequireAnyClientCert}",
        (
            '2: tls_server_config.client_auth_type: "RequireAnyClientCert" '
            "takes any certificate unchecked, which protects nothing; write RequireAndVerifyClientCert"
        ),
    ),
    (
        TLS + ",\n client_auth_type: Sometimes}",
        (
            '2: tls_server_config.client_auth_type: "Sometimes" is not one of '
            "NoClientCert, VerifyClientCertIfGiven, RequireAndVerifyClientCert"
        ),
    ),
    (
        TLS + ",\n client_ca_file: junk.pem, client_auth_type: RequireAndVerifyClientCert}",
        "2: tls_server_config.client_ca_file: there is no certificate (PEM) in it",
    ),
    (
        TLS + ",\n min_version: TLS10}",
        '2: tls_server_config.min_version: "TLS10" is broken and not offered; TLS12 is the lowest',
    ),
    (
        TLS + ", min_version: TLS13, max_version: TLS12}",
        "1: tls_server_config: max_version is below min_version; swap them",
    ),
    (
        TLS + ",\n cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]}",
        (
            "2: tls_server_config.cipher_suites[0]: the cipher suite "
            '"TLS_RSA_WITH_RC4_128_SHA" is not known here; see Go\'s tls.CipherSuites for the names'
        ),
    ),
    (
        TLS + ", cipher_suites: [TLS_AES_128_GCM_SHA256]}",
        "1: tls_server_config: cipher_suites has none for TLS 1.2; add one, or set min_version: TLS13",
    ),
    (
        TLS + ", curve_preferences: [X25519, CurveP256]}",
        "1: tls_server_config: only one curve can be asked for here; keep the one you want, or leave the key out",
    ),
    (TLS + ", cert: x}", "1: tls_server_config: cert and cert_file are both given; keep one of them"),
    (
        "http_server_config:\n  headers:\n    X-Powered-By: us",
        (
            '3: http_server_config.headers.X-Powered-By: "X-Powered-By" '
            "is not one of Content-Security-Policy, X-Frame-Options, X-Content-Type-Options, X-XSS-Protection, "
            "Strict-Transport-Security"
        ),
    ),
    (
        "http_server_config:\n  headers:\n    X-Frame-Options: allow",
        '2: http_server_config.headers: X-Frame-Options cannot be "allow"; use deny or sameorigin',
    ),
    (
        'http_server_config:\n  headers: {Content-Security-Policy: "a\\r\\nSet-Cookie: b"}',
        (
            "2: http_server_config.headers: "
            "Content-Security-Policy holds characters that a header cannot; use plain ASCII on one line"
        ),
    ),
    (
        "basic_auth_users:\n  ana: hunter2-secret",
        '2: basic_auth_users.ana: this is not a bcrypt hash; make one with: htpasswd -nBC 10 "" | tr -d ":\\n"',
    ),
    (
        "basic_auth_users:\n  ana: 31337",
        '2: basic_auth_users.ana: this is not a bcrypt hash; make one with: htpasswd -nBC 10 "" | tr -d ":\\n"',
    ),
    (
        f"basic_auth_users:\n  ana: {HASH.replace('$04$', '$31$')}",
        "2: basic_auth_users.ana: the hash's cost is 31; use 10, and 16 at most",
    ),
    (
        f'basic_auth_users:\n  "a:b": {HASH}',
        "2: basic_auth_users.a:b: a user name is text without ':' and control characters; HTTP cannot carry another",
    ),
    ("rate_limit: {interval: 1s}", "1: rate_limit.burst: is missing; requests allowed at once"),
    (
        "rate_limit: {interval: 1, burst: 1}",
        "1: rate_limit.interval: 1 is not a duration; write a number with a unit, such as 5s, 1m30s or 90d",
    ),
]


@pytest.mark.parametrize(("text", "message"), BAD, ids=[message[:70] for _, message in BAD])
def test_a_bad_file_is_refused_in_one_line_that_says_where_and_how_to_mend_it(folder, text, message):
    file = written(folder, text)
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert str(caught.value) == f"{file}:{message.replace('FOLDER', str(folder))}"
    assert "hunter2-secret" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"web\.yml: the web configuration cannot be read: No such file"):
        WebSettings(tmp_path / "web.yml")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"#" * (1 << 20) + b"#", ": the file is larger than 1 MiB; this is not a web configuration"),
        (b"# \n\xff", ":2: this is not UTF-8 text; save the file as UTF-8"),
        (
            b"tls_server_config: {cert: x, key: 31337}",
            ":1: tls_server_config.key: text belongs here; write it in quotes",
        ),
    ],
)
def test_a_file_that_is_no_text_or_a_key_that_is_none_is_refused_without_showing_it(tmp_path, raw, message):
    file = tmp_path / "web.yml"
    file.write_bytes(raw)
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert str(caught.value) == f"{file}{message}"


def test_a_configuration_shows_no_hash_and_no_key(folder):
    shown = repr(load(written(folder, inline(folder) + f"basic_auth_users: {{ana: {HASH}}}")))
    assert HASH not in shown
    assert "PRIVATE KEY" not in shown


def test_what_is_probably_not_meant_is_said(folder, caplog):
    other = hashed("x", 5)
    text = f"http_server_config: {{http2: true}}\nbasic_auth_users: {{ana: {HASH}, bob: {other}}}"
    WebSettings(written(folder, text))
    said = " ".join(caplog.messages)
    assert "http2: true has no effect" in said
    assert "without TLS" in said
    assert "different costs" in said


def test_the_example_of_the_documentation_works(folder):
    page = (Path(__file__).parents[3] / "docs" / "exporter.md").read_text()
    example, *_ = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    loaded = load(written(folder, example))
    assert loaded.tls is not None
    assert list(loaded.config.basic_auth_users) == ["prometheus"]
