from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from compose.backup import daemon, work
from compose.backup.daemon import PAUSE, Daemon
from compose.backup.making import FOLDER
from compose.backup.manifest import BackupError, file_name
from compose.backup.state import State, load, save
from provisioning.secrets.installation import Installation
from tests.provisioning.secrets.installed import installed

SUNDAY = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)


@dataclass
class Played:
    """A daemon whose clock and work are the test's."""

    there: Installation
    now: datetime = SUNDAY
    watch: float = 0.0
    done: list[str] = field(default_factory=list)
    failing: str = ""

    def __post_init__(self) -> None:
        (self.there.folder / FOLDER).mkdir()
        self.daemon = Daemon(self.there, lambda: self.now, lambda: self.watch)

    def backup(self, there: Installation, now: datetime, _say: work.Say) -> Path:
        return self._do("backup", there.folder / FOLDER / file_name(now))

    def verify(self, there: Installation, now: datetime, _say: work.Say) -> Path:
        path = self._do("test", there.folder / FOLDER / "x")
        (there.folder / FOLDER / "x").unlink()
        save(there, State(verified=now.timestamp(), well=True))
        return path

    def _do(self, what: str, path: Path) -> Path:
        self.done.append(f"{what} {self.now:%a %H:%M}")
        if self.failing == what:
            raise BackupError("it does not work")
        path.touch()
        return path

    def after(self, **time: float) -> list[str]:
        """What was done when so much time has passed, looked at every five minutes."""
        end = self.now + timedelta(**time)
        self.done.clear()
        while self.now < end:
            self.now += timedelta(minutes=5)
            self.watch += 300
            self.daemon.look()
        return self.done


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Played:
    one = Played(installed(tmp_path))
    monkeypatch.setattr(daemon.work, "backup", one.backup)
    monkeypatch.setattr(daemon.work, "verify", one.verify)
    return one


def test_a_week(played: Played) -> None:
    assert played.after(minutes=5) == ["backup Sun 02:05", "test Sun 02:05"]  # the first ones, at once
    days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
    expected = [f"backup {day} 02:30" for day in days] + ["test Sun 02:30"]
    expected.insert(1, "test Sun 02:30")
    assert played.after(days=7, hours=1) == expected


def test_what_fails_is_tried_again_after_a_pause(played: Played, caplog: pytest.LogCaptureFixture) -> None:
    played.after(hours=1)
    played.failing = "backup"
    assert played.after(hours=24, minutes=30) == [
        "backup Mon 02:30",
        "backup Mon 02:45",
        "backup Mon 03:00",
        "backup Mon 03:15",
        "backup Mon 03:30",
    ]
    assert PAUSE == 900
    assert "backup failed: it does not work" in caplog.text
    played.failing = ""
    assert played.after(hours=1) == ["backup Mon 03:45"]


def test_what_was_missed_is_caught_up_and_a_clock_set_back_does_no_harm(played: Played) -> None:
    played.after(hours=1)
    played.now += timedelta(days=10)
    assert played.after(minutes=10) == ["backup Wed 03:05", "test Wed 03:05"]
    played.now -= timedelta(days=5)
    assert played.after(minutes=10) == ["backup Fri 03:15", "test Fri 03:15"]


def test_after_a_bad_test_the_next_backup_is_tested(played: Played) -> None:
    played.after(hours=1)
    save(played.there, load(played.there).model_copy(update={"well": False}))
    assert played.after(hours=23) == []
    assert played.after(hours=1) == ["backup Mon 02:30", "test Mon 02:30"]


def test_a_state_that_was_damaged_is_as_none(played: Played) -> None:
    played.after(hours=1)
    (played.there.folder / FOLDER / "state.json").write_text("{")
    assert played.after(minutes=5) == ["test Sun 03:05"]


def last_success(folder: Path) -> float:
    """What Prometheus is told."""
    text = (folder / "data/textfile/cluster-ai-backup.prom").read_text()
    assert "verif" not in text  # nothing was tested, so nothing is told of a test
    [line] = [line for line in text.splitlines() if line.startswith("cluster_ai_backup_last_success_timestamp_seconds")]
    return float(line.split()[1])


def test_prometheus_is_told_of_a_first_backup_that_fails_since_when_there_is_none(tmp_path: Path) -> None:
    there = installed(tmp_path, postgres="127.0.0.1:9")
    for days in range(2):
        with pytest.raises(BackupError):
            work.backup(there, SUNDAY + timedelta(days=days), lambda _line: None)
        assert last_success(tmp_path) == SUNDAY.timestamp()


@pytest.fixture
def carried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """One whose backups are made without a database, and carried away by a program that fails."""
    (tmp_path / "carry").write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "carry").chmod(0o755)
    there = installed(tmp_path, f"backup: {{off_site: {tmp_path}/carry}}")

    def make(there: Installation, now: datetime) -> Path:
        path = there.folder / FOLDER / file_name(now)
        path.write_bytes(b"saved")
        return path

    monkeypatch.setattr(work, "make", make)
    return there


def test_a_first_backup_that_is_not_carried_away_is_told_as_one_that_failed(carried: Installation) -> None:
    with pytest.raises(BackupError, match="was not carried elsewhere"):
        work.backup(carried, SUNDAY, lambda _line: None)
    assert last_success(carried.folder) == SUNDAY.timestamp()
    later = SUNDAY + timedelta(days=1)
    (carried.folder / "carry").write_text("#!/bin/sh\n")
    work.backup(carried, later, lambda _line: None)
    assert last_success(carried.folder) == later.timestamp()
    assert load(carried) == State(succeeded=later.timestamp(), size=5)
    (carried.folder / "carry").write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(BackupError):
        work.backup(carried, later + timedelta(days=1), lambda _line: None)
    assert last_success(carried.folder) == later.timestamp()


def test_the_reason_counts_more_than_that_it_cannot_be_told(tmp_path: Path) -> None:
    there = installed(tmp_path, postgres="127.0.0.1:9")
    (tmp_path / "data").write_text("in the way")
    with pytest.raises(BackupError, match=r"Connection refused|is not on PATH"):
        work.backup(there, SUNDAY, lambda _line: None)
