"""Short programs as people write them for the published package, with one import changed.

Each runs on the real server with the scripted runner, and, where smollm2 can do it, with smollm2 too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from support import smollm2
from support.scripted_server import EMBEDDER, WRITER, Replies, scripted_app, serving

import agentkit as ollama
from agentkit import _api
from agentkit_server.runner.scripted import ScriptedLauncher

SHORT = {"num_predict": 12, "temperature": 0}
ASKED = [{"role": "user", "content": "Why is the sky blue?"}]
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 3, "b": 1}}\n</tool_call>'


@dataclass
class Server:
    """The other end: `model` chats. Only the scripted one can be told what to say."""

    model: str
    replies: Replies | None = None
    launcher: ScriptedLauncher | None = None

    def says(self, *texts: str) -> None:
        if self.replies is not None:
            self.replies.texts[:] = texts

    def said(self, heard: str | None, text: str) -> None:
        """`heard` is the scripted `text`, or whatever a real model wrote."""
        assert heard == text if self.replies is not None else heard


@pytest.fixture(scope="module")
def scripted_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Server]]:
    replies = Replies()
    app, launcher = scripted_app(tmp_path_factory.mktemp("models"), replies)
    with serving(app) as url:
        yield url, Server("tiny", replies, launcher)


@pytest.fixture(scope="module")
def real_server() -> Iterator[tuple[str, Server]]:
    with smollm2.serving(smollm2.models_folder(), AGENTKIT_CONTEXT_LENGTH="256") as url:
        yield url, Server("smollm2")


def connected(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module-level functions speak to `url`, as in a process that has just begun."""
    monkeypatch.setenv("OLLAMA_HOST", url)
    monkeypatch.setattr(_api.chat.__self__, "_http", ollama.Client()._http, raising=False)


