"""A response in the making: it takes a turn's events and tells them as OpenAI's, numbered from 0, and is at
any moment the `response` object that it has come to."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from agentkit_server.dialects.openai_wire import encode, notices, padded
from agentkit_server.dialects.responses_body import Asked, Reasoning, ResponsesBody, TextConfig
from agentkit_server.dialects.responses_output import (
    CallItem,
    MessageItem,
    OutputItem,
    ReasoningItem,
    SearchItem,
    Status,
    WireEvent,
)
from agentkit_server.dialects.responses_tools import Offered
from agentkit_server.engine.types import TokenLogprob
from agentkit_server.errors import AgentkitError
from agentkit_server.responses.searching import Searched, Searching, Told
from agentkit_server.turn.events import (
    Finish,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolArgumentsDelta,
    ToolCallEnd,
    ToolCallStart,
)


def sse(event: WireEvent, *, obfuscates: bool = False) -> bytes:
    """One server-sent event; with `obfuscates` the length of a delta does not tell its text."""
    told = b"event: " + event["type"].encode() + b"\ndata: " + encode(event) + b"\n\n"
    return padded(told) if obfuscates and "delta" in event else told


class ResponseAnswer:
    """Turns the events of one turn into OpenAI's."""

    def __init__(self, asked: Asked, offered: Offered, *, store: bool) -> None:
        self.response = _response(asked, offered, store)
        self._offered = offered
        own = asked.own
        self._logprobs = own.top_logprobs is not None or "message.output_text.logprobs" in own.includes
        self._summarised = own.summarised
        self._seal = "reasoning.encrypted_content" in own.includes
        self._sources = "web_search_call.action.sources" in own.includes
        self._obfuscates = own.obfuscates
        self._open: OutputItem | None = None
        self._output: list[OutputItem] = []
        self._number = 0
        self._finish: Finish | None = None

    @property
    def id(self) -> str:
        return self.response["id"]

    @property
    def ended(self) -> bool:
        """Nothing more will happen to it."""
        return self.response["status"] not in ("queued", "in_progress")

    def written(self, events: Iterable[WireEvent]) -> list[bytes]:
        """`events` as server-sent events."""
        return [sse(event, obfuscates=self._obfuscates) for event in events]

    def create(self) -> list[WireEvent]:
        """It exists: queued when it was made in the background, else in progress."""
        created = [self._lifecycle("created")]
        return [*created, self._lifecycle("queued")] if self.response["status"] == "queued" else created

    def start(self, started: Started) -> list[WireEvent]:
        """A model is at work on it."""
        self.response["status"] = "in_progress"
        self.response |= notices(started)
        return [self._lifecycle("in_progress")]

    def take(self, event: Told) -> list[WireEvent]:
        """What `event` means in this protocol."""
        match event:
            case TextDelta(text=text, logprobs=logprobs) if text or logprobs:
                return self._say(text, logprobs)
            case ThinkingDelta(text=text) if text:
                return self._think(text)
            case ToolCallStart(id=id, name=name, custom=custom):
                call = CallItem(len(self._output), id, self._offered.callee(name), custom=custom)
                return self._numbered(self._begin(call))
            case ToolArgumentsDelta(text=text) if text:
                assert isinstance(self._open, CallItem)
                return self._numbered(self._open.more(text))
            case ToolCallEnd():
                return self._numbered(self._end_item("completed"))
            case Searching(query=query):
                search = SearchItem(len(self._output), query, sources=self._sources)
                return self._numbered(self._begin(search))
            case Searched():
                assert isinstance(self._open, SearchItem)
                self._open.take(event)
                return self._numbered(self._end_item("completed"))
            case Finish():
                self._finish = event
                return self._numbered(self._end_item("completed" if event.reason == "stop" else "incomplete"))
            case _:
                return []

    def end(self) -> list[WireEvent]:
        """The turn is over: completed, or incomplete where it was cut short."""
        finish = self._finish
        assert finish is not None
        whole = finish.reason == "stop"
        self._close("completed" if whole else "incomplete")
        if whole:
            self.response["completed_at"] = int(time.time())
        else:
            self.response["incomplete_details"] = _cut_by(finish.reason)
        self.response["usage"] = _usage(finish)
        return [self._lifecycle("completed" if whole else "incomplete")]

    def fail(self, error: AgentkitError) -> list[WireEvent]:
        """It came to nothing, or not to its end. In place of what `end` returned, if that was not told."""
        if self.ended:
            self._number -= 1
            self.response |= {"completed_at": None, "incomplete_details": None}
        told = self._numbered(self._end_item("incomplete"))
        self._close("failed")
        code = "invalid_prompt" if error.status == 400 else "server_error"
        self.response["error"] = {"code": code, "message": error.message, "param": error.param}
        return [*told, self._lifecycle("failed")]

    def cancel(self) -> list[WireEvent]:
        """It is no longer wanted. OpenAI has no event for that; its status says it."""
        told = self._numbered(self._end_item("incomplete"))
        self._close("cancelled")
        return [*told, self._lifecycle("incomplete")]

    def _say(self, text: str, logprobs: Iterable[TokenLogprob]) -> list[WireEvent]:
        begun: list[WireEvent] = []
        if not isinstance(self._open, MessageItem):
            begun = self._begin(MessageItem(len(self._output), logprobs=self._logprobs))
        assert isinstance(self._open, MessageItem)
        return self._numbered([*begun, *self._open.more(text, logprobs)])

    def _think(self, text: str) -> list[WireEvent]:
        begun: list[WireEvent] = []
        if not isinstance(self._open, ReasoningItem):
            item = ReasoningItem(len(self._output), summarised=self._summarised, seal=self._seal)
            begun = self._begin(item)
        assert isinstance(self._open, ReasoningItem)
        return self._numbered([*begun, *self._open.more(text)])

    def _begin(self, item: OutputItem) -> list[WireEvent]:
        ended = self._end_item("completed")
        self._output.append(item)
        self._open = item
        return [*ended, *item.begin()]

    def _end_item(self, status: Status) -> list[WireEvent]:
        item, self._open = self._open, None
        return [] if item is None else item.end(status)

    def _close(self, status: str) -> None:
        self.response["status"] = status
        self.response["output"] = [item.item for item in self._output]

    def _lifecycle(self, step: str) -> WireEvent:
        event = {"type": f"response.{step}", "response": dict(self.response)}
        return self._numbered([event])[0]

    def _numbered(self, events: Sequence[WireEvent]) -> list[WireEvent]:
        numbered: list[WireEvent] = []
        for event in events:
            numbered.append({**event, "sequence_number": self._number})
            self._number += 1
        return numbered


