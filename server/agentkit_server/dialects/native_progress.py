"""How the native dialect tells of work that takes long: lines with a `status`, the last of which says how it
ended, or that one object alone when the caller wants no stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict
from typing import Any

from fastapi import Request
from starlette.responses import Response

from agentkit_server.dialects._shared import Stream, unless_gone
from agentkit_server.dialects.native_lines import NDJSON, error_line, line, native_json
from agentkit_server.errors import PullFailed, RegistryError
from agentkit_server.models.pull import PullProgress

Lines = AsyncGenerator[dict[str, Any]]


async def progress_response(
    request: Request, progress: AsyncGenerator[PullProgress], *, stream: bool, begins: str
) -> Response:
    """The answer that tells of `progress`, which ends in `success` or raises.

    An error before the first line is a status code, except that one of the other end is the last line of a
    stream, after one that says `begins`: clients of Ollama look for it there.
    """
    return await lines_response(request, _told(progress), stream=stream, begins=begins)


async def lines_response(request: Request, lines: Lines, *, stream: bool, begins: str) -> Response:
    """The same for work that has its own `lines`."""
    if not stream:
        return native_json(await unless_gone(request, _last(lines)))
    first: dict[str, Any] | PullFailed | RegistryError
    try:
        first = await unless_gone(request, anext(lines))
    except (PullFailed, RegistryError) as error:
        first = error
    return Stream(request, _written(first, lines, begins), NDJSON, error_line)


async def _told(progress: AsyncGenerator[PullProgress]) -> Lines:
    """What is not known is left out."""
    async with aclosing(progress):
        async for each in progress:
            yield {name: value for name, value in asdict(each).items() if value is not None}


async def _last(lines: Lines) -> dict[str, Any]:
    async with aclosing(lines):
        return [each async for each in lines][-1]


async def _written(
    first: dict[str, Any] | PullFailed | RegistryError, lines: Lines, begins: str
) -> AsyncGenerator[bytes]:
    async with aclosing(lines):
        if not isinstance(first, dict):
            yield line({"status": begins})
            raise first
        yield line(first)
        async for each in lines:
            yield line(each)
