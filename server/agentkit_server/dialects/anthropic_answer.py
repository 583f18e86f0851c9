"""From the events of one turn to a message: as Anthropic's events, or, these collected, as one object.

A block of thoughts, a text and each call are content blocks of their own, in the order in which they come.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json

from agentkit_server.dialects.anthropic_thinking import signature
from agentkit_server.dialects.anthropic_wire import first_usage, new_message_id, sse, usage_of
from agentkit_server.dialects.openai_wire import notices
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

Told = dict[str, Any]
CALL, TOOL_USE = "call_", "toolu_"
"""How ids of calls begin, here and at Anthropic's."""


@dataclass(frozen=True, kw_only=True)
class MessageAnswer:
    """Turns the events of one turn into Anthropic's."""

    model: str
    max_tokens: int
    shows_thoughts: bool = True
    manages_context: bool = False

    async def stream(self, started: Started, events: AsyncGenerator[Event]) -> AsyncGenerator[bytes]:
        """Server-sent events up to and with message_stop. Closes `events`."""
        async with aclosing(self._told(started, events)) as told:
            async for event in told:
                yield sse(event)

    async def collect(self, started: Started, events: AsyncGenerator[Event]) -> Told:
        """The whole message. Closes `events`."""
        message: Told = {}
        written: list[str] = []
        async with aclosing(self._told(started, events)) as told:
            async for event in told:
                match event["type"]:
                    case "message_start":
                        message = event["message"]
                    case "content_block_start":
                        written = []
                        message["content"].append(event["content_block"])
                    case "content_block_delta":
                        _collect(message["content"][-1], event["delta"], written)
                    case "content_block_stop" if written:
                        # Arguments that were cut short: what of them is certain, as clients read a stream.
                        message["content"][-1]["input"] = from_json("".join(written), allow_partial=True)
                    case "message_delta":
                        message |= event["delta"]
                        message |= {key: event[key] for key in event if key not in ("type", "delta")}
                    case _:
                        pass
        return message

    async def _told(self, started: Started, events: AsyncGenerator[Event]) -> AsyncGenerator[Told]:
        yield {"type": "message_start", "message": self._begun(started)}
        yield {"type": "ping"}
        blocks = _Blocks(self.shows_thoughts)
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Finish):
                    for told in blocks.close():
                        yield told
                    yield self._ended(event)
                else:
                    for told in blocks.take(event):
                        yield told
        yield {"type": "message_stop"}

    def _begun(self, started: Started) -> Told:
        return {
            "id": new_message_id(),
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": first_usage(started.prompt_tokens),
            **notices(started),
        }

    def _ended(self, finish: Finish) -> Told:
        sequence = finish.stop_string
        delta: Told = {"stop_reason": self._reason(finish), "stop_sequence": sequence, "stop_details": None}
        if finish.reason == "deadline":
            delta["ended_by"] = "deadline"
        told: Told = {"type": "message_delta", "delta": delta, "usage": usage_of(finish)}
        return told | ({"context_management": {"applied_edits": []}} if self.manages_context else {})

    def _reason(self, finish: Finish) -> str:
        match finish.reason:
            case "stop" if finish.stop_string is not None:
                return "stop_sequence"
            case "stop":
                return "tool_use" if finish.tool_calls else "end_turn"
            case "length" if finish.usage.completion_tokens < self.max_tokens:
                return "model_context_window_exceeded"
            case _:
                # Anthropic knows no deadline.
                return "max_tokens"


@dataclass
class _Blocks:
    """The content blocks of one message, one open at a time."""

    shows_thoughts: bool
    _index: int = -1
    _open: str = ""
    _thoughts: list[str] = field(default_factory=list[str])

    def take(self, event: Event) -> Iterator[Told]:
        """What `event` makes to be told."""
        match event:
            case TextDelta(text=text) if text:
                yield from self._within("text", {"type": "text", "text": "", "citations": None})
                yield self._delta({"type": "text_delta", "text": text})
            case ThinkingDelta(text=text) if text:
                yield from self._within("thinking", {"type": "thinking", "thinking": "", "signature": ""})
                self._thoughts.append(text)
                if self.shows_thoughts:
                    yield self._delta({"type": "thinking_delta", "thinking": text})
            case ToolCallStart(id=id, name=name):
                yield from self.close()
                use: Told = {
                    "type": "tool_use",
                    "id": TOOL_USE + id.removeprefix(CALL),
                    "name": name,
                    "input": {},
                }
                yield from self._within("tool_use", use)
            case ToolArgumentsDelta(text=text) if text:
                yield self._delta({"type": "input_json_delta", "partial_json": text})
            case ToolCallEnd():
                yield from self.close()
            case _:
                pass

    def close(self) -> Iterator[Told]:
        """The end of the block that is open."""
        if not self._open:
            return
        if self._open == "thinking":
            signed = signature("".join(self._thoughts), shown=self.shows_thoughts)
            yield self._delta({"type": "signature_delta", "signature": signed})
            self._thoughts.clear()
        yield {"type": "content_block_stop", "index": self._index}
        self._open = ""

    def _within(self, kind: str, block: Told) -> Iterator[Told]:
        """Makes sure that a block of `kind` is open."""
        if self._open == kind:
            return
        yield from self.close()
        self._index += 1
        self._open = kind
        yield {"type": "content_block_start", "index": self._index, "content_block": block}

    def _delta(self, delta: Told) -> Told:
        return {"type": "content_block_delta", "index": self._index, "delta": delta}


def _collect(block: Told, delta: Told, written: list[str]) -> None:
    """Add `delta` to `block`, or to `written`, the arguments of a call so far."""
    match delta:
        case {"type": "text_delta", "text": text}:
            block["text"] += text
        case {"type": "thinking_delta", "thinking": text}:
            block["thinking"] += text
        case {"type": "signature_delta", "signature": signed}:
            block["signature"] = signed
        case {"type": "input_json_delta", "partial_json": text}:
            written.append(text)
        case _:
            pass
