"""What a parsed template tells of itself."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import pytest

from agentkit_server.gotemplate.nodes import Field, If, Range, Text, walk
from agentkit_server.gotemplate.template import GoTemplate

CHAT = """\
{{- if .System }}<|system|>{{ .System }}<|end|>
{{ end }}
{{- range $i, $message := .Messages }}
{{- if eq $message.Role "user" }}<|user|>{{ .Content }}<|end|>
{{ else if eq .Role "assistant" }}<|assistant|>
{{- if and .Thinking $.Think }}<think>{{ .Thinking }}</think>{{ end }}
{{- range .ToolCalls }}<call>{{ .Function.Name }}({{ json .Function.Arguments }})</call>
{{- else }}{{ .Content }}{{ end }}<|end|>
{{ end }}
{{- if eq (len (slice $.Messages $i)) 1 }}<|assistant|>{{ end }}
{{- end }}"""
FUNCTIONS = {"json": str}


@pytest.mark.parametrize(
    ("source", "fields"),
    [
        ("text", set()),
        ("{{.}}", set()),
        ("{{.A}}{{.A}}", {".A"}),
        ("{{.A.B.C}}", {".A.B.C"}),
        ("{{$.A}}{{$}}", {".A"}),
        ("{{$x := .A}}{{$x.B}}", {".A", ".B"}),
        ("{{(index .A 0).B.C}}", {".A", ".B.C"}),
        ("{{if .A}}{{else if .B}}{{.C}}{{else}}{{.D}}{{end}}", {".A", ".B", ".C", ".D"}),
        (
            "{{range .A}}{{.B}}{{else}}{{.C}}{{end}}{{with .D}}{{.E}}{{else with .F}}{{end}}",
            {".A", ".B", ".C", ".D", ".E", ".F"},
        ),
        ("{{print (len (print .A)) | printf .B}}", {".A", ".B"}),
        ('{{define "t"}}{{.A}}{{end}}{{template "t" .B}}', {".A", ".B"}),
        ('{{block "b" .C}}{{.D}}{{end}}', {".C", ".D"}),
        ("{{/* .A */}}{{`.B`}} .C", set()),
    ],
)
def test_fields_are_all_chains_of_fields_in_it(source: str, fields: set[str]) -> None:
    assert GoTemplate.parse(source).fields == fields


def test_a_template_of_a_chat_is_rendered() -> None:
    template = GoTemplate.parse(CHAT, FUNCTIONS)
    messages = [
        {"Role": "user", "Content": "Hi"},
        {
            "Role": "assistant",
            "Thinking": "Hm",
            "ToolCalls": [{"Function": {"Name": "now", "Arguments": {}}}],
        },
        {"Role": "user", "Content": "So?"},
    ]
    assert template.render({"System": "Be kind", "Messages": messages, "Think": True}) == (
        "<|system|>Be kind<|end|>\n<|user|>Hi<|end|>\n"
        "<|assistant|><think>Hm</think><call>now({})</call><|end|>\n"
        "<|user|>So?<|end|>\n<|assistant|>"
    )


def test_the_tree_is_there_for_whoever_asks_what_stands_around_a_field() -> None:
    nodes = list(walk(GoTemplate.parse(CHAT, FUNCTIONS).root))
    tags = [node.text for node in nodes if isinstance(node, Text)]
    assert "<think>" in tags and "</think>" in tags
    [loop] = [node for node in nodes if isinstance(node, Range) and not node.pipeline.variables]
    assert loop.pipeline.commands[0].operands == (Field(loop.pipeline.at, ("ToolCalls",)),)
    assert isinstance(loop.body[0], Text) and loop.body[0].text.startswith("<call>")
    [roles] = [node for node in nodes if isinstance(node, If) and len(node.branches) == 2]
    assert (roles.at.line, roles.branches[1].at.line) == (4, 5)


def test_a_template_cannot_be_changed_and_is_rendered_by_many_threads() -> None:
    template = GoTemplate.parse(
        '{{$x := 0}}{{range .}}{{$x = print $x .}}{{end}}{{$x}}{{template "t" .}}{{define "t"}}{{end}}'
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        template.root = ()  # type: ignore[misc] - that is what is tested
    with pytest.raises(TypeError):
        template.templates["u"] = ()  # type: ignore[index] - that is what is tested
    with ThreadPoolExecutor(8) as threads:
        written = list(threads.map(template.render, ([str(number)] * 50 for number in range(100))))
    assert written == ["0" + str(number) * 50 for number in range(100)]
