"""POST /api/push: the published client and a real registry, Debian's docker-registry."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import ollama
import pytest
from support.docker_registry import docker_registry

from agentkit import AsyncClient
from agentkit_server.models.store import Store

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with docker_registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture
async def client(live_server: str) -> AsyncIterator[ollama.AsyncClient]:
    async with ollama.AsyncClient(live_server) as client:
        yield client


async def test_a_model_under_a_second_name_is_pushed_to_that_one_and_pulled_back(
    client: ollama.AsyncClient, store: Store, registry: str
) -> None:
    name = f"{registry}/other/copy:v2"
    await client.copy("tiny", name)
    lines = [line async for line in await client.push(name, insecure=True, stream=True)]
    statuses = [line.status for line in lines]
    assert (statuses[0], statuses[-2:]) == ("retrieving manifest", ["pushing manifest", "success"])
    blobs = [line for line in lines if line.digest]
    assert all(line.status == f"pushing {(line.digest or '')[7:19]}" for line in blobs)
    assert {line.total for line in blobs if line.completed == line.total} == {line.total for line in blobs}
    await client.delete(name)
    assert (await client.pull(name, insecure=True)).status == "success"
    ours, theirs = store.manifest("tiny"), store.manifest(name)
    assert [layer.digest for layer in theirs.layers] == [layer.digest for layer in ours.layers]
    # What was a file of this machine is a blob now.
    assert (ours.layers[0].path, theirs.layers[0].path) == (str(store.resolve("tiny").path), None)


async def test_our_own_client_pushes_too(live_server: str, store: Store, registry: str) -> None:
    store.copy("tiny", f"{registry}/me/tiny")
    async with AsyncClient(live_server) as client:
        assert (await client.push(f"{registry}/me/tiny", insecure=True)).status == "success"
        lines = [line async for line in await client.push(f"{registry}/me/tiny", insecure=True, stream=True)]
    assert lines[-1].status == "success"


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({}, 400, "model is required"),
        ({"model": "a b"}, 400, "invalid model name"),
        ({"model": "absent"}, 404, "model 'absent' not found"),
        ({"model": "ftp://host/me/tiny"}, 400, "names the protocol 'ftp'"),
        ({"model": "http://host/me/tiny", "stream": False}, 500, "insecure protocol http"),
    ],
)
async def test_what_cannot_be_pushed_is_a_status(
    http: httpx.AsyncClient, body: dict[str, Any], status: int, error: str
) -> None:
    response = await http.post("/api/push", json=body)
    assert response.status_code == status
    assert error in response.json()["error"]


async def test_a_registry_that_cannot_be_spoken_to_is_the_last_line(
    client: ollama.AsyncClient, store: Store, registry: str
) -> None:
    store.copy("tiny", f"{registry}/me/mine")
    with pytest.raises(ollama.ResponseError, match="insecure protocol http"):
        async for line in await client.push(f"http://{registry}/me/mine", stream=True):
            assert line.status == "retrieving manifest"
    with pytest.raises(ollama.ResponseError, match="--insecure"):
        await client.push(f"{registry}/me/mine")
