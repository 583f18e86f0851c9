"""Requests that wait for a lease: a queue for each model, and a bound on all of them together."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence

from agentkit_server.errors import AgentkitError, ServerBusy
from agentkit_server.residency.tenant import Key, Waiter

BUSY = "server busy, please try again.  maximum pending requests exceeded"
RETRY_AFTER_MOST = 60


class Waiting:
    """`most` may wait at a time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._queues: dict[Key, deque[Waiter]] = {}
        self._held = 1.0
        """Seconds that a lease is held, as a moving average: what Retry-After is computed from."""

    def __contains__(self, key: Key) -> bool:
        return key in self._queues

    def of(self, key: Key) -> Sequence[Waiter]:
        """Who waits for this model, in the order they came."""
        return tuple(self._queues.get(key, ()))

    def head(self, key: Key) -> Waiter | None:
        """The first request that still waits for this model."""
        queue = self._queues.get(key)
        while queue and queue[0].future.done():
            # Cancelled a moment ago; its task has yet to run.
            queue.popleft()
        if queue:
            return queue[0]
        self._queues.pop(key, None)
        return None

    def heads(self, keys: Iterable[Key]) -> list[Waiter]:
        """The first of each of these models, who waits for longest before the others."""
        heads = [head for key in keys if (head := self.head(key)) is not None]
        return sorted(heads, key=lambda waiter: waiter.number)

    def check(self, running: int) -> None:
        """Raises ServerBusy when no more may wait, while `running` requests hold leases."""
        waiting = sum(map(len, self._queues.values()))
        if waiting < self._most:
            return
        seconds = math.ceil(self._held * waiting / max(running, 1))
        raise ServerBusy(BUSY, retry_after=min(max(seconds, 1), RETRY_AFTER_MOST))

    def learn(self, seconds: float) -> None:
        """A lease was held for so long."""
        self._held += (seconds - self._held) / 8

    def add(self, waiter: Waiter) -> None:
        self._queues.setdefault(waiter.key, deque()).append(waiter)

    def remove(self, waiter: Waiter) -> None:
        """It waits no more, if it did."""
        queue = self._queues.get(waiter.key)
        if queue is not None and waiter in queue:
            queue.remove(waiter)
            if not queue:
                del self._queues[waiter.key]

    def refuse(self, waiters: Iterable[Waiter], error: AgentkitError) -> None:
        for waiter in waiters:
            self.remove(waiter)
            if not waiter.future.done():
                waiter.future.set_exception(_twin(error))

    def refuse_all(self, error: AgentkitError) -> None:
        for key in list(self._queues):
            self.refuse(self.of(key), error)


def _twin(error: AgentkitError) -> AgentkitError:
    """The same error for one more request: an exception gathers the traceback of each that raises it."""
    twin = type(error).__new__(type(error), *error.args)
    twin.__dict__.update(error.__dict__)
    return twin
