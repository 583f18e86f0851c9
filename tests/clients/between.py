"""A proxy on loopback between a client and the server, which keeps what both said.

It can make up for a weak model: then requests that offer the tool get a `tool_choice` for it, with the
arguments that are wanted as its schema, until one carries its result; answers after that are brief. The
server does what it is told there by its own grammar; the bytes of its answers pass unchanged.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

import httpx
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


class Between:
    """`app` is the proxy; `exchanges` fills while it is served. `wanted` is the call to force: a tool by any
    of these names, with these arguments."""

    def __init__(self, server: str, wanted: dict[str, Json] | None) -> None:
        self.exchanges: list[Exchange] = []
        self._server = server
        self._wanted = wanted
        self._ran = False
        methods = ["GET", "POST", "DELETE", "HEAD", "PUT", "OPTIONS"]
        self.app = Starlette(routes=[Route("/{path:path}", self._pass, methods=methods)])

    async def _pass(self, request: Request) -> Response:
        content = await request.body()
        dialect = next((d for d in DIALECTS if request.url.path == d.path), None)
        headers = {name: value for name, value in request.headers.items() if name not in HOP}
        exchange = None
        if dialect is not None and request.method == "POST":
            exchange = Exchange(request.url.path, len(content), json.loads(content))
            self.exchanges.append(exchange)
            if self._wanted is not None:
                content = json.dumps(self._steered(exchange, dialect, self._wanted)).encode()
        url = httpx.URL(path=request.url.path, query=request.url.query.encode())
        client = httpx.AsyncClient(base_url=self._server, timeout=None)
        sent = client.build_request(request.method, url, headers=headers, content=content)
        answer = await client.send(sent, stream=True)
        if exchange is not None:
            exchange.status = answer.status_code
        back = {name: value for name, value in answer.headers.items() if name not in HOP}
        return StreamingResponse(_kept(client, answer, exchange), answer.status_code, back)

    def _steered(self, exchange: Exchange, dialect: Dialect, wanted: dict[str, Json]) -> Json:
        body = dict(exchange.asked)
        tools: list[Json] = body.get("tools") or []
        offered = [(tool, name) for name in wanted for tool in tools if is_named(tool, name)]
        self._ran = self._ran or SECRET in json.dumps(body)
        if offered and not self._ran:
            exchange.forced = True
            tool, name = offered[0]
            schema = _only(schema_of(tool), wanted[name])
            body["tools"] = [with_schema(each, schema) if each is tool else each for each in tools]
            return {**body, **dialect.forced(name)}
        if tools:
            body["tool_choice"] = dialect.unforced
        return {**body, **dialect.short}


async def _kept(
    client: httpx.AsyncClient, answer: httpx.Response, exchange: Exchange | None
) -> AsyncGenerator[bytes]:
    try:
        async for piece in answer.aiter_raw():
            if exchange is not None:
                exchange.answer += piece
            yield piece
    finally:
        await answer.aclose()
        await client.aclose()


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
