"""Rerank: scores of a real rank head, computed by llama.cpp and again by hand, and what is refused."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from support.tiny_bert import head, write_tiny_bert
from support.tiny_gguf import write_tiny_gguf

from agentkit_server.app import create_app
from agentkit_server.engine.llama import Batch, Context
from agentkit_server.engine.types import LoadSpec
from agentkit_server.models.store import Store
from agentkit_server.runner.process import ProcessLauncher
from agentkit_server.runner.scripted import ScriptedLauncher, ScriptedModel
from agentkit_server.settings import Settings

pytestmark = pytest.mark.anyio

QUERY = "a cat"
DOCUMENTS = ["a dog ran here", "there", "a cat sat", "dog dog dog"]
# [CLS] a cat [SEP] … [SEP], by the vocabulary of the tiny model.
PAIRS = [[2, 5, 6, 3, *rest, 3] for rest in ([5, 7, 9, 10], [11], [5, 6, 8], [7, 7, 7])]
CROSS_ENCODER = Path(__file__).parents[3] / "shared/models/bert-mini-crossencoder-f16.gguf"


def by_hand(folder: Path) -> list[float]:
    """The logit of each pair: the model without its head, and the head in numpy."""
    path = write_tiny_bert(folder / "none.gguf", "none")
    spec = LoadSpec(
        path=str(path), n_ctx=64, n_cells=64, n_batch=64, n_seq_max=1, embedding=True, n_threads=1
    )
    context = Context(spec, lambda _: None)
    weights, logits = head(), list[float]()
    for tokens in PAIRS:
        batch = Batch(64)
        batch.add(tokens, 0, 0, output=True)
        assert context.decode(batch) == 0
        dense = np.tanh(weights["cls.weight"] @ context.token_embedding(0) + weights["cls.bias"])
        logits.append(float(weights["cls.output.weight"][0] @ dense + weights["cls.output.bias"][0]))
    context.free()
    return logits


@pytest.fixture
async def real(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server on llama.cpp with `reranker`."""
    store = Store(tmp_path / "store")
    store.link_file("reranker", write_tiny_bert(tmp_path / "rank.gguf", "rank"))
    if CROSS_ENCODER.exists():
        store.link_file("cross-encoder", CROSS_ENCODER)
    settings = Settings(host="127.0.0.1:0", models=tmp_path / "store", api_keys=[])
    app = create_app(settings, ProcessLauncher(), store)
    async with client_of(app) as client:
        yield client


def client_of(app: FastAPI) -> Any:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return _Opened(app, httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=60))


class _Opened:
    def __init__(self, app: FastAPI, client: httpx.AsyncClient) -> None:
        self._lifespan = app.router.lifespan_context(app)
        self._client = client

    async def __aenter__(self) -> httpx.AsyncClient:
        await self._lifespan.__aenter__()
        return self._client

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()
        await self._lifespan.__aexit__(None, None, None)


async def ask(http: httpx.AsyncClient, path: str = "/v1/rerank", **fields: Any) -> httpx.Response:
    body = {"model": "reranker", "query": QUERY, "documents": DOCUMENTS, **fields}
    with anyio.fail_after(60):
        return await http.post(path, json=body)


async def test_scores_are_those_of_the_head_computed_by_hand(real: httpx.AsyncClient, tmp_path: Path) -> None:
    logits = by_hand(tmp_path)
    answer = (await ask(real, raw_scores=True)).json()
    scores = {result["index"]: result["relevance_score"] for result in answer["results"]}
    np.testing.assert_allclose([scores[at] for at in range(4)], logits, rtol=1e-3, atol=1e-4)
    assert [result["index"] for result in answer["results"]] == sorted(range(4), key=lambda at: -logits[at])
    assert answer["usage"] == {"prompt_tokens": 31, "total_tokens": 31} == usage_of(PAIRS)
    likely = (await ask(real)).json()["results"]
    expected = [1 / (1 + math.exp(-result["relevance_score"])) for result in answer["results"]]
    np.testing.assert_allclose([result["relevance_score"] for result in likely], expected, rtol=1e-6)


def usage_of(pairs: list[list[int]]) -> dict[str, int]:
    tokens = sum(map(len, pairs))
    return {"prompt_tokens": tokens, "total_tokens": tokens}


async def test_the_best_come_back_with_their_texts_when_asked_for(real: httpx.AsyncClient) -> None:
    everything = (await ask(real)).json()["results"]
    given = [{"text": text} for text in DOCUMENTS]
    answer = (await ask(real, query={"text": QUERY}, documents=given, top_n=2, return_documents=True)).json()
    assert [set(result) for result in everything] == [{"index", "relevance_score"}] * 4
    assert answer["results"] == [
        {**result, "document": {"text": DOCUMENTS[result["index"]]}} for result in everything[:2]
    ]
    assert (answer["object"], answer["model"]) == ("list", "reranker")
    assert answer["id"].startswith("rerank-")


async def test_a_document_that_does_not_fit_is_an_error_or_is_cut(real: httpx.AsyncClient) -> None:
    long = "dog " * 100
    refused = await ask(real, documents=["there", long])
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (400, "context_length_exceeded")
    assert (error["param"], "105 tokens against 64" in error["message"]) == ("documents", True)
    cut = (await ask(real, documents=["there", long], truncate=True)).json()
    assert (cut["truncated"], cut["usage"]["prompt_tokens"]) == ({"tokens": 41}, 64 + 6)
    short = (await ask(real, documents=["there", long], max_tokens_per_doc=3)).json()
    assert (short["truncated"], short["usage"]["prompt_tokens"]) == ({"tokens": 97}, 8 + 6)
    too_long = (await ask(real, query=long, truncate=True)).json()["error"]
    assert "shorten the query" in too_long["message"]


