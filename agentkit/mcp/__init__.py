"""Tools of MCP servers, used like local ones.

from agentkit import Agent, McpServer
agent = Agent("smollm2", tools=[McpServer("uvx mcp-server-time")])
"""

from __future__ import annotations

from agentkit.mcp._server import McpOptions, McpServer

__all__ = ["McpOptions", "McpServer"]
