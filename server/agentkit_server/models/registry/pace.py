"""The bandwidth limit that all transfers of a server share."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import anyio


class Pace:
    """At most `rate` bytes a second on average, 0 = no limit. Belongs to one event loop."""

    def __init__(
        self,
        rate: int = 0,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._free_at = 0.0

    async def spend(self, count: int) -> None:
        """Account for `count` bytes that were moved; returns when the next may be."""
        if not self._rate:
            return
        now = self._clock()
        # Idle time is not saved up: a pull that paused must not rush afterwards.
        self._free_at = max(now, self._free_at) + count / self._rate
        if self._free_at > now:
            await self._sleep(self._free_at - now)
