"""Tools of an Anthropic request: which of them the model knows, and which it may, must or must not call."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from support.anthropic_requests import USER, result, text, turn

from agentkit_server.errors import AgentkitError, BadRequest, NotBuiltYet
from agentkit_server.runner.scripted import ScriptedLauncher
from agentkit_server.turn.types import Tool, ToolChoice

pytestmark = pytest.mark.anyio

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def tool(name: str = "weather", **more: Any) -> dict[str, Any]:
    return {"name": name, "description": f"about {name}", "input_schema": CITY, **more}


def test_a_tool_is_read_with_all_that_a_model_can_use() -> None:
    given = tool(
        type="custom",
        strict=True,
        eager_input_streaming=True,
        allowed_callers=["direct"],
        cache_control={"type": "ephemeral"},
        input_examples=[{"city": "Oslo"}, {"city": "Malmö"}],
    )
    described = 'about weather\n\nExamples of arguments:\n{"city": "Oslo"}\n{"city": "Malmö"}'
    assert turn(tools=[given]).tools == (Tool(name="weather", description=described, parameters=CITY),)


@pytest.mark.parametrize(
    ("given", "choice"),
    [
        (None, ToolChoice()),
        ({"type": "auto"}, ToolChoice()),
        ({"type": "auto", "disable_parallel_tool_use": True}, ToolChoice(parallel=False)),
        ({"type": "any"}, ToolChoice(mode="required")),
        (
            {"type": "any", "disable_parallel_tool_use": True},
            ToolChoice(mode="required", parallel=False),
        ),
        ({"type": "tool", "name": "weather"}, ToolChoice(mode="required", names=("weather",))),
        ({"type": "none"}, ToolChoice(mode="none")),
    ],
)
def test_a_choice_is_read(given: Any, choice: ToolChoice) -> None:
    assert turn(tools=[tool()], tool_choice=given).tool_choice == choice


CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>'


async def ask(http: httpx.AsyncClient, **fields: Any) -> httpx.Response:
    body = {"model": "thinker", "max_tokens": 200, "messages": [USER], "tools": [tool()], **fields}
    return await http.post("/v1/messages", json=body)


@pytest.mark.parametrize(
    ("script", "choice", "kinds"),
    [
        (CALL * 2, {"type": "any"}, ["tool_use", "tool_use"]),
        (CALL, {"type": "any", "disable_parallel_tool_use": True}, ["tool_use"]),
        (CALL * 2, {"type": "any", "disable_parallel_tool_use": True}, None),
        ("It is mild.", {"type": "none"}, ["text"]),
        (CALL, {"type": "none"}, None),
        ("It is mild.", {"type": "any"}, None),
        ("It is mild.", {"type": "auto"}, ["text"]),
    ],
)
async def test_a_choice_is_obeyed(
    http: httpx.AsyncClient, launcher: ScriptedLauncher, script: str, choice: Any, kinds: list[str] | None
) -> None:
    launcher.script = script
    answer = await ask(http, tool_choice=choice)
    if kinds is None:
        assert answer.status_code == 500 and "leaves the grammar" in answer.text
    else:
        assert [block["type"] for block in answer.json()["content"]] == kinds
        assert answer.headers["x-agentkit-constraint"] == answer.json()["constraint"] == "exact"


async def test_a_deferred_tool_becomes_known_where_a_result_refers_to_it(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    tools = [tool("search"), tool("weather", defer_loading=True), tool("stocks", defer_loading=True)]
    launcher.script = CALL
    before = await ask(http, tools=tools)
    assert before.status_code == 500 and "leaves the grammar" in before.text
    first = launcher.model.decode(launcher.requests[0].prompt)
    assert "about search" in first and "weather" not in first and "stocks" not in first
    asked = {"type": "tool_use", "id": "toolu_1", "name": "search", "input": {"city": "x"}}
    found = result([{"type": "tool_reference", "tool_name": "weather"}])
    messages = [USER, {"role": "assistant", "content": [asked]}, {"role": "user", "content": [found]}]
    after = await ask(http, tools=tools, messages=messages)
    assert after.json()["content"][0]["name"] == "weather"
    second = launcher.model.decode(launcher.requests[-1].prompt)
    shared = first.removesuffix("<think>\n\n</think>\n\n")
    assert second.startswith(shared), "what was in the prompt before stays as it was"
    assert "about weather" in second.removeprefix(shared) and "stocks" not in second


def test_with_a_search_tool_of_anthropics_nothing_is_deferred() -> None:
    search = {"type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25"}
    tools = turn(tools=[search, tool("weather", defer_loading=True)]).tools
    assert [(each.name, each.listed) for each in tools] == [("weather", True)]


@pytest.mark.parametrize(
    ("kind", "name", "good", "bad"),
    [
        ("bash_20250124", "bash", {"command": "ls"}, {}),
        ("bash_20250124", "bash", {"restart": True}, {"restart": 1}),
        (
            "text_editor_20250728",
            "str_replace_based_edit_tool",
            {"command": "create", "path": "/a", "file_text": "x"},
            {"command": "create", "path": "/a"},
        ),
        (
            "memory_20250818",
            "memory",
            {"command": "rename", "old_path": "/a", "new_path": "/b"},
            {"command": "x"},
        ),
    ],
)
async def test_tools_of_the_clients_own_are_known_by_their_type(
    http: httpx.AsyncClient, launcher: ScriptedLauncher, kind: str, name: str, good: Any, bad: Any
) -> None:
    for arguments, status in ((good, 200), (bad, 500)):
        written = f'{{"name": "{name}", "arguments": {httpx.Response(200, json=arguments).text}}}'
        launcher.script = f"<tool_call>\n{written}\n</tool_call>"
        for runner in launcher.runners:
            runner.script = launcher.script
        answer = await ask(http, tools=[{"type": kind, "name": name}])
        assert answer.status_code == status, answer.text
    first = launcher.model.decode(launcher.requests[0].prompt)
    assert f'"name": "{name}"' in first


@pytest.mark.parametrize(
    ("given", "kind", "where"),
    [
        ({"tools": [7]}, BadRequest, "tools[0]"),
        ({"tools": [{"name": "f"}]}, BadRequest, "tools[0]"),
        ({"tools": [tool("")]}, BadRequest, "tools[0].name"),
        ({"tools": [tool(colour="red")]}, BadRequest, "tools[0]"),
        ({"tools": [tool(input_schema={"type": "string"})]}, BadRequest, "tools[0].input_schema"),
        ({"tools": [tool(), tool("b"), tool()]}, BadRequest, "tools[2]"),
        ({"tools": [tool(defer_loading=True)]}, BadRequest, "tools"),
        ({"tools": [tool(allowed_callers=["code_execution"])]}, NotBuiltYet, "tools[0].allowed_callers"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, NotBuiltYet, "tools[0].type"),
        ({"tools": [{"type": "bash_20250124", "name": "sh"}]}, BadRequest, "tools[0].name"),
        (
            {"tools": [{"type": "bash_20250124", "name": "bash", "input_schema": {}}]},
            BadRequest,
            "tools[0]",
        ),
        ({"tool_choice": {"type": "tool"}}, BadRequest, "tool_choice"),
        ({"tool_choice": {"type": "all"}}, BadRequest, "tool_choice.type"),
        ({"tool_choice": "auto"}, BadRequest, "tool_choice"),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [result([text("x"), {"type": "tool_reference", "tool_name": "g"}])],
                    }
                ]
            },
            BadRequest,
            "messages[0].content[0].content[1]",
        ),
    ],
)
def test_what_is_no_tool_is_refused_by_its_place(
    given: dict[str, Any], kind: type[AgentkitError], where: str
) -> None:
    with pytest.raises(kind, match=re.escape(where)) as refused:
        turn(**given)
    assert refused.value.param == where


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"tool_choice": {"type": "tool", "name": "g"}}, "tool_choice"),
        ({"tools": [], "tool_choice": {"type": "any"}}, "tool_choice"),
        (
            {"tools": [tool("a"), tool("b", defer_loading=True), tool("c", input_schema={"properties": 7})]},
            "tools[2].input_schema",
        ),
    ],
)
async def test_what_the_turn_refuses_is_told_in_the_callers_words(
    http: httpx.AsyncClient, launcher: ScriptedLauncher, given: dict[str, Any], where: str
) -> None:
    answer = await ask(http, **given)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, where)
    assert launcher.launches == []
