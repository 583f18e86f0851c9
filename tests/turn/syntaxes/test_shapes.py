"""What a turn's grammar allows and forbids, and what its parser makes of what only looks like a marker."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.syntaxes import (
    Vocabulary,
    accepts,
    families,
    matcher,
    own_vocabulary,
    read,
    refused_at,
    with_thinking,
)

from agentkit_server.errors import BadRequest
from agentkit_server.turn.schema.prepare import prepare
from agentkit_server.turn.syntaxes.arguments import CallableTool
from agentkit_server.turn.syntaxes.families import json_calls, list_calls, message_calls, tagged_calls
from agentkit_server.turn.syntaxes.grammar import grammar
from agentkit_server.turn.syntaxes.parser import Parser
from agentkit_server.turn.syntaxes.pieces import Arguments, CallEnded, CallStarted
from agentkit_server.turn.syntaxes.shape import Shape
from agentkit_server.turn.syntaxes.syntax import Syntax
from agentkit_server.turn.syntaxes.write import write

ALL = [with_thinking(one) for one in families()]
every = pytest.mark.parametrize("syntax", ALL, ids=lambda one: one.name)
HERMES = with_thinking(json_calls.HERMES)
TEXT = Vocabulary(())
TWO_MARKS = Vocabulary(("<tool_call>", "</tool_call>"))
either = pytest.mark.parametrize("vocabulary", [TEXT, TWO_MARKS], ids=["text", "control"])


def tool(name: str, schema: dict[str, Any] | None = None) -> CallableTool:
    closed = {"type": "object", "properties": {}, "additionalProperties": False}
    return CallableTool(name=name, arguments=prepare({**closed, **(schema or {})}))


CITY = {"properties": {"city": {"type": "string"}}, "required": ["city"]}
NUMBER = {"properties": {"n": {"type": "integer", "maximum": 20}}, "required": ["n"]}
GET, GET_ALL = tool("get", CITY), tool("get_all", NUMBER)
CALL = '<tool_call>\n{"name": "get", "arguments": {"city": "Rome"}}\n</tool_call>'
OTHER = '<tool_call>\n{"name": "get_all", "arguments": {"n": 3}}\n</tool_call>'
ANSWER = prepare({"type": "object", **NUMBER, "additionalProperties": False}).fragment


def shape(**fields: Any) -> Shape:
    return Shape(**{"tools": (GET, GET_ALL), "calls": "auto", **fields})


ALLOWED = {
    "text": (shape(), "Hello <there>"),
    "nothing": (shape(), ""),
    "half a marker": (shape(), "see <tool_"),
    "a call": (shape(), CALL),
    "text and a call": (shape(), f"Let me see.\n{CALL}"),
    "two calls": (shape(), f"{CALL}\n{OTHER}\n"),
    "calls on one line": (shape(), CALL.replace("\n", "") + OTHER.replace("\n", "")),
    "spaced": (shape(), CALL.replace('"name":', '"name" :').replace("{", "{  ")),
    "thoughts": (shape(), "<think>\nHm <tool_call> {\n</think>\n\nHello"),
    "thoughts and a call": (shape(calls="required"), f"\n<think>\nHm\n</think>\n\n{CALL}"),
    "open thoughts": (shape(thinking="open"), f"Hm\n</think>\n\n{CALL}"),
    "thoughts in text": (shape(thinking="forbidden"), "I <think> so"),
    "none": (shape(calls="none"), "I could write <tool_"),
    "required": (shape(calls="required"), CALL),
    "one of two": (shape(tools=(GET_ALL,), calls="required"), OTHER),
    "not parallel": (shape(parallel=False), CALL),
    "bound": (shape(answer=ANSWER), ' \n{"n": 3}'),
    "bound, a call": (shape(answer=ANSWER), f"<think>x</think>\n{CALL}"),
    "bound, thoughts": (shape(answer=ANSWER, calls="none"), '<think>{"n": "x"}</think>\n{"n": 3}'),
}


@pytest.mark.parametrize(("allowed", "text"), ALLOWED.values(), ids=ALLOWED)
@either
def test_a_turn_may_be(allowed: Shape, text: str, vocabulary: Vocabulary) -> None:
    if vocabulary is TWO_MARKS and "Hm <tool_call>" in text:
        text = text.replace("Hm <tool_call>", "Hm")
    assert accepts(HERMES, allowed, vocabulary, text)


FORBIDDEN = {
    "text after a call": (shape(), f"{CALL}\n", "and so on"),
    "a call when none may be": (shape(calls="none"), "", CALL),
    "text where a call is required": (shape(calls="required"), "", "I think"),
    "text before a required call": (shape(calls="required"), "", f"a{CALL}"),
    "a second call": (shape(parallel=False), f"{CALL}\n", "<"),
    "an unknown name": (shape(), '<tool_call>\n{"name": "get_', 'none"'),
    "a tool that is not allowed": (shape(tools=(GET_ALL,)), '<tool_call>\n{"name": "get', '"'),
    "a missing argument": (shape(), '<tool_call>\n{"name": "get", "arguments": {', "}"),
    "a wrong type": (shape(), '<tool_call>\n{"name": "get_all", "arguments": {"n": ', '"'),
    "a number out of range": (shape(), '<tool_call>\n{"name": "get_all", "arguments": {"n": 2', "1"),
    "an unknown argument": (shape(), '<tool_call>\n{"name": "get", "arguments": {"city": "a"', ","),
    "too much space": (shape(), "<tool_call>" + 8 * " ", " "),
    "thoughts that are forbidden": (shape(thinking="forbidden"), "<think", ">"),
    "an answer that is not bound": (shape(answer=ANSWER), "", "Hello"),
    "text beside a bound answer": (shape(answer=ANSWER), '{"n": 3}', "a"),
    "text before a call beside a bound answer": (shape(answer=ANSWER), "", f"Hello {CALL}"),
    "open thoughts that stay open": (shape(thinking="open", calls="required"), CALL, ""),
}


@pytest.mark.parametrize(("forbidding", "good", "bad"), FORBIDDEN.values(), ids=FORBIDDEN)
@either
def test_a_turn_may_not_be(forbidding: Shape, good: str, bad: str, vocabulary: Vocabulary) -> None:
    place = refused_at(HERMES, forbidding, vocabulary, good + bad)
    assert place is not None
    if good and bad:
        assert place == len(vocabulary.tokens(good))


@every
def test_a_wrong_name_and_wrong_arguments_are_refused_at_the_first_byte(syntax: Syntax) -> None:
    vocabulary = own_vocabulary(syntax)
    lenient = [tool("get", {"properties": {"n": {"type": "integer"}}}), tool("gut")]
    allowed = Shape(tools=(tool("get", NUMBER),), calls="required")
    wrong_name = write(syntax, lenient, calls=[("gut", {})])
    place = refused_at(syntax, allowed, vocabulary, wrong_name)
    assert place == len(vocabulary.tokens(wrong_name[: wrong_name.index("gut") + 1]))
    wrong_number = write(syntax, lenient, calls=[("get", {"n": 21})])
    place = refused_at(syntax, allowed, vocabulary, wrong_number)
    assert place == len(vocabulary.tokens(wrong_number[: wrong_number.index("21") + 1]))


@every
def test_nothing_is_called_when_nothing_may_be(syntax: Syntax) -> None:
    vocabulary = own_vocabulary(syntax)
    text = write(syntax, [GET], calls=[("get", {"city": "x"})])
    allowed = Shape(tools=(GET,), calls="auto", thinking="forbidden")
    forbidden = Shape(tools=(GET,), calls="none", thinking="forbidden")
    assert accepts(syntax, allowed, vocabulary, text)
    assert not accepts(syntax, forbidden, vocabulary, text)
    assert not accepts(syntax, Shape(thinking="forbidden"), vocabulary, text)


@every
def test_an_answer_is_told_without_its_marks(syntax: Syntax) -> None:
    vocabulary = own_vocabulary(syntax)
    for calls in ("auto", "none"):
        wanted = Shape(tools=(GET,), calls=calls)
        text = write(syntax, [GET], thinking="Hm.", content="It is {3} <b>.\n\nSo.")
        assert accepts(syntax, wanted, vocabulary, text)
        found = read(syntax, wanted, vocabulary, list(vocabulary.met(vocabulary.tokens(text))))
        assert (found.thinking, found.content, found.calls) == ("Hm.", "It is {3} <b>.\n\nSo.", [])


@every
def test_tools_and_a_bound_answer_go_together(syntax: Syntax) -> None:
    vocabulary = own_vocabulary(syntax)
    wanted = Shape(tools=(GET,), calls="auto", answer=ANSWER)
    # Marks that are ordinary text could be part of what is bound: there are none beside it.
    kept = syntax.answer_always or vocabulary.marks.ids("".join(syntax.answer))
    marked = syntax if kept else replace(syntax, answer=("", ""))
    text = write(marked, [GET], thinking="Hm.", content='{"n": 3}')
    assert accepts(syntax, wanted, vocabulary, text)
    found = read(syntax, wanted, vocabulary, list(vocabulary.met(vocabulary.tokens(text))))
    assert (found.content, found.calls) == ('{"n": 3}', [])
    call = write(syntax, [GET], calls=[("get", {"city": "x"})])
    assert syntax.calls is not None
    call = syntax.calls.tag + call
    assert accepts(syntax, wanted, vocabulary, call)
    found = read(syntax, wanted, vocabulary, list(vocabulary.met(vocabulary.tokens(call))))
    assert (found.content, found.values) == ("", [("get", {"city": "x"})])


def test_calls_that_look_like_a_bound_answer_are_refused_where_nothing_tells_them_apart() -> None:
    with pytest.raises(BadRequest, match="leave out"):
        grammar(json_calls.LLAMA, shape(answer=ANSWER), TEXT.marks)


LOOKALIKES = ["<tool_", "a < b", "<tool_call", "</think>", "<thin", " <", "x <tool_calls>", "{", '{"nam']


@pytest.mark.parametrize("text", LOOKALIKES)
@pytest.mark.parametrize("syntax", [HERMES, json_calls.LLAMA, list_calls.GRANITE], ids=lambda one: one.name)
def test_text_that_looks_like_a_marker_is_not_lost(syntax: Syntax, text: str) -> None:
    vocabulary = own_vocabulary(syntax)
    assert accepts(syntax, shape(), vocabulary, text)
    for behind in ("", " and so on"):
        for pieces in ([text, behind], list(text + behind)):
            found = read(syntax, shape(), vocabulary, pieces)
            assert found.content == (text + behind).lstrip() and not found.calls


def test_a_marker_in_pieces_never_leaks() -> None:
    parts = ["Hi ", "<", "tool", "_call", ">", "\n", '{"na', 'me": "get", "argu', 'ments": {}}']
    assert read(HERMES, shape(tools=(tool("get"),)), TEXT, parts).content == "Hi"


def test_a_call_grows_while_it_is_generated() -> None:
    parser = Parser(HERMES, shape(), TEXT.marks)
    assert parser.feed('<tool_call>\n{"name": "get') == []
    assert parser.feed('"') == [CallStarted("get")]
    assert parser.feed(', "arguments": {"city": "Ro') == [Arguments('{"city": "Ro')]
    assert parser.feed('me"}') == [Arguments('me"}')]
    assert parser.feed("}\n</tool_call>") == [CallEnded()]


def test_an_unfinished_call_has_no_end() -> None:
    found = read(HERMES, shape(), TEXT, [CALL[:-1]])
    assert (found.unfinished, found.calls, found.content) == (1, [], "")


def test_whether_thoughts_are_open_is_known_at_any_time() -> None:
    parser = Parser(HERMES, shape(), TEXT.marks)
    states: list[bool] = []
    for piece in ("\n<thi", "nk>", "a", "</thi", "nk>", "\n", "b"):
        parser.feed(piece)
        states.append(parser.thinking)
    assert states == [False, True, True, True, False, False, False]


def test_harmony_thinks_speaks_aside_and_calls() -> None:
    syntax = message_calls.HARMONY
    vocabulary = own_vocabulary(syntax)
    text = (
        "<|channel|>analysis<|message|>One.<|end|><|start|>assistant"
        "<|channel|>commentary<|message|>Let me look.<|end|><|start|>assistant"
        "<|channel|>analysis<|message|>Two.<|end|><|start|>assistant"
        '<|channel|>commentary to=functions.get <|constrain|>json<|message|>{"city": "Rome"}'
    )
    assert accepts(syntax, shape(), vocabulary, text)
    assert not accepts(syntax, shape(parallel=True), vocabulary, text + "<|end|>")
    found = read(syntax, shape(), vocabulary, list(vocabulary.met(vocabulary.tokens(text))))
    assert (found.thinking, found.content) == ("One.Two.", "Let me look.")
    assert found.values == [("get", {"city": "Rome"})]


def test_an_answer_that_the_template_began_may_end_before_calls() -> None:
    syntax = message_calls.KIMI_K3
    vocabulary = own_vocabulary(syntax)
    text = "<|close|>response<|sep|>" + write(syntax, [GET], calls=[("get", {"city": "x"})])
    assert accepts(syntax, shape(calls="required"), vocabulary, text)
    found = read(syntax, shape(calls="required"), vocabulary, [vocabulary.met(vocabulary.tokens(text))])
    assert found.values == [("get", {"city": "x"})]


def test_ids_may_be_left_out_where_models_do() -> None:
    text = '[TOOL_CALLS] [{"name": "get", "arguments": {"city": "x"}}]'
    vocabulary = own_vocabulary(list_calls.MISTRAL_LIST)
    assert accepts(list_calls.MISTRAL_LIST, shape(), vocabulary, text)
    assert read(
        list_calls.MISTRAL_LIST, shape(), vocabulary, list(vocabulary.met(vocabulary.tokens(text)))
    ).calls


AWKWARD = [
    "<tool_call>",
    'say "hi"',
    "a\\b",
    "größe",
    "a.b",
    "</tool_call>",
    "naïve\n",
    "{}",
    " ",
    "\U0001f600",
]


@pytest.mark.parametrize("name", AWKWARD)
def test_a_name_is_whatever_json_can_hold(name: str) -> None:
    tools = (tool(name), tool(name + "x"))
    for chosen in tools:
        text = write(HERMES, tools, calls=[(chosen.name, {})])
        assert accepts(HERMES, shape(tools=tools), TEXT, text)
        assert read(HERMES, shape(tools=tools), TEXT, list(text)).values == [(chosen.name, {})]


UNWRITABLE = [
    (tagged_calls.QWEN_CODER, "a>b"),
    (tagged_calls.QWEN_CODER, " a"),
    (tagged_calls.GLM_COMPACT, "a<b"),
    (tagged_calls.MINIMAX_M2, 'a"b'),
    (tagged_calls.GEMMA_4, "a{b"),
    (json_calls.KIMI_K2, "a:b"),
    (message_calls.HARMONY, "a b"),
    (message_calls.MUSE, "self"),
    (message_calls.FUNCTIONARY_3_2, "all"),
    (json_calls.HERMES, ""),
    (json_calls.HERMES, "\ud800"),
]


@pytest.mark.parametrize(("syntax", "name"), UNWRITABLE, ids=lambda one: getattr(one, "name", repr(one)))
def test_a_name_that_could_not_be_read_back_is_refused_and_named(syntax: Syntax, name: str) -> None:
    with pytest.raises(BadRequest) as raised:
        grammar(syntax, shape(tools=(tool(name),)), own_vocabulary(syntax).marks)
    assert repr(name) in raised.value.message and raised.value.param == "tools"


@pytest.mark.parametrize("syntax", [HERMES, json_calls.LLAMA, list_calls.LFM2], ids=lambda one: one.name)
def test_five_hundred_tools_are_told_apart(syntax: Syntax) -> None:
    many = tuple(tool(f"tool_{at}", CITY if at % 2 else NUMBER) for at in range(500))
    vocabulary = own_vocabulary(syntax)
    found = matcher(syntax, shape(tools=many), vocabulary)
    text = write(syntax, many, calls=[("tool_499", {"city": "x"})])
    assert found.try_consume_tokens(vocabulary.tokens(text)) == len(vocabulary.tokens(text))
    assert found.is_accepting()
    assert read(syntax, shape(tools=many), vocabulary, [vocabulary.met(vocabulary.tokens(text))]).values == [
        ("tool_499", {"city": "x"})
    ]
