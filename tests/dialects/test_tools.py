"""`tools`, `tool_choice` and earlier calls, read alike in both chat dialects."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from agentkit_server.turn.types import Tool, ToolChoice

from .conftest import Turns

pytestmark = pytest.mark.anyio

USER = {"role": "user", "content": "hi"}
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Says how it is.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
PATHS = ("/api/chat", "/v1/chat/completions")


def named(*names: str) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": name}} for name in names]


async def ask(http: httpx.AsyncClient, path: str, *messages: dict[str, Any], **fields: Any) -> httpx.Response:
    body = {"model": "tiny", "messages": messages or [USER], "stream": False, **fields}
    return await http.post(path, json=body)


def refusal(response: httpx.Response) -> tuple[int, str]:
    """Status, and the place that the error names."""
    error = response.json()["error"]
    return response.status_code, error if isinstance(error, str) else error["param"]


@pytest.mark.parametrize("path", PATHS)
async def test_a_tool_reaches_the_turn_as_it_was_given(
    http: httpx.AsyncClient, turns: Turns, path: str
) -> None:
    assert (await ask(http, path, tools=[WEATHER])).status_code == 200
    function = WEATHER["function"]
    [tool] = turns.asked[0].tools
    assert tool == Tool(name="weather", description="Says how it is.", parameters=function["parameters"])
    assert list(tool.parameters["properties"]) == ["city"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "function",
    [
        {"name": "now"},
        {"name": "now", "description": None, "parameters": None},
        {"name": "now", "description": "", "parameters": {}, "strict": True},
    ],
)
async def test_a_tool_needs_no_more_than_a_name(
    http: httpx.AsyncClient, turns: Turns, path: str, function: dict[str, Any]
) -> None:
    wrapped = {"type": "function", "function": function, "cache_control": {"type": "ephemeral"}}
    assert (await ask(http, path, tools=[wrapped])).status_code == 200
    assert turns.asked[0].tools == (Tool(name="now"),)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("tools", "status", "place"),
    [
        ([7], 400, "tools[0]"),
        ([{"type": "function"}], 400, "tools[0]"),
        ([{"type": 3, "function": {"name": "f"}}], 400, "tools[0]"),
        ([{"type": "web_search"}], 501, "tools[0].type"),
        ([{"type": "file_search"}], 501, "tools[0].type"),
        ([{"type": "function", "function": []}], 400, "tools[0].function"),
        ([{"type": "function", "function": {}}], 400, "tools[0].function.name"),
        (named("a", ""), 400, "tools[1].function.name"),
        (named(" "), 400, "tools[0].function.name"),
        (named("x" * 257), 400, "tools[0].function.name"),
        ([{"type": "function", "function": {"name": 7}}], 400, "tools[0].function.name"),
        (
            [{"type": "function", "function": {"name": "f", "description": 7}}],
            400,
            "tools[0].function.description",
        ),
        (
            [{"type": "function", "function": {"name": "f", "parameters": []}}],
            400,
            "tools[0].function.parameters",
        ),
        (
            [{"type": "function", "function": {"name": "f", "parameters": {"type": "array"}}}],
            400,
            "tools[0].function.parameters",
        ),
        (named("a", "b", "a"), 400, "tools[2]"),
        (named(*(f"f{at}" for at in range(1025))), 400, "tools"),
    ],
)
async def test_what_is_no_tool_is_refused_by_its_place(
    http: httpx.AsyncClient, turns: Turns, path: str, tools: Any, status: int, place: str
) -> None:
    response = await ask(http, path, tools=tools)
    told, where = refusal(response)
    assert (told, where == place or where.startswith(f"{place} ")) == (status, True), where
    assert turns.asked == []


@pytest.mark.parametrize("path", PATHS)
async def test_as_many_tools_as_are_stated_are_taken(
    http: httpx.AsyncClient, turns: Turns, path: str
) -> None:
    assert (await ask(http, path, tools=named(*(f"f{at}" for at in range(1024))))).status_code == 200
    assert len(turns.asked[0].tools) == 1024


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("given", "parallel", "choice"),
    [
        (None, None, ToolChoice()),
        ("auto", True, ToolChoice()),
        ("none", None, ToolChoice(mode="none")),
        ("required", False, ToolChoice(mode="required", parallel=False)),
        ("any", None, ToolChoice(mode="required")),
        (
            {"type": "function", "function": {"name": "weather"}},
            None,
            ToolChoice(mode="required", names=("weather",)),
        ),
        ({"type": "function", "name": "weather"}, None, ToolChoice(mode="required", names=("weather",))),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": named("a", "b")}},
            False,
            ToolChoice(names=("a", "b"), parallel=False),
        ),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "a"}]},
            None,
            ToolChoice(mode="required", names=("a",)),
        ),
        ({"type": "custom", "custom": {"name": "a"}}, None, ToolChoice(mode="required", names=("a",))),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "custom", "custom": {"name": "b"}}, *named("a")],
                },
            },
            None,
            ToolChoice(mode="required", names=("b", "a")),
        ),
    ],
)
async def test_every_form_of_a_choice_is_understood(
    http: httpx.AsyncClient, turns: Turns, path: str, given: Any, parallel: bool | None, choice: ToolChoice
) -> None:
    response = await ask(
        http, path, tools=named("weather", "a", "b"), tool_choice=given, parallel_tool_calls=parallel
    )
    assert response.status_code == 200, response.text
    assert turns.asked[0].tool_choice == choice


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "given",
    [
        "always",
        {},
        {"type": "function"},
        {"type": "function", "function": {"name": ""}},
        {"type": "custom", "custom": {"name": ""}},
        {"type": "allowed_tools", "allowed_tools": {"mode": "none", "tools": named("a")}},
        {"type": "allowed_tools", "allowed_tools": {"tools": []}},
        {"type": "allowed_tools", "allowed_tools": {"tools": [{"type": "function"}]}},
        {"type": "allowed_tools", "allowed_tools": 7},
    ],
)
async def test_what_is_no_choice_is_refused(
    http: httpx.AsyncClient, turns: Turns, path: str, given: Any
) -> None:
    status, where = refusal(await ask(http, path, tools=named("a"), tool_choice=given))
    assert (status, where.startswith("tool_choice")) == (400, True)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("written", "arguments"),
    [
        ({"city": "Oslo"}, {"city": "Oslo"}),
        ('{"city": "Oslo"}', {"city": "Oslo"}),
        ("", {}),
        (None, {}),
        ('{"city": "Os', '{"city": "Os'),
        ("[1]", "[1]"),
        ("[" * 20_000, "[" * 20_000),
        ('{"n": 123456789012345678901234567890}', {"n": 123456789012345678901234567890}),
    ],
)
async def test_earlier_calls_and_results_reach_the_turn_in_one_form(
    http: httpx.AsyncClient, turns: Turns, path: str, written: Any, arguments: Any
) -> None:
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"index": 0, "name": "weather", "arguments": written},
    }
    response = await ask(
        http,
        path,
        USER,
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "mild"},
    )
    assert response.status_code == 200, response.text
    assert turns.asked[0].prompt.messages[1:] == (  # pyright: ignore
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": arguments}}
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "mild"},
    )


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("call", "status", "place"),
    [
        ("weather", 400, "messages[0].tool_calls[0]"),
        ({"id": "x"}, 400, "messages[0].tool_calls[0]"),
        ({"id": "x", "type": "custom", "custom": {}}, 400, "messages[0].tool_calls[0].custom.input"),
        ({"id": 7, "function": {"name": "f"}}, 400, "messages[0].tool_calls[0].id"),
        ({"id": "x", "function": {"arguments": {}}}, 400, "messages[0].tool_calls[0].function.name"),
        ({"id": "x", "function": "f"}, 400, "messages[0].tool_calls[0].function.name"),
        (
            {"id": "x", "function": {"name": "f", "arguments": [1]}},
            400,
            "messages[0].tool_calls[0].function.arguments",
        ),
    ],
)
async def test_what_is_no_call_is_refused_by_its_place(
    http: httpx.AsyncClient, turns: Turns, path: str, call: Any, status: int, place: str
) -> None:
    told, where = refusal(await ask(http, path, {"role": "assistant", "content": "", "tool_calls": [call]}))
    assert (told, where == place or where.startswith(f"{place} ")) == (status, True), where
