"""tags, ps, show, copy, delete, pull and blobs, and the small routes round them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator
from datetime import datetime
from functools import partial
from typing import Any

import anyio
import httpx
import pytest
from fastapi import FastAPI

from agentkit_server.models.names import ModelName
from agentkit_server.models.pull import PullProgress, Pulls
from agentkit_server.models.registry.options import Access
from agentkit_server.models.store import Store
from agentkit_server.runner.scripted import ScriptedLauncher

pytestmark = pytest.mark.anyio


async def names(http: httpx.AsyncClient) -> set[str]:
    return {model["name"] for model in (await http.get("/api/tags")).json()["models"]}


async def test_clients_that_probe_find_a_server(http: httpx.AsyncClient) -> None:
    assert (await http.get("/")).text == "Ollama is running"
    assert (await http.head("/")).status_code == 200
    assert (await http.head("/api/tags")).status_code == 200
    assert set((await http.get("/api/version")).json()) == {"version"}
    assert (await http.get("/api/status")).json() == {"cloud": {"disabled": True, "source": "config"}}


async def test_tags_describe_every_model(http: httpx.AsyncClient) -> None:
    models = (await http.get("/api/tags")).json()["models"]
    assert {model["name"] for model in models} == {
        "tiny:latest",
        "thinker:latest",
        "base:latest",
        "embedder:latest",
    }
    tiny = next(model for model in models if model["name"] == "tiny:latest")
    assert tiny["model"] == "tiny:latest"
    assert len(tiny["digest"]) == 64
    assert datetime.fromisoformat(tiny["modified_at"]).tzinfo is not None
    assert tiny["details"]["family"] == "llama"
    assert tiny["details"]["format"] == "gguf"
    assert "completion" in tiny["capabilities"]


async def test_ps_tells_when_a_model_goes(http: httpx.AsyncClient) -> None:
    body: dict[str, Any] = {"model": "tiny", "keep_alive": -1}
    await http.post("/api/generate", json=body)
    (row,) = (await http.get("/api/ps")).json()["models"]
    assert row["name"] == "tiny:latest"
    assert row["expires_at"] == "9999-12-31T23:59:59Z"
    assert row["size"] > 0 and row["context_length"] > 0
    await http.post("/api/generate", json={**body, "keep_alive": "1h"})
    (row,) = (await http.get("/api/ps")).json()["models"]
    assert datetime.fromisoformat(row["expires_at"]).year < 9999


async def test_ps_tells_how_far_a_load_is(http: httpx.AsyncClient, launcher: ScriptedLauncher) -> None:
    launcher.gate = gate = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(http.post, "/api/generate", json={"model": "tiny"}))
        with anyio.fail_after(10):
            await launcher.wait_launches(1)
        (loading,) = (await http.get("/api/ps")).json()["models"]
        gate.set()
    (ready,) = (await http.get("/api/ps")).json()["models"]
    assert loading["loading"] == 0.0
    assert loading["size"] > 0 and loading["expires_at"]
    assert ready.keys() == loading.keys() - {"loading"}


async def test_show_blanks_long_arrays_unless_it_is_verbose(http: httpx.AsyncClient, store: Store) -> None:
    short = (await http.post("/api/show", json={"model": "tiny"})).json()
    assert short["model_info"]["general.architecture"] == "llama"
    assert short["model_info"]["general.parameter_count"] == store.resolve("tiny").gguf.parameter_count
    assert short["template"].startswith("{% for message in messages %}")
    assert short["tensors"][0].keys() == {"name", "type", "shape"}
    assert "FROM" in short["modelfile"]
    assert short["details"]["quantization_level"]
    verbose = (await http.post("/api/show", json={"name": "tiny", "verbose": True})).json()
    assert len(verbose["model_info"]["tokenizer.ggml.tokens"]) == 8


async def test_a_copy_is_a_second_name_and_deleting_takes_one_away(http: httpx.AsyncClient) -> None:
    copied = await http.post("/api/copy", json={"source": "tiny", "destination": "other:1"})
    assert (copied.status_code, copied.content) == (200, b"")
    assert "other:1" in await names(http)
    deleted = await http.request("DELETE", "/api/delete", json={"model": "other:1"})
    assert (deleted.status_code, deleted.content) == (200, b"")
    assert "other:1" not in await names(http)
    assert "tiny:latest" in await names(http)


async def test_deleting_a_loaded_model_unloads_it(http: httpx.AsyncClient) -> None:
    await http.post("/api/generate", json={"model": "tiny"})
    await http.request("DELETE", "/api/delete", json={"name": "tiny"})
    assert (await http.get("/api/ps")).json()["models"] == []


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "error"),
    [
        ("POST", "/api/show", {}, 400, "model is required"),
        ("POST", "/api/show", {"model": "nope"}, 404, "model 'nope' not found"),
        ("POST", "/api/show", {"model": "a b"}, 400, "invalid model name"),
        ("POST", "/api/copy", {"source": "a b", "destination": "x"}, 400, 'source "a b" is invalid'),
        (
            "POST",
            "/api/copy",
            {"source": "tiny", "destination": "../x"},
            400,
            'destination "../x" is invalid',
        ),
        ("POST", "/api/copy", {"source": "nope", "destination": "x"}, 404, 'model "nope" not found'),
        ("DELETE", "/api/delete", {"model": "a b"}, 400, 'name "a b" is invalid'),
        ("DELETE", "/api/delete", {}, 400, 'name "" is invalid'),
        ("DELETE", "/api/delete", {"model": "nope"}, 404, "model 'nope' not found"),
        ("POST", "/api/pull", {}, 400, "model is required"),
        ("POST", "/api/pull", {"model": "a b"}, 400, "invalid model name"),
        ("POST", "/api/pull", {"model": "http://h/no/such", "stream": False}, 500, "insecure protocol http"),
        ("POST", "/api/create", {"model": "x"}, 400, "neither 'from' or 'files' was specified"),
        ("POST", "/api/push", {"model": "x"}, 404, "model 'x' not found"),
        ("HEAD", "/api/blobs/nonsense", None, 400, ""),
        ("POST", "/api/blobs/sha256:..%2F..%2Fx", None, 404, ""),
        ("POST", "/api/blobs/sha256:zz", None, 400, "invalid digest format"),
        ("HEAD", "/api/blobs/sha256:" + "0" * 64, None, 404, ""),
        ("GET", "/api/chat", None, 405, "GET is not for '/api/chat'; use POST"),
        ("GET", "/api/nothing", None, 404, "there is no route '/api/nothing'"),
        ("GET", "/../../etc/passwd", None, 404, "there is no route"),
    ],
)
async def test_a_request_that_cannot_be_carried_out_says_why(
    http: httpx.AsyncClient, method: str, path: str, body: Any, status: int, error: str
) -> None:
    response = await http.request(method, path, json=body)
    assert response.status_code == status, response.text
    if error:
        assert error in response.json()["error"]


async def test_a_blob_is_stored_once_and_only_under_its_own_digest(http: httpx.AsyncClient) -> None:
    digest = "sha256:" + hashlib.sha256(b"content").hexdigest()
    wrong = await http.post(f"/api/blobs/{digest}", content=b"other")
    assert wrong.status_code == 400
    assert "digest mismatch" in wrong.json()["error"]
    assert (await http.head(f"/api/blobs/{digest}")).status_code == 404
    assert (await http.post(f"/api/blobs/{digest}", content=b"content")).status_code == 201
    assert (await http.post(f"/api/blobs/{digest}", content=b"content")).status_code == 200
    assert (await http.head(f"/api/blobs/{digest}")).status_code == 200


class Upstream:
    """A source of one model whose pull takes two steps."""

    def matches(self, reference: str) -> bool:
        return reference == "up"

    def name(self, reference: str) -> ModelName:
        return ModelName.parse(reference)

    async def pull(
        self, reference: str, name: ModelName, store: Store, access: Access
    ) -> AsyncGenerator[PullProgress]:
        yield PullProgress("pulling manifest")
        yield PullProgress("pulling 0123456789ab", digest="sha256:01", total=10, completed=5)
        store.copy("tiny", name)


async def test_a_pull_says_how_far_it_is(app: FastAPI, http: httpx.AsyncClient, store: Store) -> None:
    app.state.pulls = Pulls(store, [Upstream()])
    response = await http.post("/api/pull", json={"model": "up"})
    assert response.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line) for line in response.text.splitlines()] == [
        {"status": "pulling manifest"},
        {"status": "pulling 0123456789ab", "digest": "sha256:01", "total": 10, "completed": 5},
        {"status": "success"},
    ]
    assert "up:latest" in await names(http)
    again = await http.post("/api/pull", json={"name": "up", "stream": False})
    assert again.json() == {"status": "success"}


async def test_a_model_that_is_nowhere_ends_a_pull_with_an_error_line(http: httpx.AsyncClient) -> None:
    # A closed port of loopback: nothing answers there.
    body = {"model": "127.0.0.1:9/no/such", "insecure": True}
    response = await http.post("/api/pull", json=body)
    first, last = (json.loads(line) for line in response.text.splitlines())
    assert response.status_code == 200
    assert first == {"status": "pulling manifest"}
    assert last["error"].startswith("pull model manifest")
