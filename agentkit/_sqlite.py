"""Sessions in one SQLite file, which threads and processes may share.

A message is a row under the hash of itself and of the row before it: a run that goes on, and a fork, share
what they have in common. Each call has a connection of its own and is one transaction.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

from agentkit._errors import AgentkitError, RequestError
from agentkit._run import Run
from agentkit._session import SessionInfo, SessionStore, unknown
from agentkit._types import Message

if TYPE_CHECKING:
    # Reading it costs what `import agentkit` should not.
    from sqlite3 import Connection

_VERSION = 1
_APPLICATION = 0x616B6974
"""`akit`, in the file's header: whose file it is."""
_PATIENCE_S = 60.0
"""That a write waits for those of others."""
_WRITE = "BEGIN IMMEDIATE"
_SCHEMA = """
CREATE TABLE messages (hash TEXT PRIMARY KEY, parent TEXT, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE sessions (
    id TEXT PRIMARY KEY, parent TEXT, head TEXT, run TEXT, created_at TEXT NOT NULL, changed_at TEXT NOT NULL
);
CREATE TABLE runs (
    place INTEGER PRIMARY KEY, session TEXT NOT NULL, id TEXT NOT NULL, head TEXT, status TEXT NOT NULL,
    state TEXT NOT NULL, UNIQUE (session, id)
);
"""
_CHAIN = """
WITH RECURSIVE chain (hash, parent, body, depth) AS (
    SELECT hash, parent, body, 0 FROM messages WHERE hash = ?
    UNION ALL
    SELECT m.hash, m.parent, m.body, depth + 1 FROM messages m JOIN chain ON m.hash = chain.parent
) SELECT body FROM chain ORDER BY depth DESC
"""
_UNREACHED = """
WITH RECURSIVE live (hash) AS (
    SELECT head FROM sessions UNION SELECT head FROM runs
    UNION SELECT m.parent FROM messages m JOIN live ON m.hash = live.hash
) DELETE FROM messages WHERE hash NOT IN (SELECT hash FROM live WHERE hash IS NOT NULL)
"""
_INFOS = """
SELECT id, parent, created_at, changed_at, (SELECT count(*) FROM runs WHERE session = s.id),
    (SELECT status FROM runs WHERE session = s.id AND id = s.run)
FROM sessions s ORDER BY changed_at DESC
"""


