"""Structured output, tools and thinking with the published `openai` client, unchanged."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, Literal

import pytest
from openai import AsyncOpenAI, BadRequestError, LengthFinishReasonError, pydantic_function_tool
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel

from agentkit_server.runner.scripted import ScriptedLauncher

pytestmark = pytest.mark.anyio

MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hi"}]


class Step(BaseModel):
    explanation: str
    output: int | None


class Solution(BaseModel):
    steps: list[Step]
    kind: Literal["easy", "hard"]


class Weather(BaseModel):
    """Says how it is."""

    city: str
    days: int


SOLUTION = '{"steps": [{"explanation": "2 + 2", "output": 4}], "kind": "easy"}'
TOOL: Any = pydantic_function_tool(Weather, name="weather")
TIME: Any = {
    "type": "function",
    "function": {"name": "time", "parameters": {"type": "object", "properties": {}}},
}


def written(*calls: tuple[str, dict[str, Any]]) -> str:
    """Calls as a model writes them."""
    return "\n".join(
        f'<tool_call>\n{{"name": "{name}", "arguments": {json.dumps(arguments)}}}\n</tool_call>'
        for name, arguments in calls
    )


@pytest.fixture
async def openai(live_server: str) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{live_server}/v1", api_key="unused", max_retries=0) as client:
        yield client


async def test_a_pydantic_model_is_parsed(openai: AsyncOpenAI, launcher: ScriptedLauncher) -> None:
    launcher.script = SOLUTION
    answer = await openai.chat.completions.parse(model="tiny", messages=MESSAGES, response_format=Solution)
    solution = answer.choices[0].message.parsed
    assert solution == Solution(steps=[Step(explanation="2 + 2", output=4)], kind="easy")
    assert launcher.requests[0].grammar


async def test_a_pydantic_model_is_parsed_from_a_stream(
    openai: AsyncOpenAI, launcher: ScriptedLauncher
) -> None:
    launcher.script = SOLUTION
    async with openai.chat.completions.stream(
        model="tiny", messages=MESSAGES, response_format=Solution
    ) as stream:
        kinds = {event.type async for event in stream}
        answer = await stream.get_final_completion()
    assert {"content.delta", "content.done"} <= kinds
    assert answer.choices[0].message.parsed == Solution.model_validate_json(SOLUTION)


async def test_an_answer_that_is_cut_short_is_not_parsed(
    openai: AsyncOpenAI, launcher: ScriptedLauncher
) -> None:
    launcher.script = SOLUTION
    with pytest.raises(LengthFinishReasonError):
        await openai.chat.completions.parse(
            model="tiny", messages=MESSAGES, response_format=Solution, max_tokens=20
        )


@pytest.mark.parametrize("model", ["tiny", "thinker"])
async def test_tool_calls_are_parsed(openai: AsyncOpenAI, launcher: ScriptedLauncher, model: str) -> None:
    launcher.script = written(
        ("weather", {"city": "Oslo", "days": 2}), ("weather", {"city": "Rome", "days": 1})
    )
    answer = await openai.chat.completions.parse(
        model=model, messages=MESSAGES, tools=[TOOL], tool_choice="required"
    )
    choice = answer.choices[0]
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    calls = choice.message.tool_calls or []
    assert [call.function.parsed_arguments for call in calls] == [
        Weather(city="Oslo", days=2),
        Weather(city="Rome", days=1),
    ]
    assert len({call.id for call in calls}) == 2


@pytest.mark.parametrize(
    "tool_choice", ["auto", "required", {"type": "function", "function": {"name": "weather"}}]
)
async def test_a_streamed_call_is_put_together(
    openai: AsyncOpenAI, launcher: ScriptedLauncher, tool_choice: Any
) -> None:
    launcher.script = written(("weather", {"city": "Oslo", "days": 2}))
    async with openai.chat.completions.stream(
        model="tiny",
        messages=MESSAGES,
        tools=[TOOL, TIME],
        tool_choice=tool_choice,
        parallel_tool_calls=False,
    ) as stream:
        deltas = [event async for event in stream if event.type == "tool_calls.function.arguments.delta"]
        answer = await stream.get_final_completion()
    assert len(deltas) > 5
    [call] = answer.choices[0].message.tool_calls or []
    assert (call.function.name, call.function.parsed_arguments) == ("weather", Weather(city="Oslo", days=2))
    assert answer.choices[0].finish_reason == "tool_calls"
    assert not answer.choices[0].message.content


async def test_a_forbidden_call_cannot_be_written(openai: AsyncOpenAI, launcher: ScriptedLauncher) -> None:
    launcher.script = "It is mild."
    answer = await openai.chat.completions.create(
        model="tiny", messages=MESSAGES, tools=[TOOL], tool_choice="none"
    )
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("It is mild.", "stop")
    assert "weather" in launcher.model.decode(launcher.requests[0].prompt)
    launcher.runners[0].script = written(("weather", {"city": "Oslo", "days": 2}))
    with pytest.raises(Exception, match="leaves the grammar"):
        await openai.chat.completions.create(
            model="tiny", messages=MESSAGES, tools=[TOOL], tool_choice="none"
        )


async def test_a_whole_round_of_tool_use(openai: AsyncOpenAI, launcher: ScriptedLauncher) -> None:
    launcher.script = written(("weather", {"city": "Oslo", "days": 2}))
    first = await openai.chat.completions.create(model="thinker", messages=MESSAGES, tools=[TOOL])
    [call] = first.choices[0].message.tool_calls or []
    launcher.runners[0].script = "It is mild."
    said: Any = first.choices[0].message.model_dump(exclude_none=True)
    second = await openai.chat.completions.create(
        model="thinker",
        messages=[*MESSAGES, said, {"role": "tool", "tool_call_id": call.id, "content": "mild"}],
        tools=[TOOL],
    )
    assert second.choices[0].message.content == "It is mild."
    prompt = launcher.model.decode(launcher.requests[-1].prompt)
    assert (
        '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo", "days": 2}}\n</tool_call>' in prompt
    )
    assert "<tool_response>\nmild\n</tool_response>" in prompt


async def test_thoughts_are_told_apart_from_a_bound_answer(
    openai: AsyncOpenAI, launcher: ScriptedLauncher
) -> None:
    launcher.script = f"<think>\nTwo and two.\n</think>\n\n{SOLUTION}"
    answer = await openai.chat.completions.parse(
        model="thinker", messages=MESSAGES, response_format=Solution, reasoning_effort="high"
    )
    message = answer.choices[0].message
    assert message.parsed == Solution.model_validate_json(SOLUTION)
    assert (message.reasoning or "").strip() == "Two and two."  # pyright: ignore
    assert answer.usage and answer.usage.completion_tokens_details
    assert answer.usage.completion_tokens_details.reasoning_tokens


@pytest.mark.parametrize(
    ("extra", "script"),
    [
        ({"structured_outputs": {"json": Solution.model_json_schema()}}, SOLUTION),
        ({"structured_outputs": {"regex": "[0-9]{3}-[0-9]{4}"}}, "555-1234"),
        ({"structured_outputs": {"choice": ["yes", "no"]}}, "no"),
        ({"structured_outputs": {"grammar": 'root ::= "a" | "b" root'}}, "bba"),
        ({"guided_choice": ["yes", "no"]}, "yes"),
        ({"regex": "[ab]+"}, "abba"),
        ({"ebnf": 'root ::= ("a" | "b")+'}, "abba"),
        ({"response_format": {"type": "json_object"}, "compact": True}, '{"a":[1,2]}'),
    ],
)
async def test_the_fields_of_other_servers_bind_both_routes(
    openai: AsyncOpenAI, launcher: ScriptedLauncher, extra: dict[str, Any], script: str
) -> None:
    launcher.script = script
    chat = await openai.chat.completions.with_raw_response.create(
        model="tiny", messages=MESSAGES, extra_body=extra
    )
    assert chat.headers["x-agentkit-constraint"] == "exact"
    assert chat.parse().choices[0].message.content == script
    plain = await openai.completions.create(model="tiny", prompt="hi", max_tokens=200, extra_body=extra)
    assert plain.choices[0].text == script
    launcher.runners[0].script = "something else"
    with pytest.raises(Exception, match="leaves the grammar"):
        await openai.chat.completions.create(model="tiny", messages=MESSAGES, extra_body=extra)


@pytest.mark.parametrize(
    ("extra", "param"),
    [
        ({"regex": "("}, "regex"),
        ({"structured_outputs": {"regex": "(?=a)b"}}, "structured_outputs.regex"),
        ({"ebnf": "root ::= nothing"}, "ebnf"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "text"}}}},
            "response_format",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"properties": 7}}}]},
            "tools[0].function.parameters",
        ),
        ({"tools": [TIME], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice"),
    ],
)
async def test_what_cannot_be_enforced_is_refused_before_a_token_is_generated(
    openai: AsyncOpenAI, launcher: ScriptedLauncher, extra: dict[str, Any], param: str
) -> None:
    with pytest.raises(BadRequestError) as refused:
        await openai.chat.completions.create(model="tiny", messages=MESSAGES, extra_body=extra)
    assert refused.value.param == param
    assert launcher.requests == []
