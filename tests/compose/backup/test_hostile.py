"""What others put into an archive that they encrypted for us: nothing of it is obeyed, placed or shown as it is."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest

from compose.backup import restoring
from compose.backup.archive import check
from compose.backup.manifest import MANIFEST, NEEDED, BackupError, Contents, Manifest, Part

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Writes an archive with everything that a backup needs, and more; age lets it through as it is."""
    age = tmp_path / "bin/age"
    age.parent.mkdir()
    age.write_text("#!/bin/sh\nexec cat\n")
    age.chmod(0o755)
    (tmp_path / "key").touch()
    monkeypatch.setenv("PATH", str(age.parent), prepend=":")

    def archive(*more: str, name: str = "lab", headers: tuple[tarfile.TarInfo, ...] = ()) -> Path:
        parts = dict.fromkeys((*NEEDED, *more), b"data")
        manifest = Manifest(
            made=datetime(2026, 11, 23, tzinfo=UTC),
            name=name,
            version="0",
            server="17",
            parts={part: Part(size=len(data), sha256=sha256(data).hexdigest()) for part, data in parts.items()},
            contents=Contents(tables={}, sequences={}, objects=[]),
        )
        path = tmp_path / "cluster-ai-20261123T023000Z.age"
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
            for header in headers:
                tar.addfile(header)
            for part, data in {**parts, MANIFEST: manifest.model_dump_json().encode()}.items():
                info = tarfile.TarInfo(part)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return path

    return archive


def restore(path: Path, tmp_path: Path, say: restoring.Say = lambda _line: None) -> Path:
    folder = tmp_path / "host"
    restoring.files(path, tmp_path / "key", folder, overwrite=True, dry_run=False, say=say)
    return folder


def refused(path: Path, tmp_path: Path, said: str) -> None:
    """Without a file placed."""
    before = set((tmp_path / "host").rglob("*"))
    with pytest.raises(BackupError, match=said):
        restore(path, tmp_path)
    assert set((tmp_path / "host").rglob("*")) == before


def test_a_good_one_comes_back(make: Make, tmp_path: Path) -> None:
    assert (restore(make("files/a/b"), tmp_path) / "a/b").read_bytes() == b"data"


@pytest.mark.parametrize("more", [("files/a", "files/a/b"), ("files/a/b/c", "files/a")])
def test_a_file_that_is_a_folder_too(more: tuple[str, ...], make: Make, tmp_path: Path) -> None:
    refused(make(*more), tmp_path, r"nothing was changed: .*/host/a is a file, and .* would lie in it")


def test_a_folder_that_is_a_file_here(make: Make, tmp_path: Path) -> None:
    (tmp_path / "host").mkdir()
    (tmp_path / "host/secrets").write_text("in the way")
    refused(make(), tmp_path, r"nothing was changed: .*/host/secrets is a file")


def test_one_place_for_two(make: Make, tmp_path: Path) -> None:
    refused(make("files/a", "files/./a"), tmp_path, "files/./a is there twice")


@pytest.mark.parametrize("name", ["files/", "files/."])
def test_the_folder_itself_is_no_part(name: str, make: Make, tmp_path: Path) -> None:
    refused(make(name), tmp_path, "has no place in a backup")


def test_a_file_with_holes_takes_no_room(make: Make, tmp_path: Path) -> None:
    sparse = tarfile.TarInfo("files/huge")
    sparse.pax_headers = {
        "GNU.sparse.major": "0",
        "GNU.sparse.minor": "1",
        "GNU.sparse.map": "0,0",
        "GNU.sparse.size": str(1 << 50),
        "GNU.sparse.name": "files/huge",
    }
    refused(make(headers=(sparse,)), tmp_path, "files/huge has no place in a backup")


def test_a_part_larger_than_the_archive_is_not_unpacked(make: Make, tmp_path: Path) -> None:
    path = make()
    large = tarfile.TarInfo("files/large")
    large.size = 1 << 40
    path.write_bytes(large.tobuf() + path.read_bytes())
    refused(path, tmp_path, "files/large has no place in a backup")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_what_is_no_file_is_refused(kind: bytes, make: Make, tmp_path: Path) -> None:
    odd = tarfile.TarInfo("files/odd")
    odd.type, odd.linkname = kind, "files/cluster-ai.yml"
    refused(make(headers=(odd,)), tmp_path, "files/odd has no place in a backup")


EVIL = "\x1b]0;owned\x07\u202e\n"


def test_no_terminal_obeys_names_of_parts(make: Make, tmp_path: Path) -> None:
    odd = tarfile.TarInfo(f"files/{EVIL}")
    odd.type = tarfile.FIFOTYPE
    with pytest.raises(BackupError) as said:
        check(make(headers=(odd,)), tmp_path / "key")
    assert str(said.value).isprintable()
    assert json.dumps("owned").strip('"') in str(said.value)


def test_no_terminal_obeys_what_is_restored(make: Make, tmp_path: Path) -> None:
    said: list[str] = []
    path = make(f"outside/{EVIL}", f"files/{EVIL}", name=EVIL)
    restore(path, tmp_path, said.append)
    (tmp_path / "host" / EVIL).write_text("other")
    restore(path, tmp_path, said.append)
    assert sum("owned" in line for line in said) >= 4
    assert all(line.isprintable() for line in said)
