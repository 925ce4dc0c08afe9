"""What is found on Ollama servers."""

from __future__ import annotations

import pytest

from exporter.collectors.ollama import OllamaCollector
from tests.exporter.doctor.servers import found, js, ollama, reports, serving, text


async def look(answers=None, host="127.0.0.1", own=(), **target):
    async with serving(ollama() if answers is None else answers, hosts=("127.0.0.1", *own)) as port:
        return await found("ollama", own, url=f"http://{host}:{port}", **target)


async def test_nothing_is_found_on_a_good_server():
    assert await look(must_be_loaded=["tiny"]) == {}


async def test_open_to_the_network():
    seen = await look(host="0.0.0.0")
    assert list(seen) == ["ollama-open"]
    assert seen["ollama-open"].severity == "warning"


async def test_open_although_credentials_are_configured(tmp_path):
    password = tmp_path / "password"
    password.write_text("secret-word")
    password.chmod(0o600)
    seen = await look(host="0.0.0.0", username="me", password_file=password)
    assert set(seen) == {"ollama-open", "secret-in-clear"}


async def test_closed_to_those_without_credentials(tmp_path):
    token = tmp_path / "token"
    token.write_text("secret-word")
    token.chmod(0o600)

    def guarded(answer):
        return lambda request: (answer if "Authorization" in request.headers else js({}, status=401))(request)

    answers = {path: guarded(answer) for path, answer in ollama().items()}
    assert set(await look(answers, host="0.0.0.0", bearer_token_file=token)) == {"secret-in-clear"}


async def test_watched_over_loopback_and_listening_everywhere():
    seen = await look(own=("127.0.0.2",))
    assert list(seen) == ["ollama-open"]
    assert seen["ollama-open"].seen.startswith("http://127.0.0.2:")
    async with serving(ollama()) as port:
        assert await found("ollama", ("127.0.0.2",), url=f"http://127.0.0.1:{port}") == {}


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("0.1.37", ["ollama-too-old"]),
        ("0.6.3", ["ollama-old"]),
        ("0.9.9", ["ollama-old"]),
        ("0.10.0", []),
        ("0.0.0", []),
        ("dev", []),
    ],
)
async def test_versions(version, expected):
    answers = ollama(version)
    if version == "0.1.37":
        answers["/api/ps"] = text("404 page not found", status=404)
    assert list(await look(answers)) == expected


async def test_wanted_models():
    seen = await look(must_be_loaded=["TINY:latest", "library/tiny", "absent:8b", "far:cloud"])
    assert set(seen) == {"ollama-model-missing", "ollama-model-remote"}
    assert seen["ollama-model-missing"].seen == "not among its 2 models: absent:8b"
    assert seen["ollama-model-remote"].seen == "far:cloud"


@pytest.mark.parametrize(("skew", "expected"), [(0, False), (-3, False), (60, True), (-60, True)])
async def test_the_clock(skew, expected):
    answers = ollama() | {"/api/version": js({"version": "0.30.1"}, skew=skew)}
    seen = await look(answers)
    assert ("clock-skew" in seen) == expected
    if expected:
        assert f"{'ahead of' if skew > 0 else 'behind'} this machine's" in seen["clock-skew"].seen


@pytest.mark.parametrize("date", ["", "soon", "Mon, 99 Nov 2026 00:00:00 GMT"])
async def test_a_clock_that_cannot_be_read(date):
    def version(request):
        answer = js({"version": "0.30.1"})(request)
        answer.headers["Date"] = date
        return answer

    assert await look(ollama() | {"/api/version": version}) == {}


async def test_the_generation_probe_is_left_out(monkeypatch):
    built = []
    real = OllamaCollector.build

    def build(target, *more):
        built.append(target.generation_probe.enabled)
        return real(target, *more)

    monkeypatch.setattr(OllamaCollector, "build", build)
    assert await look(generation_probe={"enabled": True}) == {}
    assert built == [False]


async def test_only_questions_that_read():
    methods = set()

    def noting(path, answer):
        def handle(request):
            methods.add((request.method, path))
            return answer(request)

        return handle

    await look({path: noting(path, answer) for path, answer in ollama().items()})
    assert {path for method, path in methods if method != "GET"} <= {"/api/show"}


async def test_a_failing_part_is_named():
    seen = await look(ollama() | {"/api/ps": text("", status=500)})
    assert list(seen) == ["part-fails"]
    assert seen["part-fails"].seen.startswith("loaded, capabilities: 127.0.0.1:")


async def test_what_was_checked_is_said():
    async with serving(ollama()) as port:
        (report,) = await reports(ollama=[{"name": "a", "url": f"http://127.0.0.1:{port}"}])
    assert (report.checked[:2], report.checked[-1]) == (["secret files", "answers"], "collection")
    assert (report.name, report.system, report.version) == ("a", "ollama", "0.30.1")