@pytest.mark.skipif(not CROSS_ENCODER.exists(), reason="needs the cross-encoder of the test models")
async def test_a_trained_cross_encoder_finds_the_document_that_answers(real: httpx.AsyncClient) -> None:
    documents = [
        "Our shop opens at nine.",
        "The sea is salty because rivers carry minerals into it.",
        "The giant panda is a bear that lives in the mountains of central China.",
    ]
    query = "Why is the sea salty?"
    answer = (await ask(real, model="cross-encoder", query=query, documents=documents)).json()
    scores = [result["relevance_score"] for result in answer["results"]]
    assert answer["results"][0]["index"] == 1
    assert scores[0] > 0.95 and scores[1] < 0.8


# --- on the scripted engine -------------------------------------------------------------------------


@pytest.fixture
def ranker(store: Store, launcher: ScriptedLauncher, tmp_path: Path) -> str:
    """A model that has a template of its own for pairs."""
    template = "<q>{query}</q><d>{document}</d>"
    path = write_tiny_gguf(tmp_path / "headless.gguf", chat_template=None, pooling="rank")
    store.link_file("headless", path)
    store.link_file("reranker", write_tiny_bert(tmp_path / "bert.gguf", "rank"))
    extra: dict[str, Any] = {"tokenizer.chat_template.rerank": template}
    store.link_file("templated", write_tiny_bert(tmp_path / "templated.gguf", "rank", extra))
    labels = {"bert.classifier.output_labels": ["sad", "glad"]}
    store.link_file("moods", write_tiny_bert(tmp_path / "moods.gguf", "rank", labels))
    launcher.model = ScriptedModel(pooling="rank")
    return "reranker"


@pytest.mark.parametrize("path", ["/v1/rerank", "/v1/reranking", "/v2/rerank", "/rerank"])
async def test_every_path_that_clients_know_is_served(
    http: httpx.AsyncClient, ranker: str, path: str
) -> None:
    answer = await ask(http, path)
    assert answer.status_code == 200
    assert sorted(result["index"] for result in answer.json()["results"]) == [0, 1, 2, 3]
    refused = await ask(http, path, documents=[])
    assert refused.json()["error"]["param"] == "documents"


async def test_a_template_of_the_model_for_pairs_is_filled_in_once(
    http: httpx.AsyncClient, ranker: str, launcher: ScriptedLauncher
) -> None:
    answer = await ask(http, model="templated", query="{document}", documents=["d"], max_tokens_per_doc=1)
    # The scripted tokens are bytes.
    expected = len("<q>{document}</q><d>d</d>")
    assert answer.json()["usage"]["prompt_tokens"] == expected
    cut = await ask(http, model="templated", query="q", documents=["dddd"], max_tokens_per_doc=1)
    assert cut.json()["usage"]["prompt_tokens"] == len("<q>q</q><d>d</d>")
    assert cut.json()["truncated"] == {"tokens": 3}


async def test_a_document_that_is_cut_within_a_character_fits(http: httpx.AsyncClient, ranker: str) -> None:
    room = 64
    for more in range(4):
        query = "q" * (10 + more)
        answer = await ask(http, model="templated", query=query, documents=["\N{CAT}" * 30], truncate=True)
        assert answer.status_code == 200, answer.text
        assert answer.json()["usage"]["prompt_tokens"] <= room
        assert answer.json()["truncated"]["tokens"] > 0


async def test_a_head_that_says_something_else_is_a_clear_400(http: httpx.AsyncClient, ranker: str) -> None:
    answer = await ask(http, model="moods")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "missing_capability")
    assert "['sad', 'glad']" in answer.json()["error"]["message"]


@pytest.mark.parametrize("model", ["tiny", "embedder", "headless"])
async def test_a_model_without_a_rank_head_is_a_clear_400(
    http: httpx.AsyncClient, ranker: str, model: str, launcher: ScriptedLauncher
) -> None:
    answer = await ask(http, model=model)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "missing_capability", "model")
    assert f'"{model}" does not support rerank: it has no rank head' in error["message"]
    assert launcher.launches == []


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"query": ""}, "query"),
        ({"query": {"image": "x"}}, "query"),
        ({"query": 7}, "query"),
        ({"documents": []}, "documents"),
        ({"documents": ["x"] * 2049}, "documents"),
        ({"documents": ["x", {"text": "x", "title": "y"}]}, "documents[1]"),
        ({"documents": ["x", 7]}, "documents[1]"),
        ({"documents": "x"}, "documents"),
        ({"top_n": 0}, "top_n"),
        ({"rank_fields": ["text"]}, "rank_fields"),
        ({"model": ""}, "model"),
        ({"keep_alive": "soon"}, "keep_alive"),
        ({"num_ctx": 1}, "num_ctx"),
    ],
)
async def test_what_cannot_be_ranked_is_refused_by_name(
    http: httpx.AsyncClient, ranker: str, fields: dict[str, Any], param: str
) -> None:
    answer = await ask(http, **fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text


async def test_documents_that_are_not_ranked_in_time_are_a_408(
    http: httpx.AsyncClient, ranker: str, launcher: ScriptedLauncher
) -> None:
    launcher.gate = gate = anyio.Event()
    answer = await ask(http, max_seconds=0.05)
    gate.set()
    assert (answer.status_code, answer.json()["error"]["code"]) == (408, "deadline_passed")
