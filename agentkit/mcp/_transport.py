"""The ways to a server: a process of its own, or HTTP. Imports mcp, so only what connects imports this."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx2
from mcp import StdioServerParameters, stdio_client
from mcp.client import Transport
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCResponse

from agentkit._worker import in_thread
from agentkit.mcp._listing import few

log = logging.getLogger("agentkit.mcp")
Streams = tuple[Any, Any]
_CONNECT_S = 30.0
_LINES = 20
_LONGEST_LINE = 500
"""Bytes of one line of a server's stderr; a longer one counts as several."""
_LAST_WORDS_S = 1.0


class Stderr:
    """What a server's process writes to stderr: it goes to the log, and its end is kept."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._lines: deque[str] = deque(maxlen=_LINES)
        self._reading: asyncio.Task[None] | None = None

    def pipe(self) -> int:
        """The file descriptor to write to. It is the caller's, who closes it."""
        reads, writes = os.pipe()
        self._reading = asyncio.create_task(in_thread(lambda: self._read(reads)))
        return writes

    async def last(self) -> str:
        """The end of what a process wrote that has ended; it is waited for a moment at most."""
        if self._reading is not None:
            await asyncio.wait({self._reading}, timeout=_LAST_WORDS_S)
        return " | ".join(self._lines)[-_LONGEST_LINE * 2 :]

    def _read(self, descriptor: int) -> None:
        with os.fdopen(descriptor, "rb") as stream:
            while line := stream.readline(_LONGEST_LINE):
                text = line.decode("utf-8", "replace").rstrip()
                self._lines.append(text)
                log.info("%s: %s", self._server, text)


@asynccontextmanager
async def process(parameters: StdioServerParameters, stderr: Stderr) -> AsyncGenerator[Streams]:
    """A server that is started here, and that ends, with all that it started, when this is left."""
    with os.fdopen(stderr.pipe(), "w") as errors:
        async with stdio_client(parameters, errlog=errors) as (reads, writes):
            # The process has its own; with this one open, the end of its stderr would never be seen.
            errors.close()
            yield Sifted(reads), writes


@asynccontextmanager
async def http(url: str, headers: Mapping[str, str]) -> AsyncGenerator[Streams]:
    """A server at `url`. How long an answer may take is the business of whoever asks."""
    patience = httpx2.Timeout(_CONNECT_S, read=None)
    async with (
        httpx2.AsyncClient(headers=dict(headers), timeout=patience) as client,
        streamable_http_client(url, http_client=client) as (reads, writes),
    ):
        yield Sifted(reads), writes


class Sifted:
    """Messages of a server, without the tools that are none: one of them would spoil the whole list, because
    it is validated as one."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    @property
    def last_context(self) -> Any:
        """Of the sender of the last message; mcp looks for it."""
        return getattr(self._stream, "last_context", None)

    async def receive(self) -> Any:
        return _sifted(await self._stream.receive())

    async def aclose(self) -> None:
        await self._stream.aclose()

    def __aiter__(self) -> Sifted:
        return self

    async def __anext__(self) -> Any:
        return _sifted(await self._stream.__anext__())

    async def __aenter__(self) -> Sifted:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> bool | None:
        return await self._stream.__aexit__(*error)


def as_transport(streams: Any) -> Transport:
    """mcp's protocol knows its own streams only by what they can do."""
    return cast("Transport", streams)


def _sifted(item: Any) -> Any:
    message = item.message if isinstance(item, SessionMessage) else None
    if isinstance(message, JSONRPCResponse) and isinstance(message.result.get("tools"), list):
        tools = cast("list[Any]", message.result["tools"])
        message.result["tools"] = good = [tool for tool in tools if _is_tool(tool)]
        if len(good) < len(tools):
            bad = [repr(_name(tool)) for tool in tools if not _is_tool(tool)]
            log.warning("left out tools whose name, description or schema is of no use: %s", few(bad))
    return item


def _name(tool: Any) -> Any:
    return cast("dict[str, Any]", tool).get("name") if isinstance(tool, dict) else tool


def _is_tool(tool: Any) -> bool:
    if not isinstance(tool, dict):
        return False
    said = cast("dict[str, Any]", tool)
    return (
        isinstance(said.get("name"), str)
        and isinstance(said.get("description"), str | None)
        and _is_object(said.get("inputSchema"))
        and isinstance(said.get("outputSchema"), dict | None)
    )


def _is_object(schema: Any) -> bool:
    """Does a schema describe an object, as far as the protocol checks it?"""
    if not isinstance(schema, dict):
        return False
    said = cast("dict[str, Any]", schema)
    properties: Any = said.get("properties") or {}
    required: Any = said.get("required") or []
    return (
        said.get("type") == "object"
        and isinstance(properties, dict)
        and all(isinstance(one, dict | bool) for one in cast("dict[str, Any]", properties).values())
        and isinstance(required, list)
        and all(isinstance(name, str) for name in cast("list[Any]", required))
    )
