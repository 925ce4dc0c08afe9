"""Who asks, and what it costs."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

from exporter.families import clean
from exporter.proxy.heads import Fields
from provisioning.config.ollama_proxy import ModelPrice, OllamaProxy, ProxyUsers
from provisioning.config.secrets import SecretFile

UNKNOWN, OTHER = "_unknown", "_other"
_MILLION = 1_000_000
_DIGITS = 16  # of a hash; two of a thousand users share one with a chance of 1 to 10**13
_LATEST = ":latest"  # what Ollama adds to a name without a tag
_OPENWEBUI = b"x-openwebui-user-"


def api_key(fields: Fields) -> bytes | None:
    """What a client of OpenAI's or Anthropic's dialect proves itself with."""
    scheme, _, token = (fields.get(b"authorization") or b"").partition(b" ")
    return (token.strip() if scheme.lower() == b"bearer" else b"") or fields.get(b"x-api-key") or None


class Who:
    """Tells users apart."""

    def __init__(self, users: ProxyUsers) -> None:
        """Raises SecretError when the hash key cannot be read; one that changes is taken at the next start."""
        self._by, self._header = users.by, (users.header or "").lower().encode()
        self._key = None
        if users.show == "hashed":
            assert users.hash_key_file is not None  # noqa: S101 -- its validator wants one
            self._key = SecretFile(users.hash_key_file).read().encode()
        self._most = users.most
        self._known: set[str] = set()

    def of(self, fields: Fields) -> str | None:
        """Who asks, as a label may show it; None when nothing tells."""
        said = self._said(fields)
        if not said:
            return None
        if self._key is not None:
            return hmac.new(self._key, said, hashlib.sha256).hexdigest()[:_DIGITS]
        return clean(said.decode(errors="replace"))

    def label(self, user: str | None, *, answered: bool) -> str:
        """The label for a user: a name of its own once Ollama has answered it, while there are not too many."""
        if user is None:
            return UNKNOWN
        if user not in self._known:
            if not answered or len(self._known) >= self._most:
                return OTHER
            self._known.add(user)
        return user

    def _said(self, fields: Fields) -> bytes | None:
        if self._by == "api_key":
            return api_key(fields)
        if self._by == "header":
            return fields.get(self._header)
        names = (b"email", b"name", b"id") if self._key is None else (b"id", b"email", b"name")
        return next((said for name in names if (said := fields.get(_OPENWEBUI + name))), None)


class Prices:
    """What tokens cost."""

    def __init__(self, prices: Mapping[str, ModelPrice], currency: str = "") -> None:
        self.currency = currency
        self._prices = prices

    def cost(self, model: str | None, input_tokens: float, output_tokens: float) -> float | None:
        """Of one answer; None where no price is given."""
        price = self._of(model or "")
        if price is None:
            return None
        return (price.input * input_tokens + price.output * output_tokens) / _MILLION

    def _of(self, model: str) -> ModelPrice | None:
        for name in (model, model.removesuffix(_LATEST), model + _LATEST, "*"):
            if name in self._prices:
                return self._prices[name]
        return None


class Accounts:
    """Both, for one proxy."""

    def __init__(self, proxy: OllamaProxy | None = None) -> None:
        """Raises SecretError."""
        self.who = Who(proxy.users) if proxy is not None and proxy.users is not None else None
        self.prices = Prices(proxy.prices, proxy.currency) if proxy is not None else Prices({})
