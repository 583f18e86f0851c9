"""Bytes of the OpenAI dialect: ids, server-sent events, usage. Chunks of one stream share all but a few
bytes, so these are encoded once and every token costs one small encode."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import msgspec
from starlette.responses import Response

from agentkit_server.engine.types import TokenLogprob
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

VERSION = version("agentkit")
encode = msgspec.json.encode
DONE = b"data: [DONE]\n\n"
EVEN_BYTES = 128
"""A chunk that is padded has a multiple of as many bytes, so that its length does not tell its text."""
_OBFUSCATION = b',"obfuscation":"'


def sse(data: bytes) -> bytes:
    """One server-sent event. `data` is JSON without line breaks."""
    return b"data: " + data + b"\n\n"


def padded(chunk: bytes) -> bytes:
    """`chunk`, an event whose data is an object, with random letters up to the next multiple of
    `EVEN_BYTES`."""
    missing = -(len(chunk) + len(_OBFUSCATION) + 1) % EVEN_BYTES
    padding = secrets.token_hex(EVEN_BYTES // 2)[:missing].encode()
    return chunk[: -len(b"}\n\n")] + _OBFUSCATION + padding + b'"}\n\n'


def json_response(body: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    """A whole answer with status 200."""
    return Response(encode(body), headers=headers, media_type="application/json")


def fingerprint(digest: str) -> str:
    """`system_fingerprint`: this server's version and the model's content. Where it
    differs, the same seed need not give the same answer."""
    return f"fp_agentkit_{VERSION}_{digest[:12]}"


class Envelope:
    """What every object of one answer has in common: id, type, time, model, fingerprint."""

    def __init__(self, prefix: str, model: str, fingerprint: str) -> None:
        self.fields: dict[str, Any] = {
            "id": f"{prefix}-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": fingerprint,
        }


class Chunks:
    """Encodes the chunks of one stream."""

    def __init__(self, fields: dict[str, Any], *, include_usage: bool, obfuscates: bool) -> None:
        """`fields` are those of every chunk. `include_usage` also puts `usage: null` on every chunk but the
        last, as OpenAI does. `obfuscates` makes chunks of different texts equally long."""
        self._head = b"data: " + encode(fields)[:-1] + b',"choices":['
        self._tail = b'],"usage":null}\n\n' if include_usage else b"]}\n\n"
        self._include_usage = include_usage
        self._obfuscates = obfuscates

    def choice(self, choice: dict[str, Any]) -> bytes:
        """A chunk with one choice."""
        chunk = self._head + encode(choice) + self._tail
        return padded(chunk) if self._obfuscates else chunk

    def started(self, choice: dict[str, Any], notices: dict[str, Any]) -> bytes:
        """A first chunk, with the `notices` of its Started."""
        if not notices:
            return self.choice(choice)
        return self._head + encode(choice) + b"]," + encode(notices)[1:-1] + self._tail[1:]

    def end(self, usage: dict[str, Any]) -> bytes:
        """The usage chunk, when it was asked for, and the end mark."""
        if not self._include_usage:
            return DONE
        return self._head + b'],"usage":' + encode(usage) + b"}\n\n" + DONE


def ending(finish: Finish | None) -> dict[str, str | None]:
    """Why a choice ended. OpenAI knows no deadline: there it is a `length`, and `stop_reason` says so."""
    if finish is None or finish.reason != "deadline":
        return {"finish_reason": None if finish is None else finish.reason}
    return {"finish_reason": "length", "stop_reason": "deadline"}


class Tally:
    """Adds up the usage of all choices. `n` consecutive choices share one prompt, counted once."""

    def __init__(self, n: int) -> None:
        self._n = n
        self._prompts: dict[int, int] = {}
        self._cached: dict[int, int] = {}
        self._completion = 0
        self._thinking = 0

    def add(self, finish: Finish) -> None:
        prompt, usage = finish.index // self._n, finish.usage
        self._prompts[prompt] = usage.prompt_tokens
        # Later choices of a prompt always find it cached by the first: the least is what was saved.
        self._cached[prompt] = min(usage.cached_tokens, self._cached.get(prompt, usage.cached_tokens))
        self._completion += usage.completion_tokens
        self._thinking += finish.thinking_tokens

    def usage(self) -> dict[str, Any]:
        """The `usage` object."""
        prompt_tokens = sum(self._prompts.values())
        return {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": self._completion,
            "total_tokens": prompt_tokens + self._completion,
            "prompt_tokens_details": {"cached_tokens": sum(self._cached.values())},
            "completion_tokens_details": {"reasoning_tokens": self._thinking},
        }


@dataclass
class Call:
    """One tool call, collected, cut short where the answer was. Arguments of a `custom` tool are a text."""

    id: str
    name: str
    custom: bool = False
    arguments: list[str] = field(default_factory=list[str])


@dataclass
class Choice:
    """One completion, collected."""

    texts: list[str] = field(default_factory=list[str])
    thoughts: list[str] = field(default_factory=list[str])
    calls: list[Call] = field(default_factory=list[Call])
    logprobs: list[TokenLogprob] = field(default_factory=list[TokenLogprob])
    finish: Finish | None = None


@dataclass
class Collected:
    """Everything that the events of an answer said after Started."""

    choices: list[Choice]
    usage: dict[str, Any]


async def collect(events: AsyncIterator[Event], n: int, prompts: int = 1) -> Collected:
    """Read `events` to their end: `n` choices to each of `prompts`."""
    choices = [Choice() for _ in range(n * prompts)]
    tally = Tally(n)
    async for event in events:
        match event:
            case TextDelta(index, text, _, logprobs):
                choices[index].texts.append(text)
                choices[index].logprobs += logprobs
            case ThinkingDelta(index, text):
                choices[index].thoughts.append(text)
            case ToolCallStart(index, _, id, name, custom):
                choices[index].calls.append(Call(id, name, custom))
            case ToolArgumentsDelta(index, call, text):
                choices[index].calls[call].arguments.append(text)
            case Finish(index):
                choices[index].finish = event
                tally.add(event)
            case Started() | ToolCallEnd():
                pass
    return Collected(choices, tally.usage())


def notices(started: Started) -> dict[str, Any]:
    """What an answer says of its request, all extensions: `truncated`, what a request with `truncate` lost of
    its prompt; `constraint` and `constraint_notes`, how far its demands are enforced. {} when nothing."""
    said: dict[str, Any] = {}
    if started.truncated_tokens or started.truncated_messages:
        lost = {"tokens": started.truncated_tokens, "messages": started.truncated_messages}
        said["truncated"] = lost
    if started.constraint is not None:
        said["constraint"] = started.constraint
    if started.notes:
        said["constraint_notes"] = started.notes
    return said


def chat_logprobs(logprobs: Iterable[TokenLogprob]) -> list[dict[str, Any]]:
    """The `content` list of a chat choice's `logprobs`."""
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
