"""How the native dialect tells of work that takes long: lines with a `status`, `success` in the last of them,
or that one object alone when the caller wants no stream."""

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

Lines = AsyncGenerator[PullProgress]


async def progress_response(request: Request, progress: Lines, *, stream: bool, begins: str) -> Response:
    """The answer that tells of `progress`, which ends in `success` or raises.

    An error before the first line is a status code, except that one of the other end is the last line of a
    stream, after one that says `begins`: clients of Ollama look for it there.
    """
    if not stream:
        return await unless_gone(request, _finished(progress))
    first: PullProgress | PullFailed | RegistryError
    try:
        first = await unless_gone(request, anext(progress))
    except (PullFailed, RegistryError) as error:
        first = error
    return Stream(request, _lines(first, progress, begins), NDJSON, error_line)


async def _finished(progress: Lines) -> Response:
    async with aclosing(progress):
        return native_json(progress_fields([each async for each in progress][-1]))


async def _lines(
    first: PullProgress | PullFailed | RegistryError, progress: Lines, begins: str
) -> AsyncGenerator[bytes]:
    async with aclosing(progress):
        if not isinstance(first, PullProgress):
            yield line({"status": begins})
            raise first
        yield line(progress_fields(first))
        async for each in progress:
            yield line(progress_fields(each))


def progress_fields(progress: PullProgress) -> dict[str, Any]:
    """One line; what is not known is left out."""
    return {name: value for name, value in asdict(progress).items() if value is not None}
