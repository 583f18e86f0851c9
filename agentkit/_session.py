"""Sessions: conversations that outlive a process, and the runs that made them.

A SessionStore keeps them; a Session is a name in one, and reads it afresh every time. All of it blocks;
agents do it in a thread. Nothing of a run is kept before the model has answered once, so a prompt that met a
server that is down can simply be given again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import uuid4

from agentkit._errors import RequestError
from agentkit._run import Run, Status
from agentkit._types import Message


@dataclass(frozen=True, kw_only=True)
class SessionInfo:
    """What a list of sessions says of each."""

    id: str
    parent: str | None
    """The session that it was forked from."""
    created_at: datetime
    changed_at: datetime
    runs: int
    status: Status | None
    """Of the run that was saved last."""


class SessionStore(ABC):
    """Where sessions are kept. Threads may share one. Raises AgentkitError where it cannot be read."""

    def open(self, id: str | None = None) -> Session:
        """The session `id`, which is made where there is none; without an id a new one."""
        session = Session(self, id or f"session_{uuid4().hex[:20]}")
        self.create(session.id)
        return session

    @abstractmethod
    def create(self, id: str, parent: str | None = None) -> None:
        """Make the session unless there is one; it begins with the messages of `parent`."""

    @abstractmethod
    def list(self) -> Sequence[SessionInfo]:
        """All sessions, the one that was changed last first."""

    @abstractmethod
    def delete(self, id: str) -> bool:
        """Forget a session and its runs, but not what its forks share. False: there is none."""

    @abstractmethod
    def messages(self, id: str) -> Sequence[Message]:
        """The conversation. Raises RequestError for an unknown id, as all below do."""

    @abstractmethod
    def save(self, id: str, run: Run) -> None:
        """Keep `run` as it is now, new or again. Its messages are the conversation from here on."""

    @abstractmethod
    def runs(self, id: str) -> Sequence[Run]:
        """The runs in the order in which they were begun."""

    @abstractmethod
    def last_run(self, id: str) -> Run | None:
        """The run that was saved last."""


class Session:
    """A conversation in a store. Threads and processes may have the same one open; of two runs at the same
    time both are kept, and the one that is saved last is what the next run goes on from."""

    def __init__(self, store: SessionStore, id: str) -> None:
        self.store = store
        self.id = id

    def __repr__(self) -> str:
        return f"Session({self.id!r})"

    @property
    def messages(self) -> list[Message]:
        """The whole conversation, the system message included."""
        return [*self.store.messages(self.id)]

    def runs(self) -> list[Run]:
        """The runs of this session, the first one first; not those of the session it was forked from."""
        return [*self.store.runs(self.id)]

    def save(self, run: Run) -> None:
        """Keep `run` as it is now. Agents do it by themselves; this is for a run that was changed outside,
        such as by an approval that another process is to act on."""
        self.store.save(self.id, run)

    def pending_run(self) -> Run | None:
        """The last run, where it can be gone on with: it waits for approvals, or its process ended before it
        did. `agent.run(session=session)` does so; approve or deny first and pass it as `run=`."""
        run = self.store.last_run(self.id)
        if run is None or run.status == "done" or not run.messages:
            return None
        return run if run.open_calls or run.messages[-1].role in ("user", "tool") else None

    def fork(self, id: str | None = None) -> Session:
        """Another session that goes on from here, by itself. What was said so far is kept once for both, and
        the server computes it once. A run that is pending is pending in both."""
        pending = self.pending_run()
        forked = Session(self.store, id or f"session_{uuid4().hex[:20]}")
        if any(info.id == forked.id for info in self.store.list()):
            raise RequestError(f"there is a session {forked.id!r} already; fork into another id")
        self.store.create(forked.id, self.id)
        if pending is not None:
            forked.save(pending.fork()[0])
        return forked

    def delete(self) -> None:
        """Forget it."""
        self.store.delete(self.id)


def unknown(id: str) -> RequestError:
    """The error for a session that a store does not have."""
    return RequestError(f"there is no session {id!r}; open it first")


def copied(run: Run) -> Run:
    """`run` as it is now, to be written while it goes on."""
    fields = {
        "messages": [*run.messages],
        "decisions": {**run.decisions},
        "results": {**run.results},
        "failures": {**run.failures},
        "begun": [*run.begun],
    }
    return run.model_copy(update=fields)


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass
class _Kept:
    parent: str | None
    messages: list[Message] = field(default_factory=list[Message])
    runs: dict[str, Run] = field(default_factory=dict[str, Run])
    last: str | None = None
    created_at: datetime = field(default_factory=_now)
    changed_at: datetime = field(default_factory=_now)


class MemorySessions(SessionStore):
    """Sessions that end with the process, for tests and for programs that keep nothing."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}

    def create(self, id: str, parent: str | None = None) -> None:
        messages = [] if parent is None else self._of(parent).messages
        self._kept.setdefault(id, _Kept(parent, [*messages]))

    def list(self) -> Sequence[SessionInfo]:
        def info(id: str, kept: _Kept) -> SessionInfo:
            last = kept.runs[kept.last] if kept.last is not None else None
            return SessionInfo(
                id=id,
                parent=kept.parent,
                created_at=kept.created_at,
                changed_at=kept.changed_at,
                runs=len(kept.runs),
                status=last and last.status,
            )

        infos = [info(id, kept) for id, kept in self._kept.items()]
        return sorted(infos, key=lambda one: one.changed_at, reverse=True)

    def delete(self, id: str) -> bool:
        return self._kept.pop(id, None) is not None

    def messages(self, id: str) -> Sequence[Message]:
        return [message.model_copy(deep=True) for message in self._of(id).messages]

    def save(self, id: str, run: Run) -> None:
        kept, run = self._of(id), run.model_copy(deep=True)
        kept.runs[run.id] = run
        kept.messages, kept.last, kept.changed_at = run.messages, run.id, _now()

    def runs(self, id: str) -> Sequence[Run]:
        return [run.model_copy(deep=True) for run in self._of(id).runs.values()]

    def last_run(self, id: str) -> Run | None:
        kept = self._of(id)
        return None if kept.last is None else kept.runs[kept.last].model_copy(deep=True)

    def _of(self, id: str) -> _Kept:
        if id not in self._kept:
            raise unknown(id)
        return self._kept[id]
