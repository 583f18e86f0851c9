"""The published `ollama` client, unchanged, against a live server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import ollama
import pytest

from agentkit_server.runner.scripted import ScriptedLauncher

pytestmark = pytest.mark.anyio

MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.fixture
async def client(live_server: str) -> AsyncIterator[ollama.AsyncClient]:
    client = ollama.AsyncClient(host=live_server)
    yield client
    await client.close()


async def test_it_chats(client: ollama.AsyncClient) -> None:
    async with client:
        answer = await client.chat("tiny", MESSAGES)
    assert answer.message.content == "Hello, world!"
    assert (answer.done, answer.done_reason, answer.eval_count) == (True, "stop", 13)


async def test_it_streams_a_chat(client: ollama.AsyncClient) -> None:
    async with client:
        parts = [part async for part in await client.chat("tiny", MESSAGES, stream=True)]
    assert "".join(part.message.content or "" for part in parts) == "Hello, world!"
    assert len(parts) == 14
    assert parts[-1].done


async def test_it_generates_with_options(client: ollama.AsyncClient, launcher: ScriptedLauncher) -> None:
    async with client:
        answer = await client.generate("tiny", "hi", options={"num_predict": 5, "temperature": 0})
    assert (answer.response, answer.done_reason) == ("Hello", "length")
    assert launcher.requests[-1].sampling.temperature == 0


async def test_it_streams_a_generation_with_logprobs(client: ollama.AsyncClient) -> None:
    async with client:
        stream = await client.generate("tiny", "hi", stream=True, logprobs=True, top_logprobs=1)
        parts = [part async for part in stream]
    assert "".join(part.response or "" for part in parts) == "Hello, world!"
    assert parts[0].logprobs is not None and parts[0].logprobs[0].token == "H"


async def test_it_embeds(client: ollama.AsyncClient) -> None:
    async with client:
        answer = await client.embed("embedder", ["one", "two"])
        old = await client.embeddings("embedder", "one")
    assert len(answer.embeddings) == 2
    assert sum(x * x for x in answer.embeddings[0]) == pytest.approx(1)
    assert len(old.embedding) == len(answer.embeddings[0])


async def test_it_lists_shows_copies_and_deletes(client: ollama.AsyncClient) -> None:
    async with client:
        shown = await client.show("tiny")
        assert shown.details is not None and shown.details.family == "llama"
        assert shown.modelinfo is not None and shown.modelinfo["general.architecture"] == "llama"
        assert (await client.copy("tiny", "other")).status == "success"
        assert "other:latest" in [model.model for model in (await client.list()).models]
        assert (await client.delete("other")).status == "success"
        assert "other:latest" not in [model.model for model in (await client.list()).models]


async def test_it_sees_what_is_loaded(client: ollama.AsyncClient) -> None:
    async with client:
        await client.chat("tiny", MESSAGES, keep_alive=-1)
        (loaded,) = (await client.ps()).models
    assert loaded.model == "tiny:latest"
    assert loaded.context_length is not None and loaded.context_length > 0
    assert loaded.expires_at is not None


async def test_it_sees_what_is_loading(client: ollama.AsyncClient, launcher: ScriptedLauncher) -> None:
    launcher.gate = gate = anyio.Event()
    async with client, anyio.create_task_group() as tasks:
        tasks.start_soon(client.chat, "tiny", MESSAGES)
        with anyio.fail_after(10):
            await launcher.wait_launches(1)
        (loading,) = (await client.ps()).models
        gate.set()
    assert loading.model == "tiny:latest"
    assert loading.size and loading.expires_at and loading.context_length


async def test_it_is_told_what_went_wrong(client: ollama.AsyncClient, launcher: ScriptedLauncher) -> None:
    async with client:
        with pytest.raises(ollama.ResponseError, match="model 'nope' not found") as missing:
            await client.chat("nope", MESSAGES)
        assert missing.value.status_code == 404
        launcher.die_after = 2
        with pytest.raises(ollama.ResponseError, match="unexpectedly stopped"):
            _ = [part async for part in await client.chat("tiny", MESSAGES, stream=True)]


async def test_it_is_told_that_a_model_cannot_be_pulled(client: ollama.AsyncClient) -> None:
    async with client:
        with pytest.raises(ollama.ResponseError, match="pull model manifest"):
            _ = [
                part async for part in await client.pull("127.0.0.1:9/me/nothing", insecure=True, stream=True)
            ]


async def test_it_uploads_a_blob(
    client: ollama.AsyncClient, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("blob") / "file"
    path.write_bytes(b"content")
    async with client:
        first = await client.create_blob(path)
        assert await client.create_blob(path) == first
    assert first.startswith("sha256:")
