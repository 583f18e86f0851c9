"""The application: puts store, residency, dialects and the security floor together.

`create_app` makes it without starting anything; its lifespan opens the residency and closes it, and with
it every runner.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from anyio import CancelScope, to_thread
from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from agentkit_server import openapi, security
from agentkit_server.dialects import anthropic, native, openai
from agentkit_server.dialects._shared import OpenRequests
from agentkit_server.dialects.anthropic_errors import error_response as anthropic_error
from agentkit_server.dialects.anthropic_errors import speaks as speaks_anthropic
from agentkit_server.dialects.native_lines import error_response as native_error
from agentkit_server.dialects.openai_errors import error_response as openai_error
from agentkit_server.errors import AgentkitError, BadRequest, MethodNotAllowed, NotFound, StoreError
from agentkit_server.models.pull import Pulls, default_sources
from agentkit_server.models.registry.options import TransferOptions
from agentkit_server.models.store import Store, default_root
from agentkit_server.residency.keep_alive import parse_duration
from agentkit_server.residency.residency import Residence
from agentkit_server.responses.responses import Responses
from agentkit_server.runner.protocol import Launcher
from agentkit_server.search import Searxng
from agentkit_server.settings import Settings
from agentkit_server.turn.run import Backend

log = logging.getLogger(__name__)

OPENAI_PATHS = ("/v1/", "/v2/", "/rerank")
"""What the paths begin with whose errors have OpenAI's shape."""


def store_root(settings: Settings) -> Path:
    """The folder of the model store that `settings` mean."""
    return settings.models or default_root()


def create_app(settings: Settings, launcher: Launcher, store: Store | None = None) -> FastAPI:
    """The server as an ASGI application. Without `store` the one that `settings` name is opened.

    Raises StoreError when it cannot be, BindRefused for unreadable security settings, BadRequest for others.
    """
    opened = Store(store_root(settings), tidy=not settings.noprune) if store is None else store
    # Before anything starts: what is wrong with a setting is the command's only line.
    new_responses = _responses(settings, opened)
    transfers = TransferOptions.of(settings)
    search = Searxng(settings.search) if settings.search else None

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        if not settings.noprune:
            await to_thread.run_sync(_prune, opened)
        residency = Residence(launcher, settings)
        pulls = Pulls(opened, default_sources(transfers))
        app.state.backend = Backend(opened, residency, settings)
        app.state.pulls = pulls
        app.state.transfers = transfers
        responses = app.state.responses = new_responses()
        app.state.search = search
        try:
            yield
        finally:
            with CancelScope(shield=True):
                await responses.close()
                await pulls.close()
                await residency.close()

    app = FastAPI(lifespan=lifespan, openapi_url=None, redirect_slashes=False)
    app.state.open_requests = OpenRequests()
    app.state.keyed = bool(settings.api_keys)
    app.include_router(openapi.router)
    app.include_router(native.router)
    app.include_router(anthropic.router)
    app.include_router(openai.router)
    app.add_exception_handler(AgentkitError, _refused)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(Exception, _failed)
    security.install(app, settings)
    return app


def _prune(store: Store) -> None:
    try:
        store.prune()
    except StoreError as error:
        # Models can be served from where nothing may be written.
        log.warning("the model store is left as it is: %s", error.message)


def _responses(settings: Settings, store: Store) -> Callable[[], Responses]:
    """Makes them anew for each start of the app."""
    try:
        keep = parse_duration(settings.responses_keep)
    except BadRequest as error:
        raise BadRequest(f"AGENTKIT_RESPONSES_KEEP: {error.message}") from None
    path = settings.responses or store.root / "agentkit" / "responses.sqlite"
    return lambda: Responses(path, keep=keep, most_bytes=settings.responses_max_bytes)


def _written(request: Request, error: AgentkitError) -> Response:
    """`error` in the shape of the dialect that the path belongs to."""
    if speaks_anthropic(request):
        return anthropic_error(error)
    return openai_error(error) if request.url.path.startswith(OPENAI_PATHS) else native_error(error)


def _refused(request: Request, error: Any) -> Response:
    assert isinstance(error, AgentkitError)
    if error.status >= 500:
        log.warning("%s %s: %s", request.method, request.url.path, error.message)
    return _written(request, error)


def _no_route(request: Request, error: Any) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path[:200]
    if error.status_code == 404:
        page = "openai" if path.startswith(OPENAI_PATHS) else "native"
        page = "anthropic" if speaks_anthropic(request) else page
        return _written(
            request, NotFound(f"there is no route {path!r}; docs/reference/{page}.md lists those there are")
        )
    if error.status_code != 405:
        return _written(request, BadRequest(error.detail))
    # The router names the methods of the first route of that path only.
    methods = {route.method for route in openapi.routes_of(request.app) if route.matches(request.url.path)}
    allowed = ", ".join(sorted(methods))
    response = _written(request, MethodNotAllowed(f"{request.method} is not for {path!r}; use {allowed}"))
    response.headers["Allow"] = allowed
    return response


def _failed(request: Request, error: Any) -> Response:
    return _written(request, AgentkitError("internal error; the server's log has the details"))
