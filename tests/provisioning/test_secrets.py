from __future__ import annotations

import os
from pathlib import Path

import pytest

from provisioning.config.secrets import SecretError, SecretFile


def test_the_one_line_without_its_end(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("  sk-1 \r\n\n")
    assert SecretFile(tmp_path / "key").read() == "sk-1"


def test_a_rotated_secret_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("old")
    secret = SecretFile(file)
    assert secret.read() == "old"
    (tmp_path / "new").write_text("new")
    os.utime(tmp_path / "new", ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    (tmp_path / "new").replace(file)  # as editors and Kubernetes do it: same size, same time, another file
    assert secret.read() == "new"


def test_a_secret_that_went_away_is_not_remembered(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("sk-1")
    secret = SecretFile(file)
    secret.read()
    file.unlink()
    with pytest.raises(SecretError, match=rf"^cannot read {file}: No such file or directory$"):
        secret.read()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"sk-1\nsk-2\n", "holds more than one line"),
        (b"sk-1\x00", "holds more than one line"),
        (b"\xff\xfe", "is not text"),
        (b"x" * 70_000, "is larger than 64 KiB"),
    ],
)
def test_what_cannot_be_one_secret(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(SecretError, match=said) as error:
        SecretFile(tmp_path / "key").read()
    assert "sk-" not in str(error.value)


def test_a_broken_file_is_read_again_once_mended(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("")
    secret = SecretFile(tmp_path / "key")
    with pytest.raises(SecretError):
        secret.read()
    with pytest.raises(SecretError):
        secret.read()
    (tmp_path / "key").write_text("sk-1")
    assert secret.read() == "sk-1"


def test_a_folder_is_no_secret(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match="Is a directory"):
        SecretFile(tmp_path).read()


def test_it_shows_its_path_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-1")
    secret = SecretFile(tmp_path / "key")
    secret.read()
    assert repr(secret) == f"SecretFile('{tmp_path}/key')"
    assert str(secret) == repr(secret)
