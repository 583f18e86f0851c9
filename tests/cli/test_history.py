from __future__ import annotations

import stat
from pathlib import Path

import pytest

from agentkit_cli.history import LIMIT, History


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "history"


def entries(path: Path) -> list[str]:
    return list(History(path).load_history_strings())


def test_entries_come_back_newest_first_with_their_lines(path: Path) -> None:
    history = History(path)
    history.store_string("first")
    history.store_string("second\nwith two lines")
    assert entries(path) == ["second\nwith two lines", "first"]


def test_only_the_newest_hundred_are_kept(path: Path) -> None:
    history = History(path)
    for number in range(LIMIT + 5):
        history.store_string(str(number))
    assert entries(path) == [str(number) for number in range(LIMIT + 4, 4, -1)]
    assert len(path.read_text().splitlines()) == LIMIT


def test_only_the_owner_can_read_the_file(path: Path) -> None:
    History(path).store_string("secret")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_history_that_is_off_writes_nothing(path: Path) -> None:
    History(path, enabled=False).store_string("secret")
    assert not path.exists()


def test_a_damaged_file_costs_only_its_damaged_lines(path: Path) -> None:
    path.parent.mkdir()
    path.write_text('"good"\n{broken\n7\n')
    assert entries(path) == ["good"]


def test_a_folder_that_cannot_be_made_turns_the_history_off(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    history = History(tmp_path / "file" / "history")
    history.store_string("lost")
    assert history.enabled is False
