"""Which syntax a published chat template gets, and whether calls as the template writes them are in it."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from support.chat_templates import parameters
from support.syntaxes import Vocabulary, matcher, read

from agentkit_server.turn.conversation.conversation import Conversation, prepare
from agentkit_server.turn.conversation.in_syntax import write_calls
from agentkit_server.turn.schema.prepare import prepare as prepare_schema
from agentkit_server.turn.syntaxes.arguments import CallableTool
from agentkit_server.turn.syntaxes.families.generic import GENERIC, instructions
from agentkit_server.turn.syntaxes.recognise import recognise
from agentkit_server.turn.syntaxes.shape import Shape
from agentkit_server.turn.syntaxes.syntax import Syntax
from agentkit_server.turn.template import ChatTemplate
from agentkit_server.turn.types import Tool

pytestmark = pytest.mark.anyio

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "Where"},
        "days": {"type": "integer", "description": "How many"},
        "units": {"type": "array", "items": {"type": "string"}, "description": "Of what"},
    },
    "required": ["city"],
    "additionalProperties": False,
}
TOOL = Tool(name="get_weather", description="Tells the weather", parameters=SCHEMA)
CALLABLE = CallableTool(name=TOOL.name, arguments=prepare_schema(SCHEMA))
ASKED, RESULT = "What will it be like there?", "Sunny all along."
CALLS: list[dict[str, Any]] = [
    {"city": "Zürich", "days": 3, "units": ["°C"]},
    {"city": "Oslo"},
]
TEXT = Vocabulary(())

GENERIC_ONES = {
    # These models write calls in a way that is not built.
    "GigaChat3-10B-A1.8B",
    "MiniMax-M3",
    # These were taught none, or their templates say nothing of it.
    "HuggingFaceTB-SmolLM3-3B",
    "LFM2.5-Instruct",
    "google-gemma-2-2b-it",
    "llama-cpp-rwkv-world",
    "microsoft-Phi-3.5-mini-instruct",
}
WRITTEN_OTHERWISE = {
    "CohereForAI-c4ai-command-r-plus-tool_use": "history has a line break where answers have a space",
    "Reka-Edge": "history escapes letters that are not ASCII",
    "meetkai-functionary-medium-v3.2": "nothing but a name announces a call",
    "openai-gpt-oss-120b": "history has the recipient in another place of the header",
}


async def rendered(name: str, source: str, syntax: Syntax, wanted: list[dict[str, Any]]) -> str:
    """What stands between the question and the result."""
    special = {"bos_token": "<s>", "eos_token": "</s>"}
    template = ChatTemplate(model=name, source=source, special_tokens=special)
    calls: list[dict[str, Any]] = [
        {"id": f"call{at:05}", "type": "function", "function": {"name": TOOL.name, "arguments": arguments}}
        for at, arguments in enumerate(wanted)
    ]
    results = [
        {"role": "tool", "tool_call_id": call["id"], "name": TOOL.name, "content": RESULT} for call in calls
    ]
    messages = [
        {"role": "user", "content": ASKED},
        {"role": "assistant", "content": "", "tool_calls": calls},
        *results,
    ]
    conversation = Conversation(
        messages=messages,
        tools=[TOOL],
        generic=syntax.name == "generic",
        write=partial(write_calls, syntax, [TOOL]),
    )
    prepared = prepare(conversation, await template.traits())
    text = await template.render(prepared.messages, **prepared.variables)
    begin = text.rindex(ASKED) + len(ASKED)
    return text[begin : text.index(RESULT, begin)]


def allowed_beginning(syntax: Syntax, text: str) -> str:
    """The longest beginning of `text` that is a whole answer by the grammar."""
    found = matcher(syntax, Shape(tools=(CALLABLE,), calls="required", thinking="forbidden"), TEXT)
    tokens, longest = TEXT.tokens(text), 0
    for at, token in enumerate(tokens):
        if not found.try_consume_tokens([token]):
            break
        longest = at + 1 if found.is_accepting() else longest
    return TEXT.met(tokens[:longest])


@pytest.mark.parametrize(("name", "source"), parameters())
async def test_calls_as_the_template_writes_them_are_in_the_grammar_and_read_back(
    name: str, source: str
) -> None:
    syntax = recognise(source, {})
    assert syntax.calls is not None
    assert (syntax.name == "generic") == (name in GENERIC_ONES)
    wanted = CALLS if syntax.calls.parallel else CALLS[:1]
    text = await rendered(name, source, syntax, wanted)
    begin = text.find(syntax.calls.trigger)
    whole = allowed_beginning(syntax, text[begin:]) if begin >= 0 else ""
    found = read(syntax, Shape(tools=(CALLABLE,), calls="required", thinking="forbidden"), TEXT, [whole])
    same = found.values == [(TOOL.name, arguments) for arguments in wanted]
    assert same != (name in WRITTEN_OTHERWISE), text


def test_a_model_without_a_template_or_without_calls_gets_the_generic_syntax() -> None:
    assert recognise(None, {}) is GENERIC
    assert recognise("{{ messages[0].content }}", {}) is GENERIC
    thinker = recognise("{{ '<think>' }}{{ message.content.split('</think>')[-1] }}", {})
    assert (thinker.name, thinker.thinking) == ("generic", ("<think>", "</think>"))


@pytest.mark.parametrize(
    ("template", "control", "name"),
    [
        ("{{ 'List of tools: [' }}", ("<|tool_call_start|>", "<|tool_call_end|>"), "lfm2"),
        ("{{ 'List of tools: [' }}", (), "generic"),
        ("{{ '<|tool|>' + tools + '<|/tool|>' }}", ("<|tool_call|>", "<|/tool_call|>"), "phi4"),
    ],
)
def test_the_vocabulary_decides_where_a_template_does_not_show_calls(
    template: str, control: tuple[str, ...], name: str
) -> None:
    assert recognise(template, {text: at for at, text in enumerate(control)}).name == name


def test_the_generic_instructions_name_every_tool_and_show_the_form() -> None:
    other = Tool(name="größe", parameters={})
    said = instructions([TOOL, other])
    assert '<tool_call>\n{"name":' in said and '"get_weather"' in said and '"größe"' in said
    assert "Tells the weather" in said and '"units"' in said
