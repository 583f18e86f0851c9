"""What every dialect needs of HTTP: reading a JSON body, noticing that the client went away, and streams
that end properly whatever happens.

A request is cancelled in the engine as soon as its client is gone or the server stops, streaming or not.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar, cast

import msgspec
from anyio import CancelScope
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from agentkit_server.dialects._control import with_headers
from agentkit_server.errors import AgentkitError, BadRequest, RequestCancelled
from agentkit_server.turn.events import Started
from agentkit_server.turn.run import Backend

log = logging.getLogger(__name__)

T = TypeVar("T")
ErrorChunk = Callable[[AgentkitError], bytes]
"""Writes an error as the last piece of a stream, in the dialect's own shape."""

_decode = msgspec.json.Decoder().decode
_CANCELLED = "request canceled"
_STOPPING = "the server is shutting down; send the request again once it is back"


def backend_of(request: Request) -> Backend:
    """The backend that the app was made with."""
    return cast(Backend, request.app.state.backend)


class OpenRequests:
    """The requests that are being answered, so that a stopping server can end them at once."""

    def __init__(self) -> None:
        self.stopping = False
        self._scopes: set[CancelScope] = set()

    def __len__(self) -> int:
        return len(self._scopes)

    def add(self, scope: CancelScope) -> None:
        """Count a request in. A server that is stopping ends it at its next step."""
        self._scopes.add(scope)
        if self.stopping:
            scope.cancel()

    def discard(self, scope: CancelScope) -> None:
        """The request has ended."""
        self._scopes.discard(scope)

    def stop(self) -> None:
        """Cancel every request, now and from now on. Streams end with an error."""
        self.stopping = True
        for scope in list(self._scopes):
            scope.cancel()


async def read_body(request: Request) -> bytes:
    """The whole body, whatever its content type. Raises BodyTooLarge (from the security floor),
    RequestCancelled."""
    try:
        return await request.body()
    except ClientDisconnect:
        raise RequestCancelled(_CANCELLED) from None


async def read_json(request: Request) -> dict[str, Any]:
    """The body as a JSON object, whatever its content type, with what headers say of context in its fields.

    Raises BadRequest for an empty body, malformed JSON, JSON that is not an object, and headers that cannot
    be read or contradict it.
    """
    body = await read_body(request)
    if not body.strip():
        raise BadRequest("missing request body")
    try:
        value = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"the request body is not valid JSON: {error}") from None
    except RecursionError:
        raise BadRequest("the request body is not valid JSON: it is nested too deeply") from None
    if not isinstance(value, dict):
        raise BadRequest('the request body must be a JSON object, for example {"model": "smollm2"}')
    native = request.url.path.startswith("/api/")
    return with_headers(cast("dict[str, Any]", value), request.headers, native=native)


@asynccontextmanager
async def while_connected(request: Request) -> AsyncGenerator[None]:
    """Cancel what runs inside when the client goes away or the server stops, and raise RequestCancelled.

    The body of the request must have been read.
    """
    open_requests = cast(OpenRequests, request.app.state.open_requests)
    with CancelScope() as scope:
        open_requests.add(scope)
        watcher = asyncio.create_task(_cancel_when_gone(request.receive, scope))
        try:
            yield
        finally:
            watcher.cancel()
            open_requests.discard(scope)
    if scope.cancelled_caught:
        raise RequestCancelled(_STOPPING if open_requests.stopping else _CANCELLED)


async def unless_gone(request: Request, work: Awaitable[T]) -> T:
    """The result of `work`, for answers that are not streamed. Raises RequestCancelled."""
    async with while_connected(request):
        return await work
    raise AssertionError("while_connected raises when its body was cancelled")


class Stream(Response):
    """Sends the pieces that `chunks` yields, each at once; never raises once it has begun.

    An error in `chunks` becomes a last piece by `error_chunk`. When the client is gone, `chunks` is
    cancelled wherever it stands, and closed.
    """

    def __init__(
        self,
        request: Request,
        chunks: AsyncGenerator[bytes],
        media_type: str,
        error_chunk: ErrorChunk,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        # `Response.__init__` would announce a content length.
        self.status_code = 200
        self.media_type = media_type
        self.background = None
        self.body = b""
        self.init_headers({"cache-control": "no-cache", "x-accel-buffering": "no", **(headers or {})})
        del self.headers["content-length"]
        self._request = request
        self._chunks = chunks
        self._error_chunk = error_chunk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        last = b""
        try:
            async with aclosing(self._chunks), while_connected(self._request):
                async for chunk in self._chunks:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except AgentkitError as error:
            last = self._error_chunk(error)
        except Exception:
            log.exception("a stream failed")
            last = self._error_chunk(AgentkitError("internal error; the server's log has the details"))
        await send({"type": "http.response.body", "body": last, "more_body": False})


def constraint_header(started: Started) -> dict[str, str]:
    """`X-Agentkit-Constraint`: how far a grammar enforces what the request asked for; {} when it asked for
    nothing."""
    return {} if started.constraint is None else {"x-agentkit-constraint": started.constraint}


def shown(value: Any) -> str:
    """`value` as an error message shows it: its repr, cut at 100 characters."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


async def _cancel_when_gone(receive: Receive, scope: CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
