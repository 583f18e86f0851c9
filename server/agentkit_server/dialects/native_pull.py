"""POST /api/pull: brings a model into the store, and says how far it is."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, cast

from fastapi import APIRouter, Request
from starlette.responses import Response

from agentkit_server.dialects._described import described
from agentkit_server.dialects._shared import Stream, unless_gone
from agentkit_server.dialects.native_described import PULL
from agentkit_server.dialects.native_lines import NDJSON, error_line, line, native_json
from agentkit_server.dialects.native_types import PullBody, read_as
from agentkit_server.errors import BadRequest, PullFailed
from agentkit_server.models.pull import PullProgress, Pulls

router = APIRouter()


@router.post("/api/pull")
@described(PULL, PullBody)
async def pull(request: Request) -> Response:
    """Progress lines that end in `success`, or one such object. A model that cannot be fetched is an
    error line, a name that cannot be one a 400."""
    body = await read_as(request, PullBody)
    if not body.wanted:
        raise BadRequest("model is required", param="model")
    progress = cast(Pulls, request.app.state.pulls).pull(body.wanted)
    if not body.stream:
        return await unless_gone(request, _finished(progress))
    first: PullProgress | PullFailed
    try:
        first = await unless_gone(request, anext(progress))
    except PullFailed as error:
        first = error
    return Stream(request, _lines(first, progress), NDJSON, error_line)


async def _finished(progress: AsyncGenerator[PullProgress]) -> Response:
    async with aclosing(progress):
        async for _ in progress:
            pass
    return native_json({"status": "success"})


async def _lines(
    first: PullProgress | PullFailed, progress: AsyncGenerator[PullProgress]
) -> AsyncGenerator[bytes]:
    async with aclosing(progress):
        if isinstance(first, PullFailed):
            yield line({"status": "pulling manifest"})
            raise first
        yield line(_fields(first))
        async for each in progress:
            yield line(_fields(each))


def _fields(progress: PullProgress) -> dict[str, Any]:
    given = {"digest": progress.digest, "total": progress.total, "completed": progress.completed}
    return {"status": progress.status, **{name: value for name, value in given.items() if value is not None}}
