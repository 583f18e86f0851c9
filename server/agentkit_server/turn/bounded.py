"""Work of untrusted templates, on a worker thread and for a bounded time."""

from __future__ import annotations

import asyncio
import ctypes
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from anyio import to_thread

RENDER_SECONDS = 5.0

Result = TypeVar("Result")


class OutOfTime(Exception):
    """The work took too long, and was stopped."""


class _OutOfTimeError(BaseException):
    """Thrown into the rendering thread. Not an Exception: a filter must not be able to swallow it."""


async def in_time(work: Callable[[], Result]) -> Result:
    """What `work` returns. Raises OutOfTime when it takes longer than `RENDER_SECONDS`."""
    job = _Job(work)
    loop = asyncio.get_running_loop()

    def stop() -> None:
        # Again until it has ended: an exception thrown into a finaliser is swallowed there.
        nonlocal timer
        job.stop()
        timer = loop.call_later(0.1, stop)

    timer = loop.call_later(RENDER_SECONDS, stop)
    try:
        return await to_thread.run_sync(job.run)
    finally:
        timer.cancel()


class _Job(Generic[Result]):
    """Templates running on a worker thread, which can be stopped from another."""

    def __init__(self, work: Callable[[], Result]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._thread: int | None = None

    def run(self) -> Result:
        """Raises OutOfTime when it was stopped."""
        try:
            try:
                with self._lock:
                    self._thread = threading.get_ident()
                return self._work()
            finally:
                # Once this is None nothing can be thrown any more: the thread may go on to other work.
                with self._lock:
                    self._thread = None
        except _OutOfTimeError:
            raise OutOfTime(f"it ran for more than {RENDER_SECONDS:g} seconds") from None

    def stop(self) -> None:
        """Throw out of the template's next step, if it still runs."""
        with self._lock:
            if self._thread is not None:
                thread = ctypes.c_ulong(self._thread)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(_OutOfTimeError))
