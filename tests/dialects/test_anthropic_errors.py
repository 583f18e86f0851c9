"""Every error of the routes that Anthropic's clients use has Anthropic's shape, status and type."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from support.anthropic_requests import USER

from agentkit_server.app import create_app
from agentkit_server.dialects.anthropic_errors import error_body, status_of
from agentkit_server.errors import (
    AgentkitError,
    BadRequest,
    BodyTooLarge,
    ConstraintFailed,
    DeadlinePassed,
    ModelNotFound,
    NotBuiltYet,
    ServerBusy,
    Unauthorized,
)
from agentkit_server.models.store import Store
from agentkit_server.runner.scripted import ScriptedLauncher
from agentkit_server.settings import Settings

pytestmark = pytest.mark.anyio

BODY: dict[str, Any] = {"model": "tiny", "max_tokens": 9, "messages": [USER]}
KEY = "sk-local-0123456789"
VERSION = {"anthropic-version": "2023-06-01"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        host="127.0.0.1:0",
        models=tmp_path / "models",
        api_keys=[KEY],
        max_body_bytes=5000,
        max_queue=1,
        num_parallel=1,
    )


@pytest.fixture
async def http(
    settings: Settings, launcher: ScriptedLauncher, store: Store
) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(settings, launcher, store)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
    ):
        yield client


def told(response: httpx.Response) -> tuple[int, str]:
    """Status and type of an error that has the shape."""
    body = response.json()
    assert body.keys() == {"type", "error", "request_id"} and body["type"] == "error"
    assert body["request_id"] == response.headers["request-id"]
    assert isinstance(body["error"]["message"], str) and body["error"]["message"]
    return response.status_code, body["error"]["type"]


@pytest.mark.parametrize("headers", [{"x-api-key": KEY}, {"authorization": f"Bearer {KEY}"}])
async def test_either_header_may_hold_the_key(http: httpx.AsyncClient, headers: dict[str, str]) -> None:
    for path in ("/v1/messages", "/v1/messages/count_tokens"):
        assert (await http.post(path, json=BODY, headers=headers)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("POST", "/v1/messages", {}),
        ("POST", "/v1/messages", {"x-api-key": "wrong"}),
        ("POST", "/v1/messages/count_tokens", {}),
        ("GET", "/v1/models", VERSION),
    ],
)
async def test_a_caller_without_the_key_is_told_so(
    http: httpx.AsyncClient, method: str, path: str, headers: dict[str, str]
) -> None:
    answer = await http.request(method, path, json=BODY if method == "POST" else None, headers=headers)
    assert told(answer) == (401, "authentication_error")


@pytest.mark.parametrize(
    ("method", "path", "more", "status", "kind"),
    [
        ("GET", "/v1/messages", {}, 405, "invalid_request_error"),
        ("POST", "/v1/messages/batches", {}, 404, "not_found_error"),
        ("GET", "/v1/files", {"headers": VERSION}, 404, "not_found_error"),
        ("GET", "/v1/models/nope", {"headers": VERSION}, 404, "not_found_error"),
        ("GET", "/v1/models?limit=0", {"headers": VERSION}, 400, "invalid_request_error"),
        ("GET", "/v1/models?after_id=nope", {"headers": VERSION}, 400, "invalid_request_error"),
        ("POST", "/v1/messages", {"content": b"{"}, 400, "invalid_request_error"),
        ("POST", "/v1/messages", {"content": b"x" * 6000}, 413, "request_too_large"),
        ("POST", "/v1/messages", {"json": {**BODY, "model": "nope"}}, 404, "not_found_error"),
        ("POST", "/v1/messages", {"json": {**BODY, "model": "embedder"}}, 400, "invalid_request_error"),
        ("POST", "/v1/messages", {"json": BODY, "headers": {"host": "a.b"}}, 403, "permission_error"),
        (
            "POST",
            "/v1/messages",
            {"json": BODY, "headers": {"anthropic-version": "2023-01-01"}},
            400,
            "invalid_request_error",
        ),
    ],
)
async def test_every_refusal_has_the_shape(
    http: httpx.AsyncClient, method: str, path: str, more: dict[str, Any], status: int, kind: str
) -> None:
    headers = {"x-api-key": KEY, **more.pop("headers", {})}
    assert told(await http.request(method, path, headers=headers, **more)) == (status, kind)


async def test_a_request_of_another_client_keeps_its_own_shape(http: httpx.AsyncClient) -> None:
    models = (await http.get("/v1/models", headers={"x-api-key": KEY})).json()
    assert models["object"] == "list"
    error = (await http.get("/v1/models/nope", headers={"x-api-key": KEY})).json()
    assert error.keys() == {"error"}


async def test_a_full_queue_is_an_overload_to_try_again_after(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    launcher.gate = gate = anyio.Event()
    headers = {"x-api-key": KEY}
    answers: list[httpx.Response] = []

    async def ask() -> None:
        answers.append(await http.post("/v1/messages", json=BODY, headers=headers))
        gate.set()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            for _ in range(6):
                group.start_soon(ask)
    refused = [answer for answer in answers if answer.status_code != 200]
    assert refused and {told(answer) for answer in refused} == {(529, "overloaded_error")}
    assert int(refused[0].headers["retry-after"]) >= 1


async def test_a_deadline_before_the_answer_begins_is_a_timeout(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    launcher.gate = gate = anyio.Event()
    with anyio.fail_after(10):
        answer = await http.post(
            "/v1/messages", json={**BODY, "max_seconds": 0.05}, headers={"x-api-key": KEY}
        )
    gate.set()
    assert told(answer) == (504, "timeout_error")


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (BadRequest("x"), 400, "invalid_request_error"),
        (Unauthorized("x"), 401, "authentication_error"),
        (ModelNotFound("x"), 404, "not_found_error"),
        (BodyTooLarge("x"), 413, "request_too_large"),
        (ConstraintFailed("x"), 500, "api_error"),
        (NotBuiltYet("x"), 501, "api_error"),
        (DeadlinePassed("x"), 504, "timeout_error"),
        (ServerBusy("x"), 529, "overloaded_error"),
        (AgentkitError("x"), 500, "api_error"),
    ],
)
def test_each_error_has_the_status_and_type_that_clients_know(
    error: AgentkitError, status: int, kind: str
) -> None:
    assert (status_of(error), error_body(error, "req_1")["error"]["type"]) == (status, kind)
