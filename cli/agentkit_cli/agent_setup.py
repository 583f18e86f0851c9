"""What makes an agent on the command line, as it is kept beside a run that is to go on later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from agentkit import Agent, AgentOptions, Hooks, Limits, Server, Tool, Toolset
from agentkit_cli.agent_tools import load_tools

Approval = Literal["declared", "all", "none"]
"""Which calls need one: those of tools that say so, all, none."""
Flow = Literal["single", "parallel", "loop"]
ToolChoice = Literal["auto", "none", "required"]


class Setup(BaseModel):
    """The options of `agent run` that `agent resume` needs again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    instructions: str | None = None
    tools: list[str] = []
    """`FILE` or `FILE:NAME,...`, with absolute paths."""
    mcp: list[str] = []
    web: bool = False
    output: dict[str, Any] | None = None
    """JSON Schema."""
    flow: Flow = "loop"
    tool_choice: ToolChoice | None = None
    limits: Limits = Limits()
    think: bool | str | None = None
    options: dict[str, Any] = {}
    approval: Approval = "declared"

    def own_tools(self) -> list[Tool | Toolset]:
        """The tools of files, of MCP servers that are not connected yet, and of the web.

        Raises:
            CommandError, DefinitionError: one of them cannot be had.
        """
        found: list[Tool | Toolset] = [tool for text in self.tools for tool in load_tools(text)]
        if self.mcp:
            from agentkit.mcp import McpServer

            found += [McpServer(text) for text in self.mcp]
        if self.web:
            from agentkit import as_tool, web

            found += [as_tool(function) for function in web.tools()]
        return found

    def agent(self, tools: Sequence[Tool], server: Server | None = None) -> Agent[Any]:
        """The agent with these tools. Raises DefinitionError for two of one name and for a wrong schema."""
        if self.approval == "all":
            tools = [replace(tool, requires_approval=True) for tool in tools]
        options: AgentOptions = {
            "tools": tools,
            "flow": self.flow,
            "limits": self.limits,
            "think": self.think,
            "options": self.options,
            "hooks": Hooks(approve=(lambda context, call: True) if self.approval == "none" else None),
        }
        if self.instructions:
            options["instructions"] = self.instructions
        if self.tool_choice:
            options["tool_choice"] = self.tool_choice
        if server:
            options["backend"] = server
        return Agent(self.model, self.output, **options)


def limits_of(limits: Limits, **given: float | None) -> Limits:
    """`limits` with those that were given in place of its own."""
    return replace(limits, **{name: value for name, value in given.items() if value is not None})  # pyright: ignore[reportArgumentType] - the names and types are those of the options
