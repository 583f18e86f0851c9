"""Tool calls and thinking in the answers of POST /v1/chat/completions, and its messages of earlier ones."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from support.sse import events

from agentkit_server.errors import ConstraintFailed, SchemaProblem, SchemaRefused
from agentkit_server.turn.events import (
    Event,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolArgumentsDelta,
    ToolCallEnd,
    ToolCallStart,
)
from agentkit_server.turn.types import ToolChoice

from .conftest import Turns

pytestmark = pytest.mark.anyio

USER = {"role": "user", "content": "hi"}
FUNCTION = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
TOOLS = [{"type": "function", "function": FUNCTION}]


def call(at: int, id: str, *pieces: str) -> list[Event]:
    return [
        ToolCallStart(0, at, id, "weather"),
        *(ToolArgumentsDelta(0, at, piece) for piece in pieces),
        ToolCallEnd(0, at, id, "weather", "".join(pieces)),
    ]


async def ask(http: httpx.AsyncClient, *messages: dict[str, Any], **fields: Any) -> httpx.Response:
    body = {"model": "tiny", "messages": messages or [USER], **fields}
    return await http.post("/v1/chat/completions", json=body)


async def choice(http: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    return (await ask(http, **fields)).json()["choices"][0]


async def deltas(http: httpx.AsyncClient, **fields: Any) -> list[tuple[dict[str, Any], str | None]]:
    *chunks, _ = events((await ask(http, stream=True, **fields)).text)
    return [(chunk["choices"][0]["delta"], chunk["choices"][0]["finish_reason"]) for chunk in chunks]


# --- calls ------------------------------------------------------------------------------------------


async def test_an_answer_that_is_calls_has_no_content_and_says_tool_calls(
    http: httpx.AsyncClient, turns: Turns
) -> None:
    turns.events = [*call(0, "call_a", '{"city":', ' "Oslo"}'), *call(1, "call_b", "{}")]
    turns.finish = {"tool_calls": 2}
    answer = await choice(http, tools=TOOLS)
    assert answer["finish_reason"] == "tool_calls"
    assert answer["message"] == {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "tool_calls": [
            {
                "id": "call_a",
                "type": "function",
                "function": {"name": "weather", "arguments": '{"city": "Oslo"}'},
            },
            {"id": "call_b", "type": "function", "function": {"name": "weather", "arguments": "{}"}},
        ],
    }


async def test_text_before_a_call_is_content(http: httpx.AsyncClient, turns: Turns) -> None:
    turns.events, turns.finish = [TextDelta(0, "Hm."), *call(0, "call_a", "{}")], {"tool_calls": 1}
    answer = await choice(http, tools=TOOLS)
    assert answer["message"]["content"] == "Hm."
    assert len(answer["message"]["tool_calls"]) == 1


async def test_a_call_streams_its_name_first_and_its_arguments_as_they_come(
    http: httpx.AsyncClient, turns: Turns
) -> None:
    turns.events = [*call(0, "call_a", '{"city":', "", ' "Oslo"}'), *call(1, "call_b", "{}")]
    turns.finish = {"tool_calls": 2}
    first = {"name": "weather", "arguments": ""}
    assert await deltas(http, tools=TOOLS) == [
        ({"role": "assistant", "content": ""}, None),
        ({"tool_calls": [{"index": 0, "id": "call_a", "type": "function", "function": first}]}, None),
        ({"tool_calls": [{"index": 0, "function": {"arguments": '{"city":'}}]}, None),
        ({"tool_calls": [{"index": 0, "function": {"arguments": ' "Oslo"}'}}]}, None),
        ({"tool_calls": [{"index": 1, "id": "call_b", "type": "function", "function": first}]}, None),
        ({"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]}, None),
        ({}, "tool_calls"),
    ]


async def test_a_call_that_is_cut_short_says_length(http: httpx.AsyncClient, turns: Turns) -> None:
    turns.events = [*call(0, "call_a", "{}"), *call(1, "call_b", '{"ci')[:2]]
    turns.finish = {"reason": "length", "tool_calls": 1}
    answer = await choice(http, tools=TOOLS)
    assert answer["finish_reason"] == "length"
    assert [each["function"]["arguments"] for each in answer["message"]["tool_calls"]] == ["{}", '{"ci']
    assert (await deltas(http, tools=TOOLS))[-1] == ({}, "length")


async def test_functions_of_the_older_form_are_called_in_the_older_form(
    http: httpx.AsyncClient, turns: Turns
) -> None:
    turns.events, turns.finish = call(0, "call_a", '{"city":', ' "Oslo"}'), {"tool_calls": 1}
    older: dict[str, Any] = {"functions": [FUNCTION], "function_call": {"name": "weather"}}
    answer = await choice(http, **older)
    assert answer["finish_reason"] == "function_call"
    assert answer["message"]["function_call"] == {"name": "weather", "arguments": '{"city": "Oslo"}'}
    assert "tool_calls" not in answer["message"]
    assert await deltas(http, **older) == [
        ({"role": "assistant", "content": ""}, None),
        ({"function_call": {"name": "weather", "arguments": ""}}, None),
        ({"function_call": {"arguments": '{"city":'}}, None),
        ({"function_call": {"arguments": ' "Oslo"}'}}, None),
        ({}, "function_call"),
    ]
    assert turns.asked[0].tool_choice == ToolChoice(mode="required", names=("weather",), parallel=False)
    assert [tool.name for tool in turns.asked[0].tools] == ["weather"]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (None, ToolChoice(parallel=False)),
        ("auto", ToolChoice(parallel=False)),
        ("none", ToolChoice(mode="none", parallel=False)),
    ],
)
async def test_an_older_choice_allows_one_call_at_most(
    http: httpx.AsyncClient, turns: Turns, given: Any, wanted: ToolChoice
) -> None:
    assert (await ask(http, functions=[FUNCTION], function_call=given)).status_code == 200
    assert turns.asked[0].tool_choice == wanted


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"functions": [FUNCTION], "tools": TOOLS}, "functions"),
        ({"functions": [{"parameters": {}}]}, "functions[0].name"),
        ({"functions": [FUNCTION, FUNCTION]}, "functions[1]"),
        ({"function_call": "always"}, "function_call"),
        ({"function_call": {"name": ""}}, "function_call"),
        ({"function_call": "auto", "tool_choice": "auto"}, "function_call"),
        ({"tools": {}}, "tools"),
        ({"tool_choice": 7}, "tool_choice"),
        ({"parallel_tool_calls": "no"}, "parallel_tool_calls"),
    ],
)
async def test_tools_that_cannot_be_read_are_refused_by_their_place(
    http: httpx.AsyncClient, turns: Turns, fields: dict[str, Any], param: str
) -> None:
    answer = await ask(http, **fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert turns.asked == []


# --- thinking ---------------------------------------------------------------------------------------


async def test_thoughts_come_apart_under_both_names_that_clients_read(
    http: httpx.AsyncClient, turns: Turns
) -> None:
    turns.events, turns.finish = [ThinkingDelta(0, "2 and 2"), TextDelta(0, "4")], {"thinking_tokens": 3}
    answer = (await ask(http)).json()
    message = answer["choices"][0]["message"]
    assert (message["content"], message["reasoning"], message["reasoning_content"]) == (
        "4",
        "2 and 2",
        "2 and 2",
    )
    assert answer["usage"]["completion_tokens_details"] == {"reasoning_tokens": 3}
    assert [delta for delta, _ in await deltas(http)] == [
        {"role": "assistant", "content": ""},
        {"reasoning": "2 and 2", "reasoning_content": "2 and 2"},
        {"content": "4"},
        {},
    ]


@pytest.mark.parametrize(
    ("fields", "think"),
    [
        ({}, None),
        ({"reasoning_effort": "none"}, False),
        ({"reasoning_effort": "minimal"}, "low"),
        ({"reasoning_effort": "low"}, "low"),
        ({"reasoning_effort": "medium"}, "medium"),
        ({"reasoning_effort": "high"}, "high"),
        ({"reasoning_effort": "xhigh"}, "max"),
        ({"reasoning_effort": "max"}, "max"),
        ({"reasoning": {"effort": "high", "summary": "auto"}}, "high"),
        ({"reasoning": {}}, None),
        ({"chat_template_kwargs": {"enable_thinking": False}}, False),
        ({"chat_template_kwargs": {"enable_thinking": True}}, True),
        ({"chat_template_kwargs": {"thinking": True}}, True),
        ({"chat_template_kwargs": {"enable_thinking": True}, "reasoning_effort": "low"}, "low"),
    ],
)
async def test_every_way_of_asking_for_thoughts_is_understood(
    http: httpx.AsyncClient, turns: Turns, fields: dict[str, Any], think: object
) -> None:
    assert (await ask(http, **fields)).status_code == 200
    assert turns.asked[0].think == think


async def test_a_thinking_budget_reaches_the_turn(http: httpx.AsyncClient, turns: Turns) -> None:
    await ask(http, thinking_budget=0)
    assert turns.asked[0].thinking_budget == 0


async def test_other_template_variables_reach_the_template(http: httpx.AsyncClient, turns: Turns) -> None:
    await ask(http, chat_template_kwargs={"enable_thinking": True, "date": "today", "documents": [{"a": 1}]})
    assert turns.asked[0].prompt.template_kwargs == {"date": "today", "documents": [{"a": 1}]}  # pyright: ignore


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"reasoning_effort": "enormous"}, "reasoning_effort"),
        ({"reasoning": {"effort": "deep"}}, "reasoning.effort"),
        ({"reasoning": {"max_tokens": 5}}, "reasoning"),
        ({"reasoning": {"effort": "low"}, "reasoning_effort": "high"}, "reasoning"),
        (
            {"reasoning_effort": "none", "chat_template_kwargs": {"enable_thinking": True}},
            "chat_template_kwargs.enable_thinking",
        ),
        ({"chat_template_kwargs": {"enable_thinking": "yes"}}, "chat_template_kwargs.enable_thinking"),
        ({"chat_template_kwargs": {"messages": []}}, "chat_template_kwargs.messages"),
        ({"chat_template_kwargs": {"self": 1}}, "chat_template_kwargs.self"),
        ({"chat_template_kwargs": {"not a name": 1}}, "chat_template_kwargs.not a name"),
        ({"chat_template_kwargs": {"__x": 1}}, "chat_template_kwargs.__x"),
        ({"chat_template_kwargs": {f"x{at}": 1 for at in range(65)}}, "chat_template_kwargs"),
        ({"chat_template_kwargs": []}, "chat_template_kwargs"),
        ({"thinking_budget": -1}, "thinking_budget"),
    ],
)
async def test_what_says_nothing_clear_about_thinking_is_refused(
    http: httpx.AsyncClient, turns: Turns, fields: dict[str, Any], param: str
) -> None:
    answer = await ask(http, **fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert turns.asked == []


# --- earlier messages -------------------------------------------------------------------------------

CALLED = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Oslo"}'},
}
CANONICAL = {**CALLED, "function": {"name": "weather", "arguments": {"city": "Oslo"}}}


@pytest.mark.parametrize(
    ("message", "canonical"),
    [
        ({"role": "developer", "content": "Be brief."}, {"role": "developer", "content": "Be brief."}),
        (
            {"role": "assistant", "content": None, "tool_calls": [CALLED]},
            {"role": "assistant", "content": "", "tool_calls": [CANONICAL]},
        ),
        (
            {"role": "assistant", "content": [], "tool_calls": [CALLED], "refusal": None, "annotations": []},
            {"role": "assistant", "content": "", "tool_calls": [CANONICAL]},
        ),
        (
            {"role": "assistant", "function_call": CALLED["function"]},
            {"role": "assistant", "content": "", "tool_calls": [{**CANONICAL, "id": "call_legacy_0"}]},
        ),
        (
            {"role": "assistant", "content": "4", "reasoning": "2 and 2", "reasoning_content": "2 and 2"},
            {"role": "assistant", "content": "4", "thinking": "2 and 2"},
        ),
        (
            {"role": "assistant", "content": "4", "reasoning_content": "2 and 2", "reasoning": None},
            {"role": "assistant", "content": "4", "thinking": "2 and 2"},
        ),
        (
            {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "mild"}]},
            {"role": "tool", "tool_call_id": "call_1", "content": "mild"},
        ),
        (
            {"role": "tool", "tool_call_id": "call_1", "name": "weather", "content": ""},
            {"role": "tool", "tool_call_id": "call_1", "name": "weather", "content": ""},
        ),
        (
            {"role": "function", "name": "weather", "content": "mild"},
            {"role": "tool", "name": "weather", "content": "mild"},
        ),
    ],
)
async def test_an_earlier_message_reaches_the_turn_in_the_one_form(
    http: httpx.AsyncClient, turns: Turns, message: dict[str, Any], canonical: dict[str, Any]
) -> None:
    answer = await ask(http, message, USER)
    assert answer.status_code == 200, answer.text
    assert turns.asked[0].prompt.messages == (canonical, USER)  # pyright: ignore


async def test_what_the_server_said_can_be_sent_back_as_it_is(http: httpx.AsyncClient, turns: Turns) -> None:
    turns.events = [ThinkingDelta(0, "2 and 2"), TextDelta(0, "4"), *call(0, "call_1", '{"city": "Oslo"}')]
    turns.finish = {"tool_calls": 1}
    message = (await choice(http, tools=TOOLS))["message"]
    assert (await ask(http, USER, message, USER)).status_code == 200
    assert turns.asked[1].prompt.messages[1] == {  # pyright: ignore
        "role": "assistant",
        "content": "4",
        "thinking": "2 and 2",
        "tool_calls": [CANONICAL],
    }


# --- constraints ------------------------------------------------------------------------------------


async def test_an_answer_says_how_far_its_form_was_enforced(http: httpx.AsyncClient, turns: Turns) -> None:
    turns.started = Started(
        prompt_tokens=5, load_ns=1, constraint="checked", notes=("'path' is not checked",)
    )
    whole, streamed = await ask(http), await ask(http, stream=True)
    assert [each.headers["x-agentkit-constraint"] for each in (whole, streamed)] == ["checked", "checked"]
    first, *others = events(streamed.text)[:-1]
    for told in (whole.json(), first):
        assert (told["constraint"], told["constraint_notes"]) == ("checked", ["'path' is not checked"])
    assert not any("constraint" in other for other in others)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fields", "raised", "param"),
    [
        ({"response_format": {"type": "json_object"}}, None, "response_format"),
        ({"structured_outputs": {"json": {}}}, "response_format", "structured_outputs.json"),
        ({"guided_json": {}}, None, "guided_json"),
        ({"tools": TOOLS}, "tools[0].function.parameters", "tools[0].function.parameters"),
        ({"functions": [FUNCTION]}, "tools[0].function.parameters", "functions[0].parameters"),
    ],
)
async def test_a_refused_schema_names_its_parameter_and_lists_its_problems(
    http: httpx.AsyncClient,
    turns: Turns,
    fields: dict[str, Any],
    raised: str | None,
    param: str,
    stream: bool,
) -> None:
    problem = SchemaProblem("/not", "not", "cannot be negated", "list what is allowed")
    turns.refusal = SchemaRefused([problem], param=raised)
    answer = await ask(http, stream=stream, **fields)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["param"], error["code"], error["type"]) == (
        param,
        "schema_refused",
        "invalid_request_error",
    )
    assert "/not: not: cannot be negated; list what is allowed" in error["message"]
    assert error["problems"] == [
        {
            "pointer": "/not",
            "keyword": "not",
            "reason": "cannot be negated",
            "rewrite": "list what is allowed",
        }
    ]


async def test_an_answer_that_stays_invalid_is_an_error_and_never_a_success(
    http: httpx.AsyncClient, turns: Turns
) -> None:
    turns.failure = ConstraintFailed("the answer was not valid in 3 attempts")
    whole = await ask(http)
    assert (whole.status_code, whole.json()["error"]["code"]) == (500, "constraint_failed")
    *chunks, last = events((await ask(http, stream=True)).text)
    assert last["error"]["code"] == "constraint_failed"
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in chunks)
