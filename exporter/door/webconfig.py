"""The file of `--web.config.file`, in the format of prometheus/exporter-toolkit.

Format: docs/web-configuration.md of that repository. A file that is good here is good there; what Python's TLS cannot
do (ask for a certificate without checking it, order several curves) is refused with a word instead of left out.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from provisioning.config.basics import Count, Duration, FilePath, Strict, Switch
from provisioning.config.load import ConfigError
from provisioning.config.messages import explain
from provisioning.config.problems import Problem, brief
from provisioning.config.yaml_file import MAX_BYTES, Document, parse

# Names of Go's crypto/tls to OpenSSL's. Those of TLS 1.3 are always on, in Go too.
CIPHERS = {
    "TLS_AES_128_GCM_SHA256": None,
    "TLS_AES_256_GCM_SHA384": None,
    "TLS_CHACHA20_POLY1305_SHA256": None,
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
}
CURVES = {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}
HIGHEST_COST = 16  # a login of cost 16 takes three seconds of a processor
_BCRYPT = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
_HEADER_VALUES = {"X-Frame-Options": ("deny", "sameorigin"), "X-Content-Type-Options": ("nosniff",)}
_UNCHECKED = ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert")


def _client_auth(value: object) -> object:
    if value in _UNCHECKED:
        raise ValueError(
            f"{brief(value)} takes any certificate unchecked, which protects nothing; write RequireAndVerifyClientCert"
        )
    return value


def _version(value: object) -> object:
    if value in ("TLS10", "TLS11"):
        raise ValueError(f"{brief(value)} is broken and not offered; TLS12 is the lowest")
    return value


def _cipher(value: object) -> object:
    if value not in CIPHERS:
        raise ValueError(f"the cipher suite {brief(value)} is not known here; see Go's tls.CipherSuites for the names")
    return value


def _secret(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("text belongs here; write it in quotes")  # without showing it # noqa: TRY004
    return value


def _bcrypt(value: object) -> object:
    """The messages must not show the value: somebody may have written the password itself."""
    found = _BCRYPT.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError('this is not a bcrypt hash; make one with: htpasswd -nBC 10 "" | tr -d ":\\n"')
    if not 4 <= int(found[1]) <= HIGHEST_COST:  # noqa: PLR2004 -- bcrypt's least
        raise ValueError(f"the hash's cost is {int(found[1])}; use 10, and {HIGHEST_COST} at most")
    return value


def _user(value: str) -> str:
    if not value or ":" in value or not value.isprintable():
        raise ValueError("a user name is text without ':' and control characters; HTTP cannot carry another")
    return value


def _headers(value: dict[str, str]) -> dict[str, str]:
    for name, text in value.items():
        known = _HEADER_VALUES.get(name)
        if text and known and text not in known:
            raise ValueError(f"{name} cannot be {brief(text)}; use {' or '.join(known)}")
        if not text.isascii() or not text.isprintable():
            raise ValueError(f"{name} holds characters that a header cannot; use plain ASCII on one line")
    return {name: text for name, text in value.items() if text}


HeaderName = Literal[
    "Content-Security-Policy",
    "X-Frame-Options",
    "X-Content-Type-Options",
    "X-XSS-Protection",
    "Strict-Transport-Security",
]
Secret = Annotated[SecretStr, BeforeValidator(_secret)]
Hash = Annotated[SecretStr, BeforeValidator(_bcrypt)]
TlsVersion = Annotated[Literal["TLS12", "TLS13"], BeforeValidator(_version)]
ClientAuth = Annotated[
    Literal["NoClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert"], BeforeValidator(_client_auth)
]


class TlsServer(Strict):
    """`tls_server_config`: how this server proves itself, and what it asks of its clients."""

    cert: str | None = Field(None, description="The certificate itself (PEM), instead of cert_file.")
    key: Secret | None = Field(None, description="Its key (PEM), instead of key_file.")
    client_ca: str | None = Field(None, description="Authority of client certificates (PEM), not client_ca_file.")
    cert_file: FilePath | None = Field(None, description="File of the certificate (PEM).")
    key_file: FilePath | None = Field(None, description="File of its key (PEM).")
    client_ca_file: FilePath | None = Field(None, description="File of the authority of client certificates (PEM).")
    client_auth_type: ClientAuth = Field("NoClientCert", description="What is asked of clients.")
    client_allowed_sans: list[str] = Field(default_factory=list, description="Names a client certificate may have.")
    min_version: TlsVersion = Field("TLS12", description="Lowest version of TLS.")
    max_version: TlsVersion = Field("TLS13", description="Highest version of TLS.")
    cipher_suites: list[Annotated[str, BeforeValidator(_cipher)]] = Field(
        default_factory=list, description="Cipher suites for TLS 1.2 by Go's names."
    )
    prefer_server_cipher_suites: Switch = Field(True, description="Whether our order of cipher suites counts.")
    curve_preferences: list[Literal["CurveP256", "CurveP384", "CurveP521", "X25519"]] = Field(
        default_factory=list, description="The one curve for key exchange."
    )

    @model_validator(mode="after")
    def _consistent(self) -> TlsServer:
        for name in ("cert", "key", "client_ca"):
            if getattr(self, name) is not None and getattr(self, f"{name}_file") is not None:
                raise ValueError(f"{name} and {name}_file are both given; keep one of them")
        if self.cert is None and self.cert_file is None:
            raise ValueError("the certificate is missing; give cert_file, or take tls_server_config away")
        if self.key is None and self.key_file is None:
            raise ValueError("the certificate's key is missing; give key_file")
        if self.max_version < self.min_version:
            raise ValueError("max_version is below min_version; swap them")
        if len(self.curve_preferences) > 1:
            raise ValueError("only one curve can be asked for here; keep the one you want, or leave the key out")
        if self.cipher_suites and self.min_version == "TLS12" and not any(map(CIPHERS.get, self.cipher_suites)):
            raise ValueError("cipher_suites has none for TLS 1.2; add one, or set min_version: TLS13")
        return self

    @model_validator(mode="after")
    def _clients(self) -> TlsServer:
        checked = self.client_auth_type != "NoClientCert"
        authority = self.client_ca is not None or self.client_ca_file is not None
        if authority and not checked:
            raise ValueError(
                "a client authority is given and not used; add client_auth_type: RequireAndVerifyClientCert"
            )
        if checked and not authority:
            raise ValueError("clients cannot be verified without an authority; give client_ca_file")
        if self.client_allowed_sans and not checked:
            raise ValueError(
                "client_allowed_sans is given and not used; add client_auth_type: RequireAndVerifyClientCert"
            )
        return self


class HttpServer(Strict):
    """`http_server_config`."""

    http2: Switch = Field(True, description="Taken for compatibility; this server speaks HTTP/1.1.")
    headers: Annotated[dict[HeaderName, str], AfterValidator(_headers)] = Field(
        default_factory=dict, description="Headers put on every answer."
    )


class RateLimit(Strict):
    """`rate_limit`: a token bucket over all requests."""

    interval: Duration = Field(0.0, description="Time in which one more request is allowed; 0s for no limit.")
    burst: Count = Field(description="Requests allowed at once.")


class WebConfig(Strict):
    """A whole web configuration file."""

    tls_server_config: TlsServer | None = Field(None, description="TLS; without it, plain HTTP.")
    http_server_config: HttpServer = Field(default_factory=HttpServer, description="HTTP.")
    basic_auth_users: dict[Annotated[str, AfterValidator(_user)], Hash] = Field(
        default_factory=dict, description="Users and bcrypt hashes of their passwords; without any, no password."
    )
    rate_limit: RateLimit | None = Field(None, description="Requests beyond this get 429.")


def read(file: Path) -> tuple[WebConfig, Document]:
    """The web configuration in `file` and its lines. Raises ConfigError with every problem; shows no secret."""
    text = _text(file)
    if all(line.strip() == "" or line.lstrip().startswith("#") for line in text.splitlines()):
        return WebConfig(), Document()
    document = parse(text)
    if document.problems:
        raise ConfigError(file, document.problems)
    try:
        return WebConfig.model_validate(document.data, context={"base": file.absolute().parent}), document
    except ValidationError as error:
        raise ConfigError(file, explain(error, document, WebConfig)) from None


def _text(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            raw = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(file, [Problem(0, f"the web configuration cannot be read: {error.strerror}")]) from None
    if len(raw) > MAX_BYTES:
        raise ConfigError(file, [Problem(0, "the file is larger than 1 MiB", "this is not a web configuration")])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(file, [Problem(line, "this is not UTF-8 text", "save the file as UTF-8")]) from None
