"""POST /api/pull: brings a model into the store, and says how far it is."""

from __future__ import annotations

from typing import cast

from fastapi import APIRouter, Request
from starlette.responses import Response

from agentkit_server.dialects._described import described
from agentkit_server.dialects.native_described import PULL
from agentkit_server.dialects.native_progress import progress_response
from agentkit_server.dialects.native_types import PullBody, read_as
from agentkit_server.errors import BadRequest
from agentkit_server.models.pull import Pulls

router = APIRouter()


@router.post("/api/pull")
@described(PULL, PullBody)
async def pull(request: Request) -> Response:
    """Progress lines that end in `success`, or one such object. A model that cannot be fetched is an
    error line, a name that cannot be one a 400."""
    body = await read_as(request, PullBody)
    if not body.wanted:
        raise BadRequest("model is required", param="model")
    progress = cast(Pulls, request.app.state.pulls).pull(body.wanted, body.access)
    return await progress_response(request, progress, stream=body.stream, begins="pulling manifest")
