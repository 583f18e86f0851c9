"""Responses: every kind of item and tool that clients send, read into a turn or refused by its place."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit_server.dialects.responses_body import read_body
from agentkit_server.dialects.responses_items import conversation, read_items
from agentkit_server.dialects.responses_tools import read_offer
from agentkit_server.dialects.responses_turn import response_turn
from agentkit_server.errors import AgentkitError, BadRequest, NotBuiltYet
from agentkit_server.runner.scripted import ScriptedLauncher
from agentkit_server.turn.types import Chat, ToolChoice, Turn

pytestmark = pytest.mark.anyio

USER = {"role": "user", "content": "hi"}
FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}
PATCH = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Edits files.",
    "format": {"type": "grammar", "syntax": "lark", "definition": 'start: "*** Begin" /[a-z]+/ "*** End"'},
}
AGENTS = {"type": "namespace", "name": "agents", "description": "Sub-agents.", "tools": [FUNCTION, PATCH]}
SEARCH = {"type": "web_search", "external_web_access": False}
CODEX = {
    "model": "tiny",
    "instructions": "You are a coding agent.",
    "input": [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Rules."}]},
        {"type": "message", "id": "mine", "role": "user", "content": [{"type": "input_text", "text": "go"}]},
    ],
    "tools": [FUNCTION, PATCH, {**AGENTS, "tools": [FUNCTION]}, SEARCH],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "reasoning": {"summary": "auto"},
    "store": False,
    "stream": True,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "conversation-1",
    "client_metadata": {"x": "y"},
    "text": {
        "format": {"type": "json_schema", "strict": True, "name": "answer", "schema": {"type": "object"}}
    },
}
"""What Codex sends, in small."""


def test_the_tools_of_namespaces_count() -> None:
    tools = [{"type": "function", "name": f"f{at}"} for at in range(1025)]
    with pytest.raises(BadRequest, match="has 1025 entries with those of namespaces"):
        read_offer([{"type": "namespace", "name": "n", "tools": tools}])


def turn_of(**body: Any) -> Turn:
    asked = read_body({"model": "tiny", "input": "hi", **body})
    items = [item for item in read_items(asked.own.input) if item["type"] != "item_reference"]
    return response_turn(asked, items, read_offer(asked.own.tools or ()))


def messages_of(items: list[Any], instructions: str | None = None) -> list[dict[str, Any]]:
    return list(conversation(read_items(items), instructions))


def test_what_an_assistant_did_in_one_go_is_one_message() -> None:
    call = {"type": "function_call", "call_id": "1", "name": "f", "arguments": '{"a": 1}'}
    patch = {"type": "custom_tool_call", "call_id": "2", "name": "apply_patch", "input": "x"}
    messages = messages_of(
        [
            USER,
            {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
            {"role": "assistant", "content": [{"type": "output_text", "text": "Well"}]},
            call,
            {**patch, "namespace": "agents"},
            {
                "type": "function_call_output",
                "call_id": "1",
                "output": [{"type": "input_text", "text": "one"}],
            },
            {"type": "custom_tool_call_output", "call_id": "2", "output": "two"},
            {"type": "message", "role": "assistant", "content": "a"},
            {"type": "message", "role": "assistant", "content": "b"},
        ],
        "Be kind.",
    )
    assert [message["role"] for message in messages] == [
        "system",
        "user",
        "assistant",
        "tool",
        "tool",
        "assistant",
        "assistant",
    ]
    acted = messages[2]
    assert (acted["thinking"], acted["content"]) == ("Hm.", "Well")
    functions = [call["function"] for call in acted["tool_calls"]]
    assert functions == [
        {"name": "f", "arguments": {"a": 1}},
        {"name": "agents__apply_patch", "arguments": {"input": "x"}},
    ]
    assert [(m["tool_call_id"], m["content"]) for m in messages[3:5]] == [("1", "one"), ("2", "two")]


@pytest.mark.parametrize(
    ("item", "param", "status"),
    [
        (7, "input[0]", 400),
        ({"type": "nonsense"}, "input[0].type", 400),
        ({"type": "computer_call", "id": "x"}, "input[0]", 501),
        ({"role": "nobody", "content": "x"}, "input[0].role", 400),
        ({"role": "user", "content": 7}, "input[0].content", 400),
        (
            {"role": "user", "content": [{"type": "input_image", "image_url": "x"}]},
            "input[0].content[0]",
            501,
        ),
        ({"role": "user", "content": [{"type": "output"}]}, "input[0].content[0]", 400),
        ({"role": "user", "content": "x", "id": 7}, "input[0].id", 400),
        ({"type": "function_call", "name": "f", "arguments": "{}"}, "input[0].call_id", 400),
        ({"type": "function_call", "call_id": "1", "arguments": "{}"}, "input[0].name", 400),
        ({"type": "function_call_output", "call_id": "1", "output": 7}, "input[0].output", 400),
        ({"type": "custom_tool_call", "call_id": "1", "name": "f"}, "input[0].input", 400),
        ({"type": "reasoning", "summary": 7}, "input[0].summary", 400),
        ({"type": "item_reference", "id": "gone"}, "input[0].id", 400),
        ({"type": "web_search_call", "action": {"type": "open_page"}}, "input[0].action", 501),
        (
            {"type": "web_search_call", "action": {"type": "search", "query": "x"}, "results": 7},
            "input[0].results",
            400,
        ),
    ],
)
async def test_an_item_that_cannot_be_read_is_named(
    http: httpx.AsyncClient, item: Any, param: str, status: int
) -> None:
    answer = await http.post("/v1/responses", json={"model": "tiny", "input": [item]})
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


@pytest.mark.parametrize(
    ("body", "param", "status"),
    [
        ({"conversation": "conv_1"}, "conversation", 501),
        ({"prompt": {"id": "x"}}, "prompt", 501),
        ({"max_tokens": 5}, "max_tokens", 400),
        ({"n": 2}, "n", 400),
        ({"text": {"verbosity": "low"}}, "text.verbosity", 501),
        ({"text": {"format": {"type": "json_schema", "schema": {"type": "nope"}}}}, "text.format", 400),
        ({"regex": "("}, "regex", 400),
        ({"include": ["everything"]}, "include[0]", 400),
        ({"metadata": {"a": 7}}, "metadata[...]", 400),
        ({"reasoning": {"effort": "high"}}, "reasoning.effort", 400),
        ({"truncation": "auto", "truncate": False}, "truncation", 400),
        ({"background": True, "store": False}, "background", 400),
        ({"input": []}, "input", 400),
        ({"input": None}, "input", 400),
        ({"previous_response_id": "resp_none"}, "previous_response_id", 400),
        ({"tools": [{"type": "file_search"}]}, "tools[0].type", 501),
        ({"tools": [7]}, "tools[0]", 400),
        ({"tools": [{"type": "function"}]}, "tools[0].name", 400),
        ({"tools": [{**AGENTS, "tools": []}]}, "tools[0].tools", 400),
        ({"tools": [{**AGENTS, "tools": [FUNCTION, FUNCTION]}]}, "tools[0].tools[1]", 400),
        (
            {"tools": [{**AGENTS, "tools": [{**FUNCTION, "parameters": {"properties": 7}}]}]},
            "tools[0].tools[0].parameters",
            400,
        ),
        ({"tools": [{**PATCH, "format": {"type": "grammar"}}]}, "tools[0].format", 400),
        (
            {"tools": [{**PATCH, "format": {**PATCH["format"], "definition": "start: ("}}]},
            "tools[0].format",
            400,
        ),
        ({"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "g"}}, "tool_choice", 400),
        ({"tools": [SEARCH], "tool_choice": {"type": "web_search"}}, "tool_choice", 400),
        ({"tool_choice": 7}, "tool_choice", 400),
    ],
)
async def test_a_parameter_that_cannot_be_honoured_is_named(
    http: httpx.AsyncClient, body: dict[str, Any], param: str, status: int
) -> None:
    for more in ({}, {"stream": True}):
        answer = await http.post("/v1/responses", json={"model": "tiny", "input": "hi", **body, **more})
        assert (answer.status_code, answer.json()["error"]["param"]) == (status, param), answer.text


def test_tools_in_a_namespace_get_names_of_their_own() -> None:
    offered = read_offer([FUNCTION, AGENTS, {**AGENTS, "name": "mcp__files__", "description": ""}])
    assert [tool.name for tool in offered.tools] == [
        "f",
        "agents__f",
        "agents__apply_patch",
        "mcp__files__f",
        "mcp__files__apply_patch",
    ]
    assert offered.tools[1].description == "agents: Sub-agents."
    assert "Sub-agents." not in offered.tools[2].description
    assert offered.callee("agents__f") == ("f", "agents")


@pytest.mark.parametrize(
    ("choice", "meant"),
    [
        (None, ToolChoice()),
        ("required", ToolChoice(mode="required")),
        ({"type": "custom", "name": "apply_patch"}, ToolChoice(mode="required", names=("apply_patch",))),
        (
            {"type": "function", "name": "f", "namespace": "agents"},
            ToolChoice(mode="required", names=("agents__f",)),
        ),
        (
            {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "namespace", "name": "agents"}, FUNCTION, SEARCH],
            },
            ToolChoice(names=("agents__f", "f")),
        ),
    ],
)
def test_a_choice_names_tools_as_the_caller_does(choice: Any, meant: ToolChoice) -> None:
    tools = [FUNCTION, PATCH, {**AGENTS, "tools": [FUNCTION]}, SEARCH]
    assert turn_of(tools=tools, tool_choice=choice).tool_choice == meant


def test_fields_become_those_of_a_turn() -> None:
    turn = turn_of(
        **{key: value for key, value in CODEX.items() if key not in ("model", "text")},
        max_output_tokens=9,
        temperature=0.5,
        top_k=3,
        truncation="auto",
        top_logprobs=2,
    )
    assert turn.options == {"num_predict": 9, "temperature": 0.5, "top_k": 3}
    assert (turn.run_id, turn.truncate, turn.logprobs) == ("conversation-1", True, 2)
    assert isinstance(turn.prompt, Chat)
    assert [message["content"] for message in turn.prompt.messages] == [
        "You are a coding agent.",
        "Rules.",
        "go",
    ]


async def test_a_request_as_codex_sends_it_is_answered(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    launcher.script = '<tool_call>\n{"name": "agents__f", "arguments": {}}\n</tool_call>'
    answer = await http.post("/v1/responses", json=CODEX)
    assert answer.status_code == 200, answer.text
    *_, item, last = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    assert (item["item"]["name"], item["item"]["namespace"]) == ("f", "agents")
    [note] = last["response"]["notes"]
    assert note.startswith("tools[3]: web_search is not offered to the model")
    prompt = launcher.model.decode(launcher.requests[0].prompt)
    assert "apply_patch" in prompt and "web_search" not in prompt
    assert launcher.requests[0].pin == "conversation-1"


@pytest.mark.parametrize(("text", "valid"), [("*** Beginabc*** End", True), ("something", False)])
async def test_a_custom_tool_is_held_to_its_grammar(
    http: httpx.AsyncClient, launcher: ScriptedLauncher, text: str, valid: bool
) -> None:
    call = json.dumps({"name": "apply_patch", "arguments": {"input": text}})
    launcher.script = f"<tool_call>\n{call}\n</tool_call>"
    answer = await http.post("/v1/responses", json={"model": "tiny", "input": "hi", "tools": [PATCH]})
    assert (answer.status_code == 200) is valid
    if valid:
        [item] = answer.json()["output"]
        assert (item["type"], item["name"], item["input"]) == ("custom_tool_call", "apply_patch", text)


async def test_an_item_can_be_referred_to(http: httpx.AsyncClient, launcher: ScriptedLauncher) -> None:
    made = (await http.post("/v1/responses", json={"model": "tiny", "input": "hi"})).json()
    reference = {"type": "item_reference", "id": made["output"][0]["id"]}
    again = await http.post("/v1/responses", json={"model": "tiny", "input": [USER, reference, USER]})
    assert again.status_code == 200
    assert "Hello, world!" in launcher.model.decode(launcher.requests[-1].prompt)


async def test_logprobs_come_where_they_are_asked_for(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    launcher.script = "blue"
    asked = {"model": "tiny", "input": "hi", "include": ["message.output_text.logprobs"]}
    [message] = (await http.post("/v1/responses", json=asked)).json()["output"]
    assert [each["token"] for each in message["content"][0]["logprobs"]] == list("blue")


SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
KINDS = ["message", "function", "custom", "reasoning", "function_call", "function_call_output", "namespace"]
NAMES = ["type", "role", "content", "id", "name", "tools", "call_id", "output", "input", "summary", "format"]
WORDS = st.sampled_from(
    [*KINDS, *NAMES, "web_search_call", "action", "user", "allowed_tools", "mode", "auto"]
)
VALUES = st.recursive(
    SCALARS | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=8,
)


@pytest.mark.parametrize(
    "name", ["input", "tools", "tool_choice", "text", "reasoning", "include", "metadata"]
)
@given(value=VALUES)
def test_whatever_stands_in_a_field_is_read_or_refused(name: str, value: Any) -> None:
    try:
        turn_of(**{name: value})
    except (BadRequest, NotBuiltYet) as refused:
        assert refused.message and refused.param
    except AgentkitError as other:
        raise AssertionError from other


@pytest.mark.parametrize("kind", [["message"], {"a": 1}, 3, True])
@pytest.mark.parametrize("name", ["input", "tools", "tool_choice"])
def test_a_type_that_is_no_text_is_refused(name: str, kind: Any) -> None:
    thing = {"type": kind, "name": "f"}
    with pytest.raises(BadRequest) as refused:
        turn_of(**{name: thing if name == "tool_choice" else [thing]})
    assert (refused.value.param or "").startswith(name)
