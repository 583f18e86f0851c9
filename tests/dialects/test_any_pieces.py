"""The streams of chat completions, completions and the native routes, read by the published clients in any
pieces, and left by a client at any point. Messages and responses have theirs beside their other tests."""

from __future__ import annotations

from typing import Any

import httpx
import httpx2
import ollama
import pytest
from openai import AsyncOpenAI
from support.any_client import Pieces, leave_after, same_in_any_pieces

from agentkit_server.runner.scripted import ScriptedLauncher

pytestmark = pytest.mark.anyio

TEXT = "Ünïcode 😀 first."
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Malmö"}}\n</tool_call>'
SCRIPT = f"<think>\nHm. 🤔\n</think>\n\n{TEXT}{CALL}"
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
MESSAGES: Any = [{"role": "user", "content": "hi"}]
CHAT: dict[str, Any] = {"model": "thinker", "messages": MESSAGES, "tools": [WEATHER]}
PROMPT: dict[str, Any] = {"model": "tiny", "prompt": "hi"}
ROUTES = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {**PROMPT, "max_tokens": 100},
    "/api/chat": {**CHAT, "think": True},
    "/api/generate": PROMPT,
}


async def raw_stream(http: httpx.AsyncClient, path: str) -> bytes:
    answer = await http.post(path, json={**ROUTES[path], "stream": True})
    assert answer.status_code == 200, answer.text
    return answer.content


class Sent(Pieces, httpx2.AsyncByteStream):
    """Pieces for clients on httpx2."""


class SentToo(Pieces, httpx.AsyncByteStream):
    """Pieces for clients on httpx."""


def openai_of(raw: bytes, cuts: list[int]) -> AsyncOpenAI:
    headers = {"content-type": "text/event-stream"}
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, headers=headers, stream=Sent(raw, cuts)))
    return AsyncOpenAI(api_key="unused", http_client=httpx2.AsyncClient(transport=transport))


def ollama_of(raw: bytes, cuts: list[int]) -> ollama.AsyncClient:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=SentToo(raw, cuts)))
    return ollama.AsyncClient(transport=transport)


async def read_chat(raw: bytes, cuts: list[int]) -> Any:
    async with openai_of(raw, cuts) as client, client.chat.completions.stream(**CHAT) as stream:
        return (await stream.get_final_completion()).choices[0].to_dict()


async def read_completion(raw: bytes, cuts: list[int]) -> Any:
    async with openai_of(raw, cuts) as client:
        stream: Any = await client.completions.create(**ROUTES["/v1/completions"], stream=True)
        return [chunk.choices[0].text async for chunk in stream if chunk.choices]


async def read_native_chat(raw: bytes, cuts: list[int]) -> Any:
    stream = await ollama_of(raw, cuts).chat(**ROUTES["/api/chat"], stream=True)
    return [part.model_dump() async for part in stream]


async def read_native_generate(raw: bytes, cuts: list[int]) -> Any:
    stream = await ollama_of(raw, cuts).generate(**PROMPT, stream=True)
    return [part.model_dump() async for part in stream]


async def test_openai_reads_chat_in_any_pieces(http: httpx.AsyncClient, launcher: ScriptedLauncher) -> None:
    launcher.script = SCRIPT
    choice = await same_in_any_pieces(read_chat, await raw_stream(http, "/v1/chat/completions"))
    assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", TEXT)
    [call] = choice["message"]["tool_calls"]
    assert call["function"]["parsed_arguments"] is None
    assert call["function"]["arguments"] == '{"city": "Malmö"}'


async def test_openai_reads_completions_in_any_pieces(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    launcher.script = TEXT
    texts = await same_in_any_pieces(read_completion, await raw_stream(http, "/v1/completions"))
    assert "".join(texts) == TEXT


async def test_ollama_reads_chat_in_any_pieces(http: httpx.AsyncClient, launcher: ScriptedLauncher) -> None:
    launcher.script = SCRIPT
    parts = await same_in_any_pieces(read_native_chat, await raw_stream(http, "/api/chat"))
    assert "".join(part["message"]["content"] or "" for part in parts) == TEXT
    assert "".join(part["message"]["thinking"] or "" for part in parts) == "Hm. 🤔"
    calls = [call for part in parts for call in part["message"]["tool_calls"] or ()]
    assert [call["function"]["arguments"] for call in calls] == [{"city": "Malmö"}]
    assert parts[-1]["done"]


async def test_ollama_reads_generate_in_any_pieces(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    launcher.script = TEXT
    parts = await same_in_any_pieces(read_native_generate, await raw_stream(http, "/api/generate"))
    assert "".join(part["response"] for part in parts) == TEXT


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", ROUTES)
async def test_a_client_that_leaves_at_any_point_ends_the_generation(
    live_server: str, launcher: ScriptedLauncher, path: str, stream: bool
) -> None:
    launcher.script = SCRIPT if "chat" in path else TEXT
    body = ROUTES[path]
    async with httpx.AsyncClient(base_url=live_server) as client:
        length = await length_of_whole(client, path)
        [runner] = launcher.runners
        places = range(0, length, 5)
        for tokens in places:
            await leave_after(runner, tokens, client, path, {**body, "stream": stream})
        assert len(runner.cancelled) == len(places) > 2
        assert await length_of_whole(client, path) == length


async def length_of_whole(client: httpx.AsyncClient, path: str) -> int:
    """Tokens of an answer that nobody leaves."""
    answer = (await client.post(path, json={**ROUTES[path], "stream": False})).json()
    return answer.get("eval_count") or answer["usage"]["completion_tokens"]
