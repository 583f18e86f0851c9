"""Conversations as templates take them, each trait shown by a small template."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit_server.errors import BadRequest
from agentkit_server.turn.conversation.conversation import Conversation, Prepared, prepare
from agentkit_server.turn.conversation.ending import ending, ending_of_answer
from agentkit_server.turn.conversation.traits import CallForm, TemplateTraits
from agentkit_server.turn.template import PLAIN, ChatTemplate
from agentkit_server.turn.types import Tool

pytestmark = pytest.mark.anyio

TOOL = Tool(name="look", description="Looks", parameters={"type": "object", "properties": {}})
BASE = "{% for m in messages %}[{{ m.role }}:{{ m.content }}"
CALLS = "{% for c in m.tool_calls or [] %}{{ c.function.name }}"
SHOWN = BASE + CALLS + "{{ c.function.arguments | tojson }}{{ c.id }}{% endfor %}]{% endfor %}"


def user(content: str) -> dict[str, Any]:
    return {"role": "user", "content": content}


def system(content: str) -> dict[str, Any]:
    return {"role": "system", "content": content}


def assistant(content: str, *calls: dict[str, Any], thinking: str = "") -> dict[str, Any]:
    return {"role": "assistant", "content": content, "thinking": thinking, "tool_calls": list(calls)}


def call(arguments: Any, id: str = "", name: str = "look") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(content: str, id: str = "", name: str = "") -> dict[str, Any]:
    return {"role": "tool", "content": content, "tool_call_id": id, "name": name}


ROUND = (user("q"), assistant("", call({"a": {"b": "é"}}, "call_1")), result("r", "call_1"))


async def traits(source: str) -> TemplateTraits:
    return await ChatTemplate(model="m", source=source).traits()


async def prepared(source: str, *messages: dict[str, Any], **fields: Any) -> Prepared:
    return prepare(Conversation(messages=messages, **fields), await traits(source))


async def render(source: str, *messages: dict[str, Any], **fields: Any) -> str:
    ready = await prepared(source, *messages, **fields)
    return await ChatTemplate(model="m", source=source).render(ready.messages, **ready.variables)


@pytest.mark.parametrize(
    "written",
    [
        "{{ c.function.arguments | tojson }}",
        "{{ c.function.arguments + '' }}",
        "{% if c.function.arguments is string %}{{ c.function.arguments }}"
        "{% else %}{{ c.function.arguments | tojson }}{% endif %}",
    ],
    ids=["object", "text", "either"],
)
async def test_arguments_are_written_as_json_once(written: str) -> None:
    source = BASE + CALLS + written + "{% endfor %}]{% endfor %}"
    assert '[assistant:look{"a": {"b": "é"}}]' in await render(source, *ROUND)


async def test_values_that_a_template_copies_are_json_where_they_are_no_text() -> None:
    source = BASE + CALLS + "{% for k, v in c.function.arguments | items %}<{{ k }}>{{ v }}{% endfor %}"
    text = await render(
        source + "{% endfor %}]{% endfor %}", user("q"), assistant("", call({"a": [True], "b": "x"}))
    )
    assert "<a>[true]<b>x" in text


async def test_arguments_that_are_no_object_are_shown_as_they_are_or_refused() -> None:
    broken = (user("q"), assistant("", call("{oops", "call_1")))
    copies = BASE + CALLS + "{{ c.function.arguments + '' }}{% endfor %}]{% endfor %}"
    assert "{oops" in await render(copies, *broken)
    with pytest.raises(BadRequest, match=r"no JSON object.*oops") as refusal:
        await render(SHOWN, *broken)
    assert refusal.value.param == "messages"


async def test_empty_arguments_are_an_empty_object() -> None:
    assert "look{}" in await render(SHOWN, user("q"), assistant("", call("")))


async def test_short_ids_are_made_where_a_template_insists_and_agree() -> None:
    source = (
        BASE + CALLS + "{% if c.id | length != 9 %}{{ raise_exception('ids of 9') }}{% endif %}"
        "{{ c.function.arguments | tojson }}{{ c.id }}{% endfor %}{{ m.tool_call_id }}]{% endfor %}"
    )
    ready = await prepared(source, *ROUND)
    id = ready.messages[1]["tool_calls"][0]["id"]
    assert len(id) == 9 and id.isalnum() and ready.messages[2]["tool_call_id"] == id
    kept = await prepared(source, user("q"), assistant("", call({}, "abcDEF123")))
    assert kept.messages[1]["tool_calls"][0]["id"] == "abcDEF123"


async def test_an_id_carries_the_name_where_the_template_writes_nothing_else() -> None:
    source = (
        BASE + "{% for c in m.tool_calls or [] %}{{ c.id }}{{ c.function.arguments | tojson }}{% endfor %}"
        "{% if m.role == 'tool' %}{{ m.tool_call_id }}{% endif %}]{% endfor %}"
    )
    text = await render(source, *ROUND, assistant("", call({}, "call_2")), result("s", "call_2"))
    assert text.count("functions.look:0") == 2 and text.count("functions.look:1") == 2


async def test_results_without_ids_go_to_their_calls_by_name_then_in_order() -> None:
    ready = prepare(
        Conversation(
            messages=[
                user("q"),
                assistant("", call({}, name="one"), call({}, name="two"), call({}, name="two")),
                result("2", name="two"),
                result("1", name="one"),
                result("3"),
            ]
        ),
        TemplateTraits(),
    )
    ids = [one["id"] for one in ready.messages[1]["tool_calls"]]
    assert len(set(ids)) == 3
    answered = [(one["tool_call_id"], one["name"], one["content"]) for one in ready.messages[2:]]
    assert answered == [(ids[0], "one", "1"), (ids[1], "two", "2"), (ids[2], "two", "3")]


async def test_parallel_calls_follow_one_another_where_one_is_all_a_message_holds() -> None:
    single = "{% if (m.tool_calls or []) | length > 1 %}{{ raise_exception('one call') }}{% endif %}"
    source = SHOWN.replace("[{{ m.role }}", single + "[{{ m.role }}")
    text = await render(
        source,
        user("q"),
        assistant("so", call({"n": 1}, "x"), call({"n": 2}, "y")),
        result("second", "y"),
        result("first", "x"),
    )
    assert text == ('[user:q][assistant:solook{"n": 1}x][tool:first][assistant:look{"n": 2}y][tool:second]')


async def test_a_template_without_calls_gets_them_as_text() -> None:
    source = (
        "{% for m in messages %}{% if m.role not in ['system', 'user', 'assistant'] %}"
        "{{ raise_exception('role') }}{% endif %}[{{ m.role }}:{{ m.content }}]{% endfor %}"
    )
    text = await render(source, *ROUND[:2], result("r", "call_1"), user("next"))
    call_text = '<tool_call>\n{"name": "look", "arguments": {"a": {"b": "é"}}}\n</tool_call>'
    assert text == (f"[user:q][assistant:{call_text}][user:<tool_response>\nr\n</tool_response>][user:next]")


async def test_the_generic_way_writes_text_whatever_the_template_knows() -> None:
    source = SHOWN + "{{ tools }}"
    ready = await prepared(
        source, system("S"), *ROUND, tools=(TOOL,), generic=True, instructions="HOW", think=None
    )
    assert "tools" not in ready.variables
    assert ready.messages[0] == system("S\n\nHOW")
    assert "<tool_call>" in ready.messages[2]["content"] and "tool_calls" not in ready.messages[2]
    assert ready.messages[3] == user("<tool_response>\nr\n</tool_response>")


@pytest.mark.parametrize("key", ["reasoning_content", "thinking", "reasoning", "inner_thought"])
async def test_thoughts_go_under_the_key_that_the_template_looks_for(key: str) -> None:
    source = SHOWN.replace("[{{ m.role }}", "[{{ m." + key + " or '' }}{{ m.role }}")
    assert "[Tassistant:a]" in await render(source, user("q"), assistant("a", thinking="T"), user("r"))


async def test_thoughts_that_exclude_text_beside_a_call_are_joined_with_it() -> None:
    clash = "{% if m.tool_calls and m.content and m.thinking %}{{ raise_exception('both') }}{% endif %}"
    source = SHOWN.replace("[{{ m.role }}", clash + "[{{ m.thinking or '' }}{{ m.role }}")
    text = await render(source, user("q"), assistant("P", call({}, "x"), thinking="T"))
    assert "[T\n\nPassistant:look{}x]" in text


@pytest.mark.parametrize(
    ("guard", "expected"),
    [
        ("", "[system:A][system:B][user:q][assistant:a][system:C][user:r]"),
        ("m.role == 'system' and not loop.first", "[system:A\n\nB][user:q][assistant:a][user:C\n\nr]"),
        ("m.role == 'system'", "[user:A\n\nB\n\nq][assistant:a][user:C\n\nr]"),
    ],
    ids=["anywhere", "first", "never"],
)
async def test_system_messages_stand_where_the_template_takes_them(guard: str, expected: str) -> None:
    raises = "{% if " + guard + " %}{{ raise_exception('system') }}{% endif %}" if guard else ""
    source = "{% for m in messages %}" + raises + "[{{ m.role }}:{{ m.content }}]{% endfor %}"
    ready = await prepared(
        source, system("A"), system("B"), user("q"), assistant("a"), system("C"), user("r")
    )
    assert bool(ready.notes) == bool(guard)
    assert await ChatTemplate(model="m", source=source).render(ready.messages) == expected


async def test_a_system_message_at_the_end_joins_the_question_before_it() -> None:
    first_only = "{% if m.role == 'system' and not loop.first %}{{ raise_exception('no') }}{% endif %}"
    source = "{% for m in messages %}" + first_only + "[{{ m.role }}:{{ m.content }}]{% endfor %}"
    assert await render(source, user("q"), system("C")) == "[user:q\n\nC]"
    assert await render(source, user("q"), assistant("a"), system("C")) == "[user:q][assistant:a][user:C]"


async def test_developers_speak_as_system_unless_the_template_knows_them() -> None:
    developer = {"role": "developer", "content": "D"}
    plain = "{% for m in messages %}[{{ m.role }}:{{ m.content }}]{% endfor %}"
    assert await render(plain, developer, user("q")) == "[system:D][user:q]"
    knows = plain.replace("[{{ m.role }}", "[{{ 'DEV' if m.role == 'developer' else m.role }}")
    assert await render(knows, developer, user("q")) == "[DEV:D][user:q]"


async def test_questions_in_a_row_are_joined_where_roles_must_alternate() -> None:
    source = (
        "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('alternate') }}{% endif %}[{{ m.content }}]{% endfor %}"
    )
    assert await render(source, user("a"), user("b"), assistant("c"), user("d")) == "[a\n\nb][c][d]"


async def test_content_comes_in_parts_where_a_template_takes_nothing_else() -> None:
    source = "{% for m in messages %}[{% for p in m.content %}{{ p.text }}{% endfor %}]{% endfor %}"
    assert await render(source, user("q"), assistant("a")) == "[q][a]"
    ready = await prepared(source, user("q"), assistant("so "))
    continued = await ChatTemplate(model="m", source=source).render(ready.messages, continue_last=True)
    assert continued == "[q][so "


@pytest.mark.parametrize(
    ("source", "wanted", "variables"),
    [
        ("{{ 'T' if enable_thinking else 'N' }}", False, {"enable_thinking": False}),
        ("{{ 'T' if enable_thinking else 'N' }}", "high", {"enable_thinking": True}),
        ("{{ 'N' if skip_thinking else 'T' }}", True, {"skip_thinking": False}),
        ("{{ 'N' if think_mode == 'off' else 'T' if think_mode == 'on' }}", False, {"think_mode": "off"}),
        ("{{ reasoning_effort or 'medium' }}", "max", {"reasoning_effort": "high"}),
        ("{{ reasoning_effort or 'medium' }}", True, {"reasoning_effort": "medium"}),
        ("{{ reasoning_effort or 'medium' }}", False, {}),
        (
            "{{ 'M' if effort_of_reason == 'max' else effort_of_reason == 'low' }}",
            "max",
            {"effort_of_reason": "max"},
        ),
        ("{{ 'N' if thinking_budget == 0 else thinking_budget }}", False, {"thinking_budget": 0}),
        ("{{ 'T' if enable_thinking else 'N' }}", None, {}),
        ("", True, {}),
    ],
)
async def test_thinking_is_asked_for_by_the_switch_that_is_there(
    source: str, wanted: Any, variables: dict[str, Any]
) -> None:
    source = "{% for m in messages %}{{ m.content }}{% endfor %}" + source
    assert (await prepared(source, user("q"), think=wanted)).variables == variables


async def test_words_in_the_system_message_switch_where_the_template_reads_them() -> None:
    source = (
        "{% set off = messages[0].role == 'system' and '/no_think' in messages[0].content %}"
        "{% for m in messages %}[{{ m.content | replace('/no_think', '') | replace('/think', '') }}]"
        "{% endfor %}"
        "{{ 'N' if off else 'T' }}"
    )
    assert (await render(source, user("q"), think=False)).endswith("[q]N")
    assert (await render(source, system("S"), user("q"), think=True)).endswith("[q]T")


async def test_tools_are_listed_for_a_template_that_leaves_it_to_the_caller() -> None:
    source = "{% for m in messages %}[{{ m.role }}:{{ m.content }}]{% endfor %}"
    text = await render(source, system("S"), user("q"), tools=(TOOL,))
    assert text.startswith("[system:S\n\nYou may call these functions:") and '"name": "look"' in text


async def test_tools_take_the_form_that_the_template_reads() -> None:
    talk = "{% for m in messages %}{{ m.content }}{% endfor %}"
    function = {"name": "look", "description": "Looks", "parameters": dict(TOOL.parameters)}
    wrapped = [{"type": "function", "function": function}]
    for source, variables in [
        ("{{ tools | tojson if tools }}", {"tools": wrapped}),
        ("{% for t in tools or [] %}{{ t.name.upper() | lower }}{% endfor %}", {"tools": [function]}),
        ("{{ functions + '' }}", {"functions": json.dumps(wrapped)}),
    ]:
        assert (await prepared(talk + source, user("q"), tools=(TOOL,))).variables == variables


async def test_a_model_without_a_template_is_told_in_text() -> None:
    assert "<tool_response>\nr\n</tool_response>" in await render(PLAIN, *ROUND, generic=True)


MARKERS = ("<think>", "</think>")


@pytest.mark.parametrize(
    ("text", "behind", "expected"),
    [
        ("q<a>", "q", "none"),
        ("q<a><think>\n", "q", "open"),
        ("q<a><think>\n\n</think>\n\n", "q", "closed"),
        ("q<a></think>", "q", "closed"),
        ("what is <think>?<a>", "what is <think>?", "none"),
        ("think<a><think>", "think", "open"),
        ("q<a><think></think><a>", "q", "closed"),
    ],
)
def test_a_prompt_ends_inside_or_outside_of_thoughts(text: str, behind: str, expected: str) -> None:
    assert ending(text, MARKERS, behind=behind) == expected
    assert ending(text, None, behind=behind) == "none"


@pytest.mark.parametrize(
    ("said", "expected"), [("So", "closed"), ("<think>so", "open"), ("<think></think>a", "closed")]
)
def test_an_answer_that_is_continued_has_done_its_thinking(said: str, expected: str) -> None:
    assert ending_of_answer(said, MARKERS) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(arguments=st.dictionaries(st.text(min_size=1, max_size=5), JSON, max_size=4))
def test_arguments_survive_every_form(arguments: dict[str, Any]) -> None:
    conversation = Conversation(messages=[user("q"), assistant("", call(arguments, "x"))])
    for form in (CallForm(arguments="object"), CallForm(arguments="text")):
        shown = prepare(conversation, TemplateTraits(calls=form))
        written = shown.messages[1]["tool_calls"][0]["function"]["arguments"]
        assert (json.loads(written) if form.arguments == "text" else written) == arguments
    text = prepare(conversation, TemplateTraits(calls=None)).messages[1]["content"]
    body = text.removeprefix("<tool_call>\n").removesuffix("\n</tool_call>")
    assert json.loads(body) == {"name": "look", "arguments": arguments}
