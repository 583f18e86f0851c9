"""Several streams of work at once, in a task of their own, and word of each change for whoever watches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Generic, TypeVar

from anyio import CancelScope, Event, create_task_group

from agentkit_server.errors import AgentkitError

T = TypeVar("T")


class Streams(Generic[T]):
    """Does `work` on one thing after the other, `count` at a time. Belongs to one event loop; `run` once."""

    def __init__(self, count: int, work: Callable[[T], Awaitable[None]]) -> None:
        self._count = count
        self._work = work
        self._waiting: list[T] = []
        self._scope = CancelScope()
        self._changed = Event()
        self._error: AgentkitError | OSError | None = None

    def wake(self) -> None:
        """There is something new to see."""
        self._changed.set()
        self._changed = Event()

    async def run(self, things: Callable[[], Awaitable[list[T]]]) -> AsyncGenerator[None]:
        """Ask for the things, and do them; yields at the start, after each `wake` and at the end. Raises what
        the first failure is, and ends the others."""
        # A task of its own: a task group must not stay open over a yield.
        task = asyncio.create_task(self._all(things))
        task.add_done_callback(lambda _: self.wake())
        try:
            while not task.done():
                changed = self._changed
                yield
                await changed.wait()
            yield
            if self._error is not None:
                raise self._error
            task.result()
        finally:
            self._scope.cancel()
            with CancelScope(shield=True):
                await asyncio.wait([task])
            # Whoever left does not want to know what became of it.
            if not task.cancelled():
                task.exception()

    # --- within -----------------------------------------------------------------------------------

    async def _all(self, things: Callable[[], Awaitable[list[T]]]) -> None:
        with self._scope:
            try:
                self._waiting = list(reversed(await things()))
            except (AgentkitError, OSError) as error:
                self._error = error
                return
            async with create_task_group() as group:
                for _ in range(min(self._count, len(self._waiting))):
                    group.start_soon(self._stream)

    async def _stream(self) -> None:
        """One thing after the other, until none is left."""
        try:
            while self._waiting and self._error is None:
                await self._work(self._waiting.pop())
        except (AgentkitError, OSError) as error:
            self._error = self._error or error
            self._scope.cancel()
