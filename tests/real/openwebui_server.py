"""A real Open WebUI from PyPI for tests: installed once, offline, used the way its web page uses it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from tests.ports import free_port
from tests.real.ollama_server import wait_until

VERSION = "0.12.4"
CACHE = Path(__file__).resolve().parents[2] / ".cache" / "test-venvs"
# Nothing here loads a local model, so the 2 GB of torch and its CUDA libraries are left out.
OVERRIDES = 'torch ; sys_platform == "none"\n'
QUIET = {
    "OFFLINE_MODE": "true",
    "HF_HUB_OFFLINE": "1",
    "RAG_EMBEDDING_ENGINE": "ollama",
    "RAG_EMBEDDING_MODEL_AUTO_UPDATE": "false",
    "ENABLE_VERSION_UPDATE_CHECK": "false",
    "SCARF_NO_ANALYTICS": "true",
    "DO_NOT_TRACK": "true",
    "ANONYMIZED_TELEMETRY": "false",
}
PASSWORD = "a-long-Password-1"


def install(version: str = VERSION) -> Path:
    """The `open-webui` command of an environment of its own, made at first use (about 1.7 GB, minutes)."""
    CACHE.mkdir(parents=True, exist_ok=True)
    venv = CACHE / f"openwebui-{version}"
    done = venv / ".installed"
    with (CACHE / f"openwebui-{version}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            uv = _uv()
            overrides = CACHE / f"openwebui-{version}.overrides"
            overrides.write_text(OVERRIDES)
            _run(uv, "venv", "--clear", "--python", sys.executable, str(venv))
            python = str(venv / "bin" / "python")
            _run(uv, "pip", "install", "--python", python, "--overrides", str(overrides), f"open-webui=={version}")
            done.touch()
    return venv / "bin" / "open-webui"


def _uv() -> str:
    uv = CACHE / "uv" / "bin" / "uv"
    if not uv.exists():
        _run(sys.executable, "-m", "venv", str(CACHE / "uv"))
        _run(str(CACHE / "uv" / "bin" / "pip"), "install", "--quiet", "uv")
    return str(uv)


def _run(*command: str) -> None:
    run = subprocess.run(["nice", *command], capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{run.stdout[-2000:]}\n{run.stderr[-4000:]}")


class HeldProvider:
    """An OpenAI-compatible provider whose one model answers only once it is released: a task that runs until then."""

    MODEL = "held"

    def __init__(self) -> None:
        self.released = threading.Event()
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._send("application/json", {"data": [{"id": provider.MODEL, "object": "model"}]})

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                provider.released.wait(120)
                choice = {"index": 0, "delta": {"content": "done"}, "finish_reason": "stop"}
                usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
                chunk = {"object": "chat.completion.chunk", "choices": [choice], "usage": usage}
                body = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode()
                self._send("text/event-stream", body)

            def _send(self, kind: str, content: object) -> None:
                body = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Person:
    """Somebody signed in, acting the way the web page does."""

    def __init__(self, server: OpenWebUI, session: dict[str, Any]) -> None:
        self.id: str = session["id"]
        self._headers = {"Authorization": f"Bearer {session['token']}"}
        self._server = server

    def call(self, method: str, path: str, json: object = None) -> Any:
        answer = self._server.http.request(method, path, json=json, headers=self._headers)
        assert answer.status_code == 200, f"{method} {path}: {answer.status_code} {answer.text[:500]}"
        return answer.json()

    def make_key(self) -> str:
        key: str = self.call("POST", "/api/v1/auths/api_key")["api_key"]
        return key

    def add(self, name: str, role: str) -> Person:
        form = {"email": f"{name.lower()}@example.com", "password": PASSWORD, "name": name, "role": role}
        return Person(self._server, self.call("POST", "/api/v1/auths/add", form))

    def ask(self, model: str, text: str, tokens: int = 16) -> str:
        """A new chat with one question; the answer is made in a task of its own. The chat's id."""
        question = {"id": str(uuid.uuid4()), "role": "user", "content": text, "timestamp": int(time.time())}
        form = {
            "model": model,
            "stream": True,
            "messages": [{"role": "user", "content": text}],
            "parent_id": None,
            "user_message": {**question, "parentId": None, "models": [model]},
            "id": str(uuid.uuid4()),
            "session_id": "a-browser-tab",
            # The tiny model cannot call tools, which the page offers by default.
            "params": {"max_tokens": tokens, "function_calling": "legacy"},
        }
        chat: str = self.call("POST", "/api/chat/completions", form)["chat_id"]
        return chat

    def store(self, model: str, input_tokens: int, output_tokens: int) -> None:
        """A finished chat, saved as the page saves one."""
        question, answer, now = str(uuid.uuid4()), str(uuid.uuid4()), int(time.time())
        usage = {"input_tokens": input_tokens, "output_tokens": output_tokens}
        messages = {
            question: {"role": "user", "parentId": None, "childrenIds": [answer], "models": [model]},
            answer: {"role": "assistant", "parentId": question, "childrenIds": [], "model": model, "usage": usage},
        }
        for id_, message in messages.items():
            message.update(id=id_, content="SENTINEL text", timestamp=now, done=True)
        history = {"currentId": answer, "messages": messages}
        chat = {"title": "SENTINEL", "models": [model], "history": history, "messages": list(messages.values())}
        self.call("POST", "/api/v1/chats/new", {"chat": chat})

    def tasks(self) -> int:
        return len(self.call("GET", "/api/tasks")["tasks"])

    def rate(self, model: str, rating: int, others: list[str]) -> None:
        data = {"rating": rating, "model_id": model, "sibling_model_ids": others, "comment": "SENTINEL comment"}
        self.call("POST", "/api/v1/evaluations/feedback", {"type": "rating", "data": data, "meta": {}})

    def configure(self, path: str, **changes: object) -> None:
        """Change some keys of a configuration object: GET `path`, then POST it back."""
        update = path if path.endswith("/admin/config") else f"{path}/update"
        self.call("POST", update, {**self.call("GET", path), **changes})

    def allow_keys(self) -> None:
        """Let plain users have API keys."""
        path = "/api/v1/users/default/permissions"
        permissions = self.call("GET", path)
        permissions["features"]["api_keys"] = True
        self.call("POST", path, permissions)


