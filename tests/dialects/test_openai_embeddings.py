"""POST /v1/embeddings and GET /v1/models on a scripted engine."""

from __future__ import annotations

import base64
import math
import struct
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.anyio


async def embed(http: httpx.AsyncClient, value: Any, **parameters: Any) -> httpx.Response:
    return await http.post("/v1/embeddings", json={"model": "embedder", "input": value, **parameters})


async def test_each_input_gets_a_vector_of_length_one(http: httpx.AsyncClient) -> None:
    answer = (await embed(http, ["one", "two"])).json()
    assert (answer["object"], answer["model"]) == ("list", "embedder")
    assert [(item["object"], item["index"]) for item in answer["data"]] == [
        ("embedding", 0),
        ("embedding", 1),
    ]
    first, second = (item["embedding"] for item in answer["data"])
    assert math.hypot(*first) == pytest.approx(1)
    assert first != second
    assert answer["usage"] == {"prompt_tokens": 6, "total_tokens": 6}


async def test_text_and_its_token_ids_give_the_same_vector(http: httpx.AsyncClient) -> None:
    forms: list[Any] = ["one", ["one"], list(b"one"), [list(b"one")]]
    answers = [(await embed(http, form)).json()["data"] for form in forms]
    assert all(answer == answers[0] for answer in answers)


async def test_base64_is_the_same_vector_as_little_endian_float32(http: httpx.AsyncClient) -> None:
    numbers = (await embed(http, "one", encoding_format="float")).json()["data"][0]["embedding"]
    packed = base64.b64decode(
        (await embed(http, "one", encoding_format="base64")).json()["data"][0]["embedding"]
    )
    assert struct.unpack(f"<{len(numbers)}f", packed) == pytest.approx(numbers)


async def test_dimensions_shorten_the_vector_to_length_one_again(http: httpx.AsyncClient) -> None:
    vector = (await embed(http, "one", dimensions=3)).json()["data"][0]["embedding"]
    assert len(vector) == 3
    assert math.hypot(*vector) == pytest.approx(1)


async def test_an_input_that_does_not_fit_is_an_error_unless_a_cut_is_asked_for(
    http: httpx.AsyncClient,
) -> None:
    refused = await embed(http, "x" * 600, num_ctx=512)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "context_length_exceeded")
    cut = (await embed(http, "x" * 600, num_ctx=512, truncate=True)).json()
    assert cut["truncated"] == {"tokens": 88}
    assert cut["usage"]["prompt_tokens"] == 512


@pytest.mark.parametrize(
    ("parameters", "param"),
    [
        ({"input": []}, "input"),
        ({"input": None}, "input"),
        ({"input": ["a", [1]]}, "input"),
        ({"input": ""}, "input"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "dimensions": 100_000}, "dimensions"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "a", "temperature": 1}, "temperature"),
        ({"input": "a", "model": "tiny"}, "model"),
    ],
)
async def test_what_cannot_be_embedded_is_a_400_by_name(
    http: httpx.AsyncClient, parameters: dict[str, Any], param: str
) -> None:
    answer = await http.post("/v1/embeddings", json={"model": "embedder", **parameters})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_models_are_listed_and_found_by_name(http: httpx.AsyncClient) -> None:
    listed = (await http.get("/v1/models")).json()
    assert listed["object"] == "list"
    assert {model["id"] for model in listed["data"]} >= {"tiny:latest", "embedder:latest"}
    assert {(model["object"], model["owned_by"]) for model in listed["data"]} == {("model", "library")}
    one = await http.get("/v1/models/tiny")
    assert one.json() in listed["data"]
    long = await http.get("/v1/models/registry.ollama.ai/library/tiny:latest")
    assert long.json() == one.json()


async def test_an_unknown_or_malformed_model_is_an_openai_error(http: httpx.AsyncClient) -> None:
    unknown, malformed = await http.get("/v1/models/who/nope"), await http.get("/v1/models/a%20b")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")
    assert (malformed.status_code, malformed.json()["error"]["code"]) == (400, "invalid_model_name")
