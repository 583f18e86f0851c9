"""Synchronous functions, run beside the event loop."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

R = TypeVar("R")


async def in_thread(function: Callable[[], R]) -> R:
    """What `function` returns or raises, from a thread of its own, with the caller's context variables.

    Not `asyncio.to_thread`: that has few threads, which name look-ups share, and the program could not end
    before a function that hangs does.
    """
    future: Future[R] = Future()
    # From here on it cannot be cancelled: whoever waits may leave, and the thread goes on.
    future.set_running_or_notify_cancel()
    context = contextvars.copy_context()

    def work() -> None:
        try:
            result = context.run(function)
        except StopIteration as error:
            # No future takes one.
            stopped = RuntimeError(f"the function raised {error!r}")
            stopped.__cause__ = error
            future.set_exception(stopped)
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=work, name="agentkit-tool", daemon=True).start()
    return await asyncio.wrap_future(future)
