"""What the README shows is true: its file is a good one, its commands and links exist."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from provisioning.cli import main
from provisioning.config.load import load

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_its_cluster_ai_yml_is_a_good_one(tmp_path):
    [text] = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    file = tmp_path / "cluster-ai.yml"
    file.write_text(text)
    assert load(file).targets.openwebui[0].name == "chat"


def test_its_commands_exist():
    table = README.split("| Command (")[1].split("\n\n")[0]
    named = {
        words.split()[0] for row in table.splitlines()[2:] for words in re.findall(r"`([a-z].*?)`", row.split("|")[1])
    }
    assert named >= {"check", "up", "exporter"}
    assert named <= set(main.list_commands(click.Context(main)))


def test_its_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    for name in re.findall(r"^make ([a-z-]+)", README, re.MULTILINE):
        assert re.search(rf"^{name}:", makefile, re.MULTILINE), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
