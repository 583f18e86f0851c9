"""Telling a response: from a turn's events to server-sent events, and to what is kept of it, whichever way it
ends."""

from __future__ import annotations

import logging
from asyncio import CancelledError
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from anyio import CancelScope

from agentkit_server.dialects.responses_answer import ResponseAnswer
from agentkit_server.dialects.responses_output import WireEvent
from agentkit_server.errors import AgentkitError, RequestCancelled
from agentkit_server.responses.searching import Told
from agentkit_server.turn.events import Started

log = logging.getLogger(__name__)

_STOPPED = "the server was shut down before the response was complete; create it again"


@dataclass
class Telling:
    """One response on its way to a caller."""

    answer: ResponseAnswer
    keep: Callable[[Sequence[WireEvent]], Awaitable[None]]
    """Keeps the response as it stands; is given the events that have not been told yet."""
    stopping: Callable[[], bool]
    """Is the server on its way down?"""
    _rest: list[WireEvent] = field(default_factory=list[WireEvent])

    async def chunks(
        self, events: AsyncGenerator[Told], started: Started | None = None
    ) -> AsyncGenerator[bytes]:
        """Every event, from the first; `started` when it has been taken from `events`. Closes `events`. An
        error is told as the last of them."""
        async with aclosing(events):
            try:
                for piece in self.answer.written(self.answer.create()):
                    yield piece
                if started is not None:
                    for piece in self.answer.written(await self._taken(started)):
                        yield piece
                async for event in events:
                    for piece in self.answer.written(await self._taken(event)):
                        yield piece
                self._rest = self.answer.end()
                await self.keep(self._rest)
            except (CancelledError, GeneratorExit):
                await self._give_up()
                raise
            except Exception as error:
                await self._fail(error)
        while self._rest:
            [piece] = self.answer.written([self._rest.pop(0)])
            yield piece

    def rest(self) -> list[bytes]:
        """What was not told, because whoever listened went away or the server stops."""
        return self.answer.written(self._rest_events())

    def failure(self, error: AgentkitError) -> bytes:
        """The end of a stream that broke off with `error`."""
        if not self.answer.ended:
            self._rest += self.answer.fail(error)
        return b"".join(self.rest())

    async def _taken(self, event: Told) -> list[WireEvent]:
        if not isinstance(event, Started):
            return self.answer.take(event)
        # It has its number, whatever becomes of the keeping.
        self._rest = self.answer.start(event)
        if self.answer.response["background"]:
            await self.keep(self._rest)
        return self._rest_events()

    async def _give_up(self) -> None:
        # One that has ended was about to be kept, and may not be yet.
        if not self.answer.ended:
            stopped = self.stopping()
            self._rest += self.answer.fail(RequestCancelled(_STOPPED)) if stopped else self.answer.cancel()
        await self._kept()

    async def _fail(self, error: Exception) -> None:
        if not isinstance(error, AgentkitError):
            log.exception("a response failed")
            error = AgentkitError("internal error; the server's log has the details")
        if self.answer.ended:
            # It could not be kept: what told its end is untold.
            self._rest.clear()
        self._rest += self.answer.fail(error)
        await self._kept()

    def _rest_events(self) -> list[WireEvent]:
        rest, self._rest = self._rest, []
        return rest

    async def _kept(self) -> None:
        """Keep what there is, even now."""
        with CancelScope(shield=True):
            try:
                await self.keep(self._rest)
            except AgentkitError as error:
                log.warning("%s", error.message)
