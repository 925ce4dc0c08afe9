"""A real Open WebUI with a real Ollama behind it, from its first minute on: every metric against the truth."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter.client.http import HttpClient, http_client
from exporter.collectors.openwebui import OpenWebUICollector
from exporter.families import encode
from exporter.scrape import Collection, Watch
from provisioning.config.targets import OpenWebUITarget
from tests.exporter.openwebui.recorded import Recorder, collector
from tests.ports import free_port
from tests.real.ollama_server import OllamaServer, wait_until
from tests.real.openwebui_server import VERSION, HeldProvider, OpenWebUI, Person, running

pytestmark = [pytest.mark.real, pytest.mark.timeout(1500)]

TINY = "tiny:latest"
HELD = HeldProvider.MODEL


class Scene:
    """The servers, and who is on them. Tests run in order and each leaves the scene for the next."""

    def __init__(
        self, server: OpenWebUI, ollama: OllamaServer, provider: HeldProvider, dead: str, folder: Path
    ) -> None:
        self.server, self.ollama, self.provider, self.dead = server, ollama, provider, dead
        self.key_file = folder / "key"
        self.admin: Person
        self.bea: Person
        self.admin_key = ""

    def target(self, *, key: bool = True) -> OpenWebUITarget:
        file = self.key_file if key else None
        return OpenWebUITarget(name="chat", url=self.server.url, api_key_file=file, timeout="30s", refresh="5s")

    @asynccontextmanager
    async def watch(self, *, key: bool = True, monotonic: Callable[[], float] = time.monotonic) -> AsyncIterator[Watch]:
        target = self.target(key=key)
        http = http_client(target)
        watch = Watch(target, OpenWebUICollector(target, _Wires(http), time.time), monotonic=monotonic)
        try:
            yield watch
        finally:
            await watch.close()
            await http.close()

    async def look(self, *, key: bool = True) -> Look:
        async with self.watch(key=key) as watch:
            return Look(await watch.collect(30))

    async def record(self, version: str, *, key: bool = True) -> None:
        """Take what the server answers now as the fixture of that name."""
        target = self.target(key=key)
        http = http_client(target)
        recorder = Recorder(http)
        try:
            parts = collector(recorder, key=key).parts()
            for part in parts.values():
                await part.ask()
        finally:
            await http.close()
        lasting = {
            self.ollama.url: "ollama.test:11434",
            self.dead: "gone.test:11434",
            self.provider.url: "provider.test:80",
        }
        recorder.save(version, {urlsplit(url).netloc: name for url, name in lasting.items()}, time.time())

    def wait_for_answers(self) -> None:
        wait_until(lambda: self.admin.tasks() == 0, "all answers to be done")


class _Wires:
    def __init__(self, http: HttpClient) -> None:
        self._http = http

    def http(self, target: object, base_url: str | None = None) -> HttpClient:
        return self._http

    def rpc(self, target: object) -> Any:
        raise AssertionError("Open WebUI has no RPC")


class Look:
    """One collection, by series."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.text = encode(collection.families, openmetrics=False)
        self.series: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(self.text)
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float | None:
        return self.series.get((f"openwebui_{name}", tuple(sorted(labels.items()))))

    def by(self, name: str, label: str) -> dict[str, float]:
        found = ((dict(labels), value) for (full, labels), value in self.series.items() if full == f"openwebui_{name}")
        return {labels[label]: value for labels, value in found}

    @property
    def key_status(self) -> set[str]:
        return {state for state, value in self.by("api_key_status", "status").items() if value == 1}

    @property
    def failed(self) -> set[str]:
        return {name for name, outcome in self.collection.outcomes.items() if outcome.error is not None}


