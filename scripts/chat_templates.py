"""Writes docs/reference/chat-templates.md: for each published chat template, the syntax that is chosen and
what works. Takes the archive of templates as its argument."""

from __future__ import annotations

import asyncio
import json
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentkit_server.errors import BadRequest
from agentkit_server.turn.conversation.conversation import Conversation, prepare
from agentkit_server.turn.conversation.in_syntax import write_calls
from agentkit_server.turn.schema.prepare import prepare as prepare_schema
from agentkit_server.turn.syntaxes.arguments import CallableTool
from agentkit_server.turn.syntaxes.parser import Parser
from agentkit_server.turn.syntaxes.pieces import Arguments, CallEnded, CallStarted, Marks
from agentkit_server.turn.syntaxes.recognise import recognise
from agentkit_server.turn.syntaxes.shape import Shape
from agentkit_server.turn.syntaxes.syntax import Syntax
from agentkit_server.turn.template import ChatTemplate
from agentkit_server.turn.types import Tool

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "chat-templates.md"
HEAD = ROOT / "scripts" / "chat_templates.md"

PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "Where"},
        "days": {"type": "integer", "description": "How many"},
    },
    "required": ["city"],
}
TOOL = Tool(name="get_weather", description="Tells the weather", parameters=PARAMETERS)
CALLABLE = CallableTool(name=TOOL.name, arguments=prepare_schema(PARAMETERS))
ELSEWISE = {
    "CohereForAI-c4ai-command-r-plus-tool_use": "history has a line break where answers have a space",
    "meetkai-functionary-medium-v3.2": "nothing but its name announces a call",
    "openai-gpt-oss-120b": "history names the tool in another place of the header",
}
"""Why calls in a rendered conversation do not look like those that a model writes."""
ASKED = "What will it be like there?"
RESULT = "Sunny all along."
CALLS: list[dict[str, Any]] = [{"city": "Rome", "days": 3}, {"city": "Oslo", "days": 1}]


def templates(archive: Path) -> dict[str, str]:
    """Sources by name."""
    found: dict[str, str] = {}
    with tarfile.open(archive) as opened:
        for member in opened.getmembers():
            file = opened.extractfile(member) if member.name.endswith(".jinja") else None
            if file is not None:
                found[Path(member.name).stem] = file.read().decode()
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def page(archive: Path) -> str:
    """The whole page."""
    return asyncio.run(_page(templates(archive)))


async def _page(sources: Mapping[str, str]) -> str:
    rows = [await _row(name, source) for name, source in sources.items()]
    head = "| template | syntax | thinking | several | read back |\n|---|---|---|---|---|\n"
    return HEAD.read_text() + head + "".join(rows)


async def _row(name: str, source: str) -> str:
    syntax = recognise(source, {})
    assert syntax.calls is not None
    thinking = f"`{syntax.thinking[0].strip()}`" if syntax.thinking else ""
    several = "yes" if syntax.calls.parallel else "no"
    read = await _read_back(name, source, syntax)
    traits = await ChatTemplate(model=name, source=source).traits()
    chosen = syntax.name
    if syntax.name == "generic" and traits.tools is not None:
        chosen = "generic, in place of its own"
    if read == "no":
        read = f"no: {ELSEWISE[name]}"
    row = f"| {name} | {chosen} | {thinking} | {several} | {read} |\n"
    return row.replace("<|", "<\\|").replace("|>", "\\|>")


async def _read_back(name: str, source: str, syntax: Syntax) -> str:
    assert syntax.calls is not None
    wanted = CALLS if syntax.calls.parallel else CALLS[:1]
    try:
        text = await _rendered(name, source, syntax, wanted)
    except BadRequest as error:
        return f"no: {error.message.split(': ', 1)[-1][:60]}"
    begin = text.rfind(ASKED) + len(ASKED)
    answer = text[begin : text.find(RESULT, begin)]
    return "yes" if wanted in (_calls(syntax, answer[at:]) for at in _begins(syntax, answer)) else "no"


async def _rendered(name: str, source: str, syntax: Syntax, wanted: list[dict[str, Any]]) -> str:
    template = ChatTemplate(
        model=name, source=source, special_tokens={"bos_token": "<s>", "eos_token": "</s>"}
    )
    calls = [
        {
            "id": f"call{at:05}",
            "type": "function",
            "function": {"name": TOOL.name, "arguments": arguments},
        }
        for at, arguments in enumerate(wanted)
    ]
    results = [
        {"role": "tool", "tool_call_id": call["id"], "name": TOOL.name, "content": RESULT} for call in calls
    ]
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": ASKED},
        {"role": "assistant", "content": "", "tool_calls": calls},
        *results,
    ]
    conversation = Conversation(
        messages=messages,
        tools=[TOOL],
        generic=syntax.name == "generic",
        write=lambda made: write_calls(syntax, [TOOL], made),
    )
    prepared = prepare(conversation, await template.traits())
    return await template.render(prepared.messages, **prepared.variables)


def _begins(syntax: Syntax, answer: str) -> list[int]:
    """Where the first call may begin: behind the marks of the message."""
    assert syntax.calls is not None
    trigger = syntax.calls.trigger
    at = answer.find(trigger)
    return [at] if at >= 0 else []


def _calls(syntax: Syntax, text: str) -> list[dict[str, Any]]:
    parser = Parser(syntax, Shape(tools=(CALLABLE,), calls="required", thinking="forbidden"), Marks({}))
    found: list[dict[str, Any]] = []
    arguments = ""
    for piece in (*parser.feed(text), *parser.end()):
        match piece:
            case CallStarted():
                arguments = ""
            case Arguments(more):
                arguments += more
            case CallEnded():
                found.append(json.loads(arguments))
            case _:
                pass
    return found


if __name__ == "__main__":
    PAGE.write_text(page(Path(sys.argv[1])))
