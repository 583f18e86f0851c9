"""A real MCP server: over stdio when it is run, over HTTP or in memory when `made` is called."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Annotated

from mcp.server import MCPServer
from mcp.server.mcpserver import Image
from mcp.types import CallToolResult, ResourceLink, TextContent, ToolAnnotations
from pydantic import BaseModel, Field


class Place(BaseModel):
    """A place with a temperature."""

    name: str
    celsius: float


def made(name: str = "things") -> MCPServer:
    """A new server with its tools."""
    server = MCPServer(name)

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    def add(a: Annotated[int, Field(description="One")], b: int = 1) -> str:
        """Adds two numbers."""
        print("adding", file=sys.stderr, flush=True)
        return str(a + b)

    @server.tool()
    def pid() -> str:
        """The server's process."""
        return str(os.getpid())

    @server.tool()
    async def hang() -> str:
        """Never answers."""
        print("hanging on", file=sys.stderr, flush=True)
        await asyncio.sleep(3600)
        return ""

    @server.tool()
    def fail() -> CallToolResult:
        """Tells an error."""
        return CallToolResult(content=[TextContent(text="no such file: x")], is_error=True)

    @server.tool()
    def place() -> Place:
        """Where it is warm."""
        return Place(name="Oslo", celsius=4.5)

    @server.tool()
    def picture() -> list[Image | str]:
        """A picture."""
        return ["look:", Image(data=b"\x89PNG" * 100, format="png")]

    @server.tool()
    def link() -> CallToolResult:
        """A link."""
        return CallToolResult(content=[ResourceLink(name="notes", uri="file:///notes.txt")])

    @server.tool()
    def much() -> str:
        """A lot of text."""
        return "x" * 3_000_000

    return server


if __name__ == "__main__":
    made().run()
