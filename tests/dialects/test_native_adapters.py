"""Models with LoRA adapters through the whole server: real runners on a tiny llama, over Ollama's routes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import msgspec
import numpy as np
import psutil
import pytest
from fastapi import FastAPI
from support.lora import write_lora
from support.tiny_bert import WIDTH as BERT_WIDTH
from support.tiny_bert import write_tiny_bert
from support.tiny_llama import (
    WIDTH,
    WORDS,
    Floats,
    hidden,
    log_softmax,
    random_pair,
    weights,
    write_tiny_llama,
)

from agentkit_server.app import create_app
from agentkit_server.models.linked import link_layers
from agentkit_server.models.manifest import Layer, layer_type
from agentkit_server.models.names import ModelName
from agentkit_server.models.store import Store
from agentkit_server.runner.process import ProcessLauncher
from agentkit_server.settings import Settings

pytestmark = pytest.mark.anyio

OUTPUT = "output.weight"
PROMPT = "once-upon-a-time-there-was-a-cat"
TOKENS = [1, *(3 + byte for byte in PROMPT.encode())]
ONE, TWO = (random_pair(len(WORDS), WIDTH, seed=seed) for seed in (1, 2))
ALPHA = 3.0
CLOSE = 0.02


def linked(path: Path, **changes: Any) -> Layer:
    steps = link_layers(path)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return msgspec.structs.replace(end.value[0], **changes)


def add(store: Store, name: str, base: str, *adapters: tuple[Path, float]) -> None:
    """A model of the weights of `base`, with adapters and their scales."""
    manifest = store.manifest(base)
    layers = [linked(path, media_type=layer_type("adapter"), scale=scale) for path, scale in adapters]
    new = msgspec.structs.replace(manifest, layers=(*manifest.layers, *layers))
    store.write_manifest(ModelName.parse(name), new)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with `base` and models that add adapters to it."""
    folder = tmp_path_factory.mktemp("adapted")
    store = Store(folder / "models")
    store.link_file("base", write_tiny_llama(folder / "base.gguf"))
    one = write_lora(folder / "one.gguf", {OUTPUT: ONE}, ALPHA)
    two = write_lora(folder / "two.gguf", {OUTPUT: TWO}, ALPHA)
    wrong = write_lora(folder / "wrong.gguf", {OUTPUT: random_pair(len(WORDS), WIDTH + 1, seed=1)}, ALPHA)
    add(store, "full", "base", (one, 1.0))
    add(store, "half", "base", (one, 0.5))
    add(store, "both", "base", (one, 1.0), (two, 1.0))
    add(store, "wrong", "base", (wrong, 1.0))
    store.link_file("bert", write_tiny_bert(folder / "bert.gguf", "mean"))
    pair = random_pair(BERT_WIDTH, BERT_WIDTH, seed=1)
    lora = write_lora(
        folder / "bert-lora.gguf",
        {"blk.0.ffn_up.weight": (pair[0], np.ones((64, 1)))},
        1.0,
        architecture="bert",
    )
    add(store, "bert-adapted", "bert", (lora, 1.0))
    return folder


@pytest.fixture
async def app(folder: Path) -> AsyncIterator[FastAPI]:
    settings = Settings(host="127.0.0.1:0", models=folder / "models", api_keys=[])
    app = create_app(settings, ProcessLauncher(), Store(folder / "models"))
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as client:
        yield client


async def generate(client: httpx.AsyncClient, model: str, tokens: int = 1, **body: Any) -> dict[str, Any]:
    options = {"num_predict": tokens, "temperature": 0, "num_ctx": 256}
    request = {"model": model, "prompt": PROMPT, "raw": True, "stream": False, "options": options, **body}
    reply = await client.post("/api/generate", json=request)
    assert reply.status_code == 200, reply.text
    return reply.json()


async def top(client: httpx.AsyncClient, model: str) -> dict[bytes, float]:
    """Log-probabilities of the likeliest first tokens, by their bytes."""
    answer = await generate(client, model, logprobs=True, top_logprobs=20)
    return {bytes(each["bytes"]): each["logprob"] for each in answer["logprobs"][0]["top_logprobs"]}


