"""What the security floor refuses comes in the caller's dialect."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from openai import AsyncOpenAI, AuthenticationError

from agentkit_server.settings import Settings

pytestmark = pytest.mark.anyio

KEY = "sk-local-0123456789"
BEARER = {"authorization": f"Bearer {KEY}"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """As the shared fixture, with a key and a small body limit."""
    return Settings(host="127.0.0.1:0", models=tmp_path / "models", api_keys=[KEY], max_body_bytes=2048)


async def test_the_openai_client_is_let_in_by_its_key_only(live_server: str) -> None:
    for key, known in ((KEY, True), ("sk-other", False)):
        async with AsyncOpenAI(base_url=f"{live_server}/v1", api_key=key, max_retries=0) as openai:
            if known:
                assert [model.id async for model in openai.models.list()]
            else:
                with pytest.raises(AuthenticationError) as refused:
                    await openai.models.list()
                assert refused.value.code == "invalid_api_key"
                assert refused.value.type == "authentication_error"


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({}, b"{}", 401),
        (BEARER | {"origin": "https://evil.example"}, b"{}", 403),
        (BEARER | {"host": "evil.example"}, b"{}", 403),
        (BEARER, b" " * 2049, 413),
        (BEARER, b"{", 400),
    ],
)
async def test_a_refusal_has_the_shape_of_its_route(
    http: httpx.AsyncClient, headers: dict[str, str], body: bytes, status: int
) -> None:
    native = await http.post("/api/chat", content=body, headers=headers)
    openai = await http.post("/v1/chat/completions", content=body, headers=headers)
    assert (native.status_code, openai.status_code) == (status, status)
    assert isinstance(native.json()["error"], str)
    assert set(openai.json()["error"]) == {"message", "type", "param", "code"}
    assert ("www-authenticate" in openai.headers) == (status == 401)


async def test_a_body_that_grows_past_the_limit_is_refused_by_the_live_server(live_server: str) -> None:
    async def endless() -> object:
        for _ in range(64):
            yield b" " * 1024

    async with httpx.AsyncClient(base_url=live_server, headers=BEARER) as http:
        answer = await http.post("/v1/completions", content=endless())  # pyright: ignore
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "body_too_large"


async def test_the_root_needs_no_key_and_answers_a_health_check(http: httpx.AsyncClient) -> None:
    assert (await http.get("/")).status_code == 200
    assert (await http.head("/")).status_code == 200
