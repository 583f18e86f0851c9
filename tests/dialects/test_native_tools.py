"""Demands on an answer, tool calls and thinking in the native dialect."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from agentkit_server.errors import ConstraintFailed, SchemaProblem, SchemaRefused
from agentkit_server.turn.events import (
    Started,
    TextDelta,
    ThinkingDelta,
    ToolArgumentsDelta,
    ToolCallEnd,
    ToolCallStart,
)
from agentkit_server.turn.types import ResponseFormat

from .conftest import Turns

pytestmark = pytest.mark.anyio

SCHEMA = {"type": "object", "properties": {"b": {"type": "integer"}, "a": {"type": "string"}}}
PATHS = ("/api/chat", "/api/generate")
CALL = [
    ToolCallStart(0, 0, "call_a", "weather"),
    ToolArgumentsDelta(0, 0, '{"city":'),
    ToolArgumentsDelta(0, 0, ' "Oslo"}'),
    ToolCallEnd(0, 0, "call_a", "weather", '{"city":\n "Oslo"}'),
]
ENTRY = {"id": "call_a", "function": {"index": 0, "name": "weather", "arguments": {"city": "Oslo"}}}


async def ask(http: httpx.AsyncClient, path: str = "/api/chat", **fields: Any) -> httpx.Response:
    said = {"messages": [{"role": "user", "content": "hi"}]} if path == "/api/chat" else {"prompt": "hi"}
    return await http.post(path, json={"model": "tiny", "stream": False, **said, **fields})


async def lines(http: httpx.AsyncClient, path: str = "/api/chat", **fields: Any) -> list[Any]:
    response = await ask(http, path, stream=True, **fields)
    return [json.loads(line) for line in response.text.splitlines()]


# --- what reaches the turn --------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (None, None),
        ("", None),
        ("json", ResponseFormat(kind="json_object")),
        (SCHEMA, ResponseFormat(kind="json_schema", value=SCHEMA)),
        ({}, ResponseFormat(kind="json_schema", value={})),
    ],
)
async def test_a_format_reaches_the_turn(
    http: httpx.AsyncClient, turns: Turns, path: str, given: Any, wanted: ResponseFormat | None
) -> None:
    assert (await ask(http, path, format=given)).status_code == 200
    assert turns.asked[0].response_format == wanted


async def test_json_without_white_space_can_be_asked_for(http: httpx.AsyncClient, turns: Turns) -> None:
    await ask(http, format="json", compact=True)
    assert turns.asked[0].response_format == ResponseFormat(kind="json_object", compact=True)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("given", ["xml", [1], 7, True, "JSON"])
async def test_what_is_no_format_is_refused_in_ollamas_words(
    http: httpx.AsyncClient, turns: Turns, path: str, given: Any
) -> None:
    response = await ask(http, path, format=given)
    expected = f'invalid format: {given!r}; expected "json" or a valid JSON Schema object'
    assert (response.status_code, response.json()["error"]) == (400, expected)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("think", [None, True, False, "low", "medium", "high", "max"])
async def test_think_and_its_budget_reach_the_turn(
    http: httpx.AsyncClient, turns: Turns, path: str, think: bool | str | None
) -> None:
    assert (await ask(http, path, think=think, thinking_budget=16)).status_code == 200
    assert (turns.asked[0].think, turns.asked[0].thinking_budget) == (think, 16)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("fields", "error"),
    [
        (
            {"think": "deep"},
            'invalid think value: "deep" (must be "high", "medium", "low", "max", true, or false)',
        ),
        ({"think": 3}, 'invalid field "think": expected'),
        ({"thinking_budget": -1}, 'invalid field "thinking_budget"'),
        ({"thinking_budget": "long"}, 'invalid field "thinking_budget"'),
        ({"compact": "yes"}, 'invalid field "compact"'),
    ],
)
async def test_what_says_nothing_about_thinking_is_refused(
    http: httpx.AsyncClient, turns: Turns, path: str, fields: dict[str, Any], error: str
) -> None:
    response = await ask(http, path, **fields)
    assert (response.status_code, error in response.json()["error"]) == (400, True), response.text


async def test_thoughts_and_names_of_earlier_messages_reach_the_turn(
    http: httpx.AsyncClient, turns: Turns
) -> None:
    given = [
        {"role": "Developer", "content": "Be brief."},
        {"role": "assistant", "content": "4", "thinking": "2 and 2"},
        {"role": "TOOL", "tool_name": "weather", "content": "mild"},
    ]
    await ask(http, messages=given)
    assert turns.asked[0].prompt.messages == (  # pyright: ignore
        {"role": "developer", "content": "Be brief."},
        {"role": "assistant", "content": "4", "thinking": "2 and 2"},
        {"role": "tool", "name": "weather", "content": "mild"},
    )


# --- what comes back --------------------------------------------------------------------------------


async def test_a_call_is_one_entry_with_its_arguments_as_an_object(
    http: httpx.AsyncClient, turns: Turns
) -> None:
    turns.events, turns.finish = [TextDelta(0, "Let me see."), *CALL], {"tool_calls": 1}
    answer = (await ask(http)).json()
    assert answer["message"] == {"role": "assistant", "content": "Let me see.", "tool_calls": [ENTRY]}
    assert answer["done_reason"] == "stop"


async def test_a_stream_tells_a_call_whole_when_it_closes(http: httpx.AsyncClient, turns: Turns) -> None:
    turns.events, turns.finish = [TextDelta(0, "Hm."), *CALL], {"tool_calls": 1}
    text, call, last = await lines(http)
    assert text["message"] == {"role": "assistant", "content": "Hm."}
    assert call["message"] == {"role": "assistant", "content": "", "tool_calls": [ENTRY]}
    assert call["done"] is False
    assert (last["message"], last["done_reason"]) == ({"role": "assistant", "content": ""}, "stop")


async def test_parallel_calls_have_ids_and_indexes_of_their_own(
    http: httpx.AsyncClient, turns: Turns
) -> None:
    turns.events = [
        *CALL,
        ToolCallStart(0, 1, "call_b", "now"),
        ToolArgumentsDelta(0, 1, "{}"),
        ToolCallEnd(0, 1, "call_b", "now", "{}"),
    ]
    calls = (await ask(http)).json()["message"]["tool_calls"]
    assert [(call["id"], call["function"]["index"]) for call in calls] == [("call_a", 0), ("call_b", 1)]


async def test_a_call_that_is_cut_short_is_not_told(http: httpx.AsyncClient, turns: Turns) -> None:
    turns.events, turns.finish = CALL[:2], {"reason": "length"}
    answer = (await ask(http)).json()
    assert (answer["message"], answer["done_reason"]) == ({"role": "assistant", "content": ""}, "length")


@pytest.mark.parametrize(
    ("path", "thought", "said"),
    [
        (
            "/api/chat",
            {"message": {"role": "assistant", "content": "", "thinking": "2 and 2"}},
            {"message": {"role": "assistant", "content": "4"}},
        ),
        ("/api/generate", {"response": "", "thinking": "2 and 2"}, {"response": "4"}),
    ],
)
async def test_thoughts_come_apart_from_the_answer(
    http: httpx.AsyncClient, turns: Turns, path: str, thought: Any, said: Any
) -> None:
    turns.events, turns.finish = [ThinkingDelta(0, "2 and 2"), TextDelta(0, "4")], {"thinking_tokens": 3}
    first, second, last = await lines(http, path)
    assert thought.items() <= first.items()
    assert said.items() <= second.items()
    assert last["eval_thinking_count"] == 3
    whole = (await ask(http, path)).json()
    told = whole.get("message", whole)
    assert (told["thinking"], told.get("content", told.get("response"))) == ("2 and 2", "4")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("level", ["exact", "checked"])
async def test_an_answer_says_how_far_its_form_was_enforced(
    http: httpx.AsyncClient, turns: Turns, path: str, level: Any
) -> None:
    turns.started = Started(
        prompt_tokens=5, load_ns=1, constraint=level, notes=("format 'path' is not checked",)
    )
    whole = await ask(http, path, format="json")
    streamed = await ask(http, path, format="json", stream=True)
    assert [each.headers["x-agentkit-constraint"] for each in (whole, streamed)] == [level, level]
    for last in (whole.json(), json.loads(streamed.text.splitlines()[-1])):
        assert (last["constraint"], last["constraint_notes"]) == (level, ["format 'path' is not checked"])


@pytest.mark.parametrize("path", PATHS)
async def test_an_answer_of_which_nothing_was_asked_says_nothing_of_it(
    http: httpx.AsyncClient, turns: Turns, path: str
) -> None:
    answer = await ask(http, path)
    assert "x-agentkit-constraint" not in answer.headers
    assert not {"constraint", "constraint_notes", "eval_thinking_count"} & answer.json().keys()


# --- what goes wrong --------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_a_refused_schema_lists_its_problems(
    http: httpx.AsyncClient, turns: Turns, stream: bool
) -> None:
    problems = [
        SchemaProblem("/properties/a/not", "not", "cannot be negated", "list what is allowed"),
        SchemaProblem("", "uniqueItems", "has no bound", ""),
    ]
    turns.refusal = SchemaRefused(problems)
    response = await ask(http, format=SCHEMA, stream=stream)
    assert response.status_code == 400
    answer = response.json()
    assert "/properties/a/not" in answer["error"] and "uniqueItems" in answer["error"]
    assert answer["problems"] == [
        {
            "pointer": "/properties/a/not",
            "keyword": "not",
            "reason": "cannot be negated",
            "rewrite": "list what is allowed",
        },
        {"pointer": "", "keyword": "uniqueItems", "reason": "has no bound", "rewrite": ""},
    ]


async def test_an_answer_that_stays_invalid_is_an_error_and_never_a_success(
    http: httpx.AsyncClient, turns: Turns
) -> None:
    turns.failure = ConstraintFailed("the answer was not valid in 3 attempts")
    whole = await ask(http, format=SCHEMA)
    assert (whole.status_code, whole.json()) == (500, {"error": "the answer was not valid in 3 attempts"})
    assert (await lines(http, format=SCHEMA))[-1] == {"error": "the answer was not valid in 3 attempts"}