async def rows(client: httpx.AsyncClient) -> dict[str, dict[str, Any]]:
    reply = await client.get("/api/ps")
    return {row["name"].removesuffix(":latest"): row for row in reply.json()["models"]}


def children() -> list[psutil.Process]:
    return [
        child for child in psutil.Process().children() if "agentkit_server.runner.child" in child.cmdline()
    ]


def change(pair: tuple[Floats, Floats]) -> Floats:
    """What an adapter of the output adds to the logits at scale 1: alpha / rank * B (A h)."""
    a, b = pair
    return ALPHA * (b @ (a @ hidden(TOKENS, weights())))


async def test_adapters_change_the_probabilities_as_computed_by_hand(client: httpx.AsyncClient) -> None:
    logits = weights()[OUTPUT] @ hidden(TOKENS, weights())
    expected = {
        "base": logits,
        "full": logits + change(ONE),
        "half": logits + change(ONE) / 2,
        "both": logits + change(ONE) + change(TWO),
    }
    for model, by_hand in expected.items():
        computed, said = log_softmax(by_hand), await top(client, model)
        # Bytes are tokens 3 to 258; a few of the others are words.
        seen = {byte[0]: value for byte, value in said.items() if len(byte) == 1}
        assert len(seen) > 10
        assert {byte: computed[3 + byte] for byte in seen} == pytest.approx(seen, abs=CLOSE)
    for other in ("full", "half", "both"):
        assert np.abs(log_softmax(expected[other]) - log_softmax(expected["base"])).max() > 10 * CLOSE


async def test_models_on_one_base_live_in_one_process(client: httpx.AsyncClient) -> None:
    alone = {name: await generate(client, name, 60) for name in ("base", "full", "half")}
    assert len({answer["response"] for answer in alone.values()}) == 3
    assert len(children()) == 1
    # Nobody's prompt is another's; one's own is.
    assert [answer.get("prompt_eval_cached_count", 0) for answer in alone.values()] == [0, 0, 0]
    again = {name: await generate(client, name, 60) for name in alone}
    assert {name: answer["response"] for name, answer in again.items()} == {
        name: answer["response"] for name, answer in alone.items()
    }
    listed = await rows(client)
    assert set(listed) == {"base", "full", "half"}
    assert listed["full"]["note"] == "shares its weights in memory with base:latest, half:latest"
    together: dict[str, str] = {}

    async def ask(name: str) -> None:
        together[name] = (await generate(client, name, 60))["response"]

    async with anyio.create_task_group() as tasks:
        for name in alone:
            tasks.start_soon(ask, name)
    assert together == {name: answer["response"] for name, answer in alone.items()}


async def test_one_model_leaves_and_the_others_stay(client: httpx.AsyncClient) -> None:
    for name in ("base", "full"):
        await generate(client, name)
    [child] = children()
    stopped = await client.post("/api/generate", json={"model": "base", "keep_alive": 0})
    assert stopped.json()["done_reason"] == "unload"
    assert set(await rows(client)) == {"full"}
    await generate(client, "full")
    await generate(client, "base")
    assert children() == [child]
    for name in ("base", "full"):
        await client.post("/api/generate", json={"model": name, "keep_alive": 0})
    assert await rows(client) == {}
    assert children() == []


async def test_an_adapter_for_another_model_is_named_and_the_base_goes_on(
    client: httpx.AsyncClient, folder: Path
) -> None:
    await generate(client, "base")
    [child] = children()
    reply = await client.post("/api/generate", json={"model": "wrong", "prompt": "a", "raw": True})
    assert reply.status_code == 500
    assert str(folder / "wrong.gguf") in reply.json()["error"]
    assert "'output.weight' has the shape (32, 263)" in reply.json()["error"]
    assert set(await rows(client)) == {"base"}
    await generate(client, "base")
    assert children() == [child]


async def test_embedding_models_have_adapters_too(client: httpx.AsyncClient) -> None:
    vectors: list[list[float]] = []
    for model in ("bert", "bert-adapted", "bert"):
        reply = await client.post("/api/embed", json={"model": model, "input": "a cat sat"})
        assert reply.status_code == 200, reply.text
        vectors.append(reply.json()["embeddings"][0])
    assert vectors[0] == vectors[2]
    assert np.abs(np.subtract(vectors[0], vectors[1])).max() > 0.01
    assert len(children()) == 1
