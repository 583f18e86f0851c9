"""The file of stored responses: what it keeps, for how long, and what a crash leaves of it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agentkit_server.errors import StoreError
from agentkit_server.responses.store import Kept, ResponseStore

Opened = Callable[..., ResponseStore]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "responses.sqlite"


@pytest.fixture
def opened(path: Path) -> Iterator[Opened]:
    stores: list[ResponseStore] = []

    def open_one(*, keep: float = 3600, most_bytes: int = 1 << 30) -> ResponseStore:
        stores.append(ResponseStore(path, keep=keep, most_bytes=most_bytes))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


def kept(id: str, previous: str | None = None, size: int = 10, **fields: object) -> Kept:
    response = b'{"output":[]}'.ljust(size)
    return Kept(id=id, previous=previous, input=b"[]", response=response, **fields)  # pyright: ignore


def test_what_was_put_is_there_for_another_store(opened: Opened) -> None:
    opened().put(kept("a", events=b"x"))
    found = opened().get("a")
    assert found is not None
    assert (found.id, found.events, found.running, found.lost) == ("a", b"x", False, False)


def test_the_file_is_for_its_owner_alone(opened: Opened, path: Path) -> None:
    opened().put(kept("a"))
    assert path.stat().st_mode & 0o077 == 0 and path.parent.stat().st_mode & 0o077 == 0


def test_a_chain_is_told_from_its_oldest(opened: Opened) -> None:
    store = opened()
    for id, previous in (("a", None), ("b", "a"), ("c", "b"), ("d", "a")):
        store.put(kept(id, previous))
    assert [one.id for one in store.chain("c")] == ["a", "b", "c"]
    assert store.delete("b") and not store.delete("b")
    assert [one.id for one in store.chain("c")] == ["c"]
    assert [one.id for one in store.chain("d")] == ["a", "d"]
    assert store.chain("b") == []


def test_what_is_not_used_expires(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    store, now = opened(keep=100), time.time()
    store.put(kept("a"))
    store.put(kept("b", "a"))
    store.put(kept("lonely"))
    monkeypatch.setattr(time, "time", lambda: now + 60)
    store.chain("b")
    monkeypatch.setattr(time, "time", lambda: now + 120)
    assert store.get("lonely") is None
    assert [one.id for one in store.chain("b")] == ["a", "b"]
    store.put(kept("new"))
    assert store.count() == 3


def test_a_negative_keep_is_for_ever(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    store, now = opened(keep=-1), time.time()
    store.put(kept("a"))
    monkeypatch.setattr(time, "time", lambda: now + 1e9)
    store.put(kept("b"))
    assert store.count() == 2


def test_the_longest_unused_go_when_there_is_too_much(opened: Opened) -> None:
    store = opened(most_bytes=1000)
    for id in "abcdefgh":
        store.put(kept(id, size=198))
        store.chain("a")
    assert [id for id in "abcdefgh" if store.get(id)] == ["a", "e", "f", "g", "h"]


def test_looking_at_a_chain_does_not_count_as_use(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    store, now = opened(keep=100), time.time()
    store.put(kept("a"))
    monkeypatch.setattr(time, "time", lambda: now + 60)
    assert store.chain("a", use=False)
    monkeypatch.setattr(time, "time", lambda: now + 120)
    assert store.get("a") is None


def test_one_that_is_larger_than_all_may_be_is_an_error(opened: Opened) -> None:
    store = opened(most_bytes=1000)
    store.put(kept("a"))
    with pytest.raises(StoreError, match="AGENTKIT_RESPONSES_MAX_BYTES"):
        store.put(kept("b", size=1000))
    assert store.get("a")


def test_a_full_disk_is_told_and_left_behind(opened: Opened) -> None:
    store = opened()
    [pages] = store._db.execute("PRAGMA page_count").fetchone()  # pyright: ignore[reportPrivateUsage]
    store._db.execute(f"PRAGMA max_page_count = {pages}")  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(StoreError, match="is full"):
        store.put(kept("a", size=1 << 20))
    store.put(kept("b"))
    assert store.get("a") is None and store.get("b")


def test_an_end_that_cannot_be_committed_is_taken_back(opened: Opened) -> None:
    store = opened()
    # What is checked at the end alone, and fails there.
    for statement in (
        "PRAGMA foreign_keys = ON",
        "CREATE TABLE parent (id TEXT PRIMARY KEY)",
        "CREATE TABLE child (id TEXT REFERENCES parent DEFERRABLE INITIALLY DEFERRED)",
        "CREATE TRIGGER orphan AFTER INSERT ON responses WHEN new.id = 'a' "
        "BEGIN INSERT INTO child VALUES (new.id); END",
    ):
        store._db.execute(statement)  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(StoreError, match="FOREIGN KEY"):
        store.put(kept("a"))
    store.put(kept("b"))
    assert store.get("a") is None and store.get("b")


def test_an_item_leads_to_its_response_while_that_is_there(opened: Opened) -> None:
    store = opened()
    store.put(kept("a", items=("msg_1",)))
    store.put(kept("a", items=("msg_1", "msg_2")))
    found = store.holder("msg_2")
    assert found is not None and found.id == "a"
    store.delete("a")
    assert store.holder("msg_1") is None


def test_what_a_killed_server_was_making_is_lost_and_the_rest_is_there(opened: Opened, path: Path) -> None:
    program = f"""
import os, signal
from pathlib import Path
from agentkit_server.responses.store import Kept, ResponseStore
store = ResponseStore(Path({str(path)!r}), keep=-1, most_bytes=1 << 30)
for at in range(50):
    store.put(Kept(id=f"done{{at}}", input=b"[]", response=b"{{}}"))
store.put(Kept(id="made", input=b"[]", response=b"{{}}", running=True))
os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", program], timeout=60, check=False)
    assert ended.returncode == -9
    store = opened()
    made = store.get("made")
    assert made is not None and made.lost and not made.running
    assert store.count() == 51
    store.put(kept("own", running=True))
    own = opened().get("own")
    assert own is not None and own.running and not own.lost


def test_another_kind_of_file_is_left_alone(opened: Opened, path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE mine (x)")
    db.close()
    with pytest.raises(StoreError, match="is no file of responses"):
        opened()
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(StoreError, match="AGENTKIT_RESPONSES"):
        opened()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_told(opened: Opened, path: Path) -> None:
    path.parent.mkdir(mode=0o500)
    with pytest.raises(StoreError, match="cannot be used"):
        opened()
