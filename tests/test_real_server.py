"""The whole server on the real smollm2: HTTP in front, child processes behind."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import ollama
import openai
import psutil
import pytest
from fastapi import FastAPI
from support.listening import listening
from support.smollm2 import gguf_path

from agentkit_server.app import create_app
from agentkit_server.engine.types import Stats
from agentkit_server.models.store import Store
from agentkit_server.residency.types import LoadOptions
from agentkit_server.runner.process import ProcessLauncher
from agentkit_server.settings import Settings

pytestmark = pytest.mark.anyio
TIMEOUT = 300
MIB = 1 << 20


@pytest.fixture(scope="session")
def smollm2() -> Path:
    return gguf_path()


@pytest.fixture
def app(tmp_path: Path, smollm2: Path) -> FastAPI:
    """Serves one file under two names: two models, two runners."""
    store = Store(tmp_path / "models")
    store.link_file("smollm2", smollm2)
    shutil.copy(smollm2, tmp_path / "other.gguf")
    store.link_file("other", tmp_path / "other.gguf")
    settings = Settings(host="127.0.0.1:0", models=tmp_path / "models", api_keys=[], context_length=2560)
    return create_app(settings, ProcessLauncher(), store)


@pytest.fixture
async def url(app: FastAPI) -> AsyncIterator[str]:
    async with listening(app) as url:
        yield url


@pytest.fixture
async def http(url: str) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT, limits=limits) as client:
        yield client


def chat(content: str, **options: Any) -> dict[str, Any]:
    return {
        "model": "smollm2",
        "messages": [{"role": "user", "content": content}],
        "options": {"temperature": 0, **options},
    }


async def answer(http: httpx.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    response = await http.post(path, json={"stream": False, **body})
    assert response.status_code == 200, response.text
    return response.json()


async def stats(app: FastAPI) -> Stats:
    backend = app.state.backend
    async with backend.residency.lease(backend.store.resolve("smollm2"), LoadOptions()) as lease:
        return await lease.runner.stats()


async def emptied(app: FastAPI) -> Stats:
    """What is left when every cached prefix has been dropped: of cells, nothing."""
    backend = app.state.backend
    async with backend.residency.lease(backend.store.resolve("smollm2"), LoadOptions()) as lease:
        return await lease.runner.drop_cache()


def runner_pid(app: FastAPI, name: str) -> int:
    (pid,) = [row.pid for row in app.state.backend.residency.loaded() if row.model.name.model == name]
    return pid


async def wave(http: httpx.AsyncClient, seed: int, count: int) -> list[str]:
    """`count` streamed chats at once, every second one left at a random token, or when it ends before
    that; the finish reasons of the others."""
    chance = random.Random(seed)
    reasons: list[str] = []

    async def one(number: int, leave_after: int | None) -> None:
        # A small context: after the first wave every page of its cells has been touched, and what memory
        # grows by afterwards is a leak.
        body = chat(f"Write about topic {number}.", num_predict=12, num_ctx=256)
        async with http.stream("POST", "/api/chat", json=body) as response:
            assert response.status_code == 200
            seen = 0
            async for line in response.aiter_lines():
                seen += 1
                if leave_after is not None and seen > leave_after:
                    return
                event = json.loads(line)
                assert "error" not in event
                if event["done"] and leave_after is None:
                    reasons.append(event["done_reason"])

    async with anyio.create_task_group() as tasks:
        for number in range(count):
            tasks.start_soon(one, number, chance.randrange(0, 10) if number % 2 else None)
    return reasons


async def test_two_hundred_chats_of_which_half_are_cancelled_leak_nothing(
    app: FastAPI, http: httpx.AsyncClient
) -> None:
    with anyio.fail_after(TIMEOUT):
        first = await wave(http, seed=1, count=100)
        before = await emptied(app)
        parent = psutil.Process().memory_info().rss
        second = await wave(http, seed=2, count=200)
        ended = await stats(app)
        after = await emptied(app)
    assert (len(first), len(second)) == (50, 100)
    assert set(first + second) <= {"stop", "length"}
    assert (ended.sequences_running, ended.sequences_waiting) == (0, 0)
    assert after.cells_used == 0
    assert after.rss_bytes - before.rss_bytes < 32 * MIB
    assert psutil.Process().memory_info().rss - parent < 64 * MIB


async def test_a_killed_runner_ends_its_stream_with_an_error_and_is_loaded_again(
    app: FastAPI, http: httpx.AsyncClient
) -> None:
    with anyio.fail_after(TIMEOUT):
        other = {**chat("Count to five.", num_predict=6), "model": "other"}
        await answer(http, "/api/chat", other)
        others_pid = runner_pid(app, "other")
        tale = {**chat("Tell a tale.", num_predict=40), "model": "other"}
        story = chat("Tell a long story.", num_predict=400)
        async with (
            http.stream("POST", "/api/chat", json=tale) as neighbour,
            http.stream("POST", "/api/chat", json=story) as response,
        ):
            undisturbed, lines = neighbour.aiter_lines(), response.aiter_lines()
            await anext(undisturbed)
            await anext(lines)
            os.kill(runner_pid(app, "smollm2"), signal.SIGKILL)
            rest = [json.loads(line) async for line in lines]
            others = [json.loads(line) async for line in undisturbed]
        assert others[-1]["done_reason"] in ("stop", "length")
        assert "model runner has unexpectedly stopped" in rest[-1]["error"]
        assert "done" not in rest[-1]
        assert (await answer(http, "/api/chat", chat("Hello", num_predict=4)))["done_reason"] == "length"
        await answer(http, "/api/chat", other)
    assert runner_pid(app, "other") == others_pid


async def test_a_killed_runner_ends_an_openai_stream_with_an_error_event(
    app: FastAPI, http: httpx.AsyncClient
) -> None:
    body = {
        "model": "smollm2",
        "messages": [{"role": "user", "content": "Tell a long story."}],
        "stream": True,
    }
    with anyio.fail_after(TIMEOUT):
        async with http.stream("POST", "/v1/chat/completions", json=body) as response:
            lines = response.aiter_lines()
            await anext(lines)
            os.kill(runner_pid(app, "smollm2"), signal.SIGKILL)
            events = [line async for line in lines if line.startswith("data: {")]
    last = json.loads(events[-1].removeprefix("data: "))
    assert "model runner has unexpectedly stopped" in last["error"]["message"]


async def test_a_shared_prefix_is_read_once(http: httpx.AsyncClient) -> None:
    prefix = "The river runs from the mountain to the sea and turns the old mill. " * 125
    with anyio.fail_after(TIMEOUT):
        raw = {"model": "smollm2", "raw": True, "options": {"num_predict": 2}}
        cold = await answer(http, "/api/generate", {**raw, "prompt": prefix + "First"})
        warm = await answer(http, "/api/generate", {**raw, "prompt": prefix + "Second"})
    assert cold["prompt_eval_cached_count"] == 0
    assert cold["prompt_eval_count"] >= 1800
    assert warm["prompt_eval_count"] - warm["prompt_eval_cached_count"] <= 4


async def test_the_same_seed_gives_the_same_answer_and_another_seed_another(http: httpx.AsyncClient) -> None:
    with anyio.fail_after(TIMEOUT):
        texts: list[str] = []
        for seed in (5, 5, 6):
            body = chat("Invent a word.", seed=seed, temperature=0.9, num_predict=24)
            texts.append((await answer(http, "/api/chat", body))["message"]["content"])
    assert texts[0] == texts[1] != texts[2]


BAD: list[tuple[str, str, bytes, int, str]] = [
    ("malformed JSON", "/api/chat", b'{"model": "smollm2", ', 400, "error"),
    ("no body", "/api/chat", b"", 400, "missing request body"),
    ("wrong type", "/api/generate", b'{"model": "smollm2", "prompt": 7}', 400, "prompt"),
    (
        "wrong option type",
        "/api/generate",
        b'{"model":"smollm2","prompt":"a","options":{"top_k":"x"}}',
        400,
        "top_k",
    ),
    ("unknown model", "/api/chat", b'{"model": "nope", "messages": []}', 404, "model 'nope' not found"),
    ("bad name", "/api/show", b'{"model": "../../etc/passwd"}', 400, "invalid model name"),
    (
        "absurd num_ctx",
        "/api/generate",
        b'{"model":"smollm2","prompt":"a","options":{"num_ctx":1000000000000}}',
        400,
        "num_ctx",
    ),
    (
        "negative num_ctx",
        "/api/generate",
        b'{"model":"smollm2","prompt":"a","options":{"num_ctx":-3}}',
        400,
        "num_ctx",
    ),
    ("empty prompt", "/v1/completions", b'{"model": "smollm2", "prompt": []}', 400, "prompt"),
    (
        "unknown parameter",
        "/v1/chat/completions",
        b'{"model":"smollm2","messages":[],"tempature":1}',
        400,
        "tempature",
    ),
    (
        "prompt too long",
        "/v1/completions",
        json.dumps({"model": "smollm2", "prompt": "word " * 4000}).encode(),
        400,
        "against 2560",
    ),
]


@pytest.mark.parametrize(("path", "body", "status", "words"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
async def test_bad_input_is_a_clear_error_and_the_server_stays_up(
    http: httpx.AsyncClient, path: str, body: bytes, status: int, words: str
) -> None:
    with anyio.fail_after(TIMEOUT):
        response = await http.post(path, content=body)
        assert (response.status_code, words in response.text) == (status, True), response.text
        assert (await http.get("/api/version")).status_code == 200


async def test_a_prompt_too_long_gives_both_lengths_and_truncation_says_how_much(
    http: httpx.AsyncClient,
) -> None:
    body = {"model": "smollm2", "raw": True, "prompt": "word " * 4000, "options": {"num_predict": 2}}
    with anyio.fail_after(TIMEOUT):
        refused = await http.post("/api/generate", json={**body, "truncate": False})
        cut = await answer(http, "/api/generate", {**body, "truncate": True})
    assert refused.status_code == 400
    assert "4001 tokens against 2560" in refused.json()["error"] or "4000 tokens against 2560" in refused.text
    assert cut["truncated_tokens"] > 1400


async def test_a_model_file_cut_in_half_is_refused_by_name_and_the_next_model_works(
    app: FastAPI, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    await answer(http, "/api/chat", {**chat("Hello", num_predict=2), "model": "other"})
    file = tmp_path / "other.gguf"
    with anyio.fail_after(TIMEOUT):
        await http.post("/api/chat", json={"model": "other", "messages": [], "keep_alive": 0})
        os.truncate(file, file.stat().st_size // 2)
        response = await http.post("/api/chat", json={**chat("Hello"), "model": "other"})
        assert response.status_code in (400, 500)
        assert "other" in response.json()["error"]
        await answer(http, "/api/chat", chat("Hello", num_predict=2))


async def test_the_published_clients_talk_to_the_real_model(url: str) -> None:
    messages = [{"role": "user", "content": "Why is the sky blue?"}]
    with anyio.fail_after(TIMEOUT):
        native = ollama.AsyncClient(host=url)
        options = {"num_predict": 16, "temperature": 0}
        reply = await native.chat("smollm2", messages=messages, options=options)
        parts = await native.chat("smollm2", messages=messages, stream=True, options=options)
        pieces = [part.message.content or "" async for part in parts]
        await native.close()
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="unused") as client:
            completion = await client.chat.completions.create(
                model="smollm2",
                messages=[{"role": "user", "content": "Why is the sky blue?"}],
                max_tokens=16,
                temperature=0,
            )
    assert "".join(pieces) == reply.message.content == completion.choices[0].message.content
    assert completion.usage is not None
    assert completion.usage.prompt_tokens_details is not None
    assert completion.usage.prompt_tokens_details.cached_tokens == completion.usage.prompt_tokens - 1
