"""A turn in the words of OpenAI's chat completions: the request's body, and the answer's chunks read back.

Pure functions and one reader; the extensions of agentkit's own server are marked as such.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

from agentkit._errors import RequestError, ResponseError
from agentkit._run import call_id
from agentkit._turn import CallArguments, CallOpened, Demand, Piece, Text, Thought, TurnDone, TurnRequest
from agentkit._types import Message
from agentkit._usage import Usage

Enforced = Literal["schema", "object", "none"]
"""How far another server holds an answer to its schema: to all of it, to being a JSON object, not at all."""

_RENAMED = {"num_predict": "max_tokens"}
_EFFORTS = {False: "none", True: "medium"}


def body(request: TurnRequest, *, extensions: bool, enforced: Enforced = "schema") -> dict[str, Any]:
    """The body of `request`. Without `extensions`, only what OpenAI's protocol has. Raises RequestError for
    messages with images."""
    fields: dict[str, Any] = {
        "model": request.model,
        "messages": [_message(message, extensions) for message in request.messages],
        "stream": True,
        "stream_options": {"include_usage": True},
        **_options(request),
        **_tools(request, extensions),
        **_thinking(request, extensions),
    }
    if request.demand is not None:
        fields |= _demand(request.demand, extensions, enforced)
    if extensions:
        fields |= {"max_seconds": request.max_seconds, "run_id": request.run_id or None}
    return {name: value for name, value in fields.items() if value is not None}


def unrestricted(request: TurnRequest) -> bool:
    """Are the tools that may be called lost without `extensions`?"""
    if request.allowed is None or not request.tools or request.tool_choice == "none":
        return False
    return _allowed(_named(request.allowed), request.tool_choice, extensions=False) == request.tool_choice


def _options(request: TurnRequest) -> dict[str, Any]:
    fields = {_RENAMED.get(name, name): value for name, value in request.options.items()}
    most = fields.pop("max_tokens", None)
    # Below 0 natively is "without end", which is what the protocol's absence of a number says.
    bounds = [one for one in (most, request.max_tokens) if one is not None and one >= 0]
    return {**fields, "max_tokens": min(bounds, default=None)}


def _message(message: Message, extensions: bool) -> dict[str, Any]:
    if message.images:
        raise RequestError(
            f"a message of role {message.role!r} has images; an agent's messages are text only: say in words "
            "what they show"
        )
    fields: dict[str, Any] = {"role": message.role, "content": message.content or ""}
    if message.thinking and extensions:
        fields["reasoning_content"] = message.thinking
    if message.tool_calls:
        fields["tool_calls"] = [
            {
                "id": call_id(call),
                "type": "function",
                "function": {
                    "name": call.function.name,
                    "arguments": json.dumps(dict(call.function.arguments), ensure_ascii=False),
                },
            }
            for call in message.tool_calls
        ]
    if message.role == "tool":
        fields["tool_call_id"] = message.tool_call_id or ""
        if message.tool_name and extensions:
            fields["name"] = message.tool_name
    return fields


def _tools(request: TurnRequest, extensions: bool) -> dict[str, Any]:
    if not request.tools:
        return {}
    choice: Any = request.tool_choice
    if request.allowed is not None and choice != "none":
        choice = _allowed(_named(request.allowed), choice, extensions)
    return {"tools": list(request.tools), "tool_choice": choice, "parallel_tool_calls": request.parallel}


def _named(tools: Sequence[str]) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": name}} for name in tools]


def _allowed(named: list[dict[str, Any]], mode: str, extensions: bool) -> Any:
    if not named:
        return "none"
    if extensions:
        return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": named}}
    return named[0] if mode == "required" and len(named) == 1 else mode


def _thinking(request: TurnRequest, extensions: bool) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if request.think is True and extensions:
        fields["chat_template_kwargs"] = {"enable_thinking": True}
    elif isinstance(request.think, str):
        fields["reasoning_effort"] = request.think
    elif request.think is not None:
        fields["reasoning_effort"] = _EFFORTS[request.think]
    if extensions:
        fields["thinking_budget"] = request.thinking_budget
    return fields


def _demand(demand: Demand, extensions: bool, enforced: Enforced) -> dict[str, Any]:
    if demand.kind != "json_schema":
        return {"structured_outputs": {demand.kind: demand.value}} if extensions else {}
    if enforced == "none":
        return {}
    if enforced == "object":
        return {"response_format": {"type": "json_object"}}
    named = {"name": "output", "schema": demand.value, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


@dataclass
class _Call:
    place: int
    id: str
    given: str
    """The id that the server gave; empty without one."""
    arguments: str = ""

    def ends_before(self, given: str, name: str, arguments: Any) -> bool:
        """Is this the head of another call? Some servers give every call index 0, with ids or without."""
        if not name:
            return False
        if given and given == self.given:
            # Some servers repeat the head with every piece of the arguments, and once more at the end.
            return bool(arguments) and _whole(self.arguments)
        return bool(given) or bool(self.arguments)


class Chunks:
    """Reads the chunks of one streamed answer."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._latest: dict[int, _Call] = {}
        """By the index that the server gave."""
        self._reason = ""
        self._usage: Usage | None = None
        self._deltas = 0

    @property
    def complete(self) -> bool:
        """Has the server said why the answer ended?"""
        return bool(self._reason)

    @property
    def counted(self) -> bool:
        """Has the server said what the answer took?"""
        return self._usage is not None

    def read(self, data: str) -> Iterator[Piece]:
        """The pieces in one `data:` line. Raises ResponseError for an error in the stream."""
        chunk = _parsed(data)
        if error := chunk.get("error"):
            raise ResponseError(_words(error))
        if chunk.get("usage"):
            self._usage = _usage(chunk["usage"])
        for choice in chunk.get("choices") or ():
            pieces = list(self._delta(choice.get("delta") or {}))
            self._deltas += bool(pieces)
            yield from pieces
            if choice.get("finish_reason"):
                self._reason = _reason(choice)

    def end(self, *, estimated: bool = False) -> TurnDone:
        """What the stream came to. `estimated` counts each delta as one token, for want of better."""
        usage = self._usage or Usage(completion_tokens=self._deltas if estimated else 0)
        usage = usage.model_copy(update={"turns": 1, "tool_calls": len(self._calls)})
        reason: Any = "tool_calls" if self._calls and self._reason == "stop" else self._reason
        return TurnDone(reason, usage)

    def _delta(self, delta: Mapping[str, Any]) -> Iterator[Piece]:
        if thought := delta.get("reasoning_content") or delta.get("reasoning"):
            yield Thought(thought)
        if text := delta.get("content"):
            yield Text(text)
        for call in delta.get("tool_calls") or ():
            yield from self._call(call)

    def _call(self, call: Mapping[str, Any]) -> Iterator[Piece]:
        function: Mapping[str, Any] = call.get("function") or {}
        index, given, name = int(call.get("index") or 0), call.get("id") or "", function.get("name") or ""
        arguments = function.get("arguments")
        known = self._latest.get(index)
        if known is None or known.ends_before(given, name, arguments):
            known = self._latest[index] = self._opened(given)
            yield CallOpened(known.place, known.id, name)
        if arguments not in (None, ""):
            text = arguments if isinstance(arguments, str) else json.dumps(arguments)
            known.arguments += text
            yield CallArguments(known.place, text)

    def _opened(self, given: str) -> _Call:
        taken = not given or any(call.id == given for call in self._calls)
        id = f"call_{uuid4().hex[:24]}" if taken else given
        self._calls.append(_Call(len(self._calls), id, given))
        return self._calls[-1]


def _whole(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _reason(choice: Mapping[str, Any]) -> str:
    if choice.get("stop_reason") == "deadline":
        return "deadline"
    given = str(choice["finish_reason"])
    if given == "content_filter":
        raise ResponseError(
            "the server's filter cut the answer off (finish_reason 'content_filter'); ask in other words, or "
            "ask another model"
        )
    return given if given in ("tool_calls", "length") else "stop"


def _usage(given: Mapping[str, Any]) -> Usage:
    prompt: Mapping[str, Any] = given.get("prompt_tokens_details") or {}
    completion: Mapping[str, Any] = given.get("completion_tokens_details") or {}
    return Usage(
        prompt_tokens=given.get("prompt_tokens") or 0,
        cached_tokens=prompt.get("cached_tokens") or 0,
        completion_tokens=given.get("completion_tokens") or 0,
        thinking_tokens=completion.get("reasoning_tokens") or 0,
    )


def _parsed(data: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ResponseError(
            f"expected a JSON object in the stream, got {data[:200]!r}; check the server's URL"
        )
    return value  # pyright: ignore[reportUnknownVariableType]


def _words(error: Any) -> str:
    return str(error.get("message", error)) if isinstance(error, Mapping) else str(error)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
