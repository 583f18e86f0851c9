"""POST /api/chat on a scripted engine."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from agentkit_server.errors import ServerBusy
from agentkit_server.runner.scripted import ScriptedLauncher

pytestmark = pytest.mark.anyio

HI = {"role": "user", "content": "hi"}


async def chat(http: httpx.AsyncClient, *messages: dict[str, Any], **fields: Any) -> httpx.Response:
    return await http.post(
        "/api/chat", json={"model": "tiny", "messages": messages, "stream": False, **fields}
    )


def prompt_text(launcher: ScriptedLauncher) -> str:
    return launcher.model.decode(launcher.requests[-1].prompt)


async def test_the_answer_is_a_message_of_the_assistant(http: httpx.AsyncClient) -> None:
    answer = (await chat(http, HI)).json()
    assert answer["message"] == {"role": "assistant", "content": "Hello, world!"}
    assert (answer["done"], answer["done_reason"]) == (True, "stop")
    assert "context" not in answer


async def test_a_stream_ends_in_an_empty_message_with_the_numbers(http: httpx.AsyncClient) -> None:
    lines = [json.loads(line) for line in (await chat(http, HI, stream=True)).text.splitlines()]
    assert "".join(line["message"]["content"] for line in lines) == "Hello, world!"
    assert lines[-1]["message"] == {"role": "assistant", "content": ""}
    assert lines[-1]["eval_count"] == 13


async def test_roles_are_lower_cased(http: httpx.AsyncClient, launcher: ScriptedLauncher) -> None:
    await chat(http, {"role": "USER", "content": "hi"})
    assert "<|im_start|>user\nhi" in prompt_text(launcher)


async def test_a_last_assistant_message_is_continued(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    await chat(http, HI, {"role": "assistant", "content": "Well, "})
    assert prompt_text(launcher).endswith("<|im_start|>assistant\nWell, ")


async def test_a_cut_conversation_says_how_much_is_missing(http: httpx.AsyncClient) -> None:
    old = [{"role": "user", "content": "x" * 100}, {"role": "assistant", "content": "y"}]
    answer = (await chat(http, *old, *old, HI, truncate=True, options={"num_ctx": 128})).json()
    assert answer["truncated_messages"] == 4
    assert answer["truncated_tokens"] > 200


async def test_without_truncate_nothing_is_cut(http: httpx.AsyncClient) -> None:
    long = {"role": "user", "content": "x" * 200}
    response = await chat(http, long, {"role": "assistant", "content": "y"}, HI, options={"num_ctx": 128})
    assert response.status_code == 400
    assert response.json()["error"].startswith(
        "the prompt is longer than the context length currently available to the model"
    )


async def test_no_messages_load_and_unload(http: httpx.AsyncClient) -> None:
    assert (await chat(http)).json()["done_reason"] == "load"
    assert len((await http.get("/api/ps")).json()["models"]) == 1
    assert (await chat(http, keep_alive="0s")).json()["done_reason"] == "unload"
    assert (await http.get("/api/ps")).json()["models"] == []


async def test_fields_that_say_nothing_are_accepted(http: httpx.AsyncClient) -> None:
    message = {**HI, "images": None, "tool_calls": [], "thinking": None}
    response = await chat(http, message, tools=[], think=None, format=None)
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("fields", "status", "error"),
    [
        ({"model": ""}, 400, "model is required"),
        ({"model": "nope"}, 404, "model 'nope' not found"),
        ({"model": "../x"}, 400, "invalid model name"),
        ({"model": "embedder"}, 400, '"embedder" does not support chat'),
        ({"messages": [{**HI, "images": ["aGk="]}]}, 501, "images are not built yet"),
        ({"messages": [{"content": "x"}]}, 400, "missing required field role"),
        ({"messages": [{"role": "user", "content": 1}]}, 400, 'invalid field "messages[0].content"'),
        ({"messages": "hi"}, 400, 'invalid field "messages": expected array, got string'),
        ({"messages": [1]}, 400, 'invalid field "messages[0]": expected object, got integer'),
        ({"options": []}, 400, 'invalid field "options": expected object, got array'),
        ({"options": {"temperature": -1}}, 400, 'option "temperature" must be from 0'),
    ],
)
async def test_a_request_that_cannot_be_carried_out_says_why(
    http: httpx.AsyncClient, fields: dict[str, Any], status: int, error: str
) -> None:
    response = await chat(http, **{"messages": [HI], **fields})
    assert (response.status_code, error in response.json()["error"]) == (status, True), response.text


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "missing request body"),
        (b"  \n", "missing request body"),
        (b"{", "the request body is not valid JSON"),
        (b'{"model": "\xff"}', "the request body is not valid JSON"),
        (b'{"model": "\\ud800"}', "the request body is not valid JSON"),
        (b"[1]", "the request body must be a JSON object"),
        (b"[" * 100_000, "the request body is not valid JSON"),
        (b'{"model": "tiny", "options": {"seed": ' + b"9" * 10_000 + b"}}", ""),
    ],
    ids=range(8),
)
async def test_a_body_that_is_no_json_object_is_a_400(
    http: httpx.AsyncClient, body: bytes, error: str
) -> None:
    response = await http.post("/api/chat", content=body, headers={"content-type": "text/plain"})
    assert response.status_code == 400
    assert error in response.json()["error"]


async def test_a_full_queue_is_a_503_that_says_when_to_come_back(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    busy = "server busy, please try again.  maximum pending requests exceeded"
    launcher.fail(ServerBusy(busy, retry_after=3))
    response = await chat(http, HI)
    assert (response.status_code, response.json()) == (503, {"error": busy})
    assert response.headers["retry-after"] == "3"


async def test_a_load_that_fails_is_a_500_and_the_next_request_tries_again(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    launcher.fail("the weights are torn")
    response = await chat(http, HI)
    assert response.status_code == 500
    assert "the weights are torn" in response.json()["error"]
    assert (await chat(http, HI)).status_code == 200
