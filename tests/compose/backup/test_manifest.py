from __future__ import annotations

from pathlib import Path

import pytest

from compose.backup.manifest import BackupError, Contents, Table, differences
from compose.backup.restoring import _target

THEN = Contents(
    tables={"public.people": Table(rows=2, checksum="7"), "public.stars": Table(rows=0, checksum="0")},
    sequences={"public.people_id_seq": 2},
    objects=["constraint public.people people_pkey", "r public.people"],
)


def test_a_database_that_came_back_as_it_was() -> None:
    assert differences(THEN, THEN) == []


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ({"tables": {"public.people": THEN.tables["public.people"]}}, "table public.stars is missing"),
        ({"tables": {**THEN.tables, "public.more": Table(rows=0, checksum="0")}}, "table public.more was not there"),
        (
            {"tables": {**THEN.tables, "public.people": Table(rows=1, checksum="7")}},
            "table public.people has 1 rows, and had 2",
        ),
        (
            {"tables": {**THEN.tables, "public.people": Table(rows=2, checksum="8")}},
            "table public.people has other contents",
        ),
        ({"sequences": {"public.people_id_seq": 1}}, "sequence public.people_id_seq would give out numbers again"),
        ({"sequences": {}}, "sequence public.people_id_seq would give out numbers again"),
        ({"objects": ["r public.people"]}, "constraint public.people people_pkey is missing"),
    ],
)
def test_what_is_otherwise_is_named(now: dict[str, object], said: str) -> None:
    assert differences(THEN, THEN.model_copy(update=now)) == [said]


def test_a_number_given_out_while_it_was_saved_is_no_difference() -> None:
    assert differences(THEN, THEN.model_copy(update={"sequences": {"public.people_id_seq": 9}})) == []


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("files/cluster-ai.yml", "/srv/x/cluster-ai.yml"),
        ("files/secrets/a", "/srv/x/secrets/a"),
        ("outside/etc/ssl/own.pem", "/srv/x/outside/etc/ssl/own.pem"),
    ],
)
def test_where_a_part_goes(name: str, where: str) -> None:
    assert _target(name, Path("/srv/x")) == Path(where)


@pytest.mark.parametrize("name", ["files/../../etc/passwd", "/etc/passwd", "etc/passwd", "outside/../../x", "files2/x"])
def test_a_part_never_leaves_the_folder(name: str) -> None:
    with pytest.raises(BackupError, match="has no place in a backup"):
        _target(name, Path("/srv/x"))


def test_an_absolute_path_behind_files_stays_inside() -> None:
    with pytest.raises(BackupError, match="has no place in a backup"):
        _target("files//etc/passwd", Path("/srv/x"))
