"""HTTP to one target: bounded, no redirects, no cookies, no proxies, and errors that say what to do."""

from __future__ import annotations

import asyncio
import base64
import json as jsonlib
from contextlib import AsyncExitStack
from typing import Any, NoReturn
from urllib.parse import urlsplit

import aiohttp

from exporter.client.recording import calling
from exporter.client.sockets import classify, tls_context
from exporter.collectors.base import Answer
from exporter.errors import CollectError, Reason
from provisioning.config.secrets import SecretError, SecretFile
from provisioning.config.targets import DaskTarget, HttpTarget, OpenWebUITarget, TlsFiles

MAX_BODY = 32 << 20  # bytes; 60,000 Ollama models are 25 MB
MAX_DECODED = 384 << 20  # bytes of Python objects; 60,000 Ollama models are 230 MB by `_cost`
# What one such character of JSON can make in memory at most: a map, a list, an entry, an element, half a text.
_COSTS = ((b"{", 240), (b"[", 64), (b":", 60), (b",", 40), (b'"', 30))
_THREAD_ABOVE = 256 << 10  # bytes of JSON above which decoding would hold up the event loop noticeably
_CHUNK = 64 << 10
_LARGE = 1 << 20  # bytes of an answer above which a target's answers are read one after the other
# Compression is declined, so that a small answer cannot become a large one.
_HEADERS = {"Accept": "application/json, text/plain;q=0.5", "Accept-Encoding": "identity", "User-Agent": "cluster-ai"}


class HttpClient:
    """HTTP to one base address. Credentials are read from their files at each call, so they can be rotated."""

    def __init__(
        self,
        base_url: str,
        tls: TlsFiles,
        *,
        username: str | None = None,
        password: SecretFile | None = None,
        bearer: SecretFile | None = None,
        api_key: SecretFile | None = None,
    ) -> None:
        self._base = base_url
        self._where = urlsplit(base_url).netloc
        self._tls = tls if base_url.startswith("https:") else None
        self._username, self._password, self._bearer, self._api_key = username, password, bearer, api_key
        self._session: aiohttp.ClientSession | None = None
        self._one_large = asyncio.Lock()

    async def ask(
        self, path: str, *, method: str = "GET", json: object = None, key: bool = False, timeout: float | None = None
    ) -> Answer:
        """The answer whatever its status; see `exporter.collectors.base.Http`."""
        with calling(f"{method} {path}", self._where) as call:
            answer = await self._ask(method, path, json, self._credentials(key=key), timeout)
            call.status, call.size = answer.status, len(answer.body)
            return answer

    async def json(
        self, path: str, *, method: str = "GET", json: object = None, key: bool = False, timeout: float | None = None
    ) -> Any:
        """The decoded body of a 200 that is JSON; see `exporter.collectors.base.Http`."""
        answer = await self.ask(path, method=method, json=json, key=key, timeout=timeout)
        if answer.status != 200:  # noqa: PLR2004 -- the one status that carries what was asked for
            raise_for_status(answer.status, f"{self._where}{path}")
        return await decode(answer, f"{self._where}{path}")

    async def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _ask(
        self, method: str, path: str, json: object, headers: dict[str, str], timeout: float | None
    ) -> Answer:
        try:
            async with asyncio.timeout(timeout):
                return await self._exchange(method, path, json, headers)
        except TimeoutError:
            raise CollectError(Reason.TIMEOUT, f"{self._where} gave no answer within {timeout} s") from None
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, OSError) as error:
            raise classify(error, self._where) from error
        except (aiohttp.ClientError, ValueError) as error:
            what = f"{self._where}{path} did not answer in valid HTTP ({type(error).__name__}); is the port right?"
            raise CollectError(Reason.PROTOCOL, what) from error

    async def _exchange(self, method: str, path: str, json: object, headers: dict[str, str]) -> Answer:
        ssl = tls_context(self._tls, check_hostname=True) if self._tls else True
        async with self._open_session().request(
            method, self._base + path, json=json, headers=headers, allow_redirects=False, ssl=ssl
        ) as response:
            if 300 <= response.status < 400:  # noqa: PLR2004 -- the redirection class of RFC 9110
                what = "redirects elsewhere, which is not followed; put the final address in the configuration"
                raise CollectError(Reason.REDIRECT, f"{self._where}{path} {what}")
            if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise CollectError(Reason.PROTOCOL, f"{self._where}{path} compressed its answer though asked not to")
            body = await self._read(response)
            if body is None:
                raise CollectError(Reason.TOO_LARGE, f"{self._where}{path} answered more than {MAX_BODY >> 20} MiB")
            return Answer(response.status, response.content_type, body, response.headers.get("Date", ""))

    async def _read(self, response: aiohttp.ClientResponse) -> bytes | None:
        """The body; None when it is too large, and nothing of it is kept then."""
        body = bytearray()  # grows in place; a list of pieces takes twice the memory and gives little of it back
        async with AsyncExitStack() as held:
            if (response.content_length or 0) <= MAX_BODY:
                async for chunk in response.content.iter_chunked(_CHUNK):
                    if len(body) <= _LARGE < len(body) + len(chunk):
                        await held.enter_async_context(self._one_large)
                    body += chunk
                    if len(body) > MAX_BODY:
                        break
                else:
                    return bytes(body)
        response.close()
        return None

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=16, keepalive_timeout=30),
                timeout=aiohttp.ClientTimeout(total=None),  # the caller's deadline cancels the call
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=_HEADERS,
                auto_decompress=False,
                trust_env=False,
            )
        return self._session

    def _credentials(self, *, key: bool) -> dict[str, str]:
        headers: dict[str, str] = {}
        if self._username is not None and self._password is not None:
            pair = f"{self._username}:{_secret(self._password)}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        elif self._bearer is not None:
            headers["Authorization"] = f"Bearer {_secret(self._bearer)}"
        if key and self._api_key is not None:
            # A reverse proxy's credentials already take the Authorization header; Open WebUI reads x-api-key too.
            if headers:
                headers["x-api-key"] = _secret(self._api_key)
            else:
                headers["Authorization"] = f"Bearer {_secret(self._api_key)}"
        return headers


