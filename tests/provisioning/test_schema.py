from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from provisioning.config.load import ConfigError, load
from provisioning.config.model import Config
from provisioning.config.reference import reference
from provisioning.config.schema import schema

ROOT = Path(__file__).parents[2]
# What a schema cannot say: files as text, comparisons between entries, and rules about two keys at once.
BEYOND_A_SCHEMA = (
    "keep one",
    "needs logs",
    "go together",
    "not both",
    "needs ca_file",
    "is used twice",
    "listed twice",
    "given twice",
    "another host",
    "listens",
    "set by the product",
    "path is empty",
    "an address",
    "port",
    "too short",
    "too long",
    "a user name or password",
    "finite",
    "the product's own",
    "no role or team",
    "own administrator",
    "nobody could sign in",
    "one key is needed",
    "not encrypted",
    "give nobody a role",
    "there is no person",
    "there are no hours",
    "is also a person",
    "reaches nobody",
    "needs sms",
    "no alert comes this far",
    "to be told by",
    "cannot be told",
    "no account for",
    "needs a time",
    "give twilio or apprise",
    "needs tls",
    "Twilio needs a secret",
    "messages come from",
    "status_callback needs",
    "users are hashed with a secret",
)


def validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schema())


def test_it_is_a_good_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    json.dumps(schema(), allow_nan=False)


def test_the_example_is_good_both_ways() -> None:
    load(ROOT / "provisioning/example.yml")
    validator().validate(yaml.safe_load((ROOT / "provisioning/example.yml").read_text()))


def test_the_defaults_it_shows_are_good() -> None:
    def check(node: Any) -> None:
        if isinstance(node, dict):
            if "default" in node:
                validator().evolve(schema={**node, "$defs": schema()["$defs"]}).validate(node["default"])
            for value in node.values():
                check(value)

    check(schema())


def test_an_editor_finds_what_the_loader_finds() -> None:
    missed = []
    compared = 0
    for file in sorted((ROOT / "tests/provisioning/bad_configs").glob("*.yml")):
        said = file.with_suffix(".txt").read_text()
        try:
            data = yaml.safe_load(file.read_text())
        except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError, TypeError):
            continue
        if any(words in said for words in BEYOND_A_SCHEMA):
            continue
        compared += 1
        if validator().is_valid(data):
            missed.append(file.name)
    assert missed == []
    assert compared > 30


def test_every_key_says_what_it_means() -> None:
    for name, model in {"": schema(), **schema()["$defs"]}.items():
        for key, field in model["properties"].items():
            assert field.get("description"), f"{name}.{key}"


def test_only_targets_is_needed(tmp_path: Path) -> None:
    assert schema()["required"] == ["targets"]
    (tmp_path / "c.yml").write_text("name: lab\n")
    with pytest.raises(ConfigError, match="targets: is missing"):
        load(tmp_path / "c.yml")
    assert Config.model_fields["targets"].is_required()


def test_the_reference_page_is_up_to_date() -> None:
    page = (ROOT / "docs/configuration.md").read_text()
    assert page == reference(), "run: python -m provisioning.config.reference > docs/configuration.md"


def test_the_reference_page_names_every_key() -> None:
    page = reference()
    for model in schema()["$defs"].values():
        for key in model["properties"]:
            assert f"| `{key}` |" in page
    assert "at most 2m" in page
    assert "at least 1h" in page
