"""How models with Go templates write calls and thoughts: recognised by markers, or taken from what the
template itself shows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from support import go_families as families
from support.go_models import Server, go_server, go_store
from support.scripted_server import Replies
from support.syntaxes import Vocabulary, accepts, own_vocabulary, read

from agentkit_server.runner.scripted import ScriptedLauncher
from agentkit_server.turn.go_facts import go_syntax
from agentkit_server.turn.schema.prepare import prepare
from agentkit_server.turn.syntaxes.arguments import CallableTool
from agentkit_server.turn.syntaxes.shape import Shape
from agentkit_server.turn.syntaxes.syntax import Syntax

pytestmark = pytest.mark.anyio

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "look", "description": "Looks", "parameters": SCHEMA}}
CALLABLE = CallableTool(name="look", arguments=prepare(SCHEMA))
REQUIRED = Shape(tools=(CALLABLE,), calls="required", thinking="forbidden")
TEXT = Vocabulary(())


def syntax_of(source: str) -> Syntax:
    return go_syntax(source, frozenset())


@pytest.mark.parametrize(
    ("source", "name", "thinking"),
    [
        (families.CHATML, "generic", None),
        (families.LLAMA_2, "generic", None),
        (families.LLAMA_3, "llama3", None),
        (families.MISTRAL, "mistral", None),
        (families.QWEN_2_5, "hermes", None),
        (families.QWEN_3, "hermes", ("<think>", "</think>")),
        (families.COMMAND_R, "command-r", None),
        (families.GEMMA, "generic", None),
        (families.GRANITE_3, "granite3", None),
        (families.HARMONY, "harmony", ("<|channel|>analysis<|message|>", "<|end|>")),
        (families.DEEPSEEK_R1, "generic", ("<think>", "</think>")),
        (families.FIREFUNCTION, "firefunction", None),
        (families.FUNCTIONARY, "shown", None),
        (families.NEMOTRON, "shown", None),
        (families.MADE_UP, "shown", ("(((pondering", "pondering)))")),
    ],
)
async def test_a_familys_syntax_is_recognised(
    source: str, name: str, thinking: tuple[str, str] | None
) -> None:
    found = syntax_of(source)
    assert (found.name, found.thinking) == (name, thinking)


def with_calls(calls: str) -> str:
    """A template whose messages have this loop over calls."""
    return (
        "{{ range .Tools }}{{ . }}{{ end }}{{ range .Messages }}<{{ .Role }}>{{ .Content }}"
        + calls
        + "</s>\n{{ end }}<assistant>"
    )


NAME, ARGS = "{{ .Function.Name }}", "{{ .Function.Arguments }}"
SHOWN = {
    "tags": (
        f'{{{{ range .ToolCalls }}}}<do>{{"name": "{NAME}", "arguments": {ARGS}}}</do>{{{{ end }}}}',
        '<do>{"name": "look", "arguments": {"city":"Rome"}}</do><do>{"name": "look", "arguments": '
        '{"city":"Oslo"}}</do>',
    ),
    "one tag round all": (
        f'{{{{ if .ToolCalls }}}}<do>\n{{{{ range .ToolCalls }}}}{{"name":"{NAME}","parameters":{ARGS}}}\n'
        "{{ end }}</do>{{ end }}",
        '<do>\n{"name":"look","parameters":{"city":"Rome"}}\n{"name":"look","parameters":{"city":"Oslo"}}\n</do>',
    ),
    "a list behind a tag": (
        "{{ if .ToolCalls }}CALLS: [{{ range $i, $_ := .ToolCalls }}{{ if $i }}, {{ end }}"
        f'{{"name": "{NAME}", "arguments": {ARGS}}}{{{{ end }}}}]{{{{ end }}}}',
        'CALLS: [{"name": "look", "arguments": {"city":"Rome"}}, '
        '{"name": "look", "arguments": {"city":"Oslo"}}]',
    ),
    "a bare list": (
        "{{ if .ToolCalls }}[{{ range $i, $_ := .ToolCalls }}{{ if $i }},{{ end }}"
        f'{{"tool": "{NAME}", "args": {ARGS}}}{{{{ end }}}}]{{{{ end }}}}',
        '[{"tool": "look", "args": {"city":"Rome"}},{"tool": "look", "args": {"city":"Oslo"}}]',
    ),
    "a line each": (
        f'{{{{ range .ToolCalls }}}}{{"name": "{NAME}", "parameters": {ARGS}}}\n{{{{ end }}}}',
        '{"name": "look", "parameters": {"city":"Rome"}}\n{"name": "look", "parameters": {"city":"Oslo"}}\n',
    ),
    "a name in a tag": (
        f"{{{{ range .ToolCalls }}}}[call:{NAME}]\n{ARGS}[/call]\n{{{{ end }}}}",
        '[call:look]\n{"city":"Rome"}[/call]\n[call:look]\n{"city":"Oslo"}[/call]\n',
    ),
    "more before the name": (
        f'{{{{ range .ToolCalls }}}}```json\n{{"type": "function", "function": {{"name": "{NAME}", '
        f'"arguments": {ARGS}}}}}\n```{{{{ end }}}}',
        '```json\n{"type": "function", "function": {"name": "look", "arguments": {"city":"Rome"}}}\n```'
        '```json\n{"type": "function", "function": {"name": "look", "arguments": {"city":"Oslo"}}}\n```',
    ),
}


@pytest.mark.parametrize(("calls", "text"), SHOWN.values(), ids=SHOWN)
async def test_calls_that_a_template_shows_are_in_the_grammar_and_read_back(calls: str, text: str) -> None:
    syntax = syntax_of(with_calls(calls))
    assert syntax.name == "shown"
    wanted = [("look", {"city": "Rome"}), ("look", {"city": "Oslo"})]
    for vocabulary in (TEXT, own_vocabulary(syntax)):
        assert accepts(syntax, REQUIRED, vocabulary, text.rstrip())
        met = vocabulary.met(vocabulary.tokens(text))
        for pieces in ([met], list(met)):
            assert read(syntax, REQUIRED, vocabulary, pieces).values == wanted
        spoilt = text.rstrip().replace('"Rome"', "7")
        assert not accepts(syntax, REQUIRED, vocabulary, spoilt)


@pytest.mark.parametrize(
    "calls",
    [
        f"{{{{ range .ToolCalls }}}}<do>{{{{ json .Function.Arguments }}}} to {NAME}</do>{{{{ end }}}}",
        f"{{{{ range .ToolCalls }}}}{NAME} {ARGS}{{{{ end }}}}",
        f"{{{{ range .ToolCalls }}}}<do {{{{ .ID }}}}>{NAME}:{ARGS}</do>{{{{ end }}}}",
        f"{{{{ range .ToolCalls }}}}<do>{NAME}:{{{{ range $k, $v := .Function.Arguments }}}}{{{{ $k }}}}="
        "{{ $v }} {{ end }}</do>{{ end }}",
        f"{{{{ if .ToolCalls }}}}{'x' * 5000}{{{{ range .ToolCalls }}}}<do>{NAME}:{ARGS}</do>"
        "{{ end }}{{ end }}",
        f"{{{{ range .ToolCalls }}}}<do>{NAME}:{{{{ json (json .Function.Arguments) }}}}</do>{{{{ end }}}}",
        "",
    ],
    ids=[
        "arguments first",
        "nothing announces it",
        "an id",
        "no JSON",
        "too long",
        "JSON in a string",
        "none",
    ],
)
async def test_calls_that_cannot_be_taken_apart_are_written_the_generic_way(calls: str) -> None:
    assert syntax_of(with_calls(calls)).name == "generic"


async def test_what_ends_a_message_is_no_part_of_a_call() -> None:
    source = (
        "{{ range .Messages }}<|{{ .Role }}|>{{ if .ToolCalls }}{{ range .ToolCalls }}<do>"
        f"{NAME}:{ARGS}</do>"
        "{{ end }}<|calls_over|>{{ else }}{{ .Content }}<|over|>{{ end }}{{ end }}"
    )
    found = syntax_of(source)
    assert found.name == "shown"
    assert accepts(found, REQUIRED, TEXT, '<do>look:{"city":"Rome"}</do>')


async def test_calls_in_messages_of_another_kind_are_written_the_generic_way() -> None:
    source = (
        "{{ range .Messages }}{{ if .ToolCalls }}{{ range .ToolCalls }}<|caller|><do>"
        f"{NAME}:{ARGS}</do>"
        "{{ end }}{{ else }}<|{{ .Role }}|>{{ .Content }}{{ end }}{{ end }}"
    )
    assert syntax_of(source).name == "generic"


async def test_markers_in_words_give_way_to_calls_that_look_otherwise() -> None:
    calls = f"{{{{ range .ToolCalls }}}}<do>{NAME}:{ARGS}</do>{{{{ end }}}}"
    speaks = "{{/* not <tool_call> with arguments */}}"
    assert syntax_of(with_calls(calls) + speaks).name == "shown"
    assert syntax_of(with_calls("") + speaks).name == "hermes"


REPLIES = {
    "qwen2.5": (
        families.QWEN_2_5,
        '<tool_call>\n{"name": "look", "arguments": {"city": "Rome"}}\n</tool_call>',
    ),
    "llama3": (families.LLAMA_3, '{"name": "look", "parameters": {"city": "Rome"}}'),
    "mistral": (families.MISTRAL, '[TOOL_CALLS] [{"name": "look", "arguments": {"city": "Rome"}}]'),
    "granite3": (families.GRANITE_3, '<|tool_call|>[{"name": "look", "arguments": {"city": "Rome"}}]'),
    "command-r": (
        families.COMMAND_R,
        'Action: ```json\n[\n    {"tool_name": "look", "parameters": {"city": "Rome"}}\n]```',
    ),
    "gpt-oss": (
        families.HARMONY,
        '<|channel|>commentary to=functions.look <|constrain|>json<|message|>{"city": "Rome"}',
    ),
    "functionary": (families.FUNCTIONARY, '<function=look>{"city": "Rome"}</function>'),
    "made up": (families.MADE_UP, '§§calls {"function":"look","with":{"city": "Rome"}} calls§§'),
    "generic": (families.GEMMA, '<tool_call>\n{"name": "look", "arguments": {"city": "Rome"}}\n</tool_call>'),
}


@pytest.mark.parametrize(("source", "reply"), REPLIES.values(), ids=REPLIES)
async def test_a_call_of_the_model_is_told_and_bound_by_one_grammar(
    tmp_path: Path, source: str, reply: str
) -> None:
    server: Server
    user = {"role": "user", "content": "Rain?"}
    replies = Replies([reply])
    bound = ("<|channel|>final<|message|>" if source == families.HARMONY else "") + '{"city": "Oslo"}'
    async with go_server(go_store(tmp_path, {"m": source}), ScriptedLauncher(replies)) as server:
        for fields in ({}, {"tool_choice": "required"}, {"tool_choice": "required", "format": SCHEMA}):
            answer = await server.chat("m", user, tools=[TOOL], **fields)
            function = answer["message"]["tool_calls"][0]["function"]
            assert (function["name"], function["arguments"]) == ("look", {"city": "Rome"}), answer
            assert server.launcher.requests[-1].grammar
        replies.texts = [bound]
        answer = await server.chat("m", user, tools=[TOOL], format=SCHEMA, tool_choice="none")
        assert answer["message"]["content"] == '{"city": "Oslo"}'


async def test_thoughts_in_tags_of_a_templates_own_are_told_apart(tmp_path: Path) -> None:
    server: Server
    reply = "(((pondering Hm. pondering))) Well."
    async with go_server(go_store(tmp_path, {"m": families.MADE_UP}), ScriptedLauncher(reply)) as server:
        answer = await server.chat("m", {"role": "user", "content": "Hi"}, think=True)
        assert (answer["message"]["thinking"], answer["message"]["content"]) == ("Hm.", "Well.")


async def test_tags_are_found_that_only_the_last_message_has() -> None:
    source = (
        "{{ range $i, $m := .Messages }}<{{ .Role }}>{{ if and $.IsThinkSet .Thinking "
        "(eq (len (slice $.Messages $i)) 1) }}[muse]{{ .Thinking }}[/muse]{{ end }}{{ .Content }}{{ end }}"
    )
    assert syntax_of(source).thinking == ("[muse]", "[/muse]")


async def test_thoughts_that_only_the_files_own_template_knows_are_told_apart(tmp_path: Path) -> None:
    jinja = "{{ messages[0].content }}{{ '<think>' if enable_thinking }}{{ x.split('</think>') }}"
    server: Server
    store = go_store(tmp_path, {"m": families.CHATML}, jinja=jinja)
    async with go_server(store, ScriptedLauncher("<think>Hm.</think>Well.")) as server:
        answer = await server.chat("m", {"role": "user", "content": "Hi"}, think=True)
        assert (answer["message"]["thinking"], answer["message"]["content"]) == ("Hm.", "Well.")
        assert server.prompt == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


async def test_a_model_without_thoughts_refuses_to_think(tmp_path: Path) -> None:
    server: Server
    async with go_server(go_store(tmp_path, {"m": families.CHATML}), ScriptedLauncher("x")) as server:
        refused = await server.chat("m", {"role": "user", "content": "Hi"}, think=True)
        assert refused["status"] == 400
        assert re.fullmatch(r'"m" does not support thinking', refused["error"])
