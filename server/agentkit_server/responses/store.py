"""Responses that were asked to be kept, in one SQLite file: each with its own input, its output, and for a
background response its events.

A response is kept for `keep` seconds after it was made or last continued; the longest unused go earlier when
the file has more than `most_bytes` of content. Each call is one transaction, and a crash leaves the file as
it was before or after it. What was running when its server died is told as lost.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import psutil

from agentkit_server.errors import StoreError

_APPLICATION = 0x616B7270
"""`akrp`, in the file's header: whose file it is."""
_VERSION = 1
_PATIENCE_S = 30.0
"""That a write waits for those of another server on the same file."""
_SWEPT = 100
"""Expired responses that go with one write, so that none takes long."""
_SCHEMA = """
CREATE TABLE responses (
    place INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, previous TEXT, used REAL NOT NULL, owner TEXT,
    input BLOB NOT NULL, response BLOB NOT NULL, events BLOB NOT NULL, size INTEGER NOT NULL
);
CREATE INDEX by_use ON responses (used, place);
CREATE TABLE items (id TEXT PRIMARY KEY, response TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX items_of ON items (response);
CREATE TABLE total (bytes INTEGER NOT NULL);
INSERT INTO total VALUES (0);
CREATE TRIGGER grown AFTER INSERT ON responses BEGIN UPDATE total SET bytes = bytes + new.size; END;
CREATE TRIGGER shrunk AFTER DELETE ON responses BEGIN
    UPDATE total SET bytes = bytes - old.size;
    DELETE FROM items WHERE response = old.id;
END;
"""
_CHAIN = """
WITH RECURSIVE chain (place, id, previous, depth) AS (
    SELECT place, id, previous, 0 FROM responses WHERE id = ? AND used >= ?
    UNION ALL
    SELECT r.place, r.id, r.previous, depth + 1 FROM responses r JOIN chain ON r.id = chain.previous
) SELECT r.id, r.previous, r.input, r.response, r.events, r.owner
FROM chain JOIN responses r USING (place) ORDER BY depth DESC
"""
_ONE = """
SELECT id, previous, input, response, events, owner FROM responses WHERE id = ? AND used >= ?
"""


class Kept(msgspec.Struct, kw_only=True):
    """A stored response. What it is made of is JSON in bytes: whoever asks decodes what it needs."""

    id: str
    previous: str | None = None
    input: bytes
    """A list of the items that came with its own request."""
    response: bytes
    """The response object."""
    events: bytes = b""
    """Server-sent events, one after the other."""
    running: bool = False
    """A server is at work on it."""
    here: bool = False
    """That server is this one."""
    lost: bool = False
    """A server was at work on it, and is no more."""
    items: tuple[str, ...] = ()
    """Ids of its output, by which later requests may refer to them. Only written, not read back."""