class OpenWebUI:
    """One server process on a free loopback port with its own data folder, which outlives a restart."""

    def __init__(self, folder: Path, version: str = VERSION, **environment: str) -> None:
        self._folder = folder
        self._environment = environment
        self._command = install(version)
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.http = httpx.Client(trust_env=False)

    def start(self, port: int = 0, **more: str) -> None:
        """Return once it is ready. Without a `port`, another one each time."""
        port = port or free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.http = httpx.Client(base_url=self.url, timeout=60, trust_env=False)
        data = self._folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._folder),
            "DATA_DIR": str(data),
            "WEBUI_SECRET_KEY": "only-for-tests",
            "ENABLE_API_KEYS": "true",
            **QUIET,
            **self._environment,
            **more,
        }
        log = self._folder / "open-webui.log"
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [str(self._command), "serve", "--host", "127.0.0.1", "--port", str(port)],
                env=environment,
                cwd=self._folder,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            wait_until(self._is_ready, "Open WebUI to be ready", 180)
        except TimeoutError as error:
            self.stop()
            raise TimeoutError(f"{error}\n{log.read_text(errors='replace')[-4000:]}") from None

    def stop(self) -> None:
        self.http.close()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
            self._process = None

    def sign_up(self, name: str) -> Person:
        """Register at the front door; the first one becomes the administrator."""
        form = {"email": f"{name.lower()}@example.com", "password": PASSWORD, "name": name}
        answer = self.http.post("/api/v1/auths/signup", json=form)
        assert answer.status_code == 200, answer.text
        self.http.cookies.clear()  # the session cookie would go along with every later call
        return Person(self, answer.json())

    def _is_ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise TimeoutError(f"Open WebUI ended with {self._process.returncode}")
        try:
            return self.http.get("/ready").status_code == 200
        except httpx.TransportError:
            return False


@contextlib.contextmanager
def running(folder: Path, version: str = VERSION, **environment: str) -> Iterator[OpenWebUI]:
    """A started Open WebUI that is stopped at the end."""
    server = OpenWebUI(folder, version, **environment)
    try:
        server.start()
        yield server
    finally:
        server.stop()
