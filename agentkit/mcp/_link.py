"""A connection to a server, kept open by a task of its own: so it may be opened in one task, used in others
and left in a third, and what ends it ends nothing else. Imports mcp, so only what connects imports this."""

from __future__ import annotations

import asyncio
import builtins
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from mcp import Client, MCPError, StdioServerParameters
from mcp.types import CONNECTION_CLOSED, Implementation

from agentkit._errors import AgentkitError, ConnectionError, TimeoutError, ToolError
from agentkit._tool import Tool
from agentkit._version import __version__
from agentkit.mcp import _transport
from agentkit.mcp._content import cut, value_of
from agentkit.mcp._listing import tools_of
from agentkit.mcp._rules import Rules

log = logging.getLogger("agentkit.mcp")
_CLOSING_S = 10.0
"""mcp gives a process 2 s to end by itself, 2 s after SIGTERM, and then kills it with its children."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where a server is: one of these."""

    command: Sequence[str] = ()
    url: str = ""
    server: Any = None
    """A server in this process."""
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    cwd: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


class Link:
    """One connection."""

    def __init__(self, target: Target, rules: Rules) -> None:
        self.tools: list[Tool] = []
        self.lost = False
        """The server has ended, or cannot be reached any more."""
        self._target = target
        self._rules = rules
        self._stderr = _transport.Stderr(rules.server)
        self._ready = asyncio.Event()
        self._closing = asyncio.Event()
        self._error: BaseException | None = None
        self._client: Client | None = None

    async def serve(self) -> None:
        """Connects, and stays until `close` is called."""
        try:
            async with self._made() as client:
                self._client = client
                self.tools = await tools_of(client, self._rules, self._call)
                self._ready.set()
                await self._closing.wait()
        # Who waits for the connection is told; later, whoever calls finds that it is gone.
        except Exception as error:
            self._error = _innermost(error)
            log.debug("%s: %r", self._rules.server, self._error)
        finally:
            self.lost = True
            self._ready.set()

    async def opened(self) -> None:
        """The tools are there. Raises ConnectionError, and DefinitionError for tools that are not."""
        await self._ready.wait()
        if self._error is not None:
            if isinstance(self._error, AgentkitError):
                raise self._error
            raise await self._unreachable(self._error) from self._error

    def close(self) -> bool:
        """Ends `serve`, soon. False: it is not connected yet, and has to be cancelled."""
        self._closing.set()
        return self._ready.is_set()

    def _made(self) -> Client:
        target = self._target
        if target.command:
            command, *args = target.command
            parameters = StdioServerParameters(
                command=command, args=args, env=dict(target.env), cwd=target.cwd
            )
            server = _transport.as_transport(_transport.process(parameters, self._stderr))
        elif target.url:
            server = _transport.as_transport(_transport.http(target.url, target.headers))
        else:
            server = target.server
        info = Implementation(name="agentkit", version=__version__)
        # Without a cache: a list of tools is asked for once, and then it is to be the present one.
        return Client(server, client_info=info, cache=None)

    async def _call(self, name: str, arguments: dict[str, Any]) -> Any:
        """The result of a tool. Raises ToolError for what the model can react to, ConnectionError for a
        server that is gone."""
        if self._client is None or self.lost:
            raise await self._gone("has ended")
        try:
            result = await self._client.call_tool(name, arguments)
        except MCPError as error:
            if error.code == CONNECTION_CLOSED:
                self.lost = True
                raise await self._gone(f"was lost during a call of {name!r}") from error
            raise ToolError(cut(f"{error.message} (code {error.code})", self._rules.max_result)) from error
        except (RuntimeError, ValueError) as error:
            # How mcp tells that a result is none, or does not fit the tool's output schema.
            raise ToolError(cut(f"the server's result is not valid: {error}", 500)) from error
        return value_of(result, self._rules.max_result)

    async def _gone(self, what: str) -> ConnectionError:
        return ConnectionError(
            f"the MCP server {self._rules.server!r} {what}{await self._last_words()}",
            hint="the next run connects to it again",
        )

    async def _unreachable(self, error: BaseException) -> ConnectionError:
        where = self._target.url or " ".join(self._target.command) or "in this process"
        return ConnectionError(
            f"the MCP server {self._rules.server!r} ({where:.200}) cannot be connected to: "
            f"{str(error) or type(error).__name__:.300}{await self._last_words()}",
            hint="check that it starts by itself, and that it speaks MCP",
        )

    async def _last_words(self) -> str:
        said = await self._stderr.last()
        return f"; the end of its stderr: {said}" if said else ""


@asynccontextmanager
async def linked(target: Target, rules: Rules, startup_timeout: float) -> AsyncGenerator[Link]:
    """A connection, with its tools. When it is left, the server's process has ended.

    Raises ConnectionError, and TimeoutError after `startup_timeout` seconds.
    """
    link = Link(target, rules)
    task = asyncio.create_task(link.serve())
    limit = asyncio.timeout(startup_timeout)
    try:
        try:
            async with limit:
                await link.opened()
        except builtins.TimeoutError as error:
            if not limit.expired():
                raise
            raise TimeoutError(
                f"the MCP server {rules.server!r} was not ready in {startup_timeout:g} s",
                hint="give it more with startup_timeout=, or check that it speaks MCP",
            ) from error
        yield link
    finally:
        if not link.close():
            task.cancel()
        await _ended(task)


async def _ended(task: asyncio.Task[None]) -> None:
    """Waits for the end of a connection, whoever cancels: otherwise a process would be left behind."""
    cancelled: asyncio.CancelledError | None = None
    for limit in (_CLOSING_S, _CLOSING_S):
        until = asyncio.get_running_loop().time() + limit
        while not task.done() and (left := until - asyncio.get_running_loop().time()) > 0:
            try:
                await asyncio.wait({task}, timeout=left)
            except asyncio.CancelledError as error:
                cancelled = error
        task.cancel()
    if not task.done():
        log.warning("the connection to an MCP server does not end; it is left alone")
    if cancelled is not None:
        raise cancelled


def _innermost(error: BaseException) -> BaseException:
    """The error in a group, where there is only one."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    inner: list[BaseException] = list(cast("BaseExceptionGroup[BaseException]", error).exceptions)
    return _innermost(inner[0]) if len(inner) == 1 else cast("BaseException", error)