class ResponseStore:
    """The file at `path`, made when it is not there. Not for the event loop: every call waits for the disk.

    Raises StoreError when the file cannot be opened, read or written.
    """

    def __init__(self, path: Path, *, keep: float, most_bytes: int) -> None:
        """`keep` in seconds; negative = for ever."""
        self.path = path
        self._keep = keep
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._owner = _owner(psutil.Process())
        with _told(path):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Conversations are nobody else's business.
            path.touch(mode=0o600)
            self._db = sqlite3.connect(
                path, timeout=_PATIENCE_S, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise

    def put(self, kept: Kept) -> None:
        """Keep a response, in place of what was kept under its id. What has expired goes. Raises StoreError
        for one that would have to go itself."""
        size = len(kept.input) + len(kept.response) + len(kept.events)
        if size > self._most_bytes:
            raise StoreError(
                f"the response has {size} bytes with its input, and {self._most_bytes} are kept in all; "
                f"raise AGENTKIT_RESPONSES_MAX_BYTES, or send store=false"
            )
        with self._transaction() as db:
            db.execute("DELETE FROM responses WHERE id = ?", (kept.id,))
            db.execute(
                "INSERT INTO responses (id, previous, used, owner, input, response, events, size) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    kept.id,
                    kept.previous,
                    time.time(),
                    self._owner if kept.running else None,
                    kept.input,
                    kept.response,
                    kept.events,
                    size,
                ),
            )
            db.executemany("INSERT OR REPLACE INTO items VALUES (?, ?)", [(id, kept.id) for id in kept.items])
            self._sweep(db)

    def get(self, id: str) -> Kept | None:
        """The response `id`, None when there is none or it has expired."""
        with self._transaction() as db:
            row = db.execute(_ONE, (id, self._oldest)).fetchone()
        return None if row is None else self._kept(row)

    def chain(self, id: str, *, use: bool = True) -> list[Kept]:
        """The response `id` behind all that it continues, the oldest first. With `use` all of them count as
        used. Shorter when one of them is gone, [] when it is `id`."""
        with self._transaction() as db:
            found = [self._kept(row) for row in db.execute(_CHAIN, (id, self._oldest))]
            if use:
                now = time.time()
                db.executemany("UPDATE responses SET used = ? WHERE id = ?", [(now, one.id) for one in found])
        return found

    def holder(self, item: str) -> Kept | None:
        """The response that has the output item `item`."""
        with self._transaction() as db:
            row = db.execute("SELECT response FROM items WHERE id = ?", (item,)).fetchone()
        return None if row is None else self.get(row[0])

    def delete(self, id: str) -> bool:
        """Remove a response and its items. False when there is none."""
        with self._transaction() as db:
            return db.execute("DELETE FROM responses WHERE id = ?", (id,)).rowcount > 0

    def count(self) -> int:
        """How many there are."""
        with self._transaction() as db:
            return db.execute("SELECT count(*) FROM responses").fetchone()[0]

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._db.close()

    @property
    def _oldest(self) -> float:
        """What was used before has expired."""
        return time.time() - self._keep if self._keep >= 0 else 0.0

    def _prepare(self) -> None:
        db = self._db
        db.execute("PRAGMA journal_mode = WAL")
        # With WAL a crash of the machine may lose the last responses, and never the file.
        db.execute("PRAGMA synchronous = NORMAL")
        with self._transaction():
            [application] = db.execute("PRAGMA application_id").fetchone()
            [version] = db.execute("PRAGMA user_version").fetchone()
            if application == 0 and version == 0 and not db.execute("SELECT 1 FROM sqlite_master").fetchone():
                for statement in _statements(_SCHEMA):
                    db.execute(statement)
                db.execute(f"PRAGMA application_id = {_APPLICATION}")
                db.execute(f"PRAGMA user_version = {_VERSION}")
            elif (application, version) != (_APPLICATION, _VERSION):
                raise StoreError(
                    f"{str(self.path)!r} is no file of responses, or of another version; "
                    f"set AGENTKIT_RESPONSES to another file"
                )

    def _sweep(self, db: sqlite3.Connection) -> None:
        """Remove what has expired, and while there is too much the longest unused."""
        db.execute(
            "DELETE FROM responses WHERE place IN "
            "(SELECT place FROM responses WHERE used < ? ORDER BY used LIMIT ?)",
            (self._oldest, _SWEPT),
        )
        while db.execute("SELECT bytes FROM total").fetchone()[0] > self._most_bytes:
            gone = db.execute(
                "DELETE FROM responses WHERE place = "
                "(SELECT place FROM responses ORDER BY used, place LIMIT 1)"
            )
            if not gone.rowcount:
                return

    @contextmanager
    def _transaction(self) -> Generator[sqlite3.Connection]:
        with self._lock, _told(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                # A full disk has ended it already.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _kept(self, row: tuple[str, str | None, bytes, bytes, bytes, str | None]) -> Kept:
        id, previous, input, response, events, owner = row
        kept = Kept(id=id, previous=previous, input=input, response=response, events=events)
        if owner is not None:
            kept.here = owner == self._owner
            kept.running = kept.here or _alive(owner)
            kept.lost = not kept.running
        return kept


@contextmanager
def _told(path: Path) -> Generator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StoreError(
            f"the file of responses {str(path)!r} cannot be used: {error}; set AGENTKIT_RESPONSES to "
            f"another, or send store=false"
        ) from error


def _statements(script: str) -> Generator[str]:
    """The statements of `script`: `executescript` would commit the transaction that it runs in."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _owner(process: psutil.Process) -> str:
    """Names a process beyond its own life: a number alone comes again."""
    return f"{process.pid} {process.create_time():.2f}"


def _alive(owner: str) -> bool:
    try:
        return _owner(psutil.Process(int(owner.partition(" ")[0]))) == owner
    except (psutil.Error, ValueError):
        return False
