"""A download that several callers follow: it runs in a task of its own, each follower sees its progress,
and it is cancelled when the last of them leaves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from anyio import CancelScope, Event

from agentkit_server.errors import AgentkitError, PullFailed, RequestCancelled
from agentkit_server.models.sources.source import PullProgress

_log = logging.getLogger(__name__)


class Download:
    """Runs `lines` to its end, for as long as anybody follows. Belongs to one event loop."""

    def __init__(self, lines: AsyncGenerator[PullProgress]) -> None:
        self._lines = lines
        self._latest: dict[tuple[str, str | None], tuple[int, PullProgress]] = {}
        """The last line of each status, with its number: a slow follower skips what is outdated."""
        self._count = 0
        self._followers = 0
        self._changed = Event()
        self._finished = False
        self._error: AgentkitError | None = None
        self._scope = CancelScope()
        self.task = asyncio.create_task(self._run())

    @property
    def open(self) -> bool:
        """Whether a further follower can still join."""
        return not (self._finished or self._scope.cancel_called)

    async def follow(self) -> AsyncGenerator[PullProgress]:
        """The progress from its start. Raises what the download raises."""
        self._followers += 1
        seen = 0
        try:
            while True:
                changed = self._changed
                news = sorted((entry for entry in self._latest.values() if entry[0] > seen), key=_number)
                for number, line in news:
                    seen = number
                    yield line
                if self._finished and seen == self._count:
                    break
                if not news:
                    await changed.wait()
            if self._error is not None:
                raise self._error
        finally:
            self._followers -= 1
            if not self._followers and not self._finished:
                await self.cancel()

    async def cancel(self) -> None:
        """Stop, and return once everything is cleaned up."""
        self._scope.cancel()
        with CancelScope(shield=True):
            await asyncio.wait([self.task])

    async def _run(self) -> None:
        try:
            with self._scope:
                async with aclosing(self._lines) as lines:
                    async for line in lines:
                        self._publish(line)
            if self._scope.cancelled_caught:
                self._error = RequestCancelled("the pull was cancelled; pull again to start over")
        except AgentkitError as error:
            self._error = error
        except Exception as error:
            _log.exception("a pull failed in an unforeseen way")
            self._error = PullFailed(f"the pull failed: {error!r}; the server's log says where")
        except BaseException:
            self._error = RequestCancelled("the pull was stopped with its server; pull again")
            raise
        finally:
            self._finished = True
            self._changed.set()

    def _publish(self, line: PullProgress) -> None:
        self._count += 1
        self._latest[line.status, line.digest] = (self._count, line)
        self._changed.set()
        self._changed = Event()


def _number(entry: tuple[int, PullProgress]) -> int:
    return entry[0]
