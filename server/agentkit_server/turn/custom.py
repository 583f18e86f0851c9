"""Custom tools, which take one text in place of arguments: the model calls a function with that text as its
only argument, and whoever asked hears of the text alone."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from agentkit_server.errors import SchemaProblem
from agentkit_server.turn.events import Event, ToolArgumentsDelta, ToolCallEnd, ToolCallStart
from agentkit_server.turn.schema.answer import answer, unanchored
from agentkit_server.turn.schema.prepare import prepare
from agentkit_server.turn.schema.prepared import PreparedSchema
from agentkit_server.turn.types import ResponseFormat, Tool

INPUT = "input"
"""Name of the argument."""
_LOOSE = SchemaProblem(
    f"/properties/{INPUT}",
    "grammar",
    "a text in JSON is written with escapes, which the grammar of the text does not have",
    "use a regex, which is enforced",
)
_OPENING = re.compile(rf'\s*\{{\s*"{INPUT}"\s*:\s*"')
_SURROGATES = r"u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_WHOLE_CHARACTERS = re.compile(
    rf'(?:[^"\\]|\\(?:["\\/bfnrt]|u(?![dD][89a-fA-F])[0-9a-fA-F]{{4}}|{_SURROGATES}))*'
)


def custom_tool(name: str, description: str, input: ResponseFormat | None = None) -> Tool:
    """A tool that takes a text which is as `input` says. The model reads of that in its description."""
    parameters = {
        "type": "object",
        "properties": {INPUT: {"type": "string"}},
        "required": [INPUT],
        "additionalProperties": False,
    }
    return Tool(
        name=name,
        description="\n\n".join(part for part in (description, _told(input)) if part),
        parameters=parameters,
        custom=True,
        input=input,
    )


def custom_arguments(tool: Tool) -> PreparedSchema:
    """The arguments of a custom tool: a regex is enforced, a grammar checked.

    Raises SchemaRefused and InvalidGrammar.
    """
    if tool.input is None:
        return prepare(dict(tool.parameters))
    bound = answer(tool.input)
    if tool.input.kind != "regex":
        prepared = prepare(dict(tool.parameters))

        def problems(value: Any) -> list[str]:
            return prepared.problems(value) or bound.problems(value[INPUT])

        return replace(prepared, level="checked", loose=(_LOOSE,), problems=problems)
    pattern = f"^(?:{unanchored(tool.input.value)})$"
    text = {"type": "string", "pattern": pattern}
    return prepare({**tool.parameters, "properties": {INPUT: text}})


async def told_as_text(events: AsyncGenerator[Event], names: Collection[str]) -> AsyncGenerator[Event]:
    """`events`, with the calls of the tools `names` told as what a custom tool takes. Closes `events`."""
    texts: dict[tuple[int, int], _Text] = {}
    async with aclosing(events):
        async for event in events:
            match event:
                case ToolCallStart(index, call, _, name) if name in names:
                    texts[index, call] = _Text()
                    yield replace(event, custom=True)
                case ToolArgumentsDelta(index, call, more) if (index, call) in texts:
                    if text := texts[index, call].feed(more):
                        yield ToolArgumentsDelta(index, call, text)
                case ToolCallEnd(index, call, arguments=arguments) if (index, call) in texts:
                    whole = _valid(json.loads(arguments)[INPUT])
                    if rest := whole[texts.pop((index, call)).told :]:
                        yield ToolArgumentsDelta(index, call, rest)
                    yield replace(event, arguments=whole, custom=True)
                case _:
                    yield event


class _Text:
    """Reads the text out of growing arguments, as far as it is certain."""

    def __init__(self) -> None:
        self.told = 0
        self._held = ""
        self._opened = False

    def feed(self, more: str) -> str:
        self._held += more
        if not self._opened:
            opening = _OPENING.match(self._held)
            if opening is None:
                return ""
            self._opened, self._held = True, self._held[opening.end() :]
        whole = _WHOLE_CHARACTERS.match(self._held)
        assert whole is not None
        self._held = self._held[whole.end() :]
        text: str = json.loads(f'"{whole[0]}"', strict=False)
        self.told += len(text)
        return text


def _told(input: ResponseFormat | None) -> str:
    if input is None:
        return ""
    kind = "regex" if input.kind == "regex" else "Lark grammar"
    return f"The input is a text that matches this {kind}:\n{input.value}"


def _valid(text: str) -> str:
    """`text` with U+FFFD for half characters, which no client could be sent."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
