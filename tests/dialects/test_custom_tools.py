"""Custom tools of chat/completions: one text in place of arguments, of any form, a regex or a grammar."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import AsyncGenerator, Iterable
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI
from support.sse import events

from agentkit_server.runner.scripted import ScriptedLauncher
from agentkit_server.turn.custom import told_as_text
from agentkit_server.turn.events import Event, ToolArgumentsDelta, ToolCallEnd, ToolCallStart

from .conftest import Turns

pytestmark = pytest.mark.anyio

USER = {"role": "user", "content": "hi"}
CODE = 'print("größe\\n 😀")\n\tend'
LARK = 'start: "add" SP NAME\nSP: " "\nNAME: /[a-z]+/\n'
FUNCTION = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def tool(syntax: str = "", definition: str = "") -> dict[str, Any]:
    custom: dict[str, Any] = {"name": "run", "description": "Runs code."}
    if syntax:
        custom["format"] = {
            "type": "grammar",
            "grammar": {"syntax": syntax, "definition": definition},
        }
    return {"type": "custom", "custom": custom}


def written(text: str, name: str = "run", argument: str = "input") -> str:
    """A call as a model writes it."""
    call = {"name": name, "arguments": {argument: text}}
    return f"<tool_call>\n{json.dumps(call, ensure_ascii=False)}\n</tool_call>"


async def ask(http: httpx.AsyncClient, *tools: dict[str, Any], **fields: Any) -> httpx.Response:
    body = {"model": "thinker", "messages": [USER], "tools": tools or [tool()], **fields}
    return await http.post("/v1/chat/completions", json=body)


async def test_a_call_of_a_custom_tool_has_its_text_as_it_is(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    launcher.script = written(CODE)
    answer = (await ask(http, tool(), FUNCTION)).json()
    [choice] = answer["choices"]
    [call] = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls"
    assert call["id"].startswith("call_")
    assert call == {"id": call["id"], "type": "custom", "custom": {"name": "run", "input": CODE}}
    assert answer["constraint"] == "exact"


async def test_the_text_streams_as_it_is_generated(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    launcher.script = written(CODE) + "\n" + written("", "weather", "city")
    chunks = events((await ask(http, tool(), FUNCTION, stream=True)).text)[:-1]
    deltas = [chunk["choices"][0]["delta"].get("tool_calls", [{}])[0] for chunk in chunks]
    calls = [delta for delta in deltas if delta]
    assert {key: value for key, value in calls[0].items() if key != "id"} == {
        "index": 0,
        "type": "custom",
        "custom": {"name": "run", "input": ""},
    }
    pieces = [call["custom"]["input"] for call in calls if "custom" in call]
    assert ("".join(pieces), len(pieces) > 5) == (CODE, True)
    assert "".join(call["function"]["arguments"] for call in calls if "function" in call) == '{"city": ""}'


async def test_the_published_client_sees_a_custom_call(live_server: str, launcher: ScriptedLauncher) -> None:
    launcher.script = written(CODE)
    async with AsyncOpenAI(base_url=f"{live_server}/v1", api_key="unused", max_retries=0) as client:
        answer = await client.chat.completions.create(
            model="thinker",
            messages=[{"role": "user", "content": "hi"}],
            tools=[{"type": "custom", "custom": {"name": "run", "format": {"type": "text"}}}],
            tool_choice={"type": "custom", "custom": {"name": "run"}},
        )
        [call] = answer.choices[0].message.tool_calls or ()
        assert call.type == "custom"
        assert (call.custom.name, call.custom.input) == ("run", CODE)
        back = await client.chat.completions.create(
            model="thinker",
            messages=[
                {"role": "user", "content": "hi"},
                answer.choices[0].message.model_dump(exclude_none=True),  # pyright: ignore[reportArgumentType]
                {"role": "tool", "tool_call_id": call.id, "content": [{"type": "text", "text": "done"}]},
            ],
        )
    assert back.choices[0].finish_reason == "stop"


async def test_an_earlier_custom_call_reaches_the_turn_as_one_of_a_function(
    http: httpx.AsyncClient, turns: Turns
) -> None:
    call = {"id": "call_1", "type": "custom", "custom": {"name": "run", "input": CODE}}
    result = {"role": "tool", "tool_call_id": "call_1", "content": "done"}
    messages = [USER, {"role": "assistant", "content": None, "tool_calls": [call]}, result]
    assert (await ask(http, messages=messages)).status_code == 200
    function = {"name": "run", "arguments": {"input": CODE}}
    assert turns.asked[0].prompt.messages[1]["tool_calls"] == [  # pyright: ignore
        {"id": "call_1", "type": "function", "function": function}
    ]


async def test_a_regex_holds_while_the_text_is_generated(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    launcher.script = written("a-12\n")
    answer = (await ask(http, tool("regex", r"^[a-z]+-\d{2}\n$"))).json()
    assert answer["choices"][0]["message"]["tool_calls"][0]["custom"]["input"] == "a-12\n"
    assert answer["constraint"] == "exact"
    launcher.script = written("a-123")
    refused = (await ask(http, tool("regex", r"[a-z]+-\d{2}"))).json()
    assert "allow" in refused["error"]["message"]


async def test_a_grammar_is_checked_and_tried_again(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    replies = iter([written("drop all"), written("add me")])
    launcher.script = lambda _: next(replies)
    answer = await ask(http, tool("lark", LARK))
    assert answer.json()["choices"][0]["message"]["tool_calls"][0]["custom"]["input"] == "add me"
    assert answer.headers["x-agentkit-constraint"] == "checked"
    assert any("escapes" in note for note in answer.json()["constraint_notes"])


async def test_a_text_that_never_fits_its_grammar_is_an_error(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    launcher.script = written("drop all")
    answer = await ask(http, tool("lark", LARK))
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "constraint_failed")
    assert "no sentence of the grammar" in answer.json()["error"]["message"]


async def test_the_model_reads_what_the_text_must_be(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    prompts: list[str] = []
    launcher.script = lambda prompt: prompts.append(prompt) or written("add me")
    await ask(http, tool("lark", LARK))
    assert "Runs code." in prompts[0]
    assert "Lark grammar" in prompts[0] and "NAME: /[a-z]+/" in prompts[0]


async def test_a_text_that_is_cut_short_is_told_as_far_as_it_came(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    launcher.script = written("abcdefgh")
    head = len('<tool_call>\n{"name": "run", "arguments": {"input": "abc')
    # Each control token of the template is one token, each other character as well.
    answer = (await ask(http, max_tokens=head)).json()["choices"][0]
    assert answer["finish_reason"] == "length"
    assert "abcdefgh".startswith(answer["message"]["tool_calls"][0]["custom"]["input"])


@pytest.mark.parametrize(
    ("given", "status", "param"),
    [
        ({"type": "custom"}, 400, "tools[0].custom"),
        ({"type": "custom", "custom": {"name": ""}}, 400, "tools[0].custom.name"),
        ({"type": "custom", "custom": {"name": "f", "format": "text"}}, 400, "tools[0].custom.format"),
        ({"type": "custom", "custom": {"name": "f", "format": {"type": "x"}}}, 400, "tools[0].custom.format"),
        (tool("ebnf", "x"), 400, "tools[0].custom.format"),
        (tool("regex", "("), 400, "tools[0].custom.format"),
        (tool("regex", "(?=a)b"), 400, "tools[0].custom.format"),
        (tool("lark", "start: ("), 400, "tools[0].custom.format"),
    ],
)
async def test_what_is_no_custom_tool_is_refused_by_its_place(
    http: httpx.AsyncClient, launcher: ScriptedLauncher, given: dict[str, Any], status: int, param: str
) -> None:
    answer = await ask(http, given)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param), answer.text
    assert launcher.launches == []


async def test_custom_tools_are_not_for_the_native_dialect(http: httpx.AsyncClient) -> None:
    answer = await http.post("/api/chat", json={"model": "thinker", "messages": [USER], "tools": [tool()]})
    assert (answer.status_code, "tools[0].type" in answer.json()["error"]) == (501, True)


async def source(arguments: str, pieces: Iterable[str]) -> AsyncGenerator[Event]:
    yield ToolCallStart(0, 0, "call_1", "run")
    for piece in pieces:
        yield ToolArgumentsDelta(0, 0, piece)
    yield ToolCallEnd(0, 0, "call_1", "run", arguments)


@pytest.mark.parametrize(
    ("text", "ascii"),
    [
        *itertools.product(["", CODE, '"\\/\b\f\n\r\t', "\U0001f600\U0001f600"], [True, False]),
        ("\ud83d alone", True),
        ("\ude00\ud83d", True),
    ],
)
async def test_the_text_is_the_same_however_its_arguments_come_in(text: str, ascii: bool) -> None:
    arguments = json.dumps({"input": text}, ensure_ascii=ascii, indent=1)
    expected = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    for size in range(1, len(arguments) + 1):
        pieces = [arguments[at : at + size] for at in range(0, len(arguments), size)]
        told = [event async for event in told_as_text(source(arguments, pieces), {"run"})]
        assert told[0] == ToolCallStart(0, 0, "call_1", "run", custom=True)
        assert told[-1] == ToolCallEnd(0, 0, "call_1", "run", expected, custom=True)
        deltas = [event.text for event in told[1:-1] if isinstance(event, ToolArgumentsDelta)]
        assert ("".join(deltas), "" in deltas) == (expected, False)


async def test_smollm2_calls_a_custom_tool_whose_text_is_a_regex(smollm2: httpx.AsyncClient) -> None:
    phone = r"\+47 [0-9]{2} [0-9]{2}\n(home|work)"
    grammar = {"syntax": "regex", "definition": phone}
    custom = {"name": "dial", "format": {"type": "grammar", "grammar": grammar}}
    answer = await smollm2.post(
        "/v1/chat/completions",
        json={
            "model": "smollm2",
            "messages": [{"role": "user", "content": "Call my mother."}],
            "tools": [{"type": "custom", "custom": custom}],
            "tool_choice": {"type": "custom", "custom": {"name": "dial"}},
            "parallel_tool_calls": False,
        },
    )
    [call] = answer.json()["choices"][0]["message"]["tool_calls"]
    assert re.fullmatch(phone, call["custom"]["input"])
