"""A version put on a host with stand-ins for docker, make and cluster-ai, and what goes wrong on the way."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from compose.delivery.notes import CHANGELOG, NoNotesError, notes
from compose.images import VERSION

SCRIPT = Path(__file__).resolve().parents[2] / "compose/delivery/install.sh"
DIGEST = f"sha256:{'ab' * 32}"
LABEL = "label=com.docker.compose"
IMAGE = f"cluster-ai=ghcr.io/example/cluster-ai@{DIGEST}"
DOCKER = """\
#!/bin/sh
echo "docker $*" >> "$HOME/done"
[ "$1" = ps ] && { [ -e "$HOME/running" ] && echo 0123456789ab; exit 0; }
[ "$1" = exec ] && [ -e "$HOME/backup-fails" ] && exit 1
[ "$1" = pull ] && [ -e "$HOME/registry-away" ] && exit 1
exit 0
"""
CLUSTER_AI = """\
#!/bin/sh
version=$(cat "$(dirname "$0")/../../version")
echo "deploy $version" >> "$HOME/done"
[ "$version" != "$(cat "$HOME/does-not-come-up" 2>/dev/null)" ]
"""


class Host:
    """A host with an installation and a clone that has version 1.0.0; the repository also has 1.1.0."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.folder, self.source, origin = home / "installation", home / "source", home / "origin"
        self.folder.mkdir()
        (self.folder / "cluster-ai.yml").write_text("targets: {}\n")
        origin.mkdir()
        self.git(origin, "init", "--quiet")
        for version in ("1.0.0", "1.1.0"):
            (origin / "version").write_text(f"{version}\n")
            self.git(origin, "add", "version")
            self.git(origin, "commit", "--quiet", "-m", version)
            self.git(origin, "tag", f"v{version}")
        self.git(home, "clone", "--quiet", str(origin), str(self.source))
        self.git(self.source, "checkout", "--quiet", "--detach", "v1.0.0")
        programs = self.source / ".venv/bin"
        programs.mkdir(parents=True)
        (home / "bin").mkdir()
        for path, text in (
            (home / "bin/docker", DOCKER),
            (home / "bin/make", '#!/bin/sh\necho "make $*" >> "$HOME/done"\n'),
            (programs / "cluster-ai", CLUSTER_AI),
        ):
            path.write_text(text)
            path.chmod(0o755)

    def git(self, where: Path, *words: str) -> None:
        who = ("-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *who, *words], cwd=where, check=True, capture_output=True)

    def install(self, version: str = "1.1.0", *images: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", "-s", "--", self.folder, self.source, version, *(images or (IMAGE,))],
            input=SCRIPT.read_text(),
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            env={"PATH": f"{self.home}/bin:{os.environ['PATH']}", "HOME": str(self.home)},
        )

    def done(self) -> list[str]:
        file = self.home / "done"
        return file.read_text().splitlines() if file.exists() else []

    def version(self) -> str:
        return (self.source / "version").read_text().strip()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_images_come_by_their_digest_then_a_backup_then_the_version(host: Host):
    (host.home / "running").touch()
    done = host.install()
    assert done.returncode == 0, done.stderr
    assert done.stdout == "install: 1.1.0 runs; before it was v1.0.0\n"
    assert host.done() == [
        f"docker pull --quiet ghcr.io/example/cluster-ai@{DIGEST}",
        f"docker tag ghcr.io/example/cluster-ai@{DIGEST} cluster-ai:1.1.0",
        f"docker ps --quiet --filter {LABEL}.project=cluster-ai --filter {LABEL}.service=backup",
        f"docker exec 0123456789ab cluster-ai backup now --config {host.folder}/cluster-ai.yml",
        f"make --silent -C {host.source} .venv/.runtime",
        "deploy 1.1.0",
    ]


def test_the_first_time_there_is_nothing_to_back_up(host: Host):
    assert host.install().returncode == 0
    assert not [line for line in host.done() if line.startswith("docker exec")]


def test_a_version_that_does_not_come_up_makes_room_for_the_one_before(host: Host):
    (host.home / "does-not-come-up").write_text("1.1.0")
    done = host.install()
    assert done.returncode == 1
    assert "1.1.0 does not come up: back to v1.0.0" in done.stderr
    assert [line for line in host.done() if line.startswith("deploy")] == ["deploy 1.1.0", "deploy 1.0.0"]
    assert host.version() == "1.0.0"


def test_back_to_an_older_version_is_the_same(host: Host):
    assert host.install("1.1.0").returncode == 0
    assert host.install("1.0.0").returncode == 0
    assert host.version() == "1.0.0"


@pytest.mark.parametrize(
    ("obstacle", "version", "image", "said"),
    [
        ("", "1.1.0; reboot", IMAGE, "no version"),
        ("", "1.2.0", IMAGE, "there is no tag v1.2.0"),
        ("", "1.1.0", "cluster-ai=ghcr.io/example/cluster-ai:1.1.0", "an image without its digest"),
        ("installation/cluster-ai.yml", "1.1.0", IMAGE, "there is no "),
        ("backup-fails", "1.1.0", IMAGE, "no backup, no change"),
        ("registry-away", "1.1.0", IMAGE, ""),
        ("source/version", "1.1.0", IMAGE, "was changed by hand"),
    ],
)
def test_what_is_not_right_changes_nothing(host: Host, obstacle: str, version: str, image: str, said: str):
    (host.home / "running").touch()
    if obstacle.startswith("installation"):
        (host.home / obstacle).unlink()
    elif obstacle:
        (host.home / obstacle).write_text("mine\n")
    done = host.install(version, image)
    assert done.returncode != 0
    assert said in done.stderr
    assert not [line for line in host.done() if line.startswith("deploy")]
    if not obstacle.startswith("source"):
        assert host.version() == "1.0.0"


CHANGES = """\
# Changes

## Unreleased

- c

## 1.1.0, 2026-12-01

- b

### More

- b2

## 1.0.0, 2026-11-01

- a
"""


def test_the_notes_of_a_version_are_its_part_of_the_changelog():
    assert notes("1.1.0", CHANGES, "1.1.0") == "- b\n\n### More\n\n- b2\n"
    assert notes("1.0.0", CHANGES, "1.0.0") == "- a\n"


@pytest.mark.parametrize(("version", "built"), [("1.2.0", "1.2.0"), ("1.1.0", "1.0.0"), ("1", "1")])
def test_a_version_without_notes_or_of_another_build_is_not_released(version: str, built: str):
    with pytest.raises(NoNotesError):
        notes(version, CHANGES, built)


def test_the_version_that_is_built_has_notes():
    assert len(notes(VERSION, CHANGELOG.read_text(), VERSION)) > 200
