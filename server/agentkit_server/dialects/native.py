"""The native dialect: Ollama's own routes, put together. Errors take its shape in native_lines.py."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

from agentkit_server.dialects import (
    native_blobs,
    native_chat,
    native_create,
    native_embed,
    native_generate,
    native_models,
    native_pull,
    native_push,
    native_tokens,
    native_verify,
)
from agentkit_server.dialects._described import described
from agentkit_server.dialects._shared import backend_of
from agentkit_server.dialects.native_described import RELEASE_RUN, ROOT, STATUS, VERSION
from agentkit_server.dialects.native_lines import native_json

router = APIRouter()
for _part in (
    native_generate,
    native_chat,
    native_embed,
    native_models,
    native_pull,
    native_push,
    native_blobs,
    native_create,
    native_tokens,
    native_verify,
):
    router.include_router(_part.router)


@router.api_route("/", methods=["GET", "HEAD"])
@described(ROOT)
async def root() -> Response:
    """The text that Ollama's clients look for to see whether a server is there."""
    return PlainTextResponse("Ollama is running")


@router.api_route("/api/version", methods=["GET", "HEAD"])
@described(VERSION)
async def server_version() -> Response:
    """The version of this server."""
    return native_json({"version": version("agentkit")})


@router.get("/api/status")
@described(STATUS)
async def status() -> Response:
    """There is no cloud here, and no way to turn one on."""
    return native_json({"cloud": {"disabled": True, "source": "config"}})


@router.delete("/api/runs/{run_id:path}")
@described(RELEASE_RUN)
async def release_run(request: Request, run_id: str) -> Response:
    """A run is over: the prefix that its requests pinned by `run_id` may go like any other. An extension;
    answers the same whether there was one or not."""
    await backend_of(request).residency.release(run_id)
    return native_json({"status": "success"})
