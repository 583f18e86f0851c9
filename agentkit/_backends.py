"""The servers that answer an agent's turns, over OpenAI's chat completions.

`Server` is agentkit's own: outputs and tool calls are held to their schemas by its grammar, a run's prefix
is pinned, a deadline ends an answer on the spot. `OpenAICompatible` is any other one: what it cannot enforce
is validated here, and the run says so in a Notice.
"""

from __future__ import annotations

import asyncio
import builtins
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager
from hashlib import sha256
from time import monotonic
from typing import Any, TypeVar
from urllib.parse import quote

import httpx

from agentkit._answers import async_lines_of, check_status, translated
from agentkit._connection import DEFAULT_TIMEOUT, Connection, HttpArguments
from agentkit._errors import ConnectionError, ResponseError
from agentkit._turn import ModelSession, Piece, Told, TurnDone, TurnRequest
from agentkit._usage import Usage
from agentkit._wire import Chunks, Enforced, body, unrestricted

T = TypeVar("T")
_GRACE_S = 5.0
"""That our own server has to keep a deadline by itself."""
_RELEASE_S = 2.0
"""That a server has to note the end of a run."""
_DEADLINE_STATUS = 408
_DEADLINE_CODE = "deadline_passed"
_REFUSED = frozenset({400, 422, 501})
_LESS: dict[Enforced, Enforced] = {"schema": "object", "object": "none"}
_log = logging.getLogger(__name__)
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
    """Any server with OpenAI's `/chat/completions` below `base_url`, which usually ends in `/v1`.

    What it cannot do is said in Notices. One that sends no usage is taken to write one token in each delta,
    so that `Limits(tokens=…)` still ends a run; without that limit its usage stays 0.
    """

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
        """The pieces of one answer. Raises RequestError, ResponseError, ConnectionError, TimeoutError."""
        for told in self._cannot(request):
            yield told
        deadline = None if request.max_seconds is None else monotonic() + request.max_seconds
        level, refusal, notices = self._abilities.enforced, None, list[Told]()
        while True:
            sent = body(request, extensions=self._abilities.extensions, enforced=level)
            try:
                async with aclosing(self._attempt(request, sent, deadline)) as pieces:
                    async for piece in pieces:
                        while notices:
                            yield notices.pop(0)
                        if refusal is not None and isinstance(piece, TurnDone) and piece.reason != "deadline":
                            self._abilities.enforced = level
                        yield piece
                return
            except ResponseError as error:
                if not self._schema_refused(request, error):
                    raise
                refusal = refusal or error
                if level not in _LESS:
                    # Refused without a schema too: the schema was not the reason.
                    raise refusal from None
                level = _LESS[level]
                notices.append(
                    Told(f"the server refused the output's schema ({error.error}); asking for {_ASKS[level]}")
                )

    async def release(self, run_id: str) -> None:
        """At best: a run that has its answer does not fail, nor wait for long, because of this."""
        if not self._abilities.extensions:
            return
        try:
            async with asyncio.timeout(_RELEASE_S):
                answer = await self._http.delete(f"/api/runs/{quote(run_id, safe='')}")
                answer.raise_for_status()
        except Exception as error:
            _log.debug("the server has not noted the end of run %s: %r", run_id, error)

    def _cannot(self, request: TurnRequest) -> Iterator[Told]:
        demand, abilities = request.demand, self._abilities
        if abilities.extensions:
            return
        if demand is not None and demand.kind != "json_schema":
            yield Told(
                f"this server cannot enforce a {demand.kind}: the answer is validated when it is there"
            )
        elif demand is not None and abilities.enforced != "schema":
            yield Told(f"this server does not enforce schemas: it is asked for {_ASKS[abilities.enforced]}")
        if request.thinking_budget is not None:
            yield Told("this server cannot keep a thinking budget: the model thinks as long as it likes")
        if unrestricted(request):
            yield Told(
                f"this server cannot be held to the tools {list(request.allowed or ())!r}: it sees all"
            )

    def _schema_refused(self, request: TurnRequest, error: ResponseError) -> bool:
        asked = request.demand is not None and request.demand.kind == "json_schema"
        return not self._abilities.extensions and asked and error.status_code in _REFUSED

    async def _attempt(
        self, request: TurnRequest, sent: dict[str, object], deadline: float | None
    ) -> AsyncGenerator[Piece]:
        chunks = Chunks()
        try:
            async with aclosing(self._lines(sent, request.trace, deadline)) as lines:
                async for data in lines:
                    for piece in chunks.read(data):
                        yield piece
        except _Late:
            yield TurnDone("deadline", Usage(turns=1))
            return
        if not chunks.complete:
            raise ConnectionError("the answer ended before it was complete", hint="send the request again")
        estimated = request.max_tokens is not None and not chunks.counted
        if estimated:
            yield Told("this server does not say how many tokens it wrote: for the limit they are estimated")
        yield chunks.end(estimated=estimated)

    async def _lines(
        self, sent: dict[str, object], headers: Mapping[str, str], deadline: float | None
    ) -> AsyncGenerator[str]:
        """The `data:` lines of an answer. Raises _Late when `deadline` has passed, by this side's clock or by
        the server's."""
        grace = _GRACE_S if self._abilities.extensions else 0
        until = None if deadline is None else deadline + grace
        with translated(self._base_url):
            request = self._http.build_request("POST", self._path, json=sent, headers=dict(headers))
            answer = await _in_time(self._http.send(request, stream=True), until)
            async with aclosing(answer), aclosing(async_lines_of(answer.aiter_bytes())) as lines:
                if not answer.is_success:
                    content = await _in_time(answer.aread(), until)
                    if _is_late(answer.status_code, content, deadline):
                        raise _Late
                    check_status(answer.status_code, content)
                while (line := await _in_time(anext(lines, None), until)) is not None:
                    data = line.removeprefix("data:").strip()
                    if line.startswith("data:") and data != "[DONE]":
                        yield data


def _is_late(status: int, content: bytes, deadline: float | None) -> bool:
    """Says this answer that the seconds are used up? A proxy has time limits of its own."""
    if status != _DEADLINE_STATUS or deadline is None:
        return False
    try:
        code: Any = json.loads(content)["error"]["code"]
    except (ValueError, LookupError, TypeError):
        code = None
    return code == _DEADLINE_CODE or monotonic() >= deadline


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
