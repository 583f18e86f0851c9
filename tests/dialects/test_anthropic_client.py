"""The published `anthropic` client, unchanged, against a live server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic, beta_async_tool
from pydantic import BaseModel
from support.scripted_server import Replies

from agentkit_server.runner.scripted import ScriptedLauncher

pytestmark = pytest.mark.anyio

MESSAGES: Any = [{"role": "user", "content": "hi"}]
WEATHER: Any = {
    "name": "weather",
    "description": "How the weather is.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city", "days"],
    },
}
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo", "days": 2}}\n</tool_call>'
THOUGHT = "<think>\nTwo and two.\n</think>\n\n"


class Solution(BaseModel):
    steps: list[str]
    answer: int


SOLUTION = '{"steps": ["2 + 2"], "answer": 4}'


@pytest.fixture
async def client(live_server: str) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=live_server, api_key="unused", max_retries=0) as client:
        yield client


def asked(**more: Any) -> Any:
    return {"model": "tiny", "max_tokens": 200, "messages": MESSAGES, **more}


async def test_a_message(client: AsyncAnthropic, launcher: ScriptedLauncher) -> None:
    message = await client.messages.create(**asked(system="Be brief."))
    assert [block.to_dict() for block in message.content] == [
        {"type": "text", "text": "Hello, world!", "citations": None}
    ]
    assert (message.role, message.type, message.model) == ("assistant", "message", "tiny")
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    assert message.usage.output_tokens == len("Hello, world!")
    assert message.id.startswith("msg_") and (message._request_id or "").startswith("req_")
    assert "Be brief." in launcher.model.decode(launcher.requests[0].prompt)


async def test_a_message_streamed(client: AsyncAnthropic) -> None:
    async with client.messages.stream(**asked()) as stream:
        text = "".join([piece async for piece in stream.text_stream])
        message = await stream.get_final_message()
    assert text == "Hello, world!"
    assert message.content[0].to_dict()["text"] == text
    assert message.stop_reason == "end_turn"
    assert (stream.request_id or "").startswith("req_")


async def test_tokens_read_from_the_cache_are_told_apart_from_input(client: AsyncAnthropic) -> None:
    counted = (await client.messages.count_tokens(model="tiny", messages=MESSAGES)).input_tokens
    first = (await client.messages.create(**asked())).usage
    again = (await client.messages.create(**asked())).usage
    assert (first.input_tokens, first.cache_read_input_tokens) == (counted, 0)
    assert (again.input_tokens, again.cache_read_input_tokens) == (1, counted - 1)
    assert again.cache_creation_input_tokens == 0
    async with client.messages.stream(**asked()) as stream:
        streamed = (await stream.get_final_message()).usage
    assert (streamed.input_tokens, streamed.cache_read_input_tokens) == (1, counted - 1)


async def test_a_call_whole_and_streamed(client: AsyncAnthropic, launcher: ScriptedLauncher) -> None:
    launcher.script = CALL
    message = await client.messages.create(**asked(model="thinker", tools=[WEATHER]))
    [call] = message.content
    assert call.type == "tool_use" and call.id.startswith("toolu_")
    assert (call.name, call.input) == ("weather", {"city": "Oslo", "days": 2})
    assert message.stop_reason == "tool_use"
    async with client.messages.stream(**asked(model="thinker", tools=[WEATHER])) as stream:
        pieces = [event.partial_json async for event in stream if event.type == "input_json"]
        streamed = await stream.get_final_message()
    assert len(pieces) > 5 and json.loads("".join(pieces)) == call.input
    [again] = streamed.content
    assert again.type == "tool_use" and again.input == call.input
    assert streamed.stop_reason == "tool_use"


async def test_the_tool_runner_runs_tools_to_the_end(
    client: AsyncAnthropic, launcher: ScriptedLauncher
) -> None:
    @beta_async_tool
    async def weather(city: str, days: int) -> str:
        """How the weather is."""
        return f"{days} mild days in {city}"

    launcher.script = Replies([CALL, "It is mild."])
    runner = client.beta.messages.tool_runner(**asked(model="thinker", tools=[weather], max_iterations=3))
    said = [message async for message in runner]
    assert [message.stop_reason for message in said] == ["tool_use", "end_turn"]
    assert said[-1].content[0].to_dict()["text"] == "It is mild."
    prompt = launcher.model.decode(launcher.requests[-1].prompt)
    assert CALL in prompt and "<tool_response>\n2 mild days in Oslo\n</tool_response>" in prompt


async def test_the_tool_runner_streams(client: AsyncAnthropic, launcher: ScriptedLauncher) -> None:
    @beta_async_tool
    async def weather(city: str, days: int) -> str:
        """How the weather is."""
        raise ValueError(f"no such city: {city}")

    launcher.script = Replies([CALL, "I cannot tell."])
    runner = client.beta.messages.tool_runner(**asked(model="thinker", tools=[weather], stream=True))
    said = [await stream.get_final_message() async for stream in runner]
    assert [message.stop_reason for message in said] == ["tool_use", "end_turn"]
    prompt = launcher.model.decode(launcher.requests[-1].prompt)
    assert "<tool_response>\nError: " in prompt and "no such city: Oslo" in prompt


async def test_thoughts_come_signed_and_go_back(client: AsyncAnthropic, launcher: ScriptedLauncher) -> None:
    launcher.script = f"{THOUGHT}Four."
    thinking = {"type": "enabled", "budget_tokens": 1024}
    message = await client.messages.create(**asked(model="thinker", max_tokens=2000, thinking=thinking))
    thought, text = message.content
    assert thought.type == "thinking" and thought.thinking.strip() == "Two and two."
    assert thought.signature and text.type == "text" and text.text == "Four."
    assert message.usage.output_tokens_details
    assert message.usage.output_tokens_details.thinking_tokens > 0
    async with client.messages.stream(**asked(model="thinker", max_tokens=2000, thinking=thinking)) as stream:
        streamed = await stream.get_final_message()
    assert [block.to_dict() for block in streamed.content] == [block.to_dict() for block in message.content]
    more = [*MESSAGES, {"role": "assistant", "content": message.content}, {"role": "user", "content": "why"}]
    await client.messages.create(**asked(model="thinker", messages=more))
    assert "<think>\n" in launcher.model.decode(launcher.requests[-1].prompt)


async def test_thoughts_that_are_omitted_come_back_all_the_same(
    client: AsyncAnthropic, launcher: ScriptedLauncher
) -> None:
    launcher.script = f"{THOUGHT}Four."
    thinking = {"type": "adaptive", "display": "omitted"}
    async with client.messages.stream(**asked(model="thinker", thinking=thinking)) as stream:
        message = await stream.get_final_message()
    thought = message.content[0]
    assert thought.type == "thinking" and thought.thinking == ""
    more = [*MESSAGES, {"role": "assistant", "content": message.content}, {"role": "user", "content": "why"}]
    await client.messages.create(**asked(model="thinker", messages=more))
    assert "Two and two." in launcher.model.decode(launcher.requests[-1].prompt)


async def test_a_parsed_answer(client: AsyncAnthropic, launcher: ScriptedLauncher) -> None:
    launcher.script = SOLUTION
    message = await client.messages.parse(**asked(output_format=Solution))
    assert message.parsed_output == Solution.model_validate_json(SOLUTION)
    async with client.messages.stream(**asked(output_format=Solution)) as stream:
        assert (await stream.get_final_message()).parsed_output == message.parsed_output
    launcher.runners[0].script = "four"
    with pytest.raises(anthropic.InternalServerError, match="leaves the grammar"):
        await client.messages.parse(**asked(output_format=Solution))


async def test_a_stop_sequence_is_told(client: AsyncAnthropic) -> None:
    message = await client.messages.create(**asked(stop_sequences=["wor", "!"]))
    assert message.content[0].to_dict()["text"] == "Hello, "
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "wor")


async def test_the_clients_models_are_the_stores(client: AsyncAnthropic) -> None:
    listed = [model async for model in client.models.list(limit=2)]
    assert {model.display_name for model in listed} == {"tiny", "thinker", "base", "embedder"}
    page = await client.models.list(limit=3)
    assert page.has_more and page.last_id == page.data[-1].id
    before = await client.models.list(before_id=listed[2].id, limit=1)
    assert [model.id for model in before.data] == [listed[1].id] and before.has_more
    assert (await client.models.list(lifecycle=["retired"])).data == []
    thinker = await client.models.retrieve("thinker")
    assert (thinker.type, thinker.lifecycle, thinker.display_name) == ("model", "active", "thinker")
    assert thinker.created_at.tzinfo is not None and (thinker.max_input_tokens or 0) > 0
    assert thinker.capabilities and thinker.capabilities.thinking.types.enabled.supported
    assert not thinker.capabilities.image_input.supported


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        ({"model": "nope"}, anthropic.NotFoundError, "'nope' not found"),
        ({"extra_body": {"temperature": 9}}, anthropic.BadRequestError, "temperature"),
        ({"thinking": {"type": "enabled", "budget_tokens": 9}}, anthropic.BadRequestError, "thinking"),
        ({"extra_headers": {"anthropic-version": "2020-01-01"}}, anthropic.BadRequestError, "2023-06-01"),
    ],
)
async def test_errors_are_of_the_clients_own_kinds(
    client: AsyncAnthropic, given: dict[str, Any], kind: type[anthropic.APIStatusError], said: str
) -> None:
    with pytest.raises(kind, match=said) as raised:
        await client.messages.create(**asked(**given))
    body: Any = raised.value.body
    assert body["type"] == "error" and body["request_id"] == raised.value.request_id


async def test_an_error_in_a_stream_is_raised_by_the_client(
    client: AsyncAnthropic, launcher: ScriptedLauncher
) -> None:
    launcher.die_after = 2
    with pytest.raises(anthropic.APIStatusError, match="model runner has unexpectedly stopped"):
        async with client.messages.stream(**asked()) as stream:
            await stream.get_final_message()


async def test_what_is_not_built_is_not_asked_for_again(live_server: str, launcher: ScriptedLauncher) -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    async with AsyncAnthropic(base_url=live_server, api_key="unused", max_retries=5) as client:
        with pytest.raises(anthropic.InternalServerError, match="'image'") as raised:
            await client.messages.create(**asked(messages=[{"role": "user", "content": [image]}]))
    assert raised.value.status_code == 501
    assert raised.value.response.headers["x-should-retry"] == "false"
    assert launcher.requests == []
