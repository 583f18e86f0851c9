"""tokenize, detokenize and apply_template, on the scripted engine and on the real smollm2."""

from __future__ import annotations

from typing import Any

import anyio
import httpx
import pytest

from agentkit_server.runner.scripted import ScriptedLauncher, ScriptedModel

pytestmark = pytest.mark.anyio

USER = {"role": "user", "content": "How is the weather in Oslo?"}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


async def test_a_text_goes_to_tokens_and_back(http: httpx.AsyncClient, launcher: ScriptedLauncher) -> None:
    launcher.model = ScriptedModel(add_bos=True)
    text = "größe <|im_start|>"
    both = (await http.post("/api/tokenize", json={"model": "tiny", "text": text})).json()
    assert (both["model"], both["count"]) == ("tiny", len(both["tokens"]))
    back = await http.post("/api/detokenize", json={"model": "tiny", "tokens": both["tokens"]})
    assert back.json() == {"model": "tiny", "text": f"<|endoftext|>{text}"}
    plain = {"model": "tiny", "tokens": both["tokens"], "special": False}
    assert (await http.post("/api/detokenize", json=plain)).json()["text"] == "größe "
    bare = {"model": "tiny", "text": text, "add_special": False, "parse_special": False}
    tokens = (await http.post("/api/tokenize", json=bare)).json()["tokens"]
    assert tokens == list(text.encode())


async def test_tokens_of_nothing_are_none(http: httpx.AsyncClient) -> None:
    assert (await http.post("/api/tokenize", json={"model": "tiny", "text": ""})).json()["tokens"] == []
    assert (await http.post("/api/detokenize", json={"model": "tiny", "tokens": []})).json()["text"] == ""


async def test_a_model_that_only_embeds_has_tokens_too(http: httpx.AsyncClient) -> None:
    answer = await http.post("/api/tokenize", json={"model": "embedder", "text": "hi"})
    assert answer.json()["tokens"] == [104, 105]


@pytest.mark.parametrize(
    ("path", "fields", "status", "said"),
    [
        ("tokenize", {}, 400, "text is required"),
        ("tokenize", {"model": "", "text": "x"}, 400, "model is required"),
        ("tokenize", {"model": "nobody", "text": "x"}, 404, "not found"),
        ("tokenize", {"text": 7}, 400, '"text"'),
        ("tokenize", {"text": "x", "options": {"num_ctx": 1}}, 400, "num_ctx"),
        ("tokenize", {"text": "x", "keep_alive": "soon"}, 400, "keep_alive"),
        ("detokenize", {}, 400, "tokens is required"),
        ("detokenize", {"tokens": [99_999]}, 400, "99999"),
        ("detokenize", {"tokens": [-1]}, 400, "-1"),
        ("detokenize", {"tokens": ["x"]}, 400, "tokens[0]"),
        ("apply_template", {}, 400, "messages is empty"),
        ("apply_template", {"model": "", "messages": [USER]}, 400, "model is required"),
        ("apply_template", {"model": "embedder", "messages": [USER]}, 400, "does not support chat"),
        ("apply_template", {"messages": [USER], "think": True}, 400, "does not support thinking"),
        ("apply_template", {"messages": [USER], "tools": [{}]}, 400, "tools[0]"),
    ],
)
async def test_what_cannot_be_done_is_refused(
    http: httpx.AsyncClient, path: str, fields: dict[str, Any], status: int, said: str
) -> None:
    answer = await http.post(f"/api/{path}", json={"model": "tiny", **fields})
    assert (answer.status_code, said in answer.json()["error"]) == (status, True), answer.text


async def test_a_model_that_is_not_ready_in_time_is_a_408(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    launcher.gate = gate = anyio.Event()
    for path, body in (("tokenize", {"text": "x"}), ("apply_template", {"messages": [USER]})):
        with anyio.fail_after(10):
            answer = await http.post(f"/api/{path}", json={"model": "tiny", "max_seconds": 0.05, **body})
        assert answer.status_code == 408, answer.text
    gate.set()


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"think": False},
        {"think": True},
        {"tools": [WEATHER]},
        {"tools": [WEATHER], "tool_choice": "none"},
        {"messages": [USER, {"role": "assistant", "content": "It"}]},
        {"messages": [{"role": "system", "content": "Be brief."}, USER]},
    ],
)
async def test_the_prompt_is_what_chat_would_read(
    http: httpx.AsyncClient, launcher: ScriptedLauncher, fields: dict[str, Any]
) -> None:
    launcher.script = "mild"
    body = {"model": "thinker", "messages": [USER], "stream": False, **fields}
    told = (await http.post("/api/apply_template", json={**body, "tokens": True})).json()
    assert launcher.requests == []
    await http.post("/api/chat", json=body)
    [request] = launcher.requests
    assert told["tokens"] == request.prompt
    assert told["prompt_eval_count"] == len(request.prompt)
    assert launcher.model.decode(request.prompt) == told["prompt"]
    assert told["context_length"] == 2048
    assert "tokens" not in (await http.post("/api/apply_template", json=body)).json()


async def test_a_prompt_that_is_too_long_is_still_told(http: httpx.AsyncClient) -> None:
    messages = [{"role": "user", "content": "x" * 500}]
    answer = await http.post(
        "/api/apply_template", json={"model": "tiny", "messages": messages, "options": {"num_ctx": 300}}
    )
    told = answer.json()
    assert told["prompt_eval_count"] > told["context_length"] == 300


async def test_smollm2_counts_as_its_answers_do(smollm2: httpx.AsyncClient) -> None:
    chat = {"model": "smollm2", "messages": [USER], "stream": False, "options": {"num_predict": 1}}
    told = (await smollm2.post("/api/apply_template", json=chat)).json()
    answer = (await smollm2.post("/api/chat", json=chat)).json()
    assert told["prompt_eval_count"] == answer["prompt_eval_count"]
    assert told["prompt"].endswith(f"<|im_start|>user\n{USER['content']}<|im_end|>\n<|im_start|>assistant\n")
    counted = (await smollm2.post("/api/tokenize", json={"model": "smollm2", "text": told["prompt"]})).json()
    assert counted["count"] == told["prompt_eval_count"]
    back = await smollm2.post("/api/detokenize", json={"model": "smollm2", "tokens": counted["tokens"]})
    assert back.json()["text"] == told["prompt"]
    raw = {"model": "smollm2", "prompt": told["prompt"], "raw": True, "stream": False}
    again = (await smollm2.post("/api/generate", json={**raw, "options": {"num_predict": 1}})).json()
    assert again["prompt_eval_count"] == told["prompt_eval_count"]
