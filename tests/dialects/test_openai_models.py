"""Models as OpenAI lists them, with what clients look for beside: context lengths and capabilities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI
from support.tiny_bert import write_tiny_bert
from support.tiny_gguf import write_tiny_gguf

from agentkit_server.models.store import Store
from agentkit_server.settings import Settings

pytestmark = pytest.mark.anyio


async def found(http: httpx.AsyncClient, name: str) -> dict[str, Any]:
    return (await http.get(f"/v1/models/{name}")).json()


async def test_a_model_says_how_much_it_reads_and_what_it_can_do(http: httpx.AsyncClient) -> None:
    model = await found(http, "thinker")
    assert {key: value for key, value in model.items() if key != "created"} == {
        "id": "thinker:latest",
        "object": "model",
        "owned_by": "library",
        "context_length": 2048,
        "max_model_len": 2048,
        "max_context_length": 2048,
        "capabilities": ["completion", "tools", "thinking"],
    }
    listed = (await http.get("/v1/models")).json()["data"]
    assert model in listed
    assert {each["id"]: each["capabilities"] for each in listed}["embedder:latest"] == ["embedding"]


async def test_the_context_is_that_of_the_loaded_model(http: httpx.AsyncClient) -> None:
    body = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "num_ctx": 300}
    await http.post("/v1/chat/completions", json=body)
    model = await found(http, "tiny")
    assert (model["context_length"], model["max_model_len"], model["max_context_length"]) == (300, 300, 2048)


async def test_the_context_is_what_a_load_would_aim_at(
    http: httpx.AsyncClient, settings: Settings, store: Store, tmp_path: Path
) -> None:
    store.link_file("long", write_tiny_gguf(tmp_path / "long.gguf", context_length=100_000))
    store.link_file("untold", write_tiny_gguf(tmp_path / "untold.gguf", context_length=0))
    store.link_file("reranker", write_tiny_bert(tmp_path / "bert.gguf", "rank"))
    long, untold, reranker = [await found(http, name) for name in ("long", "untold", "reranker")]
    assert (long["context_length"], long["max_context_length"]) == (4096, 100_000)
    assert (untold["context_length"], untold["max_context_length"]) == (4096, None)
    assert (reranker["context_length"], reranker["capabilities"]) == (64, ["rerank"])
    settings.context_length = 9000
    assert (await found(http, "long"))["context_length"] == 9000
    body = {"model": "long", "messages": [{"role": "user", "content": "hi"}]}
    assert (await http.post("/v1/chat/completions", json=body)).status_code == 200
    assert (await found(http, "long"))["context_length"] == 9000


async def test_the_published_client_has_the_fields_beside_its_own(live_server: str) -> None:
    async with AsyncOpenAI(base_url=f"{live_server}/v1", api_key="unused", max_retries=0) as client:
        listed = {model.id: model async for model in client.models.list()}
        one = await client.models.retrieve("tiny")
    assert listed[one.id].model_extra == one.model_extra
    assert one.model_extra is not None and one.model_extra["context_length"] == 2048
