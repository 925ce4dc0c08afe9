"""What the backup's container is given for the operator's program."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.compose.installation import PRODUCTION, TARGETS, installed, stack


@pytest.mark.parametrize("wanted", [False, True])
def test_only_who_carries_backups_away_has_a_way_out(wanted: bool, tmp_path: Path) -> None:
    folder = tmp_path / "host"
    folder.mkdir()
    (folder / "carry").write_text("#!/bin/sh\n")
    asked = f"  backup: {{off_site: {folder}/carry}}\n" if wanted else ""
    backup = stack(installed(folder, f"{TARGETS}{PRODUCTION}{asked}"))["services"]["backup"]
    assert set(backup["networks"]) == ({"data", "out"} if wanted else {"data"})
    given = {
        volume["source"]: volume["read_only"] for volume in backup["volumes"] if volume["source"] == f"{folder}/carry"
    }
    assert given == ({f"{folder}/carry": True} if wanted else {})
