"""/api/embed and /api/embeddings on a scripted engine."""

from __future__ import annotations

import math
from typing import Any

import httpx
import pytest

from agentkit_server.runner.scripted import ScriptedLauncher

pytestmark = pytest.mark.anyio


async def embed(http: httpx.AsyncClient, **fields: Any) -> httpx.Response:
    return await http.post("/api/embed", json={"model": "embedder", **fields})


async def test_each_input_gets_a_vector_of_length_one(http: httpx.AsyncClient) -> None:
    answer = (await embed(http, input=["one", "two"])).json()
    assert [math.hypot(*vector) for vector in answer["embeddings"]] == pytest.approx([1, 1])
    assert (answer["model"], answer["prompt_eval_count"]) == ("embedder", 6)
    assert answer["total_duration"] > 0
    one = (await embed(http, input="one")).json()
    assert one["embeddings"] == answer["embeddings"][:1]


async def test_dimensions_shorten_the_vectors(http: httpx.AsyncClient) -> None:
    answer = (await embed(http, input="one", dimensions=4)).json()
    assert len(answer["embeddings"][0]) == 4


async def test_an_input_is_cut_by_default_and_the_answer_says_so(http: httpx.AsyncClient) -> None:
    answer = (await embed(http, input="x" * 20, options={"num_ctx": 16})).json()
    assert (answer["prompt_eval_count"], answer["truncated_tokens"]) == (16, 4)
    refused = await embed(http, input="x" * 20, truncate=False, options={"num_ctx": 16})
    assert refused.status_code == 400
    assert refused.json()["error"].startswith("the input length exceeds the context length")


async def test_the_old_route_gives_the_vector_as_the_model_does(http: httpx.AsyncClient) -> None:
    response = await http.post("/api/embeddings", json={"model": "embedder", "prompt": "one"})
    vector = response.json()["embedding"]
    assert math.hypot(*vector) != pytest.approx(1)
    empty = await http.post("/api/embeddings", json={"model": "embedder"})
    assert empty.json() == {"embedding": []}


async def test_no_input_loads_the_model(http: httpx.AsyncClient, launcher: ScriptedLauncher) -> None:
    for nothing in ("", [], None):
        assert (await embed(http, input=nothing)).json()["embeddings"] == []
    assert len(launcher.launches) == 1


@pytest.mark.parametrize(
    ("fields", "status", "error"),
    [
        ({"input": 5}, 400, "invalid input type"),
        ({"input": ["a", 5]}, 400, "invalid input type"),
        ({"input": "x", "model": ""}, 404, "model '' not found"),
        ({"input": "x", "model": "nope"}, 404, "model 'nope' not found"),
        ({"input": "x", "model": "tiny"}, 400, "tiny does not support embedding"),
        ({"input": "x", "dimensions": 99}, 400, "dimensions must be from 1 to 8"),
        ({"input": "x", "dimensions": "3"}, 400, 'invalid field "dimensions": expected integer, got string'),
        ({"input": "x", "options": {"num_ctx": "big"}}, 400, 'option "num_ctx" must be of type integer'),
    ],
)
async def test_a_request_that_cannot_be_carried_out_says_why(
    http: httpx.AsyncClient, fields: dict[str, Any], status: int, error: str
) -> None:
    response = await embed(http, **fields)
    assert (response.status_code, error in response.json()["error"]) == (status, True), response.text
