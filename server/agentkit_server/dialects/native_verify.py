"""POST /api/verify, an extension: reads the whole store and says what is damaged. Removes nothing."""

from __future__ import annotations

from contextlib import aclosing

from fastapi import APIRouter, Request
from starlette.responses import Response

from agentkit_server.dialects._described import described
from agentkit_server.dialects._shared import backend_of
from agentkit_server.dialects.native_progress import Lines, lines_response
from agentkit_server.dialects.native_types import VerifyBody, read_as
from agentkit_server.dialects.native_verify_described import VERIFY
from agentkit_server.models.sources.steps import Steps
from agentkit_server.models.verify import Report

router = APIRouter()


@router.post("/api/verify")
@described(VERIFY, VerifyBody)
async def verify(request: Request) -> Response:
    """Lines that say how far it is, and a last one with all problems; or that one alone. No `models` means
    the whole store."""
    body = await read_as(request, VerifyBody)
    lines = _lines(Steps(backend_of(request).store.verify_steps(body.models)))
    return await lines_response(request, lines, stream=body.stream, begins="verifying")


async def _lines(steps: Steps[tuple[int, int], Report]) -> Lines:
    async with aclosing(steps.run()) as running:
        async for completed, total in running:
            yield {"status": "verifying", "total": total, "completed": completed}
    report = steps.result
    yield {
        "status": "damaged" if report.problems else "verified",
        "done": True,
        "models": report.models,
        "files": report.files,
        "total": report.size,
        "completed": report.size,
        "problems": report.problems,
    }
