"""Structured output, tools and thinking with the published `ollama` client, unchanged."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import ollama
import pytest
from pydantic import BaseModel

from agentkit_server.runner.scripted import ScriptedLauncher

pytestmark = pytest.mark.anyio

MESSAGES = [{"role": "user", "content": "hi"}]
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>'


class Pet(BaseModel):
    name: str
    age: int


def weather(city: str) -> str:
    """Says how it is.

    Args:
        city: Where.
    """
    return f"mild in {city}"


@pytest.fixture
async def client(live_server: str) -> AsyncIterator[ollama.AsyncClient]:
    client = ollama.AsyncClient(host=live_server)
    async with client:
        yield client


@pytest.mark.parametrize("format", ["json", Pet.model_json_schema()])
async def test_a_bound_answer_is_json(
    client: ollama.AsyncClient, launcher: ScriptedLauncher, format: Any
) -> None:
    launcher.script = '{"name": "Ada", "age": 3}'
    chat = await client.chat("tiny", MESSAGES, format=format)
    assert Pet.model_validate_json(chat.message.content or "") == Pet(name="Ada", age=3)
    assert (await client.generate("tiny", "hi", format=format)).response == launcher.script
    launcher.runners[0].script = "Ada"
    with pytest.raises(ollama.ResponseError, match="leaves the grammar"):
        await client.chat("tiny", MESSAGES, format=format)


@pytest.mark.parametrize("model", ["tiny", "thinker"])
async def test_a_python_function_is_called_and_its_result_sent_back(
    client: ollama.AsyncClient, launcher: ScriptedLauncher, model: str
) -> None:
    launcher.script = f"One moment.\n{CALL}"
    first = await client.chat(model, MESSAGES, tools=[weather])
    [call] = first.message.tool_calls or []
    assert (call.function.name, call.function.arguments) == ("weather", {"city": "Oslo"})
    assert (first.message.content or "").strip() == "One moment."
    launcher.runners[0].script = "It is mild."
    result = {"role": "tool", "tool_name": "weather", "content": weather(**call.function.arguments)}
    second = await client.chat(model, [*MESSAGES, first.message, result], tools=[weather])
    assert second.message.content == "It is mild."
    prompt = launcher.model.decode(launcher.requests[-1].prompt)
    assert CALL in prompt
    assert "<tool_response>\nmild in Oslo\n</tool_response>" in prompt


async def test_a_streamed_call_comes_whole(client: ollama.AsyncClient, launcher: ScriptedLauncher) -> None:
    launcher.script = CALL
    parts = [part async for part in await client.chat("tiny", MESSAGES, tools=[weather], stream=True)]
    calls = [call for part in parts for call in part.message.tool_calls or []]
    assert [(call.function.name, call.function.arguments) for call in calls] == [
        ("weather", {"city": "Oslo"})
    ]
    assert not "".join(part.message.content or "" for part in parts).strip()
    assert parts[-1].done_reason == "stop"


@pytest.mark.parametrize("think", [True, "high"])
async def test_thoughts_stream_apart_from_the_answer(
    client: ollama.AsyncClient, launcher: ScriptedLauncher, think: Any
) -> None:
    launcher.script = "<think>\nTwo and two.\n</think>\n\n4"
    stream = await client.chat("thinker", MESSAGES, think=think, stream=True)
    parts = [part async for part in stream]
    assert "".join(part.message.thinking or "" for part in parts).strip() == "Two and two."
    assert "".join(part.message.content or "" for part in parts).strip() == "4"
    assert len([part for part in parts if part.message.thinking]) > 5


async def test_a_model_that_cannot_think_says_so(client: ollama.AsyncClient) -> None:
    with pytest.raises(ollama.ResponseError, match='"tiny" does not support thinking') as refused:
        await client.chat("tiny", MESSAGES, think=True)
    assert refused.value.status_code == 400
    assert (await client.chat("tiny", MESSAGES, think=False)).message.content == "Hello, world!"


async def test_a_schema_that_cannot_be_enforced_is_refused(client: ollama.AsyncClient) -> None:
    with pytest.raises(ollama.ResponseError) as refused:
        await client.chat("tiny", MESSAGES, format={"type": "text"})
    assert refused.value.status_code == 400
