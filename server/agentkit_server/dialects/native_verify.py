"""POST /api/verify, an extension: reads the whole store and says what is damaged. Removes nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from agentkit_server.dialects._described import described
from agentkit_server.dialects._shared import Stream, backend_of, unless_gone
from agentkit_server.dialects.native_lines import NDJSON, error_line, line, native_json
from agentkit_server.dialects.native_types import VerifyBody, read_as
from agentkit_server.dialects.native_verify_described import VERIFY
from agentkit_server.models.sources.steps import Steps
from agentkit_server.models.verify import Report

router = APIRouter()
Lines = AsyncGenerator[dict[str, Any]]


@router.post("/api/verify")
@described(VERIFY, VerifyBody)
async def verify(request: Request) -> Response:
    """Lines that say how far it is, and a last one with all problems; or that one alone. No `models` means
    the whole store."""
    body = await read_as(request, VerifyBody)
    lines = _lines(Steps(backend_of(request).store.verify_steps(body.models)))
    if not body.stream:
        return native_json(await unless_gone(request, _last(lines)))
    # An unknown model is a status code, so the first step comes before the answer.
    first = await unless_gone(request, anext(lines))
    return Stream(request, _written(first, lines), NDJSON, error_line)


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


async def _last(lines: Lines) -> dict[str, Any]:
    async with aclosing(lines):
        return [each async for each in lines][-1]


async def _written(first: dict[str, Any], lines: Lines) -> AsyncGenerator[bytes]:
    async with aclosing(lines):
        yield line(first)
        async for each in lines:
            yield line(each)
