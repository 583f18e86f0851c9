"""The way from turns to a response, common to chat and text completions: several turns run at once and read
as one event stream; an error before the first byte is a status, after it the last event."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Protocol

from anyio import CancelScope
from starlette.requests import Request
from starlette.responses import Response

from agentkit_server.dialects._shared import Stream, backend_of, constraint_header, unless_gone
from agentkit_server.dialects.openai_errors import error_body
from agentkit_server.dialects.openai_wire import Envelope, encode, fingerprint, json_response, sse
from agentkit_server.errors import AgentkitError, BadRequest, InvalidGrammar, SchemaRefused
from agentkit_server.turn.events import Event, Started
from agentkit_server.turn.run import Backend, resolve, run_turn
from agentkit_server.turn.types import Turn

QUEUED_EVENTS = 256
"""Events that wait for a slow client before the turns behind them wait too."""


class Shape(Protocol):
    """How an endpoint writes events."""

    kind: str
    """What its ids begin with."""

    def param(self, name: str) -> str:
        """What the caller calls the parameter that a turn's errors call `name`: `prompt`,
        `response_format`, `tools[3]…`."""
        ...

    def stream(
        self, started: Started, events: AsyncGenerator[Event], envelope: Envelope
    ) -> AsyncGenerator[bytes]:
        """Server-sent events up to and with `[DONE]`. Closes `events`."""
        ...

    async def collect(
        self, started: Started, events: AsyncIterator[Event], envelope: Envelope
    ) -> dict[str, Any]:
        """The whole answer as one object."""
        ...


async def answer(request: Request, turns: list[Turn], shape: Shape, *, stream: bool) -> Response:
    """Carry out `turns`, all of one model, and write what they give in `shape`.

    Raises what `run_turn` raises before Started; later errors end a stream as its last event.
    """
    backend = backend_of(request)
    try:
        model = await resolve(backend, turns[0].model)
        envelope = Envelope(shape.kind, turns[0].model, fingerprint(model.digest))
        events = run_together(backend, turns)
        if not stream:
            return await unless_gone(request, _collected(shape, events, envelope))
        started = await unless_gone(request, anext(events))
    except BadRequest as error:
        if error.param is None and isinstance(error, (SchemaRefused, InvalidGrammar)):
            error.param = "response_format"
        if error.param is not None:
            error.param = shape.param(error.param)
        raise
    assert isinstance(started, Started)
    chunks = shape.stream(started, events, envelope)
    return Stream(request, chunks, "text/event-stream", error_chunk, constraint_header(started))


def error_chunk(error: AgentkitError) -> bytes:
    """The last event of a stream that failed: no finish comes before it and no `[DONE]` after it."""
    return sse(encode(error_body(error)))


async def run_together(backend: Backend, turns: list[Turn]) -> AsyncGenerator[Event]:
    """The events of all `turns` as of one: a single Started once every turn has started, then everything
    as it comes, completion `i` of turn `t` as index `t * n + i`. The first error ends it."""
    if len(turns) == 1:
        async with aclosing(run_turn(backend, turns[0])) as events:
            async for event in events:
                yield event
        return
    queue: asyncio.Queue[Event | Exception | None] = asyncio.Queue(QUEUED_EVENTS)
    pumps = [asyncio.create_task(_pump(backend, turn, at * turn.n, queue)) for at, turn in enumerate(turns)]
    started: list[Started] = []
    held: list[Event] = []
    running = len(pumps)
    try:
        while running:
            event = await queue.get()
            if event is None:
                running -= 1
            elif isinstance(event, Exception):
                raise event
            elif len(started) == len(turns):
                yield event
            elif not isinstance(event, Started):
                held.append(event)
            else:
                started.append(event)
                if len(started) == len(turns):
                    yield _combined(started)
                    for early in held:
                        yield early
    finally:
        for pump in pumps:
            pump.cancel()
        with CancelScope(shield=True):
            await asyncio.gather(*pumps, return_exceptions=True)


async def _collected(shape: Shape, events: AsyncGenerator[Event], envelope: Envelope) -> Response:
    async with aclosing(events):
        started = await anext(events)
        assert isinstance(started, Started)
        body = await shape.collect(started, events, envelope)
    return json_response(body, constraint_header(started))


async def _pump(
    backend: Backend, turn: Turn, first_index: int, queue: asyncio.Queue[Event | Exception | None]
) -> None:
    try:
        async with aclosing(run_turn(backend, turn)) as events:
            async for event in events:
                await queue.put(_shifted(event, first_index))
        await queue.put(None)
    except Exception as error:
        await queue.put(error)


def _shifted(event: Event, first_index: int) -> Event:
    return event if isinstance(event, Started) else replace(event, index=event.index + first_index)


def _combined(started: list[Started]) -> Started:
    return Started(
        prompt_tokens=sum(each.prompt_tokens for each in started),
        load_ns=max(each.load_ns for each in started),
        truncated_tokens=sum(each.truncated_tokens for each in started),
        truncated_messages=sum(each.truncated_messages for each in started),
        # Every prompt of a request is answered under the same demands.
        constraint=started[0].constraint,
        notes=started[0].notes,
    )
