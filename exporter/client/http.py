"""HTTP to one target: bounded, no redirects, no cookies, no proxies, and errors that say what to do."""

from __future__ import annotations

import asyncio
import base64
import mmap
from contextlib import AsyncExitStack
from typing import Any, NoReturn
from urllib.parse import urlsplit

import aiohttp

from exporter.apart import apart
from exporter.client import json_body
from exporter.client.recording import calling
from exporter.client.sockets import classify, expiry, tls_context
from exporter.collectors.base import Answer
from exporter.errors import CollectError, Reason
from provisioning.config.secrets import SecretError, SecretFile
from provisioning.config.targets import DaskTarget, HttpTarget, OpenWebUITarget, TlsFiles

# What is read stands in memory: 30,000 Ollama models are 12 MiB, 40,000 users of Open WebUI as much.
MAX_BODY = 12 << 20
_CHUNK = 64 << 10
# Bytes of an answer above which it is decoded beside the event loop, and a target's answers are read one by one.
_LARGE = 256 << 10
# Compression is declined, so that a small answer cannot become a large one.
_HEADERS = {"Accept": "application/json, text/plain;q=0.5", "Accept-Encoding": "identity", "User-Agent": "cluster-ai"}


class _Response(aiohttp.ClientResponse):
    """An answer that remembers the certificate of who gave it: its connection may be gone once its head is read."""

    certificate_expiry: float | None = None

    async def start(self, connection: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        if connection.transport is not None:
            self.certificate_expiry = expiry(connection.transport.get_extra_info("peercert"))
        return await super().start(connection)


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
        self.certificate_expiry: float | None = None  # of the last answer over TLS, seconds since the epoch

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
            if isinstance(response, _Response) and response.certificate_expiry is not None:
                self.certificate_expiry = response.certificate_expiry
            if 300 <= response.status < 400:  # noqa: PLR2004 -- the redirection class of RFC 9110
                what = "redirects elsewhere, which is not followed; put the final address in the configuration"
                raise CollectError(Reason.REDIRECT, f"{self._where}{path} {what}")
            if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise CollectError(Reason.PROTOCOL, f"{self._where}{path} compressed its answer though asked not to")
            body = await self._read(response)
            if body is None:
                what = f"answered more than {MAX_BODY >> 20} MiB, the most that is read"
                raise CollectError(Reason.TOO_LARGE, f"{self._where}{path} {what}")
            return Answer(response.status, response.content_type, body, response.headers.get("Date", ""))

    async def _read(self, response: aiohttp.ClientResponse) -> bytes | None:
        """The body; None when it is too large, and nothing of it is kept then."""
        body = _Body()
        async with AsyncExitStack() as held:
            held.callback(body.close)
            if (response.content_length or 0) <= MAX_BODY:
                async for chunk in response.content.iter_chunked(_CHUNK):
                    if body.size <= _LARGE < body.size + len(chunk):
                        await held.enter_async_context(self._one_large)
                    if not body.add(chunk):
                        break
                else:
                    return body.whole()
        response.close()
        return None

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=16, keepalive_timeout=30),
                timeout=aiohttp.ClientTimeout(total=None),  # the caller's deadline cancels the call
                response_class=_Response,
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


class _Body:
    """What has come of a body.

    What is large stands in memory of its own: bytes that grow are moved about by malloc, which takes them twice while
    it does and seldom gives them back.
    """

    def __init__(self) -> None:
        self.size = 0
        self._small = bytearray()
        self._large: mmap.mmap | None = None

    def add(self, chunk: bytes) -> bool:
        """Take the next bytes; whether there is room for them."""
        if self.size + len(chunk) > MAX_BODY:
            return False
        if self._large is None and self.size + len(chunk) > _LARGE:
            self._large = mmap.mmap(-1, MAX_BODY)  # pages are taken as they are written
            self._large.write(self._small)
            self._small.clear()
        if self._large is None:
            self._small += chunk
        else:
            self._large.write(chunk)
        self.size += len(chunk)
        return True

    def whole(self) -> bytes:
        """All of it."""
        return bytes(self._small) if self._large is None else self._large[: self.size]

    def close(self) -> None:
        """Give the memory back."""
        if self._large is not None:
            self._large.close()


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
    try:
        if len(answer.body) > _LARGE:
            return await apart(json_body.loads_in_pieces, answer.body)
        return json_body.loads(answer.body)
    except json_body.TooMuchError as error:
        what = f"answered {len(answer.body)} bytes that {error}"
        raise CollectError(Reason.TOO_LARGE, f"{where} {what}") from None
    except (ValueError, RecursionError) as error:
        raise CollectError(Reason.NOT_JSON, f"{where} answered broken JSON ({type(error).__name__})") from None


def _secret(file: SecretFile) -> str:
    try:
        return file.read()
    except SecretError as error:
        raise CollectError(Reason.SECRET, str(error)) from None
