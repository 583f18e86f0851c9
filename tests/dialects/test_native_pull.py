"""POST /api/pull against a registry: what a caller allows and knows reaches it."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator
from pathlib import Path

import httpx
import pytest
from support.fault_registry import Answer, Asked, FaultRegistry, Memory, fault_registry
from support.registries import REPOSITORY, SYSTEM, publish, weights

from agentkit_server.models.store import Store

pytestmark = pytest.mark.anyio

LOGIN = "Basic " + base64.b64encode(b"ann:secret").decode()


def guard(asked: Asked, answer: Answer) -> Answer:
    """Only Ann may in."""
    if asked.headers.get("authorization") == LOGIN:
        return answer
    return Answer(401, {"www-authenticate": 'Basic realm="here"'})


@pytest.fixture
async def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[FaultRegistry]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    memory = Memory()
    publish(memory, {"model": weights(tmp_path, 50_000), "system": SYSTEM})
    async with fault_registry(memory) as server:
        yield server


async def test_a_model_of_a_registry_is_pulled_with_the_words_of_ollama(
    registry: FaultRegistry, http: httpx.AsyncClient, store: Store
) -> None:
    body = {"model": f"{registry.host}/{REPOSITORY}", "insecure": True}
    response = await http.post("/api/pull", json=body)
    lines = [json.loads(line) for line in response.text.splitlines()]
    statuses = [line["status"] for line in lines]
    assert statuses[0] == "pulling manifest"
    assert statuses[-3:] == ["verifying sha256 digest", "writing manifest", "success"]
    assert store.resolve(body["model"]).system == SYSTEM.decode()
    layers = [line for line in lines if "digest" in line]
    assert all(line["status"] == f"pulling {line['digest'][7:19]}" for line in layers)
    assert (layers[-1]["completed"], layers[-1]["total"]) == (50_000, 50_000)


async def test_plain_http_is_refused_where_the_caller_does_not_allow_it(
    registry: FaultRegistry, http: httpx.AsyncClient
) -> None:
    response = await http.post("/api/pull", json={"model": f"http://{registry.host}/{REPOSITORY}"})
    assert json.loads(response.text.splitlines()[-1])["error"].startswith("insecure protocol http")
    assert registry.asked == []


async def test_a_login_of_the_body_opens_a_private_registry(
    registry: FaultRegistry, http: httpx.AsyncClient
) -> None:
    registry.on("", guard)
    body = {"model": f"{registry.host}/{REPOSITORY}", "insecure": True, "stream": False}
    refused = await http.post("/api/pull", json=body)
    assert refused.status_code == 500
    assert "it needs a login" in refused.json()["error"]
    answer = await http.post("/api/pull", json={**body, "username": "ann", "password": "secret"})
    assert answer.json() == {"status": "success"}


async def test_a_model_that_the_registry_does_not_have_ends_with_the_text_of_ollama(
    registry: FaultRegistry, http: httpx.AsyncClient
) -> None:
    response = await http.post("/api/pull", json={"model": f"{registry.host}/no/such", "insecure": True})
    first, last = (json.loads(line) for line in response.text.splitlines())
    assert (response.status_code, first) == (200, {"status": "pulling manifest"})
    assert last["error"].startswith("pull model manifest: file does not exist")


@pytest.mark.parametrize("route", ["/api/pull", "/api/push"])
async def test_a_password_of_nobody_is_refused(route: str, http: httpx.AsyncClient) -> None:
    response = await http.post(route, json={"model": "tiny", "password": "secret"})
    assert response.status_code == 400
    assert response.json()["error"] == "password is for a username, and there is none"


async def test_the_last_line_of_a_pull_by_url_says_what_the_model_is_called(
    registry: FaultRegistry, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    assert isinstance(registry.upstream, Memory)
    registry.upstream.contents["/files/My%20model.gguf"] = weights(tmp_path, 50_000)
    body = {"model": f"http://{registry.host}/files/My%20model.gguf", "insecure": True}
    lines = (await http.post("/api/pull", json=body)).text.splitlines()
    assert json.loads(lines[-1]) == {"status": "success", "model": "My-model:latest"}
    whole = await http.post("/api/pull", json={**body, "stream": False})
    assert whole.json() == {"status": "success", "model": "My-model:latest"}
