"""McpServer: a server that is started by a command, reached by a URL, or lives in this process."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from os import PathLike, fspath
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypedDict, Unpack

from agentkit._errors import DefinitionError, RequestError
from agentkit._tool import Tool
from agentkit._worker import in_thread
from agentkit.mcp import _names
from agentkit.mcp._rules import McpApproval, Rules

if TYPE_CHECKING:
    from agentkit.mcp._link import Link

_BELONGS = {"env": "command", "cwd": "command", "headers": "url"}


class McpOptions(TypedDict, total=False):
    """What an McpServer takes."""

    command: str | Sequence[str]
    """What starts the server, which then speaks over stdin and stdout."""
    url: str
    """Of a server that speaks streamable HTTP."""
    env: Mapping[str, str]
    """Added to the few variables that a started server gets anyway: PATH, HOME and the like, no secrets."""
    cwd: str | PathLike[str]
    headers: Mapping[str, str]
    """Of every HTTP request."""
    prefix: str
    """Goes before the names of its tools, as `prefix_tool`. Default: made of command or URL; "" = none."""
    tools: Collection[str]
    """The only tools that are offered, by the server's own names. Default: all."""
    exclude: Collection[str]
    """Tools that are not offered."""
    timeout: float | None
    """Seconds that a call may take; default 120, None = any."""
    startup_timeout: float
    """Seconds until the server has listed its tools; default 30."""
    requires_approval: McpApproval
    """As that of a Tool. `unless_read_only` believes what the server says of its tools: so only for one that
    is trusted."""
    max_result: int
    """Characters of a result that the model gets; default 50,000."""


class McpServer:
    """The tools of an MCP server: `Agent(…, tools=[McpServer("uvx mcp-server-time")])`.

    Each run connects for itself. `async with McpServer(…) as server:` keeps one connection for all runs
    inside of it; `server.tools` are its tools then. Raises ConnectionError or TimeoutError for a server that
    does not start; one that ends later fails the calls of its tools.
    """

    def __init__(self, server: object = None, /, **options: Unpack[McpOptions]) -> None:
        """`server`: a command line, a list of its words, a URL, or a server object of mcp.

        Raises DefinitionError for what contradicts itself, and without the package mcp.
        """
        if importlib.util.find_spec("mcp") is None:
            raise DefinitionError(
                "MCP servers need the package mcp", hint="install it: pip install 'agentkit[mcp]'"
            )
        self._where = _where(server, options)
        self._options = options
        self._rules = _rules(self._name(), options)
        self._lock = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._link: Link | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def tools(self) -> Sequence[Tool]:
        """Raises RequestError outside of `async with`."""
        if self._link is None:
            raise RequestError("an McpServer has tools inside of `async with McpServer(…) as server`")
        return tuple(self._link.tools)

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[Sequence[Tool]]:
        """The tools for one run, over the connection that is held, or one of their own.

        Raises ConnectionError, TimeoutError, DefinitionError.
        """
        # A connection belongs to the event loop that it was made in.
        if self._link is not None and self._loop is asyncio.get_running_loop():
            yield await self._live_tools()
            return
        async with AsyncExitStack() as stack:
            yield (await self._linked(stack)).tools

    async def __aenter__(self) -> Self:
        if self._link is not None:
            raise RequestError("this McpServer is connected already")
        self._link = await self._linked(self._stack)
        self._loop = asyncio.get_running_loop()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._link = None
        await self._stack.aclose()

    async def _live_tools(self) -> Sequence[Tool]:
        """Of the connection that is held; of a new one in its place, if the server has ended."""
        async with self._lock:
            if self._link is not None and self._link.lost:
                await self._stack.aclose()
                self._link = await self._linked(self._stack)
            return self.tools

    async def _linked(self, stack: AsyncExitStack) -> Link:
        # This import takes seconds, in which an event loop has other things to do.
        module = await in_thread(lambda: importlib.import_module("agentkit.mcp._link"))
        given = self._options
        cwd = given.get("cwd")
        target = module.Target(
            **self._where,
            env=given.get("env", {}),
            cwd=None if cwd is None else fspath(cwd),
            headers=given.get("headers", {}),
        )
        return await stack.enter_async_context(
            module.linked(target, self._rules, given.get("startup_timeout", 30.0))
        )

    def _name(self) -> str:
        match self._where:
            case {"url": str(url)}:
                return _names.of_url(url)
            case {"command": [*command]}:
                return _names.of_command(command)
            case _:
                return _names.of_object(self._where["server"])


def _where(server: object, options: McpOptions) -> dict[str, Any]:
    """The one of url, command and server that is given."""
    given: list[object] = [
        one for one in (server, options.get("command"), options.get("url")) if one is not None
    ]
    if len(given) != 1:
        raise DefinitionError(
            f"an McpServer is one of command, URL and server object, and {len(given)} are given"
        )
    found = _read(given[0], is_command="command" in options)
    for name, to in _BELONGS.items():
        if name in options and to not in found:
            raise DefinitionError(f"{name}= is for a server that is given by its {to}")
    return found


def _read(given: object, *, is_command: bool) -> dict[str, Any]:
    if isinstance(given, str) and given.startswith(("http://", "https://")) and not is_command:
        return {"url": given}
    if not isinstance(given, str | list | tuple):
        return {"server": given}
    try:
        command = _names.split(given) if isinstance(given, str) else [str(part) for part in given]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    except ValueError as error:
        raise DefinitionError(f"{given!r} is no command line: {error}") from error
    if not command:
        raise DefinitionError("an McpServer's command is empty")
    return {"command": command}


def _rules(name: str, options: McpOptions) -> Rules:
    allowed = options.get("tools")
    for listed in (allowed, options.get("exclude")):
        if isinstance(listed, str):
            raise DefinitionError(f"tools= and exclude= are lists of names, and not {listed!r}")
    approval = options.get("requires_approval", False)
    if isinstance(approval, str) and approval != "unless_read_only":
        raise DefinitionError(
            f"requires_approval is a bool, a function or 'unless_read_only', not {approval!r}"
        )
    return Rules(
        server=name,
        prefix=options.get("prefix", name),
        allowed=allowed,
        excluded=options.get("exclude", ()),
        timeout=options.get("timeout", 120.0),
        requires_approval=approval,
        max_result=options.get("max_result", 50_000),
    )
