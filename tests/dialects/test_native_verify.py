"""POST /api/verify."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from agentkit_server.models.store import Store

pytestmark = pytest.mark.anyio


def config_blob(store: Store, name: str) -> Any:
    manifest = json.loads(
        (store.root / "manifests/registry.ollama.ai/library" / name / "latest").read_bytes()
    )
    return store.blob_path(manifest["config"]["digest"])


async def test_lines_tell_how_far_it_is_and_the_last_one_what_was_found(
    http: httpx.AsyncClient, store: Store
) -> None:
    response = await http.post("/api/verify", json={})
    assert response.headers["content-type"] == "application/x-ndjson"
    *steps, last = [json.loads(line) for line in response.text.splitlines()]
    assert {step["status"] for step in steps} == {"verifying"}
    assert steps[-1]["completed"] == steps[-1]["total"] == last["total"]
    assert last["status"] == "verified"
    assert (last["done"], last["models"], last["problems"]) == (True, 4, [])


async def test_damage_is_told_with_what_to_do_in_one_object_too(
    http: httpx.AsyncClient, store: Store
) -> None:
    path = config_blob(store, "tiny")
    path.write_bytes(b"{}")
    body = {"models": ["tiny"], "stream": False}
    answer = (await http.post("/api/verify", json=body)).json()
    assert (answer["status"], answer["models"]) == ("damaged", 1)
    (problem,) = answer["problems"]
    assert problem["path"] == str(path)
    assert "tiny:latest" in problem["models"]
    assert problem["remedy"].startswith("pull 'tiny:latest'")


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({"models": ["nope"]}, 404, "model 'nope' not found"),
        ({"models": ["nope"], "stream": False}, 404, "model 'nope' not found"),
        ({"models": ["a b"]}, 400, "invalid model name"),
        ({"models": "tiny"}, 400, 'invalid field "models"'),
    ],
)
async def test_what_cannot_be_checked_is_a_status(
    http: httpx.AsyncClient, body: Any, status: int, error: str
) -> None:
    response = await http.post("/api/verify", json=body)
    assert response.status_code == status
    assert error in response.json()["error"]