def http_client(target: DaskTarget | HttpTarget, base_url: str | None = None) -> HttpClient:
    """A client for the target's `url` with its credentials, or for another `base_url` of it without any."""
    if base_url is not None:
        return HttpClient(base_url, target)
    if isinstance(target, DaskTarget):
        raise TypeError("a Dask target has no url of its own: give base_url")
    return HttpClient(
        target.url,
        target,
        username=target.username,
        password=SecretFile(target.password_file) if target.password_file else None,
        bearer=SecretFile(target.bearer_token_file) if target.bearer_token_file else None,
        api_key=SecretFile(target.api_key_file)
        if isinstance(target, OpenWebUITarget) and target.api_key_file
        else None,
    )


def raise_for_status(status: int, where: str) -> NoReturn:
    """The CollectError for an HTTP status that is not 200."""
    known = {
        401: (Reason.UNAUTHORIZED, "refused our credentials (401); check the key or password file"),
        403: (Reason.FORBIDDEN, "forbids this to our credentials (403)"),
        404: (Reason.NOT_FOUND, "does not exist (404); is this the right address?"),
        429: (Reason.RATE_LIMITED, "asks us to slow down (429)"),
    }
    server_errors = 500
    default = (
        (Reason.SERVER_ERROR, f"failed with status {status}; see that system's own log")
        if status >= server_errors
        else (Reason.CLIENT_ERROR, f"refused the request with status {status}")
    )
    reason, what = known.get(status, default)
    raise CollectError(reason, f"{where} {what}")


async def decode(answer: Answer, where: str) -> Any:
    """The JSON of an answer; a large one is decoded in a thread."""
    if "json" not in answer.content_type:
        kind = answer.content_type or "no content type"
        raise CollectError(Reason.NOT_JSON, f"{where} answered {kind} where JSON belongs; is this the right system?")
    if len(answer.body) > MAX_DECODED // _COSTS[0][1] and _cost(answer.body) > MAX_DECODED:
        what = f"answered {len(answer.body)} bytes that would take more than {MAX_DECODED >> 20} MiB of memory"
        raise CollectError(Reason.TOO_LARGE, f"{where} {what}")
    try:
        if len(answer.body) > _THREAD_ABOVE:
            return await asyncio.to_thread(_loads, answer.body)
        return _loads(answer.body)
    except (ValueError, RecursionError) as error:
        raise CollectError(Reason.NOT_JSON, f"{where} answered broken JSON ({type(error).__name__})") from None


def _cost(body: bytes) -> int:
    """What the JSON takes at most once decoded, in bytes: ten million empty maps are 30 MB there and 1 GB here."""
    return sum(body.count(character) * cost for character, cost in _COSTS)


def _loads(body: bytes) -> Any:
    return jsonlib.loads(body, parse_constant=_no_constant)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _secret(file: SecretFile) -> str:
    try:
        return file.read()
    except SecretError as error:
        raise CollectError(Reason.SECRET, str(error)) from None
