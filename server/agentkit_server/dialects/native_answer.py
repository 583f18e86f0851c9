"""The way from a turn to a native response, common to generate and chat: lines as they come, or the same
lines collected into one object."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from agentkit_server.dialects._shared import Stream, backend_of, constraint_header, unless_gone
from agentkit_server.dialects.native_lines import (
    NDJSON,
    Metrics,
    encode,
    error_line,
    line,
    metrics,
    native_call,
    native_json,
    native_logprobs,
    now,
)
from agentkit_server.dialects.native_types import RunBody
from agentkit_server.engine.types import TokenLogprob
from agentkit_server.errors import BadRequest
from agentkit_server.residency.keep_alive import parse_keep_alive
from agentkit_server.residency.types import LoadOptions
from agentkit_server.turn.events import (
    Event,
    Finish,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolArgumentsDelta,
    ToolCallEnd,
    ToolCallStart,
)
from agentkit_server.turn.run import load, run_turn, unload
from agentkit_server.turn.types import Turn


class Shape(Protocol):
    """How a route writes an answer: generate in `response`, chat in `message`."""

    model: str
    context: bool
    """The last line carries the token ids of prompt and answer."""

    def body(self, text: str, thinking: str = "", calls: Sequence[ToolCallEnd] = ()) -> dict[str, Any]: ...


async def answer(request: Request, turn: Turn, shape: Shape, *, stream: bool) -> Response:
    """Carry out `turn`. Errors before its first event are raised and become a status."""
    began = time.perf_counter_ns()
    events = run_turn(backend_of(request), turn)
    if not stream:
        async with aclosing(events):
            return await unless_gone(request, _collected(events, shape, began))
    started = await unless_gone(request, anext(events))
    assert isinstance(started, Started)
    lines = _lines(started, events, shape, began)
    return Stream(request, lines, NDJSON, error_line, constraint_header(started))


async def load_only(request: Request, shape: Shape, options: LoadOptions, body: RunBody) -> Response:
    """An empty prompt loads the model or, with `keep_alive` 0, unloads it."""
    if body.run_id:
        raise BadRequest(
            "run_id goes with a prompt: a request without one only loads or unloads the model, and leaves no "
            "prefix to keep",
            param="run_id",
        )
    began = time.perf_counter_ns()
    backend = backend_of(request)
    loaded_ns = 0
    if body.keep_alive is not None and parse_keep_alive(body.keep_alive) == 0:
        await unload(backend, shape.model, max_seconds=body.max_seconds)
        reason = "unload"
    else:
        loading = load(backend, shape.model, options, body.keep_alive, max_seconds=body.max_seconds)
        loaded_ns = await unless_gone(request, loading)
        reason = "load"
    numbers = Metrics(
        done_reason=reason, total_duration=time.perf_counter_ns() - began, load_duration=loaded_ns
    )
    return native_json(_last(shape, shape.body(""), numbers))


def alternatives(logprobs: bool, top_logprobs: int) -> int | None:
    """The two logprob fields as a Turn has them. Raises BadRequest."""
    if not 0 <= top_logprobs <= 20:
        raise BadRequest("top_logprobs must be between 0 and 20", param="top_logprobs")
    return top_logprobs if logprobs else None


def more(thinking: str, calls: Sequence[ToolCallEnd]) -> dict[str, Any]:
    """The fields of an answer beside its text, those that it has."""
    fields: dict[str, Any] = {"thinking": thinking} if thinking else {}
    return {**fields, "tool_calls": [native_call(call) for call in calls]} if calls else fields


async def _lines(
    started: Started, events: AsyncGenerator[Event], shape: Shape, began: int
) -> AsyncGenerator[bytes]:
    context = [*started.prompt] if shape.context else []
    # Everything of a line before the text is the same but for the time.
    head = b'{"model":' + encode(shape.model) + b',"created_at":"'
    async with aclosing(events):
        async for event in events:
            match event:
                case TextDelta(_, text, tokens, logprobs):
                    if shape.context:
                        context += tokens
                    if text or logprobs:
                        yield _joined(head, _delta(shape.body(text), logprobs))
                case ThinkingDelta(_, text):
                    yield _joined(head, _delta(shape.body("", text), ()))
                case ToolCallEnd():
                    yield _joined(head, _delta(shape.body("", calls=(event,)), ()))
                case Finish():
                    numbers = metrics(started, event, began, context if shape.context else None)
                    yield line(_last(shape, shape.body(""), numbers))
                case Started() | ToolCallStart() | ToolArgumentsDelta():
                    pass


def _joined(head: bytes, delta: dict[str, Any]) -> bytes:
    return b"".join((head, now().encode(), b'",', encode(delta)[1:], b"\n"))


async def _collected(events: AsyncGenerator[Event], shape: Shape, began: int) -> Response:
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[ToolCallEnd] = []
    logprobs: list[TokenLogprob] = []
    context: list[int] = []
    started, finish = None, None
    async for event in events:
        match event:
            case TextDelta(_, text, tokens, new):
                texts.append(text)
                context += tokens
                logprobs += new
            case ThinkingDelta(_, text):
                thoughts.append(text)
            case ToolCallEnd():
                calls.append(event)
            case ToolCallStart() | ToolArgumentsDelta():
                pass
            case Started():
                started = event
                context += event.prompt
            case Finish():
                finish = event
    assert started is not None and finish is not None
    body = _delta(shape.body("".join(texts), "".join(thoughts), calls), tuple(logprobs))
    numbers = metrics(started, finish, began, context if shape.context else None)
    return native_json(_last(shape, body, numbers), headers=constraint_header(started))


def _delta(body: dict[str, Any], logprobs: tuple[TokenLogprob, ...]) -> dict[str, Any]:
    if not logprobs:
        return {**body, "done": False}
    return {**body, "done": False, "logprobs": native_logprobs(logprobs)}


def _last(shape: Shape, body: dict[str, Any], numbers: Metrics) -> dict[str, Any]:
    return {
        "model": shape.model,
        "created_at": now(),
        **body,
        "done": True,
        **msgspec.to_builtins(numbers),
    }
