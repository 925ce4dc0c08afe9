"""An OpenID Connect provider on loopback that lets one chosen person in, and tokens signed by a key of its own."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

CLIENT, SECRET = "monitoring", "a-secret-of-the-test"


class Key:
    """An RSA key pair, made anew."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def public(self, path: Path) -> Path:
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        path.write_bytes(self._key.public_key().public_bytes(serialization.Encoding.PEM, form))
        return path

    def token(self, **claims: Any) -> str:
        """A JWT (RS256), good for five minutes unless the claims say otherwise."""
        body = {"exp": int(time.time()) + 300, "iat": int(time.time()) - 5} | claims
        signed = f"{_text({'alg': 'RS256', 'typ': 'JWT'})}.{_text(body)}"
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_base64(signature)}"


def _text(value: dict[str, Any]) -> str:
    return _base64(json.dumps(value).encode())


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Provider:
    """What it knows and what it saw."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.person: dict[str, Any] = {}
        """The claims of whoever signs in next."""
        self.problems: list[str] = []
        self.challenges: dict[str, str] = {}

    def authorize(self, query: dict[str, str]) -> str:
        """Where the browser goes back to."""
        self.expect(query.get("client_id") == CLIENT, "client_id")
        self.expect(query.get("code_challenge_method") == "S256", "PKCE")
        code = f"code-{len(self.challenges)}"
        self.challenges[code] = query.get("code_challenge", "")
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    def token(self, form: dict[str, str], authorization: str) -> dict[str, Any]:
        by_header = authorization == f"Basic {base64.b64encode(f'{CLIENT}:{SECRET}'.encode()).decode()}"
        self.expect(by_header or form.get("client_secret") == SECRET, "client_secret")
        verified = _base64(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        self.expect(self.challenges.get(form.get("code", "")) == verified, "code_verifier")
        return {"access_token": "the-access-token", "token_type": "Bearer", "expires_in": 300}

    def expect(self, fine: bool, what: str) -> None:
        if not fine:
            self.problems.append(what)


@contextmanager
def provider(port: int) -> Iterator[Provider]:
    made = Provider(f"http://127.0.0.1:{port}")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            if parts.path == "/authorize":
                self.send_response(302)
                self.send_header("Location", made.authorize(query))
                self.end_headers()
            elif parts.path == "/me":
                made.expect(self.headers["Authorization"] == "Bearer the-access-token", "access_token")
                self.answer(made.person)
            else:
                self.send_error(404)

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = {key: values[0] for key, values in parse_qs(raw).items()}
            self.answer(made.token(form, self.headers.get("Authorization", "")))

        def answer(self, data: dict[str, Any]) -> None:
            body = json.dumps(data).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
