"""The application: puts store, residency, dialects and the security floor together.

`create_app` makes it without starting anything; its lifespan opens the residency and closes it, and with
it every runner.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from anyio import CancelScope, to_thread
from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from agentkit_server import security
from agentkit_server.dialects import native, openai
from agentkit_server.dialects._shared import OpenRequests
from agentkit_server.dialects.native_lines import error_response as native_error
from agentkit_server.dialects.openai_errors import error_response as openai_error
from agentkit_server.errors import AgentkitError, BadRequest, MethodNotAllowed, NotFound
from agentkit_server.models.pull import Pulls
from agentkit_server.models.store import Store, default_root
from agentkit_server.residency.residency import Residence
from agentkit_server.runner.protocol import Launcher
from agentkit_server.settings import Settings
from agentkit_server.turn.run import Backend

log = logging.getLogger(__name__)


def store_root(settings: Settings) -> Path:
    """The folder of the model store that `settings` mean."""
    return settings.models or default_root()


def create_app(settings: Settings, launcher: Launcher, store: Store | None = None) -> FastAPI:
    """The server as an ASGI application. Without `store` the one that `settings` name is opened.

    Raises StoreError when it cannot be, BindRefused for unreadable security settings.
    """
    opened = Store(store_root(settings)) if store is None else store

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        if not settings.noprune:
            await to_thread.run_sync(opened.prune)
        residency = Residence(launcher, settings)
        pulls = Pulls(opened)
        app.state.backend = Backend(opened, residency, settings)
        app.state.pulls = pulls
        try:
            yield
        finally:
            with CancelScope(shield=True):
                await pulls.close()
                await residency.close()

    app = FastAPI(lifespan=lifespan, openapi_url=None, redirect_slashes=False)
    app.state.open_requests = OpenRequests()
    app.include_router(native.router)
    app.include_router(openai.router)
    app.add_exception_handler(AgentkitError, _refused)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(Exception, _failed)
    security.install(app, settings)
    return app


def _written(request: Request, error: AgentkitError) -> Response:
    """`error` in the shape of the dialect that the path belongs to."""
    return openai_error(error) if request.url.path.startswith("/v1/") else native_error(error)


def _refused(request: Request, error: Any) -> Response:
    assert isinstance(error, AgentkitError)
    if error.status >= 500:
        log.warning("%s %s: %s", request.method, request.url.path, error.message)
    return _written(request, error)


def _no_route(request: Request, error: Any) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path[:200]
    if error.status_code == 404:
        page = "openai" if path.startswith("/v1/") else "native"
        return _written(
            request, NotFound(f"there is no route {path!r}; docs/reference/{page}.md lists those there are")
        )
    if error.status_code != 405:
        return _written(request, BadRequest(error.detail))
    allowed = (error.headers or {}).get("Allow", "another method")
    response = _written(request, MethodNotAllowed(f"{request.method} is not for {path!r}; use {allowed}"))
    response.headers.update(error.headers or {})
    return response


def _failed(request: Request, error: Any) -> Response:
    return _written(request, AgentkitError("internal error; the server's log has the details"))
