"""POST /api/push: sends a model to the registry that its name begins with, and says how far it is."""

from __future__ import annotations

from typing import cast

from fastapi import APIRouter, Request
from starlette.responses import Response

from agentkit_server.dialects._described import described
from agentkit_server.dialects._shared import backend_of
from agentkit_server.dialects.native_described import PUSH
from agentkit_server.dialects.native_progress import progress_response
from agentkit_server.dialects.native_types import PullBody, read_as
from agentkit_server.errors import BadRequest
from agentkit_server.models.push import push
from agentkit_server.models.registry.options import TransferOptions

router = APIRouter()


@router.post("/api/push")
@described(PUSH, PullBody)
async def push_model(request: Request) -> Response:
    """Progress lines that end in `success`, or one such object. A registry that refuses is an error line, a
    model that is not there a 404."""
    body = await read_as(request, PullBody)
    if not body.wanted:
        raise BadRequest("model is required", param="model")
    transfers = cast(TransferOptions, request.app.state.transfers)
    progress = push(backend_of(request).store, body.wanted, transfers, body.access)
    return await progress_response(request, progress, stream=body.stream, begins="retrieving manifest")
