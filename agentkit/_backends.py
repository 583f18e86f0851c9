"""The servers that answer an agent's turns, over OpenAI's chat completions.

`Server` is agentkit's own: outputs and tool calls are held to their schemas by its grammar, a run's prefix
is pinned, a deadline ends an answer on the spot. `OpenAICompatible` is any other one: what it cannot enforce
is validated here, and the run says so in a Notice.
"""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import aclosing, asynccontextmanager
from hashlib import sha256
from time import monotonic
from typing import Any, TypeVar
from urllib.parse import quote

import httpx

from agentkit._answers import check_status, translated
from agentkit._connection import DEFAULT_TIMEOUT, Connection, HttpArguments
from agentkit._errors import ConnectionError, ResponseError
from agentkit._turn import ModelSession, Piece, Told, TurnDone, TurnRequest
from agentkit._usage import Usage
from agentkit._wire import Chunks, Enforced, body

T = TypeVar("T")
_GRACE_S = 5.0
"""That our own server has to keep a deadline by itself."""
_DEADLINE_STATUS = 408
_REFUSED = frozenset({400, 404, 422, 500, 501})
_LESS: dict[Enforced, Enforced] = {"schema": "object", "object": "none"}
_ASKS = {"object": "some JSON object, and validating it here", "none": "text, and validating it here"}


