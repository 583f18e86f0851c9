"""Calls for a model that was taught none: Hermes' way of writing them, explained in the system message."""

from __future__ import annotations

import json
from collections.abc import Sequence

from agentkit_server.turn.syntaxes.families.json_calls import tagged
from agentkit_server.turn.syntaxes.syntax import Syntax
from agentkit_server.turn.types import Tool

GENERIC = Syntax(name="generic", calls=tagged("<tool_call>", "</tool_call>"))

_INTRODUCTION = """\
You can call tools. To call one, write the call in this form and nothing after it:

<tool_call>
{"name": "the tool's name", "arguments": {"an argument's name": "its value"}}
</tool_call>

The result comes in the next message, between <tool_response> and </tool_response>. Call a tool only where it
helps to answer; otherwise answer in plain text. The tools, each with a JSON Schema of its arguments:
"""


def instructions(tools: Sequence[Tool]) -> str:
    """What the system message says of `tools`."""
    return _INTRODUCTION + "".join(f"\n{_line(tool)}" for tool in tools)


def _line(tool: Tool) -> str:
    stated = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return json.dumps({key: value for key, value in stated.items() if value}, ensure_ascii=False)
