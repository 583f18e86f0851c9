"""Blocking work in steps: a generator whose every step runs in a worker thread."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from threading import Lock
from typing import Generic, TypeVar

from anyio import CancelScope, to_thread

T = TypeVar("T")
R = TypeVar("R")


class Steps(Generic[T, R]):
    """Drives a blocking generator from the event loop. `result` holds what it returned, once `run` ends.

    Cancelling stops after the step under way and closes the generator.
    """

    result: R

    def __init__(self, generator: Generator[T, None, R]) -> None:
        self._generator = generator
        # A task that is cancelled without anyio's knowing leaves its thread running for a moment.
        self._running = Lock()

    async def run(self) -> AsyncGenerator[T]:
        try:
            while (step := await to_thread.run_sync(self._step)) is not None:
                yield step[0]
        finally:
            with CancelScope(shield=True):
                await to_thread.run_sync(self._close)

    def _step(self) -> tuple[T] | None:
        with self._running:
            try:
                return (next(self._generator),)
            except StopIteration as end:
                self.result = end.value
                return None

    def _close(self) -> None:
        with self._running:
            self._generator.close()
