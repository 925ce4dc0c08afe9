"""Names made by attackers, from a system's answer to Prometheus, through each collector and over real sockets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.families import LABEL_LENGTH, clean
from provisioning.config.targets import System
from tests.exporter.faults import servers, systems
from tests.exporter.faults.watching import of, watching

NAMES = {
    "quote": 'a"b',
    "line_feed": 'a\nollama_up 0\n# TYPE evil gauge\n"',
    "backslash": "a\\",
    "backslash_n": "a\\n",
    "nul": "a\x00b",
    "script": "<script>alert(1)</script>",
    "lone_surrogate": "a\ud800b",
    "long": "x" * 65_536,
    "right_to_left": "\u202egnp.exe",
    "braces": 'a"} 1\nup{x="',
    "separators": "a\u2028b\x85c\rd",
    "escape_sequence": "\x1b[31mred",
}
UNSAFE = [chr(number) for number in (*range(32), 127, 0x85, 0x2028, 0x202E, 0xD800)]


def ollama(name: str) -> systems.Ollama:
    system = systems.Ollama()
    for path in ("/api/tags", "/api/ps"):
        [like, *_] = system.bodies[path]["models"]
        details = dict.fromkeys(("family", "format", "parameter_size", "quantization_level"), name)
        hostile = {"name": name, "model": name, "digest": name, "details": details, "capabilities": [name]}
        system.bodies[path]["models"].append(like | hostile)
    system.bodies["/api/version"] = {"version": name}
    return system


def openwebui(name: str) -> systems.OpenWebUI:
    system = systems.OpenWebUI()
    row = {"model_id": name, "count": 1, "unique_users": 1, "unique_chats": 1, "input_tokens": 1, "output_tokens": 1}
    for path in ("/api/v1/analytics/models", "/api/v1/analytics/tokens"):
        system.bodies[path]["models"].append(row)
    system.bodies["/api/v1/evaluations/leaderboard"]["entries"].append(row | {"rating": 1000, "won": 1, "lost": 0})
    system.bodies["/api/models"]["data"].append({"id": name, "name": name, "owned_by": name})
    system.bodies["/api/v1/users/all"]["users"].append({"id": name, "role": name, "name": name, "last_active_at": 1})
    system.bodies["/ollama/config"]["OLLAMA_BASE_URLS"].append(f"http://{name}@host/{name}")
    system.bodies["/openai/config"]["OPENAI_API_BASE_URLS"].append(name)
    system.bodies["/api/version"] = {"version": name}
    return system


def dask(name: str) -> systems.Dask:
    system = systems.Dask()
    workers = system.replies["identity"]["workers"]
    like = next(iter(workers.values()))
    hostile = like | {"name": name, "status": name, "id": name, "host": name, "services": {"dashboard": name}}
    metrics = like["metrics"] | {"task_counts": {name: 1, "memory": 1}}
    named = {name: hostile, f"tcp://{name}:1": hostile, "tcp://10.9.9.9:1": hostile | {"metrics": metrics}}
    system.replies["identity"] = system.replies["identity"] | {"id": name, "workers": workers | named}
    system.replies["processing"] = system.replies["processing"] | {name: ((name, 1),)}
    packages = dict.fromkeys(("distributed", "dask"), name)
    system.replies["versions"] = {"packages": packages, "host": {"python": name}}
    return system


SYSTEMS: dict[System, Any] = {"dask": dask, "ollama": ollama, "openwebui": openwebui}


@pytest.mark.parametrize("case", NAMES)
@pytest.mark.parametrize("system", SYSTEMS)
async def test_a_hostile_name_is_a_label_and_nothing_more(system: System, case: str, tmp_path: Path) -> None:
    name = NAMES[case]
    if system == "dask" and case == "lone_surrogate":
        with pytest.raises(UnicodeEncodeError):  # msgpack's text is UTF-8: bytes that are not are tried in the matrix
            servers.message(name)
        return
    key = tmp_path / "key"
    key.write_text("sk-1")
    key.chmod(0o600)
    more = {"api_key_file": key} if system == "openwebui" else {}
    stand_in = SYSTEMS[system](name)
    serve = servers.scheduler if system == "dask" else servers.web
    async with serve(stand_in.answer) as hits, watching(system, of(system, hits.port, **more)) as watched:
        await watched.look()
        text = await watched.checked_look()
    labels = [value for family in parse_text(text) for sample in family.samples for value in sample.labels.values()]
    assert max(map(len, labels)) <= LABEL_LENGTH
    assert not [value for value in labels if any(character in value for character in UNSAFE)]
    # It is there, under its own name or a safe one, and the thing it belongs to is counted.
    shown = json.dumps(labels)
    assert ("~" in shown) if case in ("nul", "long", "right_to_left", "escape_sequence") else ("a" in shown)
    assert f"{watched.watch.collector.prefix}_up 1.0\n" in text
    assert "\nup{" not in text
    assert "# TYPE evil" not in text.splitlines()


def test_two_names_that_look_alike_when_cleaned_stay_two() -> None:
    assert clean("a\x00b") != clean("a\x01b") != clean("ab")
    assert clean("x" * 65_536) != clean("x" * 65_537)