class Server:
    """An agentkit server. Arguments left out come from the environment, as those of `Client`."""

    def __init__(
        self,
        host: str | None = None,
        *,
        api_key: str | None = None,
        headers: Mapping[str, str | None] | None = None,
        timeout: httpx.Timeout | float | None = DEFAULT_TIMEOUT,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._connection = Connection(host, api_key, headers or {}, timeout, HttpArguments())
        self._transport = transport

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[ModelSession]:
        """A session for one run."""
        base_url = self._connection.base_url()
        async with httpx.AsyncClient(transport=self._transport, **self._connection.arguments()) as http:
            yield _Session(http, base_url, "/v1/chat/completions", _Abilities(extensions=True))

    async def facts(self, model: str) -> dict[str, str]:
        """`model_digest`, `template_sha256` and `server_version`: what a recording is to name. Raises
        ResponseError for a model that is not there."""
        async with httpx.AsyncClient(transport=self._transport, **self._connection.arguments()) as http:
            client = _Facts(http, self._connection.base_url())
            shown = await client.get("POST", "/api/show", {"model": model})
            stored = (await client.get("GET", "/api/tags"))["models"]
            version = await client.get("GET", "/api/version")
        names = (model, f"{model}:latest")
        digest = next((one.get("digest") for one in stored if one.get("name") in names), None)
        template = sha256(str(shown.get("template") or "").encode()).hexdigest()
        facts = {"template_sha256": template, "server_version": str(version.get("version", ""))}
        return facts if digest is None else {"model_digest": digest, **facts}


class OpenAICompatible:
    """Any server with OpenAI's `/chat/completions` below `base_url`, which usually ends in `/v1`."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        headers: Mapping[str, str | None] | None = None,
        timeout: httpx.Timeout | float | None = DEFAULT_TIMEOUT,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._connection = Connection(base_url, api_key, headers or {}, timeout, HttpArguments())
        self._transport = transport
        self._abilities = _Abilities(extensions=False)

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[ModelSession]:
        """A session for one run. What the server was found not to enforce is remembered for the next."""
        base_url = self._connection.base_url()
        async with httpx.AsyncClient(transport=self._transport, **self._connection.arguments()) as http:
            yield _Session(http, base_url, "/chat/completions", self._abilities)


class _Facts:
    def __init__(self, http: httpx.AsyncClient, base_url: str) -> None:
        self._http = http
        self._base_url = base_url

    async def get(self, method: str, path: str, sent: object = None) -> Any:
        with translated(self._base_url):
            answer = await self._http.request(method, path, json=sent)
        check_status(answer.status_code, answer.content)
        return answer.json()


class _Abilities:
    """What a server can do, as far as it is known."""

    def __init__(self, *, extensions: bool) -> None:
        self.extensions = extensions
        self.enforced: Enforced = "schema"


class _Session:
    def __init__(self, http: httpx.AsyncClient, base_url: str, path: str, abilities: _Abilities) -> None:
        self._http = http
        self._base_url = base_url
        self._path = path
        self._abilities = abilities

    async def turn(self, request: TurnRequest) -> AsyncGenerator[Piece]:
        """The pieces of one answer. Raises ResponseError, ConnectionError, TimeoutError."""
        if (told := self._cannot(request)) is not None:
            yield told
        while True:
            try:
                async with aclosing(self._attempt(request)) as pieces:
                    async for piece in pieces:
                        yield piece
                return
            except ResponseError as error:
                less = self._less(request, error)
                if less is None:
                    raise
                self._abilities.enforced = less
                yield Told(
                    f"the server refused the output's schema ({error.error}); asking for {_ASKS[less]}"
                )

    async def release(self, run_id: str) -> None:
        if self._abilities.extensions:
            with translated(self._base_url):
                await self._http.delete(f"/api/runs/{quote(run_id, safe='')}")

    def _cannot(self, request: TurnRequest) -> Told | None:
        demand, abilities = request.demand, self._abilities
        if abilities.extensions or demand is None:
            return None
        if demand.kind != "json_schema":
            return Told(
                f"this server cannot enforce a {demand.kind}: the answer is validated when it is there"
            )
        if abilities.enforced != "schema":
            return Told(f"this server does not enforce schemas: it is asked for {_ASKS[abilities.enforced]}")
        return None

    def _less(self, request: TurnRequest, error: ResponseError) -> Enforced | None:
        asked = request.demand is not None and request.demand.kind == "json_schema"
        if self._abilities.extensions or not asked or error.status_code not in _REFUSED:
            return None
        return _LESS.get(self._abilities.enforced)

    async def _attempt(self, request: TurnRequest) -> AsyncGenerator[Piece]:
        chunks = Chunks()
        sent = body(request, extensions=self._abilities.extensions, enforced=self._abilities.enforced)
        try:
            async with aclosing(self._lines(sent, request.trace, self._patience(request))) as lines:
                async for data in lines:
                    for piece in chunks.read(data):
                        yield piece
        except _Late:
            yield TurnDone("deadline", Usage(turns=1))
            return
        except ResponseError as error:
            if error.status_code != _DEADLINE_STATUS or request.max_seconds is None:
                raise
            yield TurnDone("deadline", Usage(turns=1))
            return
        if not chunks.complete:
            raise ConnectionError("the answer ended before it was complete", hint="send the request again")
        yield chunks.end()

    def _patience(self, request: TurnRequest) -> float | None:
        if request.max_seconds is None:
            return None
        return request.max_seconds + (_GRACE_S if self._abilities.extensions else 0)

    async def _lines(
        self, sent: dict[str, object], headers: Mapping[str, str], patience: float | None
    ) -> AsyncGenerator[str]:
        """The `data:` lines of an answer. Raises _Late when `patience` seconds are over."""
        until = None if patience is None else monotonic() + patience
        with translated(self._base_url):
            request = self._http.build_request("POST", self._path, json=sent, headers=dict(headers))
            answer = await _in_time(self._http.send(request, stream=True), until)
            async with aclosing(answer):
                if not answer.is_success:
                    check_status(answer.status_code, await answer.aread())
                lines = answer.aiter_lines()
                while (line := await _in_time(anext(lines, None), until)) is not None:
                    data = line.removeprefix("data:").strip()
                    if line.startswith("data:") and data != "[DONE]":
                        yield data


class _Late(Exception):
    """The deadline has passed on this side of the wire."""


async def _in_time(work: Awaitable[T], until: float | None) -> T:
    if until is None:
        return await work
    limit = asyncio.timeout(max(0.0, until - monotonic()))
    try:
        async with limit:
            return await work
    except builtins.TimeoutError as error:
        if limit.expired():
            raise _Late from error
        raise
