"""Responses with the published `openai` client, unchanged, against a live server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from fastapi import FastAPI
from openai import AsyncOpenAI, BadRequestError, NotFoundError, pydantic_function_tool
from openai.lib._tools import ResponsesPydanticFunctionTool
from pydantic import BaseModel
from support.listening import listening

from agentkit_server.app import create_app
from agentkit_server.models.store import Store
from agentkit_server.runner.scripted import ScriptedLauncher
from agentkit_server.settings import Settings

pytestmark = pytest.mark.anyio


class Weather(BaseModel):
    """Says how it is."""

    city: str
    days: int


class Fact(BaseModel):
    name: str
    year: int


WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "description": "Says how it is.",
    "parameters": Weather.model_json_schema(),
    "strict": True,
}
FACT = '{"name": "Oslo", "year": 1048}'


def written(name: str, **arguments: Any) -> str:
    """A call as a model writes it."""
    return f'<tool_call>\n{{"name": "{name}", "arguments": {json.dumps(arguments)}}}\n</tool_call>'


@pytest.fixture
async def openai(live_server: str) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{live_server}/v1", api_key="unused", max_retries=0) as client:
        yield client


async def test_a_text_is_answered(openai: AsyncOpenAI, launcher: ScriptedLauncher) -> None:
    answer = await openai.responses.create(model="tiny", input="hi", instructions="Be kind.")
    assert (answer.output_text, answer.status, answer.error) == ("Hello, world!", "completed", None)
    prompt = launcher.model.decode(launcher.requests[0].prompt)
    assert "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nhi<|im_end|>" in prompt
    usage = answer.usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (len(launcher.requests[0].prompt), 13)
    assert usage.input_tokens_details.cached_tokens == 0


async def test_a_stream_is_accumulated(openai: AsyncOpenAI) -> None:
    async with openai.responses.stream(model="tiny", input="hi") as stream:
        deltas = [event.delta async for event in stream if event.type == "response.output_text.delta"]
        answer = await stream.get_final_response()
    assert "".join(deltas) == answer.output_text == "Hello, world!"
    assert len(deltas) > 5


async def test_a_pydantic_model_is_parsed(openai: AsyncOpenAI, launcher: ScriptedLauncher) -> None:
    launcher.script = FACT
    answer = await openai.responses.parse(model="tiny", input="hi", text_format=Fact)
    assert answer.output_parsed == Fact(name="Oslo", year=1048)
    async with openai.responses.stream(model="tiny", input="hi", text_format=Fact) as stream:
        await stream.until_done()
        assert (await stream.get_final_response()).output_parsed == Fact(name="Oslo", year=1048)
    launcher.runners[0].script = "no JSON"
    with pytest.raises(Exception, match="leaves the grammar"):
        await openai.responses.parse(model="tiny", input="hi", text_format=Fact)


async def test_a_whole_round_of_tool_use(openai: AsyncOpenAI, launcher: ScriptedLauncher) -> None:
    launcher.script = f"<think>\nI should look.\n</think>\n\n{written('weather', city='Oslo', days=2)}"
    first = await openai.responses.create(
        model="thinker", input="How is it?", tools=[WEATHER], reasoning={"effort": "high"}
    )
    assert [item.type for item in first.output] == ["reasoning", "function_call"]
    call = first.output[1]
    assert call.type == "function_call"
    assert (call.name, json.loads(call.arguments), call.status) == (
        "weather",
        {"city": "Oslo", "days": 2},
        "completed",
    )
    launcher.runners[0].script = "It is mild."
    second = await openai.responses.create(
        model="thinker",
        previous_response_id=first.id,
        input=[{"type": "function_call_output", "call_id": call.call_id, "output": "mild"}],
        tools=[WEATHER],
    )
    assert second.output_text == "It is mild."
    prompt = launcher.model.decode(launcher.requests[-1].prompt)
    assert "How is it?" in prompt and "I should look." in prompt
    assert "<tool_response>\nmild\n</tool_response>" in prompt


async def test_a_streamed_call_is_put_together_and_parsed(
    openai: AsyncOpenAI, launcher: ScriptedLauncher
) -> None:
    launcher.script = written("Weather", city="Oslo", days=2)
    tool = pydantic_function_tool(Weather)
    assert tool["type"] == "function"
    flat = ResponsesPydanticFunctionTool(tool, Weather).cast()
    async with openai.responses.stream(
        model="tiny", input="hi", tools=[flat], tool_choice="required", parallel_tool_calls=False
    ) as stream:
        deltas = [event async for event in stream if event.type == "response.function_call_arguments.delta"]
        [call] = (await stream.get_final_response()).output
    assert len(deltas) > 3
    assert call.type == "function_call"
    assert call.parsed_arguments == Weather(city="Oslo", days=2)


async def test_a_conversation_goes_on_from_a_response(
    openai: AsyncOpenAI, launcher: ScriptedLauncher
) -> None:
    first = await openai.responses.create(model="tiny", input="one", instructions="Be kind.")
    second = await openai.responses.create(model="tiny", input="two", previous_response_id=first.id)
    third = await openai.responses.create(model="tiny", input="three", previous_response_id=second.id)
    prompt = launcher.model.decode(launcher.requests[-1].prompt)
    said = ["user\none", "assistant\nHello, world!", "user\ntwo", "assistant\nHello, world!", "user\nthree"]
    assert all(each in prompt for each in said) and "Be kind." not in prompt
    items = [item async for item in await openai.responses.input_items.list(third.id, order="asc", limit=2)]
    assert [item.type for item in items] == ["message"] * 5
    assert third.usage and third.usage.input_tokens_details.cached_tokens > 50


async def test_a_stored_response_survives_a_restart(
    settings: Settings, launcher: ScriptedLauncher, store: Store
) -> None:
    async def ask(app: FastAPI, previous: str | None) -> Any:
        async with (
            listening(app) as url,
            AsyncOpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as openai,
        ):
            return await openai.responses.create(model="tiny", input="hi", previous_response_id=previous)

    first = await ask(create_app(settings, launcher, store), None)
    second = await ask(create_app(settings, launcher, store), first.id)
    assert second.output_text == "Hello, world!"
    assert launcher.model.decode(launcher.requests[-1].prompt).count("Hello, world!") == 1


async def test_a_response_is_retrieved_and_deleted(openai: AsyncOpenAI) -> None:
    made = await openai.responses.create(model="tiny", input="hi", metadata={"for": "me"})
    found = await openai.responses.retrieve(made.id)
    assert found == made and found.metadata == {"for": "me"}
    await openai.responses.delete(made.id)
    with pytest.raises(NotFoundError):
        await openai.responses.retrieve(made.id)
    with pytest.raises(BadRequestError, match="is not stored here") as refused:
        await openai.responses.create(model="tiny", input="hi", previous_response_id=made.id)
    assert (refused.value.code, refused.value.param) == (
        "previous_response_not_found",
        "previous_response_id",
    )


async def test_tokens_are_counted(openai: AsyncOpenAI) -> None:
    asked: Any = {"model": "tiny", "input": "hi", "instructions": "Be kind.", "tools": [WEATHER]}
    counted = await openai.responses.input_tokens.count(**asked)
    made = await openai.responses.create(**asked)
    assert made.usage and counted.input_tokens == made.usage.input_tokens


async def test_a_background_response_is_followed_by_two(
    openai: AsyncOpenAI, launcher: ScriptedLauncher
) -> None:
    gate = launcher.hold = anyio.Event()
    launcher.hold_after = 5
    made = await openai.responses.create(model="tiny", input="hi", background=True)
    assert made.status == "queued"
    with anyio.fail_after(30):
        async with await openai.responses.retrieve(made.id, stream=True) as stream:
            async for event in stream:
                if event.type == "response.output_text.delta":
                    break
        assert (await openai.responses.retrieve(made.id)).status == "in_progress"
        gate.set()
        async with openai.responses.stream(response_id=made.id, starting_after=event.sequence_number) as rest:
            numbers = [event.sequence_number async for event in rest]
            answer = await rest.get_final_response()
    assert numbers == list(range(event.sequence_number + 1, numbers[-1] + 1))
    assert answer.output_text == "Hello, world!"


async def test_a_background_response_is_cancelled(openai: AsyncOpenAI, launcher: ScriptedLauncher) -> None:
    gate = launcher.hold = anyio.Event()
    launcher.hold_after = 5
    made = await openai.responses.create(model="tiny", input="hi", background=True)
    with anyio.fail_after(30):
        async with await openai.responses.retrieve(made.id, stream=True) as stream:
            async for event in stream:
                if event.type == "response.output_text.delta":
                    break
        cancelled = await openai.responses.cancel(made.id)
    assert (cancelled.status, cancelled.output_text) == ("cancelled", "Hello")
    assert await openai.responses.cancel(made.id) == cancelled
    gate.set()
    other = await openai.responses.create(model="tiny", input="hi")
    with pytest.raises(BadRequestError, match="was not made in the background"):
        await openai.responses.cancel(other.id)
