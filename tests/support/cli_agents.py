"""What tests of `agentkit agent` share: tools in a file, and a server that says what it is told."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import dataclass, field

from support.scripted_server import Replies

from agentkit_server.runner.scripted import ScriptedLauncher

TOOLS = '''
from agentkit import tool

print("the file is loaded")


@tool
def weather(city: str) -> str:
    """Tells the weather.

    Args:
        city: Which one.
    """
    print("looking")
    return f"mild in {city}"


@tool(requires_approval=True)
def remove(path: str) -> str:
    """Removes a file."""
    return f"removed {path}"
'''

MCP = """
import sys

from mcp.server import MCPServer

# Its end is the end of this file for whoever reads it.
alive = open(sys.argv[1], "w")
server = MCPServer("one")


@server.tool()
def weather(city: str) -> str:
    \"\"\"Tells the weather.\"\"\"
    return f"wet in {city}"


server.run()
"""


def call(name: str, **arguments: str) -> str:
    """What the model writes to call a tool."""
    written = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return f"<tool_call>\n{written}\n</tool_call>"


class Held:
    """A gate that never opens, and tells who waits at it."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.left = threading.Event()

    def is_set(self) -> bool:
        return False

    async def wait(self) -> None:
        self.reached.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.left.set()


@dataclass
class AgentServer:
    """The other end of the wire."""

    replies: Replies
    launcher: ScriptedLauncher
    prompts: list[str] = field(default_factory=list[str])

    def says(self, *texts: str) -> None:
        """From now on each of `texts` once, the last one for ever."""
        self.replies.texts[:] = texts

    def __call__(self, prompt: str) -> str:
        self.prompts.append(prompt)
        return self.replies(prompt)

    def hold(self, after: int) -> Held:
        """The next request stops for ever once `after` tokens went out."""
        gate = Held()
        self._set(gate, after)
        return gate

    def let_go(self) -> None:
        """Requests run to their ends again."""
        self._set(None, 0)

    def _set(self, gate: Held | None, after: int) -> None:
        self.launcher.hold, self.launcher.hold_after = gate, after
        for runner in self.launcher.runners:
            runner.hold, runner.hold_after = gate, runner._emitted + after
