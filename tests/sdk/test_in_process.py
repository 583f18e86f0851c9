"""The client on the server's own app, in one process and without a socket."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from support.scripted_server import Replies, scripted_app

import agentkit
from agentkit import AsyncClient


def client_of(app: FastAPI) -> AsyncClient:
    return AsyncClient(transport=httpx.ASGITransport(app))


def test_the_async_client_speaks_to_an_app_in_its_own_process(tmp_path: Path) -> None:
    app, launcher = scripted_app(tmp_path, Replies(["It is mild."]))

    async def program() -> None:
        async with (
            app.router.lifespan_context(app),
            AsyncClient(transport=httpx.ASGITransport(app)) as client,
        ):
            assert [model.model for model in (await client.list()).models] != []
            answer = await client.chat("tiny", [{"role": "user", "content": "How is it?"}])
            assert answer.message.content == "It is mild."
            stream = await client.chat("tiny", [{"role": "user", "content": "How is it?"}], stream=True)
            assert "".join([piece.message.content or "" async for piece in stream]) == "It is mild."
            with pytest.raises(agentkit.ResponseError) as error:
                await client.show("absent")
            assert error.value.status_code == 404

    asyncio.run(program())
    assert len(launcher.requests) == 2


@pytest.mark.parametrize(("method", "status"), [("create", 400), ("push", 404)])
def test_what_the_server_cannot_do_it_says(tmp_path: Path, method: str, status: int) -> None:
    app, _ = scripted_app(tmp_path, Replies())

    async def program() -> None:
        async with (
            app.router.lifespan_context(app),
            AsyncClient(transport=httpx.ASGITransport(app)) as client,
        ):
            await getattr(client, method)("m")

    with pytest.raises(agentkit.ResponseError) as error:
        asyncio.run(program())
    assert error.value.status_code == status