@pytest.fixture(params=["scripted_server", "real_server"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    url, server = request.getfixturevalue(request.param)
    connected(url, monkeypatch)
    yield server
    _api.chat.__self__.close()


@pytest.fixture
def scripted(scripted_server: tuple[str, Server], monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """For what smollm2 cannot do, or not reliably."""
    url, server = scripted_server
    connected(url, monkeypatch)
    yield server
    _api.chat.__self__.close()


def add(a: int, b: int) -> int:
    """
    Adds two numbers

    Args:
      a (int): The first number
      b (int): The second number
    """
    return int(a) + int(b)


def weather(city: str) -> str:
    """Says how the weather is.

    Args:
      city: Where.
    """
    return f"mild in {city}"


def test_chat(server: Server) -> None:
    server.says("Scattering.")
    response = ollama.chat(server.model, messages=ASKED, options=SHORT)
    server.said(response["message"]["content"], "Scattering.")
    assert response.message.content == response["message"]["content"]
    assert response.eval_count and response.total_duration


def test_chat_stream(server: Server) -> None:
    server.says("Scattering.")
    text = ""
    for part in ollama.chat(server.model, messages=ASKED, stream=True, options=SHORT):
        text += part["message"]["content"]
    server.said(text, "Scattering.")


def test_async_chat(server: Server) -> None:
    server.says("Scattering.")

    async def main() -> None:
        client = ollama.AsyncClient()
        response = await client.chat(server.model, messages=ASKED, options=SHORT)
        server.said(response["message"]["content"], "Scattering.")
        text = ""
        async for part in await client.chat(server.model, messages=ASKED, stream=True, options=SHORT):
            text += part["message"]["content"]
        server.said(text, "Scattering.")
        await client.close()

    asyncio.run(main())


def test_chat_with_history(server: Server) -> None:
    server.says("Scattering.", "Less of it.")
    messages: list[Any] = [{"role": "system", "content": "Be brief."}]
    for question in ("Why is the sky blue?", "Why is it red at night?"):
        messages.append({"role": "user", "content": question})
        response = ollama.chat(server.model, messages=messages, options=SHORT)
        messages.append(response.message)
    server.said(messages[2]["content"], "Scattering.")
    server.said(messages[4]["content"], "Less of it.")


def test_generate(server: Server) -> None:
    server.says("Scattering.")
    response = ollama.generate(server.model, "Why is the sky blue?", options=SHORT)
    server.said(response["response"], "Scattering.")
    again = ollama.generate(server.model, "Why?", context=response["context"], options=SHORT)
    server.said(again.response, "Scattering.")


def test_generate_stream(server: Server) -> None:
    server.says("Scattering.")
    parts = ollama.generate(server.model, "Why is the sky blue?", stream=True, options=SHORT)
    server.said("".join(part["response"] for part in parts), "Scattering.")


def test_logprobs(server: Server) -> None:
    server.says("Hi.")
    chat = ollama.chat(server.model, ASKED, logprobs=True, top_logprobs=2, options=SHORT)
    generated = ollama.generate(server.model, "Hi", logprobs=True, top_logprobs=2, options=SHORT)
    for response in (chat, generated):
        for entry in response.get("logprobs", []):
            assert entry.get("token", "") is not None
            assert entry["logprob"] <= 0
            assert [alternative["token"] for alternative in entry.get("top_logprobs", [])]


class Friend(BaseModel):
    name: str
    age: int


class Friends(BaseModel):
    friends: list[Friend]


def test_structured_outputs(server: Server) -> None:
    server.says('{"friends": [{"name": "Ada", "age": 36}]}')
    response = ollama.chat(
        model=server.model,
        messages=[{"role": "user", "content": "Ada is 36 years old. List my friends as JSON."}],
        format=Friends.model_json_schema(),
        options={"temperature": 0, "num_predict": 60},
    )
    assert response.message.content is not None
    if response.done_reason == "stop":
        assert Friends.model_validate_json(response.message.content)
    assert response.message.content.startswith("{")


def test_list_show_and_ps(server: Server) -> None:
    names = [model.model for model in ollama.list().models]
    assert f"{server.model}:latest" in names
    size = ollama.list().models[0].size
    assert size is not None and size.real > 0
    shown = ollama.show(server.model)
    assert shown.modelinfo and shown.details and shown.details.family and shown.capabilities
    ollama.generate(server.model, "Hi", options=SHORT)
    [loaded] = [model for model in ollama.ps().models if model.model == f"{server.model}:latest"]
    assert loaded.size and loaded.digest and loaded.expires_at and loaded.context_length


def test_copy_and_delete(scripted: Server) -> None:
    assert ollama.copy(scripted.model, "other").status == "success"
    assert ollama.delete("other")["status"] == "success"
    with pytest.raises(ollama.ResponseError) as error:
        ollama.delete("other")
    assert error.value.status_code == 404


def test_pull_with_progress(real_server: tuple[str, Server], monkeypatch: pytest.MonkeyPatch) -> None:
    connected(real_server[0], monkeypatch)
    states = []
    for progress in ollama.pull("smollm2", stream=True):
        digest = progress.get("digest", "")
        states.append((digest, progress.get("status")))
    assert states[-1] == (None, "success")
    _api.chat.__self__.close()


def test_fill_in_middle(scripted: Server) -> None:
    scripted.says("x = 1")
    response = ollama.generate(
        model="tiny", prompt="def f():\n    ", suffix="\n    return x", options={"stop": ["<EOT>"]}
    )
    assert response["response"] == "x = 1"


def test_embed(scripted: Server) -> None:
    assert scripted.launcher is not None
    scripted.launcher.model = EMBEDDER
    response = ollama.embed(model="embedder", input=["Hello, world!", "Bye"])
    scripted.launcher.model = WRITER
    assert len(response["embeddings"]) == 2
    assert len(ollama.embeddings("embedder", "Hello, world!")["embedding"]) == EMBEDDER.n_embd


def test_thinking(scripted: Server) -> None:
    scripted.says("<think>10 and 23.</think>33")
    chat = ollama.chat("thinker", messages=ASKED, think=True)
    generated = ollama.generate("thinker", "What is 10 + 23?", think=True)
    for level in ("low", "medium", "high"):
        assert ollama.chat("thinker", messages=ASKED, think=level).message.thinking
    assert (chat.message.thinking, chat.message.content) == ("10 and 23.", "33")
    assert (generated.thinking, generated.response) == ("10 and 23.", "33")


def test_thinking_that_the_model_cannot_do_is_an_error(server: Server) -> None:
    with pytest.raises(ollama.ResponseError, match="does not support thinking") as error:
        ollama.chat(server.model, messages=ASKED, think=True)
    assert error.value.status_code == 400


def test_tools(scripted: Server) -> None:
    scripted.says(CALL, "It is four.")
    subtract = {
        "type": "function",
        "function": {
            "name": "subtract",
            "description": "Subtracts",
            "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
        },
    }
    available = {"add": add}
    messages: list[Any] = [{"role": "user", "content": "What is three plus one?"}]
    response = ollama.chat("tiny", messages=messages, tools=[add, subtract])
    messages.append(response.message)
    for tool in response.message.tool_calls or []:
        output = available[tool.function.name](**tool.function.arguments)
        messages.append({"role": "tool", "content": str(output), "tool_name": tool.function.name})
    assert messages[-1] == {"role": "tool", "content": "4", "tool_name": "add"}
    assert ollama.chat("tiny", messages=messages).message.content == "It is four."


def test_several_tools_in_a_stream_with_thinking(scripted: Server) -> None:
    other = CALL.replace("add", "weather").replace('{"a": 3, "b": 1}', '{"city": "Oslo"}')
    scripted.says(f"<think>Two things.</think>{CALL}\n{other}", "<think>Good.</think>Done.")
    available = {"add": add, "weather": weather}
    messages: list[Any] = [{"role": "user", "content": "Three plus one, and the weather in Oslo?"}]
    thoughts = ""
    with ollama.Client() as client:
        for chunk in client.chat("thinker", messages, tools=[add, weather], think=True, stream=True):
            thoughts += chunk.message.thinking or ""
            for call in chunk.message.tool_calls or []:
                output = available[call.function.name](**call.function.arguments)
                messages.append(chunk.message)
                messages.append({"role": "tool", "content": str(output), "tool_name": call.function.name})
    assert thoughts == "Two things."
    assert [message["content"] for message in messages if message["role"] == "tool"] == ["4", "mild in Oslo"]
    last = ollama.chat("thinker", messages, tools=[add, weather], think=True)
    assert last.message.content == "Done."


def test_async_tools(scripted: Server) -> None:
    scripted.says(CALL)

    async def main() -> None:
        async with ollama.AsyncClient() as client:
            response = await client.chat("tiny", messages=ASKED, tools=[add])
            [call] = response.message.tool_calls or []
            assert add(**call.function.arguments) == 4

    asyncio.run(main())


def test_create_says_what_the_server_says(scripted: Server, tmp_path: Path) -> None:
    file = tmp_path / "a.gguf"
    file.write_bytes(b"GGUF")
    client = ollama.Client()
    files = {"a.gguf": client.create_blob(file)}
    made = client.create(model="my-assistant", from_="tiny", system="You are Mario.", stream=False)
    assert made.status == "success"
    assert "You are Mario." in (client.show("my-assistant").modelfile or "")
    with pytest.raises(ollama.ResponseError) as error:
        client.create(model="my-assistant", files=files, stream=False)
    assert error.value.status_code == 400
    client.close()


def test_a_missing_model_can_be_caught_and_pulled(scripted: Server) -> None:
    try:
        ollama.chat("does-not-exist", messages=ASKED)
    except ollama.ResponseError as error:
        assert error.error == "model 'does-not-exist' not found"
        assert error.status_code == 404
    else:
        pytest.fail("a model that does not exist answered")