def _cut_by(reason: str) -> dict[str, str]:
    """OpenAI knows no deadline: there it is a limit of tokens, and `stop_reason` says so."""
    told = {"reason": "max_output_tokens"}
    return told if reason == "length" else {**told, "stop_reason": reason}


def _usage(finish: Finish) -> dict[str, Any]:
    usage = finish.usage
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            # Everything that was computed stays as a prefix for the next request.
            "cache_write_tokens": usage.prompt_tokens - usage.cached_tokens,
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": finish.thinking_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def _response(asked: Asked, offered: Offered, store: bool) -> dict[str, Any]:
    """The response before anything has happened."""
    own, extended = asked.own, asked.extended
    background = bool(own.background)
    response: dict[str, Any] = {
        "id": f"resp_{secrets.token_hex(24)}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "queued" if background else "in_progress",
        "background": background,
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "instructions": own.instructions,
        "max_output_tokens": own.max_output_tokens,
        "max_tool_calls": own.max_tool_calls,
        "metadata": own.metadata or {},
        "model": own.model,
        "output": [],
        "parallel_tool_calls": own.parallel_tool_calls is not False,
        "previous_response_id": own.previous_response_id,
        "prompt_cache_key": own.prompt_cache_key,
        "reasoning": _reasoning(own),
        "safety_identifier": own.safety_identifier,
        "service_tier": "default",
        "store": store,
        "temperature": extended.temperature,
        "text": _text(own),
        "tool_choice": "auto" if own.tool_choice is None else own.tool_choice,
        "tools": own.tools or [],
        "top_logprobs": own.top_logprobs or 0,
        "top_p": extended.top_p,
        "truncation": own.truncation or "disabled",
        "usage": None,
        "user": own.user,
    }
    if offered.left_out:
        response["notes"] = offered.left_out
    return response


def _reasoning(own: ResponsesBody) -> dict[str, Any]:
    given = own.reasoning or Reasoning()
    return {"effort": given.effort, "summary": given.summary or given.generate_summary}


def _text(own: ResponsesBody) -> dict[str, Any]:
    given = own.text or TextConfig()
    format = {"type": "text"} if given.format is None else msgspec.to_builtins(given.format)
    return {"format": format, "verbosity": given.verbosity or "medium"}
