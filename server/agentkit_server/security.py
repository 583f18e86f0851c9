"""The security floor, as one ASGI middleware in front of every route: Host, Origin, key, body size, in this
order. Refusals are raised as AgentkitError and rendered by the app's own handler, in the caller's dialect."""

from __future__ import annotations

from inspect import isawaitable
from typing import cast

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agentkit_server.encodings import unpacked
from agentkit_server.errors import AgentkitError, BadRequest, BodyTooLarge, Forbidden, Unauthorized
from agentkit_server.hosts import Origins, host_allowed, parse_bind
from agentkit_server.keys import Keys
from agentkit_server.settings import Settings

UNLIMITED_PREFIX = "/api/blobs/"
"""Blob uploads are streamed to disk and checked by digest; the JSON limit is not for them."""
PREFLIGHT_SECONDS = 600
EXPOSED_HEADERS = "request-id, retry-after, x-request-id"


def install(app: FastAPI, settings: Settings) -> None:
    """Put the floor in front of `app`. From here on `settings` holds only the hashes of the keys.

    Raises BindRefused for an unreadable bind address, origin or key hash.
    """
    keys = Keys(settings.api_keys)
    settings.api_keys = keys.hashed
    app.add_middleware(
        SecurityFloor,
        keys=keys,
        origins=Origins(settings.origins),
        check_host=parse_bind(settings.host).loopback,
        max_body_bytes=settings.max_body_bytes,
    )


class SecurityFloor:
    """Refuses what must not reach a route; passes on everything else untouched."""

    def __init__(
        self, app: ASGIApp, *, keys: Keys, origins: Origins, check_host: bool, max_body_bytes: int
    ) -> None:
        self._app = app
        self._keys = keys
        self._origins = origins
        self._check_host = check_host
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008, "reason": "no websockets here"})
            return
        headers = Headers(scope=scope)
        try:
            origin = self._admit_caller(headers)
            if origin is not None:
                send = _with_cors(send, origin)
                if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
                    await _preflight(headers)(scope, receive, send)
                    return
            self._admit_key(scope, headers)
            receive = self._limited(scope, headers, receive)
        except AgentkitError as error:
            response = await _render(Request(scope, receive), error)
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _admit_caller(self, headers: Headers) -> str | None:
        """Returns the browser origin to answer to, None for a caller that is no browser page."""
        hosts = headers.getlist("host")
        if self._check_host:
            for host in hosts:
                # An absent Host is let in: browsers, the only way to rebind, always send one.
                if host and not host_allowed(host):
                    raise Forbidden(
                        f"the Host {host!r} is not served: this server is bound to loopback, call it as "
                        f"localhost or by IP address"
                    )
        origins = headers.getlist("origin")
        for origin in origins:
            if not self._origins.allow(origin, hosts[0] if hosts else ""):
                raise Forbidden(
                    f"the Origin {origin!r} may not call this server; add it to AGENTKIT_ORIGINS to allow it"
                )
        return origins[0] if origins else None

    def _admit_key(self, scope: Scope, headers: Headers) -> None:
        if not self._keys or (scope["path"] == "/" and scope["method"] in ("GET", "HEAD")):
            return
        presented = _presented_keys(headers)
        if any(self._keys.accept(key) for key in presented):
            return
        problem = (
            "the API key is not known to this server" if presented else "this server asks for an API key"
        )
        raise Unauthorized(f"{problem}; send one as 'Authorization: Bearer KEY' or 'x-api-key: KEY'")

    def _limited(self, scope: Scope, headers: Headers, receive: Receive) -> Receive:
        """The body, unpacked; bounded as it comes and as it is then."""
        if scope["path"].startswith(UNLIMITED_PREFIX):
            return unpacked(scope, receive)
        limit = self._max_body_bytes
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()):
            raise BadRequest(f"the Content-Length {length!r} is not a number of bytes")
        if int(length) > limit:
            raise _too_large(limit)
        return _at_most(limit, unpacked(scope, _at_most(limit, receive)))


def _at_most(limit: int, receive: Receive) -> Receive:
    received = 0

    async def receive_limited() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise _too_large(limit)
        return message

    return receive_limited


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"the request body is larger than {limit} bytes; send less, or raise AGENTKIT_MAX_BODY_BYTES"
    )


def _presented_keys(headers: Headers) -> list[bytes]:
    keys = [value.encode("latin-1").strip() for value in headers.getlist("x-api-key")]
    for value in headers.getlist("authorization"):
        scheme, _, key = value.partition(" ")
        if scheme.lower() == "bearer":
            keys.append(key.encode("latin-1").strip())
    return [key for key in keys if key]


def _preflight(headers: Headers) -> Response:
    answer = {
        "access-control-allow-methods": "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
        "access-control-allow-headers": headers.get("access-control-request-headers", "authorization"),
        "access-control-max-age": str(PREFLIGHT_SECONDS),
    }
    if headers.get("access-control-request-private-network") == "true":
        answer["access-control-allow-private-network"] = "true"
    return Response(status_code=204, headers=answer)


def _with_cors(send: Send, origin: str) -> Send:
    async def send_with_cors(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["access-control-allow-origin"] = origin
            headers["access-control-expose-headers"] = EXPOSED_HEADERS
            headers.add_vary_header("origin")
        await send(message)

    return send_with_cors


async def _render(request: Request, error: AgentkitError) -> Response:
    app = cast(FastAPI, request.scope["app"])
    handler = app.exception_handlers.get(AgentkitError)
    if handler is None:
        response: Response = JSONResponse({"error": error.message}, error.status)
    else:
        answer = handler(request, error)
        response = await answer if isawaitable(answer) else answer
    if isinstance(error, Unauthorized):
        response.headers["www-authenticate"] = "Bearer"
    return response
