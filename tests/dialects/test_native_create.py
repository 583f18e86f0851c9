"""POST /api/create, over HTTP and with the published client."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import ollama
import pytest
from gguf import LlamaFileType
from support.tiny_gguf import write_tiny_gguf

from agentkit_server.models.store import Store
from agentkit_server.runner.scripted import ScriptedLauncher

pytestmark = pytest.mark.anyio


async def created(http: httpx.AsyncClient, **body: Any) -> list[dict[str, Any]]:
    answer = await http.post("/api/create", json=body)
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_create_streams_its_progress_and_the_model_answers(http: httpx.AsyncClient) -> None:
    lines = await created(http, model="mario", **{"from": "tiny"}, system="You are Mario.")
    assert [line["status"] for line in lines[-2:]] == ["writing manifest", "success"]
    shown = (await http.post("/api/show", json={"model": "mario"})).json()
    assert (shown["system"], shown["details"]["parent_model"]) == ("You are Mario.", "tiny:latest")
    body = {"model": "mario", "messages": [{"role": "user", "content": "Who?"}], "stream": False}
    assert (await http.post("/api/chat", json=body)).json()["message"]["content"] == "Hello, world!"
    written = (await http.post("/api/apply_template", json=body)).json()
    assert "You are Mario." in written["prompt"]


async def test_create_without_a_stream_is_one_object(http: httpx.AsyncClient) -> None:
    assert await created(http, name="mine", **{"from": "tiny"}, stream=False) == [{"status": "success"}]


async def test_create_from_uploaded_files_lists_their_type_and_size(
    http: httpx.AsyncClient, tmp_path: Path
) -> None:
    content = write_tiny_gguf(tmp_path / "new.gguf", name="new").read_bytes()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert (await http.post(f"/api/blobs/{digest}", content=content)).status_code == 201
    lines = await created(http, model="new", files={"new.gguf": digest}, parameters={"temperature": 0})
    assert {"status": f"using existing layer {digest}"} in lines
    listed = {model["name"]: model for model in (await http.get("/api/tags")).json()["models"]}
    assert listed["new:latest"]["details"]["quantization_level"] == "F16"
    assert listed["new:latest"]["size"] > len(content)


async def test_a_model_that_is_loaded_can_be_made_anew(
    http: httpx.AsyncClient, store: Store, launcher: ScriptedLauncher, tmp_path: Path
) -> None:
    ask = {"model": "mine", "prompt": "Hi", "stream": False}
    for name in ("one", "two"):
        path = tmp_path / f"{name}.gguf"
        store.link_file(name, write_tiny_gguf(path, name=name))
        await created(http, model="mine", **{"from": name})
        assert (await http.post("/api/generate", json=ask)).json()["response"] == "Hello, world!"
        assert launcher.launches[-1].path == str(path)


MISSING = f"sha256:{'0' * 64}"


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({}, 400, "model is required"),
        ({"model": "a b", "from": "tiny"}, 400, "invalid model name"),
        ({"model": "x"}, 400, "neither 'from' or 'files' was specified"),
        ({"model": "x", "files": {}}, 400, "no files provided to convert"),
        ({"model": "x", "files": {"/x": MISSING}}, 400, "file path must be relative"),
        ({"model": "x", "files": {"x.gguf": "sha256:../x"}}, 400, "invalid digest format"),
        ({"model": "x", "files": {"x.gguf": MISSING}}, 404, f'blob "{MISSING}" not found'),
        (
            {"model": "x", "from": "tiny", "quantize": "q5"},
            400,
            "unsupported quantization type Q5 - supported",
        ),
        (
            {"model": "x", "from": "tiny", "draft_quantize": "q8_0"},
            400,
            "--draft-quantize requires a DRAFT model",
        ),
        (
            {"model": "x", "from": "y", "remote_host": "h", "draft_files": {"a": MISSING}},
            400,
            "DRAFT cannot be used with remote models",
        ),
        ({"model": "x", "from": "tiny", "template": "{{ .Prompt"}, 400, "template:1:"),
        (
            {"model": "x", "from": "tiny", "parameters": {"tempature": 1}},
            400,
            "unknown parameter 'tempature'",
        ),
        ({"model": "x", "from": "tiny", "files": ["a"]}, 400, 'invalid field "files"'),
        ({"model": "x", "from": "tiny", "adapter_scales": {"a": "b"}}, 400, 'invalid field "adapter_scales'),
    ],
)
async def test_what_cannot_be_created_is_a_status_before_the_stream(
    http: httpx.AsyncClient, body: dict[str, Any], status: int, text: str
) -> None:
    answer = await http.post("/api/create", json=body)
    assert answer.status_code == status
    assert text in answer.json()["error"]


async def test_a_type_that_cannot_be_quantised_is_told_as_it_is_asked(
    http: httpx.AsyncClient, store: Store, tmp_path: Path
) -> None:
    store.link_file("q4", write_tiny_gguf(tmp_path / "q4.gguf", file_type=LlamaFileType.MOSTLY_Q4_0))
    body: dict[str, Any] = {"model": "x", "from": "q4", "quantize": "q8_0"}
    expected = "quantization is only supported for F16, BF16 and F32 models: this model is Q4_0"
    for stream in (True, False):
        answer = await http.post("/api/create", json={**body, "stream": stream})
        assert (answer.status_code, answer.json()) == (400, {"error": expected})


@pytest.fixture
async def client(live_server: str) -> AsyncIterator[ollama.AsyncClient]:
    client = ollama.AsyncClient(live_server)
    yield client
    await client.close()


async def test_the_published_client_creates(client: ollama.AsyncClient, tmp_path: Path) -> None:
    digest = await client.create_blob(write_tiny_gguf(tmp_path / "new.gguf", name="new"))
    parts = [
        part
        async for part in await client.create(
            "new",
            files={"new.gguf": digest},
            system="Be brief.",
            template="{{ .Prompt }}",
            license=["MIT"],
            parameters={"stop": ["x"], "num_ctx": 256},
            messages=[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}],
            stream=True,
        )
    ]
    assert parts[-1].status == "success"
    assert (await client.create("newer", from_="new", system="Be long.")).status == "success"
    shown = await client.show("newer")
    assert (shown.template, shown.license) == ("{{ .Prompt }}", "MIT")
    with pytest.raises(ollama.ResponseError, match="unsupported quantization type Q3") as raised:
        await client.create("newest", from_="new", quantize="q3")
    assert raised.value.status_code == 400