@pytest.fixture(scope="module")
def scene(ollama_server: OllamaServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("openwebui")
    provider = HeldProvider()
    dead = f"http://127.0.0.1:{free_port()}"
    environment = {
        "OLLAMA_BASE_URLS": f"{ollama_server.url};{dead}",
        "OPENAI_API_BASE_URLS": provider.url,
        "OPENAI_API_KEYS": "sk-SENTINEL-provider-key",
    }
    try:
        with running(folder, **environment) as server:
            yield Scene(server, ollama_server, provider, dead, folder)
    finally:
        provider.close()


@pytest.fixture(scope="module")
def record(request: pytest.FixtureRequest, scene: Scene) -> Callable[..., Awaitable[None]]:
    """Records fixtures when asked with --update-golden; the goldens are then made from them by the unit tests."""

    async def nothing(version: str, *, key: bool = True) -> None:
        """Keep the fixtures that are committed."""

    return scene.record if request.config.getoption("--update-golden") else nothing


async def test_before_the_first_sign_up_the_door_is_open(scene: Scene, record: Any) -> None:
    look = await scene.look(key=False)
    assert not look.failed
    assert look.value("up") == 1
    assert look.value("info", version=VERSION) == 1
    assert look.value("ready") == 1
    assert look.by("not_ready", "part") == {"startup": 0, "database": 0, "redis": 0, "unknown": 0}
    assert look.value("onboarding_pending") == 1
    assert look.value("signup_open") == 1
    assert look.value("auth_enabled") == 1
    assert look.key_status == {"absent"}
    await record(f"{VERSION}-onboarding", key=False)


async def test_an_empty_server_has_zeros_where_they_are_known(scene: Scene, record: Any) -> None:
    scene.admin = scene.server.sign_up("Ada-SENTINEL")
    scene.admin_key = scene.admin.make_key()
    scene.key_file.write_text(scene.admin_key + "\n")
    look = await scene.look()
    assert not look.failed, look.collection.error
    assert look.key_status == {"ok"}
    assert look.value("onboarding_pending") == 0
    # Open WebUI closes the front door behind its first user.
    assert look.value("signup_open") == 0
    assert look.by("users", "role") == {"admin": 1, "user": 0, "pending": 0, "other": 0}
    assert set(look.by("users_active", "window").values()) == {0}, "the monitor's own user counts as active"
    assert (look.value("chats"), look.value("groups"), look.value("feedbacks")) == (0, 0, 0)
    assert look.value("analytics_available") == 1
    assert not look.by("model_messages", "model")
    installed = len(scene.ollama.http.get("/api/tags").json()["models"])
    assert look.by("models", "owner") == {"ollama": installed, "openai": 1, "arena": 0, "other": 0}
    await record(f"{VERSION}-empty")


async def test_backends_as_open_webui_sees_them(scene: Scene) -> None:
    look = await scene.look()
    alive, dead = scene.ollama.url.removeprefix("http://"), scene.dead.removeprefix("http://")
    provider = scene.provider.url.removeprefix("http://").removesuffix("/v1")
    assert look.value("backend_up", backend=alive, kind="ollama") == 1
    assert look.value("backend_up", backend=dead, kind="ollama") == 0
    assert look.value("backend_up", backend=provider, kind="openai") == 1
    assert len(look.by("backend_up", "backend")) == 3
    assert "SENTINEL" not in look.text


async def test_people_as_counts_only(scene: Scene) -> None:
    scene.admin.allow_keys()
    scene.bea = scene.admin.add("Bea-SENTINEL", "user")
    scene.admin.add("Cid-SENTINEL", "user")
    scene.admin.add("Dan-SENTINEL", "pending")
    group = scene.admin.call("POST", "/api/v1/groups/create", {"name": "SENTINEL group", "description": ""})["id"]
    scene.admin.call("POST", f"/api/v1/groups/id/{group}/users/add", {"user_ids": [scene.bea.id, scene.admin.id]})
    scene.admin.call("POST", "/api/v1/groups/create", {"name": "SENTINEL empty", "description": ""})
    look = await scene.look()
    assert look.by("users", "role") == {"admin": 1, "user": 2, "pending": 1, "other": 0}
    assert look.value("users_active", window="3m") == 3, "the three who are not the monitor"
    assert (look.value("groups"), look.value("group_memberships")) == (2, 2)


async def test_messages_tokens_and_feedback_by_the_numbers(scene: Scene, record: Any) -> None:
    clock = [time.monotonic()]
    async with scene.watch(monotonic=lambda: clock[0]) as watch:
        await watch.collect(30)
        scene.admin.call("GET", "/api/models")
        for text in ("SENTINEL one", "SENTINEL two", "SENTINEL three"):
            scene.admin.ask(TINY, text)
        doomed = scene.admin.ask(TINY, "SENTINEL to be deleted")
        scene.admin.ask(HELD, "SENTINEL held")
        wait_until(lambda: scene.admin.tasks() == 1, "only the held answer to be running")
        running = Look(await watch.collect(30))
        assert running.value("tasks_running") == 1
        scene.provider.released.set()
        scene.wait_for_answers()
        scene.bea.rate(TINY, 1, [HELD])
        scene.bea.rate(TINY, 1, [HELD])
        scene.bea.rate(HELD, 1, [TINY])

        clock[0] += 1000
        born = Look(await _settled(watch))
        assert born.by("model_messages_seen_total", "model") == {TINY: 0, HELD: 0}, "a new model starts at 0"
        assert born.by("model_messages", "model") == {TINY: 4, HELD: 1}
        tokens = {
            (model, kind): born.value("model_tokens", model=model, type=kind)
            for model in (TINY, HELD)
            for kind in ("input", "output")
        }
        assert tokens[HELD, "input"] == 3
        assert tokens[HELD, "output"] == 1
        assert tokens[TINY, "output"] == _stored_tokens(scene, "output")
        assert tokens[TINY, "input"] == _stored_tokens(scene, "input")
        assert tokens[TINY, "output"]

        clock[0] += 1000
        look = Look(await _settled(watch))
        assert look.value("up") == 1
        assert not look.failed, look.collection.error
        assert look.value("tasks_running") == 0
        assert look.value("chats") == 5
        assert look.by("model_chats", "model") == {TINY: 4, HELD: 1}
        assert look.by("model_users", "model") == {TINY: 1, HELD: 1}
        assert look.by("model_messages_seen_total", "model") == {TINY: 4, HELD: 1}
        assert look.value("model_tokens_seen_total", model=TINY, type="output") == tokens[TINY, "output"]
        assert look.value("feedbacks") == 3
        assert look.value("leaderboard_comparisons", model=TINY, result="won") == 2
        assert look.value("leaderboard_comparisons", model=TINY, result="lost") == 1
        rating = look.by("leaderboard_rating", "model")
        assert rating[TINY] > 1000 > rating[HELD]
        assert "SENTINEL" not in look.text
        assert "@" not in re.sub(r"(?m)^#.*$", "", look.text)
        await record(VERSION)

        scene.admin.call("DELETE", f"/api/v1/chats/{doomed}")
        clock[0] += 1000
        less = Look(await _settled(watch))
        assert less.value("chats") == 4
        assert less.value("model_messages", model=TINY) == 3
        assert less.value("model_messages_seen_total", model=TINY) == 4, "a deletion must not lower the counter"


async def test_each_state_of_the_key(scene: Scene) -> None:
    async def with_key(text: str) -> Look:
        scene.key_file.write_text(text)
        look = await scene.look()
        assert look.value("up") == 1, "a refused key is not an outage"
        assert not {"health", "ready", "config"} & look.failed
        return look

    bad = await with_key("sk-SENTINEL-nonsense")
    assert bad.key_status == {"invalid"}
    assert "does not know the API key" in str(bad.collection.error)
    assert "SENTINEL" not in str(bad.collection.error)
    assert bad.failed >= {"key", "users", "analytics", "backends"}
    assert bad.value("collector_errors_total", reason="unauthorized")
    assert bad.value("tasks_running") is None

    plain = await with_key(scene.bea.make_key())
    assert plain.key_status == {"not_admin"}
    assert "not an administrator" in str(plain.collection.error)

    admin = "/api/v1/auths/admin/config"
    scene.admin.configure(admin, ENABLE_API_KEYS=False)
    off = await with_key(scene.admin_key)
    assert off.key_status == {"disabled"}
    assert "ENABLE_API_KEYS" in str(off.collection.error)

    scene.admin.configure(
        admin,
        ENABLE_API_KEYS=True,
        ENABLE_API_KEYS_ENDPOINT_RESTRICTIONS=True,
        API_KEYS_ALLOWED_ENDPOINTS="/api/v1/users",
    )
    narrow = await with_key(scene.admin_key)
    assert narrow.key_status == {"restricted"}
    assert narrow.value("users", role="admin") == 1, "what is allowed is still read"
    assert "groups" in narrow.failed
    allowed = re.search(r"API_KEYS_ALLOWED_ENDPOINTS: (\S+)", str(narrow.collection.error))
    assert allowed
    scene.admin.configure(admin, API_KEYS_ALLOWED_ENDPOINTS=allowed[1])
    advised = await with_key(scene.admin_key)
    assert advised.key_status == {"ok"}
    assert not advised.failed, f"the advice is not enough: {advised.collection.error}"
    scene.admin.configure(admin, ENABLE_API_KEYS_ENDPOINT_RESTRICTIONS=False)

    scene.key_file.unlink()
    gone = await scene.look()
    assert gone.key_status == {"unreadable"}
    assert gone.value("up") == 1
    scene.key_file.write_text(scene.admin_key)


async def test_an_ollama_that_hangs_is_unreachable(scene: Scene) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hung:
        address = f"127.0.0.1:{hung.getsockname()[1]}"
        scene.admin.configure("/ollama/config", OLLAMA_BASE_URLS=[scene.ollama.url, f"http://{address}"])
        look = await scene.look()
        scene.admin.configure("/ollama/config", OLLAMA_BASE_URLS=[scene.ollama.url])
    assert look.value("backend_up", backend=address, kind="ollama") == 0
    assert look.value("backend_response_seconds", backend=address, kind="ollama") is None
    assert look.value("backend_up", backend=scene.ollama.url.removeprefix("http://"), kind="ollama") == 1
    assert not look.failed, look.collection.error


async def test_analytics_and_user_status_switched_off_then_down(scene: Scene) -> None:
    scene.server.stop()
    down = await scene.look()
    assert down.value("up") == 0
    assert down.value("collector_errors_total", reason="connection_refused")
    assert not down.by("api_key_status", "status")
    scene.server.start(ENABLE_ADMIN_ANALYTICS="false")
    scene.admin.configure("/api/v1/auths/admin/config", ENABLE_USER_STATUS=False)
    look = await scene.look()
    assert not look.failed, look.collection.error
    assert look.value("analytics_available") == 0
    assert look.value("chats") is None, "unknown is absent, not 0"
    assert not look.by("model_messages", "model")
    assert look.value("users_active", window="1h") == 3, "the monitor's user is taken away without knowing who it is"


async def _settled(watch: Watch) -> Collection:
    """A collection with what the kept parts learn now."""
    await watch.collect(30)
    for _ in range(300):
        collection = await watch.collect(30)
        if all(part.task is None for part in watch._kept.values()):
            return collection
        await asyncio.sleep(0.05)
    raise TimeoutError("the kept parts did not end")


def _stored_tokens(scene: Scene, kind: str) -> int:
    """Tokens of the tiny model's answers, added up from the chats themselves."""
    total = 0
    for chat in scene.admin.call("GET", "/api/v1/chats/?page=1"):
        whole = scene.admin.call("GET", f"/api/v1/chats/{chat['id']}")["chat"]
        for message in whole["history"]["messages"].values():
            if message["role"] == "assistant" and message["model"] == TINY:
                total += message["usage"][f"{kind}_tokens"]
    return total
