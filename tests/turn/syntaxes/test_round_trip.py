"""What holds for every syntax: what is written is allowed by the grammar and read back as it was, whatever
the pieces; and what the grammar allows is read back as valid calls, or a valid answer."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from llama_cpp import Llama
from support.calls import calls as a_call
from support.smollm2 import gguf_path
from support.syntaxes import (
    Vocabulary,
    accepts,
    cut,
    families,
    generated,
    matcher,
    own_vocabulary,
    read,
    vocabularies,
    with_thinking,
)

from agentkit_server.errors import BadRequest, SchemaRefused
from agentkit_server.turn.schema.prepare import prepare
from agentkit_server.turn.syntaxes.arguments import CallableTool
from agentkit_server.turn.syntaxes.families import tagged_calls
from agentkit_server.turn.syntaxes.names import check_name
from agentkit_server.turn.syntaxes.shape import Shape
from agentkit_server.turn.syntaxes.syntax import Syntax
from agentkit_server.turn.syntaxes.write import write

FAMILIES = [with_thinking(one) for one in families()]
every = pytest.mark.parametrize("syntax", FAMILIES, ids=lambda one: one.name)
NAMES = [
    "get",
    "get_all",
    "a.b",
    "a:b",
    "<tool_call>",
    'say "hi"',
    "größe",
    "name",
    "analysis",
    "self",
    "all",
]
NUMBER = prepare(
    {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    }
)
Calls = list[tuple[str, dict[str, Any]]]


def tool(name: str, **properties: Any) -> CallableTool:
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return CallableTool(name=name, arguments=prepare(schema))


TOOLS = (tool("get", city={"type": "string"}), tool("get_all", n={"type": "integer"}))
TWO: Calls = [("get", {"city": "Rö<m>\n{e}"}), ("get_all", {"n": -3})]


def names_in(syntax: Syntax, vocabulary: Vocabulary) -> list[str]:
    """Those of NAMES that the syntax can write."""

    def can_be_written(name: str) -> bool:
        try:
            check_name(syntax, name, vocabulary.marks)
        except BadRequest:
            return False
        return True

    return [name for name in NAMES if can_be_written(name)]


@st.composite
def turns(draw: st.DrawFn) -> tuple[list[CallableTool], Calls]:
    """Tools without names yet, and calls that name them by number."""
    drawn = draw(st.lists(a_call(), min_size=1, max_size=3))
    tools = [replace(one, name=str(at)) for at, (one, _) in enumerate(drawn)]
    return tools, [(str(at), arguments) for at, (_, arguments) in enumerate(drawn)]


def named(turn: tuple[list[CallableTool], Calls], names: list[str]) -> tuple[list[CallableTool], Calls]:
    tools, calls = turn
    by_number = {one.name: name for one, name in zip(tools, names, strict=False)}
    kept = [replace(one, name=by_number[one.name]) for one in tools if one.name in by_number]
    return kept, [(by_number[number], arguments) for number, arguments in calls if number in by_number]


@every
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(turns(), st.permutations(NAMES), st.lists(st.integers(0, 10_000), max_size=8), st.data())
def test_what_is_written_is_allowed_and_read_back_in_any_pieces(
    syntax: Syntax,
    turn: tuple[list[CallableTool], Calls],
    order: list[str],
    places: list[int],
    data: st.DataObject,
) -> None:
    assert syntax.calls is not None
    thinking = data.draw(st.sampled_from(["", "Hm, <x>\nso {be} it"]))
    content = data.draw(st.sampled_from(["", "Let me see: <tool", "a\n\nb"]))
    vocabulary = data.draw(st.sampled_from(vocabularies(syntax)))
    possible = names_in(syntax, vocabulary)
    tools, calls = named(turn, [name for name in order if name in possible])
    calls = calls if syntax.calls.parallel else calls[:1]
    try:
        text = write(syntax, tools, thinking=thinking, content=content, calls=calls)
    except ValueError:
        # No text beside calls, or arguments that this style has no text for.
        assume(False)
        raise
    shape = Shape(tools=tuple(tools), calls="auto")
    try:
        assert accepts(syntax, shape, vocabulary, text)
    except SchemaRefused:
        assume(False)
    met = vocabulary.met(vocabulary.tokens(text))
    for pieces in (cut(met, places), met):
        found = read(syntax, shape, vocabulary, pieces)
        assert (found.thinking, found.content, found.values) == (thinking, content, calls)


@every
def test_a_cut_at_any_place_changes_nothing(syntax: Syntax) -> None:
    assert syntax.calls is not None
    vocabulary, calls = own_vocabulary(syntax), TWO if syntax.calls.parallel else TWO[:1]
    text = write(syntax, TOOLS, thinking="Hm <b", calls=calls)
    met = vocabulary.met(vocabulary.tokens(text))
    for place in range(len(met) + 1):
        found = read(syntax, Shape(tools=TOOLS, calls="required"), vocabulary, (met[:place], met[place:]))
        assert (found.thinking, found.content, found.values) == ("Hm <b", "", calls)


STRING_OR_LIST = {
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string", "minLength": 3}}]
}


@every
@pytest.mark.parametrize("value", ["abc<", "a&b", "a\nb", "<p>[]</p>", "]]>"])
def test_a_list_where_a_string_may_be_is_allowed_and_read_back_whatever_is_in_it(
    syntax: Syntax, value: str
) -> None:
    tools = (tool("get", a={"type": "integer"}, ab=STRING_OR_LIST),)
    calls: Calls = [("get", {"a": 0, "ab": [value]})]
    text = write(syntax, tools, calls=calls)
    for vocabulary in vocabularies(syntax):
        shape = Shape(tools=tools, calls="required")
        assert accepts(syntax, shape, vocabulary, text)
        met = vocabulary.met(vocabulary.tokens(text))
        for pieces in (met, [met]):
            assert read(syntax, shape, vocabulary, pieces).values == calls


def test_minicpm_writes_a_list_without_cdata_as_its_template_does() -> None:
    tools = (tool("get", a={"type": "integer"}, ab=STRING_OR_LIST),)
    text = write(tagged_calls.MINICPM, tools, calls=[("get", {"a": 0, "ab": ["abc<"]})])
    assert (
        text == '<function name="get"><param name="a">0</param><param name="ab">["abc<"]</param></function>'
    )


@pytest.fixture(scope="module")
def smollm2() -> Llama:
    return Llama(str(gguf_path()), vocab_only=True, verbose=False)


@every
def test_tokens_of_a_real_vocabulary_read_back(syntax: Syntax, smollm2: Llama) -> None:
    assert syntax.calls is not None
    vocabulary, calls = own_vocabulary(syntax), TWO if syntax.calls.parallel else TWO[:1]
    marks = vocabulary.marks
    text = write(syntax, TOOLS, thinking="Let me think.", calls=calls)
    pieces: list[str] = []
    for part in _parts(marks.text(text)):
        if part in map(marks.stand_in, marks.control.values()):
            pieces.append(part)
            continue
        bytes_so_far = b""
        for token in smollm2.tokenize(part.encode(), add_bos=False):
            bytes_so_far += smollm2.detokenize([token])
            try:
                pieces.append(bytes_so_far.decode())
            except UnicodeDecodeError:
                continue
            bytes_so_far = b""
    assert "".join(pieces) == marks.text(text) and len(pieces) > 15
    for place in range(len(pieces) + 1):
        at_once = ["".join(pieces[:place]), *pieces[place:]]
        found = read(syntax, Shape(tools=TOOLS, calls="required"), vocabulary, at_once)
        assert (found.thinking, found.content, found.values) == ("Let me think.", "", calls)


def _parts(text: str) -> list[str]:
    parts = [""]
    for char in text:
        if "\ud800" <= char <= "\udfff":
            parts += [char, ""]
        else:
            parts[-1] += char
    return [part for part in parts if part]


@every
@settings(max_examples=7, deadline=None)
@given(turns(), st.permutations(NAMES), st.randoms(use_true_random=False), st.data())
def test_whatever_a_grammar_allows_reads_back_as_valid_calls_or_a_valid_answer(
    syntax: Syntax,
    turn: tuple[list[CallableTool], Calls],
    order: list[str],
    chance: random.Random,
    data: st.DataObject,
) -> None:
    vocabulary = data.draw(st.sampled_from(vocabularies(syntax)))
    possible = names_in(syntax, vocabulary)
    tools, _ = named(turn, [name for name in order if name in possible])
    shape = Shape(
        tools=tuple(tools),
        calls=data.draw(st.sampled_from(("required", "auto", "required", "none"))),
        parallel=data.draw(st.booleans()),
        answer=data.draw(st.sampled_from((None, NUMBER.fragment))),
        thinking=data.draw(st.sampled_from(("free", "open", "forbidden", "forbidden"))),
    )
    try:
        start = matcher(syntax, shape, vocabulary)
    except BadRequest:
        # Arguments, or a combination, that this syntax cannot write.
        assume(False)
        raise
    taken = generated(start, vocabulary, chance, 250)
    if taken is None:
        return
    found = read(syntax, shape, vocabulary, [vocabulary.met(taken)])
    text = vocabulary.marks.stood_for(vocabulary.met(taken))
    assert not found.unfinished, text
    assert shape.thinking != "forbidden" or not found.thinking, text
    if shape.calls == "required":
        assert found.calls and not found.content, text
    if shape.calls == "none":
        assert not found.calls, text
    assert shape.parallel or len(found.calls) < 2, text
    for name, arguments in found.values:
        of = next(one for one in tools if one.name == name)
        assert not of.arguments.problems(arguments) or syntax.loose(of), (text, of.arguments.schema)
    if shape.answer is not None and not found.calls:
        assert not NUMBER.problems(json.loads(found.content)), text
