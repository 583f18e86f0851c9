"""Go templates in turns: which template is used, what it is given, what it may cost, and how it fails."""

from __future__ import annotations

import logging
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from support import go_families as families
from support.go_models import Server, go_server, go_store, with_template
from support.listening import listening
from support.smollm2 import gguf_path
from support.tiny_gguf import CHATML

from agentkit_server.app import create_app
from agentkit_server.models.store import Store
from agentkit_server.runner.process import ProcessLauncher
from agentkit_server.runner.scripted import ScriptedLauncher, ScriptedModel
from agentkit_server.settings import Settings
from agentkit_server.turn import bounded
from agentkit_server.turn.go_template import GoChatTemplate, is_go
from agentkit_server.turn.template import ChatTemplate

pytestmark = pytest.mark.anyio

BROKEN = "{{ range .Messages }}\n{{ .Content }"
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Looks",
        "parameters": {
            "type": "object",
            "$defs": {"place": {"type": "string"}},
            "properties": {
                "at": {"type": "string", "description": "Where", "enum": ["here", "there"]},
                "much": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
                "how": {"type": ["boolean", "string"]},
                "whom": {"$ref": "#/$defs/place"},
            },
            "required": ["at"],
        },
    },
}


def said(role: str, content: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


async def prompt(tmp_path: Path, source: str, *messages: dict[str, Any], **fields: Any) -> str:
    """What a chat with a model that has this template reads."""
    server: Server
    async with go_server(go_store(tmp_path, {"m": source}), ScriptedLauncher("Well.")) as server:
        answer = await server.chat("m", *(messages or (said("user", "Hi"),)), **fields)
        assert "message" in answer, answer
        return server.prompt


# Which template


async def test_the_template_layer_goes_before_the_one_in_the_file(tmp_path: Path) -> None:
    own = {"stated": "{{ .System }}|{{ .Prompt }}>", "bare": "{{ .Prompt }}\n", "broken": BROKEN}
    server: Server
    async with go_server(go_store(tmp_path, own, jinja=CHATML), ScriptedLauncher("Well.")) as server:
        await server.chat("stated", said("system", "S"), said("user", "Hi"))
        assert server.prompt == "S|Hi>"
        for model in ("bare", "broken", "base"):
            await server.chat(model, said("user", "Hi"))
            assert server.prompt == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


async def test_a_template_that_cannot_be_read_costs_the_model_nothing_but_its_conversations(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    unreadable = BROKEN.replace("Content", "Contents")
    with caplog.at_level(logging.WARNING):
        store = go_store(tmp_path, {"m": unreadable})
        assert {store.resolve("m").capabilities, store.resolve("m").capabilities} == {("completion",)}
    [warning] = [text for one in caplog.records if "cannot be read" in (text := one.getMessage())]
    assert "template:2:14: " in warning
    server: Server
    async with go_server(store, ScriptedLauncher("Well.")) as server:
        refused = await server.chat("m", said("user", "Hi"))
        assert refused["status"] == 400
        assert refused["error"].startswith(
            "the chat template of 'm:latest' cannot be rendered: line 2, column"
        )
        assert (await server.generate("m", "Hi", raw=True))["response"] == "Well."
        assert (await server.generate("m", "Hi", template="{{ .Prompt }}!"))["response"] == "Well."


@pytest.mark.parametrize(
    ("source", "go"),
    [
        ("{{ .Prompt }}", True),
        ("{{- $x := 1 }}", True),
        ("{{if eq .Role `user`}}x{{end}}", True),
        ("{{ range $i, $m := .Messages }}{{ end }}", True),
        ("{{ range .Messages }}", True),
        ("{{/* nothing */}}", True),
        ('{{ template "x" . }}', True),
        ("{{ json .Tools }}", True),
        ("{{ and .A .B }}", True),
        ("a {{- else -}} b", True),
        ("{{ messages[0].content }}", False),
        ("{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}", False),
        ("{{ range(3) | list }}", False),
        ("{{ not done }}", False),
        ("{{ json }}{{ template }}", False),
        ("{# a note #}{{ 'x' if tools else '' }}", False),
        ("no action at all", False),
    ],
)
async def test_a_requests_template_is_read_as_what_it_can_only_be(source: str, go: bool) -> None:
    assert is_go(source) is go


async def test_a_request_brings_a_template_in_either_language(tmp_path: Path) -> None:
    server: Server
    async with go_server(go_store(tmp_path, {"m": families.CHATML}), ScriptedLauncher("Well.")) as server:
        for template in ("Q: {{ .Prompt }} A:", "Q: {{ messages[-1].content }} A:", None):
            await server.generate("m", "Hi", **({} if template is None else {"template": template}))
            wanted = (
                "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n" if template is None else "Q: Hi A:"
            )
            assert server.prompt == wanted
        refused = await server.generate("m", "Hi", template="{{ .Prompt }\n")
        assert refused["status"] == 400 and "line 1, column" in refused["error"]


# What it is given


async def test_consecutive_messages_of_one_role_are_one_but_for_results(tmp_path: Path) -> None:
    source = (
        "{{ range .Messages }}[{{ .Role }} {{ .Content }}{{ range .ToolCalls }}"
        "<c>{{ .Function.Name }}:{{ .Function.Arguments }}</c>{{ end }}]{{ end }}"
    )
    messages = (
        *(said("system", one) for one in "ab"),
        *(said("user", one) for one in "cd"),
        said("assistant", "e"),
        said("assistant", "f", tool_calls=[{"function": {"name": "look", "arguments": {}}}]),
        *(said("tool", one, tool_name="look") for one in "gh"),
    )
    assert await prompt(tmp_path, source, *messages) == (
        "[system a\n\nb][user c\n\nd][assistant e][assistant f<c>look:{}</c>][tool g][tool h]"
    )


async def test_variables_are_those_of_ollama(tmp_path: Path) -> None:
    source = (
        "{{/* its calls are <tool_call>, of name and arguments */}}{{ .System }}|{{ .Think }} "
        "{{ .ThinkLevel }} {{ .IsThinkSet }}|{{ len .Messages }}|{{ .Response }}"
        "{{ range .Messages }}{{ if ne .Role `system` }}{{ .Content }} {{ .Thinking }}{{ len .Images }}"
        "{{ range .ToolCalls }}{{ .ID }} {{ .Function.Index }} {{ .Function.Name }} "
        "{{ .Function.Arguments }} {{ range $k, $v := .Function.Arguments }}{{ $k }}={{ $v }};{{ end }}"
        "{{ end }}"
        "{{ if eq .Role `tool` }}{{ .ToolName }} {{ .ToolCallID }}{{ end }}\n{{ end }}{{ end }}"
    )
    call = {"id": "c1", "function": {"name": "look", "arguments": {"b": 1, "a": {"x": "é<"}}}}
    messages = (
        said("system", "S"),
        said("user", "Hi"),
        said("assistant", "", tool_calls=[call]),
        said("tool", "R", tool_call_id="c1"),
    )
    assert await prompt(tmp_path, source, *messages) == (
        'S|false  false|4|Hi 0\n 0c1 0 look {"b":1,"a":{"x":"é<"}} a=map[x:é<];b=1;\nR 0look c1\n'
    )


async def test_tools_print_as_json_and_have_their_parts_as_fields(tmp_path: Path) -> None:
    source = (
        "{{ range .Tools }}{{ . }}\n{{ .Type }} {{ .Function.Name }} {{ .Function.Description }} "
        "{{ .Function.Parameters.Type }} {{ .Function.Parameters.Required }}\n"
        "{{ range $name, $p := .Function.Parameters.Properties }}{{ $name }}: {{ $p.Type }} "
        "{{ $p.Description }} {{ $p.Enum }} {{ $p | toTypeScriptType }} {{ $p.ToTypeScriptType }} "
        "{{ json $p }}\n{{ end }}{{ end }}{{ toTypeScriptType .System }} {{ range .Messages }}{{ .Content }}"
        "{{ range .ToolCalls }}<c>{{ .Function.Name }}:{{ .Function.Arguments }}</c>{{ end }}{{ end }}"
    )
    assert await prompt(tmp_path, source, tools=[TOOL]) == (
        '{"type":"function","function":{"name":"look","description":"Looks","parameters":{"type":"object",'
        '"$defs":{"place":{"type":"string"}},"required":["at"],"properties":{'
        '"at":{"type":"string","description":"Where","enum":["here","there"]},'
        '"much":{"anyOf":[{"type":"integer"},{"type":"null"}]},"how":{"type":["boolean","string"]},'
        '"whom":{"$ref":"#/$defs/place"}}}}}\n'
        "function look Looks object [at]\n"
        'at: string Where [here there] string string {"type":"string","description":"Where","enum":'
        '["here","there"]}\n'
        'how: ["boolean","string"]  [] boolean | string boolean | string {"type":["boolean","string"]}\n'
        'much:   [] number | null number | null {"anyOf":[{"type":"integer"},{"type":"null"}]}\n'
        'whom:   [] any any {"$ref":"#/$defs/place"}\n'
        "any Hi"
    )


async def test_functions_are_those_of_ollama(tmp_path: Path) -> None:
    source = (
        "{{ currentDate }} {{ currentDate `2006` }} {{ yesterdayDate }} {{ json .System }} "
        "{{ json .Messages }} {{ json true }} {{ json 1.5 }}"
    )
    today = date.today()
    found = await prompt(tmp_path, source, said("system", 'a "b"'), said("user", "<é>"))
    assert found == (
        f"{today} {today} {today - timedelta(days=1)} " + r'"a \"b\""'
        r' [{"role":"system","content":"a \"b\""},{"role":"user","content":"<é>"}] true 1.5'
    )


async def test_a_go_templates_variables_are_given_and_no_others(tmp_path: Path) -> None:
    server: Server
    async with go_server(go_store(tmp_path, {"m": families.CHATML}), ScriptedLauncher("Well.")) as server:
        body = {
            "model": "m",
            "messages": [said("user", "Hi")],
            "chat_template_kwargs": {"style": "loud"},
        }
        refused = await server.http.post("/v1/chat/completions", json=body)
        assert refused.status_code == 400
        assert "takes no 'style'" in refused.json()["error"]["message"]


# Where it ends


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (families.CHATML, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nSo far "),
        (families.CHATML_LEGACY, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nSo far "),
        (families.QWEN_2_5, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nSo far "),
        (families.LLAMA_2, "[INST] Hi [/INST] So far "),
        (families.ZEPHYR, "<|user|>\nHi</s>\n<|assistant|>\nSo far "),
    ],
    ids=["no last", "legacy", "last", "llama2", "without response"],
)
async def test_a_last_assistant_message_is_continued(tmp_path: Path, source: str, expected: str) -> None:
    assert await prompt(tmp_path, source, said("user", "Hi"), said("assistant", "So far ")) == expected


@pytest.mark.parametrize("source", [families.CHATML, families.CHATML_LEGACY, families.QWEN_2_5])
async def test_a_last_assistant_message_is_answered_where_that_was_asked_for(
    tmp_path: Path, source: str
) -> None:
    server: Server
    async with go_server(go_store(tmp_path, {"m": source}), ScriptedLauncher("Well.")) as server:
        messages = [said("user", "Hi"), said("assistant", "Hello")]
        answer = await server.http.post("/v1/chat/completions", json={"model": "m", "messages": messages})
        assert answer.status_code == 200, answer.text
        head = (
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n<|im_start|>assistant\n"
        )
        assert server.prompt == head


@pytest.mark.parametrize(
    "source", [families.CHATML, families.CHATML_LEGACY, CHATML], ids=["go", "legacy", "jinja"]
)
async def test_no_text_of_a_message_cuts_the_prompt(source: str, tmp_path: Path) -> None:
    text = "\ue000agentkit:continue\ue001 and {{ .System }}{% if x %}"
    server: Server
    store = go_store(tmp_path, {"m": "{{ .Prompt }}" if source == CHATML else source}, jinja=CHATML)
    async with go_server(store, ScriptedLauncher("Well.")) as server:
        talk = (said("user", text), said("assistant", text), said("user", "Hi"))
        await server.chat("m", *talk)
        assert server.prompt == (
            f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n{text}<|im_end|>\n"
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
        )


async def test_a_response_is_added_behind_whatever_a_template_ends_in(tmp_path: Path) -> None:
    assert await prompt(tmp_path, "{{ .Prompt }} in JSON: {", said("user", "Hi")) == "Hi in JSON: {"


async def test_a_message_that_the_template_drops_cannot_be_continued(tmp_path: Path) -> None:
    server: Server
    source = "{{ range .Messages }}{{ if eq .Role `user` }}{{ .Content }}{{ end }}{{ end }}"
    async with go_server(go_store(tmp_path, {"m": source}), ScriptedLauncher("Well.")) as server:
        refused = await server.chat("m", said("user", "Hi"), said("assistant", "So "))
        assert refused["status"] == 400 and "drops the last message" in refused["error"]


async def test_bos_is_written_once_whoever_writes_it(tmp_path: Path) -> None:
    model = ScriptedModel(bos="<|endoftext|>", add_bos=True)
    templates = {"writes": "<|endoftext|>{{ .Prompt }}>", "leaves": "{{ .Prompt }}>"}
    server: Server
    async with go_server(go_store(tmp_path, templates), ScriptedLauncher("Well.", model)) as server:
        for name in templates:
            first = await server.generate(name, "a")
            assert server.prompt == "<|endoftext|>a>"
            await server.generate(name, "b", context=first["context"])
            assert server.prompt == "<|endoftext|>a>Well.b>"


async def test_a_legacy_template_shows_system_messages_where_they_stand(tmp_path: Path) -> None:
    messages = (said("user", "a"), said("assistant", "b"), said("system", "S"), said("user", "c"))
    source = "{{ if .System }}({{ .System }}){{ end }}{{ .Prompt }}={{ .Response }};"
    assert await prompt(tmp_path, source, *messages) == "a=b;(S)c="


async def test_a_gap_whose_beginning_is_too_long_loses_the_head_of_it(tmp_path: Path) -> None:
    server: Server
    store = go_store(tmp_path, {"m": families.CODELLAMA})
    async with go_server(store, ScriptedLauncher("Well.")) as server:
        fields: dict[str, Any] = {"suffix": "return x", "truncate": True, "options": {"num_ctx": 64}}
        await server.generate("m", "é" * 60 + "def f(", **fields)
        kept, _, rest = server.prompt.partition("def f(")
        assert (kept[:6], rest) == ("<PRE> ", " <SUF>return x <MID>")
        assert 0 < kept.count("é") < 20
        refused = await server.generate("m", "x", **(fields | {"suffix": "y" * 100}))
        assert refused["status"] == 400 and "the suffix alone is" in refused["error"]


async def test_a_template_without_a_place_for_a_suffix_leaves_gaps_to_the_vocabulary(tmp_path: Path) -> None:
    marks = ("<pre>", "<suf>", "<mid>")
    able = ScriptedModel(control=(*ScriptedModel().control, *marks), fim=marks)
    for folder, model, expected in (("a", able, "<pre>a<suf>b<mid>"), ("b", ScriptedModel(), None)):
        (tmp_path / folder).mkdir()
        server: Server
        store = go_store(tmp_path / folder, {"m": families.CHATML})
        async with go_server(store, ScriptedLauncher("Well.", model)) as server:
            answer = await server.generate("m", "a", suffix="b")
            if expected is None:
                assert answer["error"] == "m:latest does not support insert"
            else:
                assert server.prompt == expected


# What it may cost, and how it fails


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("{{ range .Messages }}\n  {{ .Contents }}{{ end }}", "line 2, column"),
        ("{{ index .Messages 99 }}", "line 1, column"),
        ("{{ .Messages.Role }}", "line 1, column"),
        ("{{ define `x` }}{{ template `x` }}{{ end }}{{ template `x` }}", "depth"),
        (
            "{{ range $a := .Messages }}{{ $t := `xxxxxxxxxxxxxxxx` }}"
            + "{{ $t = print $t $t $t $t }}" * 20
            + "{{ $t }}{{ end }}",
            "characters",
        ),
        ("{{ printf `%*d` 1 }}{{ slice .Prompt 9 }}", "line 1, column"),
        ("{{ nothing .Messages }}", '"nothing"'),
    ],
)
async def test_a_template_that_fails_or_does_too_much_is_a_bad_request(
    tmp_path: Path, source: str, says: str
) -> None:
    server: Server
    async with go_server(go_store(tmp_path, {"m": source}), ScriptedLauncher("Well.")) as server:
        with anyio.fail_after(30):
            refused = await server.chat("m", said("user", "Hi"))
        assert refused["status"] == 400
        assert "the chat template of 'm:latest' cannot be rendered: line" in refused["error"]
        assert says in refused["error"]


async def test_a_template_that_takes_too_long_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded, "RENDER_SECONDS", 0.1)
    loop = "{{ range .Messages }}" * 9 + "x" + "{{ end }}" * 9
    source = loop.replace("range .Messages", "range $.Messages")
    messages = [said(role, "x") for _ in range(10) for role in ("user", "assistant")]
    server: Server
    async with go_server(go_store(tmp_path, {"m": source}), ScriptedLauncher("Well.")) as server:
        with anyio.fail_after(30):
            refused = await server.chat("m", *messages, said("user", "Hi"))
        assert refused["status"] == 400
        assert "ran for more than" in refused["error"]


