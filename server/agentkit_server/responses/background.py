"""Responses that are made while nobody waits: each a task that fills a list of events, which any number of
callers follow from wherever they left off."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import aclosing, contextmanager

from anyio import CancelScope, Event

from agentkit_server.errors import ServerBusy

log = logging.getLogger(__name__)

MOST_RUNS = 512
"""Responses in the making at once, those that wait for a model among them."""


class Run:
    """One response in the making. Its event number `i` is `events[i]`."""

    def __init__(self) -> None:
        self.events: list[bytes] = []
        self.scope = CancelScope()
        self._ended = Event()
        self._changed = Event()

    def add(self, *events: bytes) -> None:
        """Something happened."""
        self.events += events
        self._wake()

    def end(self) -> None:
        """Nothing more will happen."""
        self._ended.set()
        self._wake()

    async def cancel(self) -> None:
        """Stop it; returns when it has ended and is kept."""
        self.scope.cancel()
        await self._ended.wait()

    async def follow(self, after: int = -1) -> AsyncGenerator[bytes]:
        """The events behind number `after`, until it has ended."""
        at = after + 1
        while True:
            changed = self._changed
            for event in self.events[at:]:
                yield event
                at += 1
            if at >= len(self.events):
                if self._ended.is_set():
                    return
                await changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = Event()


class Background:
    """The runs of one server."""

    def __init__(self) -> None:
        self.closing = False
        self._runs: dict[str, Run] = {}
        self._starting = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def get(self, id: str) -> Run | None:
        """The run of the response `id`, None when there is none or it has ended."""
        return self._runs.get(id)

    @contextmanager
    def room(self) -> Generator[None]:
        """Room for one that is started inside. Raises ServerBusy when there are too many."""
        if len(self._runs) + self._starting >= MOST_RUNS:
            raise ServerBusy(f"{MOST_RUNS} responses are being made in the background; try again later")
        self._starting += 1
        try:
            yield
        finally:
            self._starting -= 1

    def start(
        self, id: str, run: Run, events: AsyncGenerator[bytes], rest: Callable[[], Sequence[bytes]]
    ) -> None:
        """Make the response `id`: read `events` to their end, or until it is cancelled; then `rest` tells
        what was not told."""
        self._runs[id] = run
        task = asyncio.create_task(self._carry_out(id, run, events, rest))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Cancel all of them, and wait until they are kept."""
        self.closing = True
        for run in list(self._runs.values()):
            run.scope.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _carry_out(
        self, id: str, run: Run, events: AsyncGenerator[bytes], rest: Callable[[], Sequence[bytes]]
    ) -> None:
        try:
            with run.scope:
                async with aclosing(events):
                    async for event in events:
                        run.add(event)
        except Exception:
            log.exception("a background response failed")
        finally:
            try:
                run.add(*rest())
            finally:
                # Whatever happened: nobody may wait for it for ever.
                del self._runs[id]
                run.end()
