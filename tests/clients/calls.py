"""Tool calls and tool results in what a client and the server said to each other, in each dialect."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Call:
    """A call as the client gets it: `arguments` is the text of a JSON object."""

    name: str
    arguments: str


def events(body: bytes) -> Iterator[Json]:
    """The JSON events of an SSE stream, or the one object of an answer that was not streamed."""
    if body.lstrip().startswith(b"{"):
        yield json.loads(body)
        return
    for line in body.decode().split("\n"):
        data = line.removeprefix("data:").strip()
        if line.startswith("data:") and data != "[DONE]":
            yield json.loads(data)


def chat_calls(body: bytes) -> list[Call]:
    parts: dict[int, list[str]] = {}
    for event in events(body):
        for choice in event.get("choices", ()):
            message: Json = choice.get("delta") or choice.get("message") or {}
            for at, call in enumerate(message.get("tool_calls") or ()):
                name, arguments = parts.setdefault(call.get("index", at), ["", ""])
                function = call["function"]
                parts[call.get("index", at)] = [
                    name + (function.get("name") or ""),
                    arguments + (function.get("arguments") or ""),
                ]
    return [Call(*part) for part in parts.values()]


def responses_calls(body: bytes) -> list[Call]:
    calls: list[Call] = []
    for event in events(body):
        item: Json = event.get("item") or {}
        if event.get("type") == "response.output_item.done" and item.get("type") == "function_call":
            calls.append(Call(item["name"], item["arguments"]))
    return calls


def messages_calls(body: bytes) -> list[Call]:
    parts: dict[int, list[str]] = {}
    for event in events(body):
        if event.get("type") == "content_block_start" and event["content_block"]["type"] == "tool_use":
            parts[event["index"]] = [event["content_block"]["name"], ""]
        elif event.get("type") == "content_block_delta" and event["index"] in parts:
            parts[event["index"]][1] += event["delta"].get("partial_json", "")
    return [Call(name, arguments or "{}") for name, arguments in parts.values()]


BRIEF: Json = {
    "type": "object",
    "properties": {"answer": {"type": "string", "maxLength": 60}},
    "required": ["answer"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Dialect:
    path: str
    calls: Callable[[bytes], list[Call]]
    forced: Callable[[str], Json]
    """The parameters that mean one call of this tool and no other."""
    unforced: Any
    """The one that means none."""
    short: Json
    """The parameters that make the answer a short one: a small model goes on for as long as it may."""


def is_named(tool: Json, name: str) -> bool:
    return (tool.get("function") or tool).get("name") == name


def schema_of(tool: Json) -> Json:
    """What the client says that the arguments of `tool` are."""
    described = tool.get("function") or tool
    return described.get("parameters") or described.get("input_schema") or {"type": "object"}


def with_schema(tool: Json, schema: Json) -> Json:
    """`tool` with other arguments."""
    if "function" in tool:
        return {**tool, "function": {**tool["function"], "parameters": schema}}
    return {**tool, ("input_schema" if "input_schema" in tool else "parameters"): schema}


DIALECTS = (
    Dialect(
        "/v1/chat/completions",
        chat_calls,
        lambda name: {
            "tool_choice": {"type": "function", "function": {"name": name}},
            "parallel_tool_calls": False,
        },
        "none",
        {"response_format": {"type": "json_schema", "json_schema": {"name": "brief", "schema": BRIEF}}},
    ),
    Dialect(
        "/v1/responses",
        responses_calls,
        lambda name: {"tool_choice": {"type": "function", "name": name}, "parallel_tool_calls": False},
        "none",
        {"text": {"format": {"type": "json_schema", "name": "brief", "schema": BRIEF}}},
    ),
    Dialect(
        "/v1/messages",
        messages_calls,
        lambda name: {"tool_choice": {"type": "tool", "name": name, "disable_parallel_tool_use": True}},
        {"type": "none"},
        {"output_config": {"format": {"type": "json_schema", "schema": BRIEF}}},
    ),
)
