"""HEAD and POST /api/blobs/:digest: is it there, and here it is."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from anyio import to_thread
from fastapi import APIRouter, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from agentkit_server.dialects._described import described
from agentkit_server.dialects._shared import backend_of
from agentkit_server.dialects.native_described import ADD_BLOB, HAS_BLOB
from agentkit_server.errors import NotFound, RequestCancelled

router = APIRouter()


@router.head("/api/blobs/{digest}")
@described(HAS_BLOB)
async def has_blob(request: Request, digest: str) -> Response:
    """200 when the blob is in the store, else 404."""
    if not await to_thread.run_sync(backend_of(request).store.has_blob, digest):
        raise NotFound(f'blob "{digest}" not found')
    return Response(status_code=200)


@router.post("/api/blobs/{digest}")
@described(ADD_BLOB)
async def add_blob(request: Request, digest: str) -> Response:
    """Store the body under its digest: 201, or 200 when it was there already."""
    added = await backend_of(request).store.add_blob(digest, _chunks(request))
    return Response(status_code=201 if added else 200)


async def _chunks(request: Request) -> AsyncGenerator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect:
        raise RequestCancelled("request canceled") from None
