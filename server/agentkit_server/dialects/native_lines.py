"""Bytes of the native dialect: one JSON object a line. A token costs a few microseconds here."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.responses import Response

from agentkit_server.engine.types import TokenLogprob
from agentkit_server.errors import AgentkitError, SchemaRefused, ServerBusy
from agentkit_server.turn.events import Finish, Level, Started, ToolCallEnd

NDJSON = "application/x-ndjson"
encode = msgspec.json.encode


class Metrics(msgspec.Struct, omit_defaults=True, kw_only=True):
    """What the last line of an answer adds. Durations in nanoseconds."""

    done_reason: str
    total_duration: int
    load_duration: int
    prompt_eval_count: int | None = None
    prompt_eval_cached_count: int | None = None
    prompt_eval_duration: int | None = None
    eval_count: int | None = None
    eval_duration: int | None = None
    context: list[int] | None = None
    truncated_tokens: int = 0
    """Tokens cut from the prompt, or dropped by context shifts."""
    truncated_messages: int = 0
    eval_thinking_count: int = 0
    """Tokens of `eval_count` that were thoughts."""
    constraint: Level | None = None
    constraint_notes: tuple[str, ...] = ()


def now() -> str:
    """The time, RFC 3339."""
    return rfc3339(datetime.now(UTC))


def rfc3339(moment: datetime) -> str:
    """`moment` as the dialect writes it."""
    return moment.isoformat().replace("+00:00", "Z")


def line(value: Any) -> bytes:
    """One line of a stream."""
    return encode(value) + b"\n"


def native_json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A whole response."""
    return Response(encode(value), status, headers, media_type="application/json; charset=utf-8")


def error_line(error: AgentkitError) -> bytes:
    """An error after the first byte: the last line of a stream."""
    return line(_told(error))


def error_response(error: AgentkitError) -> Response:
    """An error before the first byte."""
    response = native_json(_told(error), error.status)
    if isinstance(error, ServerBusy):
        response.headers["retry-after"] = str(error.retry_after)
    return response


def metrics(started: Started, finish: Finish, began_ns: int, context: list[int] | None) -> Metrics:
    """The numbers of a finished completion. `began_ns` is the perf_counter_ns of the request."""
    return Metrics(
        done_reason=finish.reason,
        total_duration=time.perf_counter_ns() - began_ns,
        load_duration=finish.load_ns,
        prompt_eval_count=finish.usage.prompt_tokens,
        prompt_eval_cached_count=finish.usage.cached_tokens,
        prompt_eval_duration=finish.timings.prompt_ns,
        eval_count=finish.usage.completion_tokens,
        eval_duration=finish.timings.decode_ns,
        context=context,
        truncated_tokens=started.truncated_tokens + finish.shifted,
        truncated_messages=started.truncated_messages,
        eval_thinking_count=finish.thinking_tokens,
        constraint=started.constraint,
        constraint_notes=started.notes,
    )


def native_call(call: ToolCallEnd) -> dict[str, Any]:
    """An entry of `tool_calls`: one whole call, its arguments as an object."""
    arguments = msgspec.json.decode(call.arguments)
    return {"id": call.id, "function": {"index": call.call, "name": call.name, "arguments": arguments}}


def native_logprobs(logprobs: tuple[TokenLogprob, ...]) -> list[dict[str, Any]]:
    """The `logprobs` field: one entry per token."""
    return [
        {
            "token": item.token,
            "logprob": item.logprob,
            "bytes": item.bytes,
            "top_logprobs": [
                {"token": top.token, "logprob": top.logprob, "bytes": top.bytes} for top in item.top
            ],
        }
        for item in logprobs
    ]


def _told(error: AgentkitError) -> dict[str, Any]:
    """A refused schema adds `problems`, each with pointer, keyword, reason and rewrite."""
    if isinstance(error, SchemaRefused):
        return {"error": error.message, "problems": error.problems}
    return {"error": error.message}
