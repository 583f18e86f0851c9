"""A proxy on loopback between a client and the server, which keeps what both said.

It can make up for a weak model: then requests that offer the tool get a `tool_choice` for it, with the
arguments that are wanted as its schema, until one carries its result; answers after that are brief. The
server does what it is told there by its own grammar; the bytes of its answers pass unchanged.
"""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tests.clients.agents import SECRET
from tests.clients.calls import DIALECTS, Dialect, Json, is_named, schema_of, with_schema

HOP = {"host", "content-length", "transfer-encoding", "connection", "keep-alive"}


@dataclass
class Exchange:
    path: str
    size: int
    """Bytes of the request as the client sent it."""
    asked: Json
    """Its body."""
    forced: bool = False
    status: int = 0
    answer: bytearray = field(default_factory=bytearray)


@dataclass(frozen=True)
class Wanted:
    """The call to force: a tool by any of these names with these arguments."""

    tools: dict[str, Json]


class Quiet(uvicorn.Server):
    """Leaves signals to whoever runs it."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


class Between:
    """The proxy; `exchanges` fills while it listens."""

    def __init__(self, server: str, wanted: Wanted | None) -> None:
        self.exchanges: list[Exchange] = []
        self._wanted = wanted
        self._ran = False
        self._client = httpx.AsyncClient(base_url=server, timeout=None)
        everything = Route(
            "/{path:path}", self._pass, methods=["GET", "POST", "DELETE", "HEAD", "PUT", "OPTIONS"]
        )
        self._app = Starlette(routes=[everything])

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[str]:
        """Yields the URL of the proxy."""
        server = Quiet(uvicorn.Config(self._app, log_level="warning", lifespan="off"))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(server.serve, [listener])
                yield f"http://127.0.0.1:{listener.getsockname()[1]}"
                server.should_exit = server.force_exit = True
        await self._client.aclose()

    async def _pass(self, request: Request) -> Response:
        content = await request.body()
        dialect = next((d for d in DIALECTS if request.url.path == d.path), None)
        headers = {name: value for name, value in request.headers.items() if name not in HOP}
        exchange = None
        if dialect is not None and request.method == "POST":
            exchange = Exchange(request.url.path, len(content), json.loads(content))
            self.exchanges.append(exchange)
            if self._wanted is not None:
                content = json.dumps(self._steered(exchange, dialect)).encode()
        url = httpx.URL(path=request.url.path, query=request.url.query.encode())
        sent = self._client.build_request(request.method, url, headers=headers, content=content)
        answer = await self._client.send(sent, stream=True)
        if exchange is not None:
            exchange.status = answer.status_code
        back = {name: value for name, value in answer.headers.items() if name not in HOP}
        return StreamingResponse(_kept(answer, exchange), answer.status_code, back)

    def _steered(self, exchange: Exchange, dialect: Dialect) -> Json:
        assert self._wanted is not None
        body = dict(exchange.asked)
        tools: list[Json] = body.get("tools") or []
        offered = [(tool, name) for name in self._wanted.tools for tool in tools if is_named(tool, name)]
        self._ran = self._ran or SECRET in json.dumps(body)
        if offered and not self._ran:
            exchange.forced = True
            tool, name = offered[0]
            schema = _only(schema_of(tool), self._wanted.tools[name])
            body["tools"] = [with_schema(each, schema) if each is tool else each for each in tools]
            return {**body, **dialect.forced(name)}
        if tools:
            body["tool_choice"] = dialect.unforced
        return {**body, **dialect.short}


async def _kept(answer: httpx.Response, exchange: Exchange | None) -> AsyncGenerator[bytes]:
    try:
        async for piece in answer.aiter_raw():
            if exchange is not None:
                exchange.answer += piece
            yield piece
    finally:
        await answer.aclose()


def _only(schema: Json, arguments: Json) -> Json:
    """A schema that only `arguments` match, as far as `schema` knows them."""
    known: dict[str, Any] = schema.get("properties", {})
    wanted = {name: {"const": value} for name, value in arguments.items() if name in known}
    return {
        "type": "object",
        "properties": wanted,
        "required": list(wanted),
        "additionalProperties": False,
    }
