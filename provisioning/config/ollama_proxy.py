"""The proxy before an Ollama, key by key: where it listens, whom it tells apart, what it lets pass."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from provisioning.config.basics import (
    CURRENCY_PATTERN,
    HEADER_PATTERN,
    Count,
    Duration,
    FilePath,
    ListenAddress,
    Strict,
    Switch,
)


def _not_negative(price: float) -> float:
    if price < 0:
        raise ValueError("a price is not below 0")
    return price


Money = Annotated[float, Field(strict=True, allow_inf_nan=False), AfterValidator(_not_negative)]
HeaderName = Annotated[str, StringConstraints(pattern=HEADER_PATTERN)]


class ProxyUsers(Strict):
    """How the proxy tells users apart; their requests, tokens and cost are then counted one by one."""

    by: Literal["api_key", "header", "openwebui"] = Field(
        description="`api_key`: the key in `Authorization` or `x-api-key`; `header`: what another header says; "
        "`openwebui`: the user whom Open WebUI names when ENABLE_FORWARD_USER_INFO_HEADERS is on."
    )
    header: HeaderName | None = Field(None, description="The header for `by: header`, such as X-Team.")
    show: Literal["hashed", "plain"] = Field(
        "hashed", description="`plain` shows what stands in the header, or a user's e-mail address in Open WebUI."
    )
    hash_key_file: FilePath | None = Field(
        None, description="File with a secret that makes the hashes, so that nobody finds names by trying them."
    )
    most: Count = Field(100, description="Users with a name of their own; later ones are `_other`.")

    @model_validator(mode="after")
    def _consistent(self) -> ProxyUsers:
        if (self.by == "header") != (self.header is not None):
            raise ValueError("`by: header` and `header` go together: give both or neither")
        if self.show == "plain" and self.by == "api_key":
            raise ValueError("API keys in plain would be on every page; leave `show` out")
        if self.show == "hashed" and self.hash_key_file is None:
            raise ValueError(
                "users are hashed with a secret: give hash_key_file (`openssl rand -hex 32 > FILE` makes one)"
            )
        return self


class ModelPrice(Strict):
    """What a model costs."""

    input: Money = Field(description="For a million tokens read.")
    output: Money = Field(description="For a million tokens written.")


def _path(pattern: str) -> str:
    if not pattern.startswith("/") or "*" in pattern.removesuffix("/*"):
        raise ValueError("a path begins with `/`, and may end with `/*` for everything below it")
    return pattern


class ProxyLimits(Strict):
    """How much is asked of Ollama at once; nothing is limited unless given."""

    concurrent: Count | None = Field(
        None, description="Requests that models work on at once; others wait for their turn."
    )
    queue: Annotated[int, Field(strict=True, ge=0)] = Field(
        100, description="How many may wait; more are refused with 503."
    )
    queue_time: Duration = Field(60.0, ge=1, description="Who has waited this long is refused with 503.")
    requests_per_minute: Count | None = Field(
        None, description="Requests to models of one user, else API key, else address; more are refused with 429."
    )


class OllamaProxy(Strict):
    """Where clients ask in place of Ollama, so that each request is seen."""

    listen: ListenAddress = Field(description="Such as 127.0.0.1:11435; what people use as Ollama's address.")
    users: ProxyUsers | None = Field(None, description="Whom to tell apart; nobody unless given.")
    prices: dict[str, ModelPrice] = Field(
        default_factory=dict, description='Prices by model, such as `llama3.1:8b`; `"*"` is for every other.'
    )
    currency: Annotated[str, StringConstraints(pattern=CURRENCY_PATTERN)] = Field(
        "USD", description="What the prices are in, by ISO 4217; a label of the cost."
    )
    request_usage: Switch = Field(
        False,
        description="true asks for the tokens of OpenAI streams whose clients did not, and keeps them from the client; "
        "they are estimates otherwise.",
    )
    limits: ProxyLimits | None = Field(None, description="Limits of what is asked at once; none unless given.")
    paths: list[Annotated[str, AfterValidator(_path)]] | None = Field(
        None, description="The only paths that are passed on, such as /api/chat or /v1/*; all unless given."
    )
    cert_file: FilePath | None = Field(None, description="With it clients speak TLS: the proxy's certificate (PEM).")
    key_file: FilePath | None = Field(None, description="Key of cert_file (PEM).")
    client_ca_file: FilePath | None = Field(
        None, description="Authority (PEM) of the certificates that clients must then have."
    )
    tokens_file: FilePath | None = Field(
        None, description="Tokens, one a line; clients bring one as their API key. It is not passed on to Ollama."
    )
    bearer_token_file: FilePath | None = Field(
        None, description="A token that requests bring to Ollama, in place of what the client brought."
    )

    @model_validator(mode="after")
    def _pair(self) -> OllamaProxy:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together: give both or neither")
        if self.client_ca_file is not None and self.cert_file is None:
            raise ValueError("client_ca_file and cert_file go together: only over TLS do clients show a certificate")
        return self
