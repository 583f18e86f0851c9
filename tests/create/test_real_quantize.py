"""smollm2 in F16, quantised by the server and asked something."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.listening import listening
from support.smollm2_f16 import f16_path

from agentkit_server.app import create_app
from agentkit_server.models.store import Store
from agentkit_server.runner.process import ProcessLauncher
from agentkit_server.settings import Settings

pytestmark = pytest.mark.anyio


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    store = Store(tmp_path)
    store.link_file("f16", f16_path())
    settings = Settings(host="127.0.0.1:0", models=tmp_path, api_keys=[], context_length=512)
    async with listening(create_app(settings, ProcessLauncher(), store)) as url:
        yield url


async def test_smollm2_is_quantised_and_answers(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=300) as http:
        for name, quantize in (("q8", "q8_0"), ("q4", "q4_K_M")):
            answer = await http.post("/api/create", json={"model": name, "from": "f16", "quantize": quantize})
            lines = [json.loads(line) for line in answer.text.splitlines()]
            assert lines[-1] == {"status": "success"}
            done = [line["completed"] for line in lines if line["status"].startswith("quantizing")]
            assert done == sorted(done)
            assert len(done) > 200, "a line a tensor"
        listed = {model["model"]: model for model in (await http.get("/api/tags")).json()["models"]}
        levels = {name: model["details"]["quantization_level"] for name, model in listed.items()}
        assert levels == {"f16:latest": "F16", "q8:latest": "Q8_0", "q4:latest": "Q4_K_M"}
        sizes = [listed[f"{name}:latest"]["size"] for name in ("q4", "q8", "f16")]
        assert sizes == sorted(sizes)
        for name in ("q8", "q4"):
            messages = [{"role": "user", "content": "What is the capital of France?"}]
            body: dict[str, Any] = {"model": name, "messages": messages, "stream": False}
            body["options"] = {"temperature": 0, "num_predict": 8}
            assert (await http.post("/api/chat", json=body)).json()["message"]["content"]