async def test_a_conversation_of_two_thousand_messages_is_within_the_bounds() -> None:
    messages = [said(role, "x") for _ in range(1000) for role in ("user", "assistant")]
    template = GoChatTemplate(model="m", source=families.LLAMA_3)
    text = await template.render([*messages, said("user", "q")])
    assert text.count("<|eot_id|>") == 2001


# The real thing

SMOLLM2 = """\
{{- if not .System }}<|im_start|>system
You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>
{{ end }}
{{- range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
"""


async def test_smollm2_reads_the_same_tokens_by_a_go_template_as_by_its_own(tmp_path: Path) -> None:
    store = Store(tmp_path)
    jinja = store.link_file("base", gguf_path()).gguf.chat_template
    assert jinja is not None
    with_template(store, "base", "go", SMOLLM2)
    settings = Settings(host="127.0.0.1:0", models=tmp_path, api_keys=[], context_length=1024)
    talks = (
        [said("user", "Hi, größe <|im_end|>?")],
        [said("system", "Be brief."), said("user", "Hi"), said("assistant", "Hello"), said("user", "So?")],
    )
    async with (
        listening(create_app(settings, ProcessLauncher(), store)) as url,
        httpx.AsyncClient(base_url=url, timeout=120) as http,
    ):
        for messages in talks:
            text = await ChatTemplate(model="base", source=jinja).render(messages)
            body: dict[str, Any] = {"model": "go", "text": text, "add_special": False, "parse_special": True}
            wanted = (await http.post("/api/tokenize", json=body)).json()["tokens"]
            body = {"model": "go", "messages": messages, "tokens": True}
            read = (await http.post("/api/apply_template", json=body)).json()
            assert (read["prompt"], read["tokens"]) == (text, wanted)
        body = {"model": "go", "messages": talks[1], "stream": False, "options": {"num_predict": 4}}
        assert (await http.post("/api/chat", json=body)).json()["message"]["content"]
