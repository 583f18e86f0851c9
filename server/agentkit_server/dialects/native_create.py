"""POST /api/create: makes a model of another, or of uploaded files, and says how far it is."""

from __future__ import annotations

from typing import cast

from anyio import to_thread
from fastapi import APIRouter, Request
from starlette.responses import Response

from agentkit_server.create.create import create
from agentkit_server.create.request import CreateRequest, checked
from agentkit_server.dialects._described import described
from agentkit_server.dialects._shared import backend_of
from agentkit_server.dialects.native_create_described import CREATE
from agentkit_server.dialects.native_progress import progress_response
from agentkit_server.dialects.native_types import CreateBody, read_as
from agentkit_server.errors import BadRequest
from agentkit_server.models.pull import Pulls

router = APIRouter()


@router.post("/api/create")
@described(CREATE, CreateBody)
async def create_model(request: Request) -> Response:
    """Progress lines that end in `success`, or one such object. A request that cannot be carried out is a
    status code, what goes wrong on the way an error line."""
    body = await read_as(request, CreateBody)
    if not body.wanted:
        raise BadRequest("model is required", param="model")
    store = backend_of(request).store
    recipe = await to_thread.run_sync(checked, _request(body), store)
    progress = create(store, cast(Pulls, request.app.state.pulls), recipe)
    return await progress_response(request, progress, stream=body.stream, begins="gathering model components")


def _request(body: CreateBody) -> CreateRequest:
    return CreateRequest(
        model=body.wanted,
        base=body.base,
        files=body.files,
        draft_files=body.draft_files,
        adapters=body.adapters,
        adapter_scales=body.adapter_scales,
        template=body.template,
        system=body.system,
        license=body.license,
        parameters=body.parameters,
        messages=body.messages,
        renderer=body.renderer,
        parser=body.parser,
        requires=body.requires,
        info=body.info,
        capabilities=body.capabilities,
        quantize=body.quantize or body.quantization,
        draft_quantize=body.draft_quantize,
        imatrix=body.imatrix,
        remote_host=body.remote_host,
    )