class SQLiteSessions(SessionStore):
    """The sessions in the file at `path`, which is made when the first one is."""

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = fspath(path)
        if self.path in ("", ":memory:"):
            raise RequestError(f"{self.path!r} is no file; use MemorySessions()")

    def __repr__(self) -> str:
        return f"SQLiteSessions({self.path!r})"

    def create(self, id: str, parent: str | None = None) -> None:
        with self._connected(_WRITE) as db:
            head = None if parent is None else _head(db, parent)
            now = _now()
            db.execute(
                "INSERT OR IGNORE INTO sessions VALUES (?, ?, ?, NULL, ?, ?)", (id, parent, head, now, now)
            )

    def list(self) -> Sequence[SessionInfo]:
        with self._connected() as db:
            return [
                SessionInfo(
                    id=id,
                    parent=parent,
                    created_at=datetime.fromisoformat(created),
                    changed_at=datetime.fromisoformat(changed),
                    runs=runs,
                    status=status,
                )
                for id, parent, created, changed, runs, status in db.execute(_INFOS)
            ]

    def delete(self, id: str) -> bool:
        with self._connected(_WRITE) as db:
            found = db.execute("DELETE FROM sessions WHERE id = ?", (id,)).rowcount > 0
            db.execute("DELETE FROM runs WHERE session = ?", (id,))
            db.execute(_UNREACHED)
            return found

    def messages(self, id: str) -> Sequence[Message]:
        with self._connected() as db:
            return [Message.model_validate(one) for one in _bodies(db, _head(db, id))]

    def save(self, id: str, run: Run) -> None:
        rows = _rows(run.messages)
        head = rows[-1][0] if rows else None
        state = run.model_dump_json(exclude={"messages"})
        with self._connected(_WRITE) as db:
            _head(db, id)
            db.executemany("INSERT OR IGNORE INTO messages VALUES (?, ?, ?)", rows)
            db.execute(
                "INSERT INTO runs (session, id, head, status, state) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (session, id) DO UPDATE SET head = excluded.head, status = excluded.status, "
                "state = excluded.state",
                (id, run.id, head, run.status, state),
            )
            db.execute(
                "UPDATE sessions SET head = ?, run = ?, changed_at = ? WHERE id = ?",
                (head, run.id, _now(), id),
            )

    def runs(self, id: str) -> Sequence[Run]:
        with self._connected() as db:
            _head(db, id)
            rows = db.execute("SELECT head, state FROM runs WHERE session = ? ORDER BY place", (id,))
            return [_run(db, *row) for row in rows.fetchall()]

    def last_run(self, id: str) -> Run | None:
        with self._connected() as db:
            _head(db, id)
            row = db.execute(
                "SELECT r.head, r.state FROM runs r JOIN sessions s ON r.session = s.id AND r.id = s.run "
                "WHERE s.id = ?",
                (id,),
            ).fetchone()
            return None if row is None else _run(db, *row)

    @contextmanager
    def _connected(self, begin: str = "BEGIN") -> Generator[Connection]:
        """A connection inside of one transaction, which is undone by an exception."""
        import sqlite3

        try:
            with closing(sqlite3.connect(self.path, timeout=_PATIENCE_S, isolation_level=None)) as db:
                self._prepare(db)
                db.execute(begin)
                yield db
                db.execute("COMMIT")
        except sqlite3.Error as error:
            raise AgentkitError(
                f"the sessions in {self.path!r} cannot be used: {error}",
                hint="give the path of a file that agentkit made, or of a new one in a folder that is there",
            ) from error

    def _prepare(self, db: Connection) -> None:
        from sqlite3 import OperationalError

        if _pragma(db, "application_id") != _APPLICATION or _pragma(db, "user_version") != _VERSION:
            db.execute(_WRITE)
            self._check(db)
            db.execute("COMMIT")
        # With WAL, who reads does not wait for who writes; NORMAL loses nothing when a process ends.
        db.execute("PRAGMA synchronous = NORMAL")
        if _pragma(db, "journal_mode") != "wal":
            try:
                db.execute("PRAGMA journal_mode = WAL")
            except OperationalError as error:
                # Another process uses the file at this moment; whoever comes next switches it.
                if "locked" not in str(error):
                    raise

    def _check(self, db: Connection) -> None:
        """Make the tables in an empty file. Raises AgentkitError for a file of somebody else."""
        version = _pragma(db, "user_version")
        if _pragma(db, "application_id") == _APPLICATION:
            if version == _VERSION:
                return
            raise AgentkitError(
                f"the sessions in {self.path!r} have version {version}, and this agentkit knows {_VERSION}",
                hint="update agentkit",
            )
        if db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
            raise AgentkitError(
                f"{self.path!r} is a database of another program",
                hint="give the sessions a file of their own",
            )
        for statement in _SCHEMA.split(";"):
            db.execute(statement)
        db.execute(f"PRAGMA application_id = {_APPLICATION}")
        db.execute(f"PRAGMA user_version = {_VERSION}")


def _pragma(db: Connection, name: str) -> Any:
    return db.execute(f"PRAGMA {name}").fetchone()[0]


def _head(db: Connection, id: str) -> str | None:
    """The hash of the session's last message. Raises RequestError where there is no such session."""
    row = db.execute("SELECT head FROM sessions WHERE id = ?", (id,)).fetchone()
    if row is None:
        raise unknown(id)
    return row[0]


def _rows(messages: Sequence[Message]) -> list[tuple[str, str | None, str]]:
    """Hash, hash of the message before, and JSON text of each."""
    rows: list[tuple[str, str | None, str]] = []
    parent = None
    for message in messages:
        body = message.model_dump_json(exclude_none=True)
        hash = sha256(f"{parent or ''}\n{body}".encode()).hexdigest()
        rows.append((hash, parent, body))
        parent = hash
    return rows


def _bodies(db: Connection, head: str | None) -> list[Any]:
    return [json.loads(body) for (body,) in db.execute(_CHAIN, (head,))]


def _run(db: Connection, head: str | None, state: str) -> Run:
    return Run.model_validate({**json.loads(state), "messages": _bodies(db, head)})


def _now() -> str:
    return datetime.now(UTC).isoformat()
