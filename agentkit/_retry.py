"""When a request is sent again, and after how long: a policy, and its state for one request.

What may be repeated: a connection that failed before anything was sent, for every request; a lost connection
or a passing refusal of the server, for those alone that change nothing on it.
"""

from __future__ import annotations

import inspect
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

_PASSING = frozenset({429, 502, 503, 504})
"""Statuses of a server, or of a proxy before it, that is busy or starting."""


@dataclass(frozen=True)
class Retry:
    """How often a request is repeated, and how long to wait before each time; in seconds.

    The first wait is `first_wait` at most, each later one at most twice the one before and never over
    `longest_wait`; chance takes up to half of it away. A `Retry-After` of the server takes its place; one
    over `longest_wait` ends the attempts. `sleep` stands in for `time.sleep` and `asyncio.sleep`.
    """

    times: int = 2
    first_wait: float = 0.25
    longest_wait: float = 10.0
    sleep: Callable[[float], Awaitable[None] | None] | None = None

    def wait(self, repeated: int) -> float:
        """Seconds before the next attempt, after `repeated` repetitions."""
        longest = min(self.first_wait * 2.0**repeated, self.longest_wait)
        return longest * random.uniform(0.5, 1.0)

    def pause(self, seconds: float) -> None:
        """Waits in this thread."""
        (self.sleep or time.sleep)(seconds)

    async def pause_async(self, seconds: float) -> None:
        """Waits in this task."""
        import asyncio

        paused = (self.sleep or asyncio.sleep)(seconds)
        if inspect.isawaitable(paused):
            await paused


def as_retry(retries: int | Retry) -> Retry:
    """The policy that a client's `retries` argument means."""
    return retries if isinstance(retries, Retry) else Retry(retries)


class Attempts:
    """The attempts of one request. `safe`: it may be repeated although the server may have seen it."""

    def __init__(self, policy: Retry, safe: bool) -> None:
        self._policy = policy
        self._safe = safe
        self._repeated = 0

    def wait_after_error(self, error: httpx.TransportError) -> float | None:
        """Seconds to wait before another attempt; None when there is to be none."""
        unsent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
        lost = isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError)
        return self._wait() if unsent or (self._safe and lost) else None

    def wait_after_answer(self, answer: httpx.Response) -> float | None:
        """Seconds to wait before another attempt; None when `answer` is the one to take."""
        if not self._safe or answer.status_code not in _PASSING:
            return None
        return self._wait(_retry_after(answer.headers.get("retry-after", "")))

    def _wait(self, asked: float | None = None) -> float | None:
        if self._repeated >= self._policy.times or (asked or 0) > self._policy.longest_wait:
            return None
        wait = self._policy.wait(self._repeated) if asked is None else asked
        self._repeated += 1
        return wait


def _retry_after(header: str) -> float | None:
    """Seconds that a `Retry-After` header asks for, as a number or as a date; None when it says nothing."""
    if header.strip().isdecimal():
        return float(header)
    try:
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        # A date without a zone, or no date: as if the server had not said when.
        return None
