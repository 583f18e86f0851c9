"""From the events of one turn to a chat.completion or a stream of its chunks.

Thoughts come as `reasoning` and, the same text, as `reasoning_content`: clients read one or the other. A call
streams as OpenAI's does: name and id first, then its arguments as they are generated.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from agentkit_server.dialects.openai_wire import (
    Call,
    Choice,
    Chunks,
    Envelope,
    Tally,
    chat_logprobs,
    collect,
    ending,
    notices,
)
from agentkit_server.engine.types import TokenLogprob
from agentkit_server.turn.events import (
    Event,
    Finish,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolArgumentsDelta,
    ToolCallStart,
)

NOT_ENDED: Mapping[str, None] = {"finish_reason": None}


@dataclass(frozen=True, kw_only=True)
class ChatAnswer:
    """Turns the events of one turn into OpenAI's objects."""

    n: int = 1
    include_usage: bool = False
    obfuscates: bool = False
    logprobs: bool = False
    names: Mapping[str, str] = field(default_factory=dict[str, str])
    """What the caller calls the parameters of a turn, where it is something else."""
    legacy: bool = False
    """A call is told as `function_call`."""
    extras: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Fields of the answer, and of every chunk, that repeat what was asked."""
    kind = "chatcmpl"

    def param(self, name: str) -> str:
        """What the caller calls the parameter that a turn's errors call `name`."""
        if self.legacy and name.startswith("tools"):
            return name.replace("tools", "functions", 1).replace(".function", "", 1)
        if self.legacy and name == "tool_choice":
            return "function_call"
        return self.names.get(name, name)

    async def stream(
        self, started: Started, events: AsyncGenerator[Event], envelope: Envelope
    ) -> AsyncGenerator[bytes]:
        """Server-sent events up to and with `[DONE]`. Closes `events`."""
        chunks = Chunks(
            {**envelope.fields, **self.extras, "object": "chat.completion.chunk"},
            include_usage=self.include_usage,
            obfuscates=self.obfuscates,
        )
        tally = Tally(self.n)
        custom: set[tuple[int, int]] = set()
        async with aclosing(events):
            first: dict[str, Any] = {"role": "assistant", "content": ""}
            for index in range(self.n):
                yield chunks.started(_chunk(index, first), notices(started))
            async for event in events:
                match event:
                    case TextDelta(index, text, _, logprobs) if text or logprobs:
                        yield chunks.choice(_chunk(index, {"content": text}, logprobs=logprobs))
                    case ThinkingDelta(index, text):
                        yield chunks.choice(_chunk(index, _thoughts(text)))
                    case ToolCallStart(index, call):
                        custom |= {(index, call)} if event.custom else set()
                        yield chunks.choice(_chunk(index, self._call_begins(event)))
                    case ToolArgumentsDelta(index, call, text) if text:
                        more = self._call_goes_on(call, text, custom=(index, call) in custom)
                        yield chunks.choice(_chunk(index, more))
                    case Finish(index):
                        tally.add(event)
                        yield chunks.choice(_chunk(index, {}, self._ending(event)))
                    case _:
                        pass
        yield chunks.end(tally.usage())

    async def collect(
        self, started: Started, events: AsyncIterator[Event], envelope: Envelope
    ) -> dict[str, Any]:
        """The whole answer as one object."""
        collected = await collect(events, self.n)
        choices = [self._whole_choice(index, choice) for index, choice in enumerate(collected.choices)]
        fields = {"object": "chat.completion", "choices": choices, "usage": collected.usage}
        return {**envelope.fields, **fields, **self.extras, **notices(started)}

    def _whole_choice(self, index: int, choice: Choice) -> dict[str, Any]:
        assert choice.finish is not None
        text = "".join(choice.texts)
        message: dict[str, Any] = {
            "role": "assistant",
            "content": text or (None if choice.calls else ""),
            "refusal": None,
        }
        if choice.thoughts:
            message |= _thoughts("".join(choice.thoughts))
        if choice.calls:
            message |= self._calls(choice.calls)
        return {
            "index": index,
            "message": message,
            "logprobs": {"content": chat_logprobs(choice.logprobs)} if self.logprobs else None,
            **self._ending(choice.finish),
        }

    def _calls(self, calls: list[Call]) -> dict[str, Any]:
        told = [_told(call.name, "".join(call.arguments), custom=call.custom) for call in calls]
        if self.legacy:
            return {"function_call": told[0]["function"]}
        return {
            "tool_calls": [
                {"id": call.id, "type": _kind(custom=call.custom), **one}
                for call, one in zip(calls, told, strict=True)
            ]
        }

    def _call_begins(self, call: ToolCallStart) -> dict[str, Any]:
        told = _told(call.name, "", custom=call.custom)
        if self.legacy:
            return {"function_call": told["function"]}
        return {
            "tool_calls": [{"index": call.call, "id": call.id, "type": _kind(custom=call.custom), **told}]
        }

    def _call_goes_on(self, call: int, text: str, *, custom: bool) -> dict[str, Any]:
        told = {"custom": {"input": text}} if custom else {"function": {"arguments": text}}
        return (
            {"function_call": told["function"]} if self.legacy else {"tool_calls": [{"index": call, **told}]}
        )

    def _ending(self, finish: Finish) -> dict[str, str | None]:
        if finish.reason != "stop" or not finish.tool_calls:
            return ending(finish)
        return {"finish_reason": "function_call" if self.legacy else "tool_calls"}


def _kind(*, custom: bool) -> str:
    return "custom" if custom else "function"


def _told(name: str, arguments: str, *, custom: bool) -> dict[str, Any]:
    """A call, as chat/completions has it beside its id and type."""
    if custom:
        return {"custom": {"name": name, "input": arguments}}
    return {"function": {"name": name, "arguments": arguments}}


def _thoughts(text: str) -> dict[str, str]:
    return {"reasoning": text, "reasoning_content": text}


def _chunk(
    index: int,
    delta: dict[str, Any],
    end: Mapping[str, str | None] = NOT_ENDED,
    logprobs: tuple[TokenLogprob, ...] = (),
) -> dict[str, Any]:
    content = {"content": chat_logprobs(logprobs)} if logprobs else None
    return {"index": index, "delta": delta, "logprobs": content, **end}
