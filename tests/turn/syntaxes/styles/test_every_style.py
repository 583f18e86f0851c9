"""What holds for every way of writing arguments: what is written is allowed by the grammar and read back as
it was, whatever the pieces; and what the grammar allows is valid."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from support.calls import PLAIN, accepted, calls, cut, generated, marks, matcher, read, tool, tool_of

from agentkit_server.turn.syntaxes.arguments import ArgumentStyle
from agentkit_server.turn.syntaxes.pieces import Marks
from agentkit_server.turn.syntaxes.styles.gemma import BareObject
from agentkit_server.turn.syntaxes.styles.json import JSON
from agentkit_server.turn.syntaxes.styles.python import PYTHON
from agentkit_server.turn.syntaxes.styles.tagged import Tagged


@dataclass(frozen=True)
class Case:
    style: ArgumentStyle
    after: str
    """What a family writes behind the arguments."""
    known: Marks = PLAIN


QWEN = Tagged(before="<parameter=", after=">\n", close="\n</parameter>", end="\n")
SEED = Tagged(before="<parameter=", after=">", close="</parameter>", end="\n")
GLM = Tagged(before="<arg_key>", after="</arg_key>\n<arg_value>", close="</arg_value>", end="\n")
DSML = Tagged(
    before='<<|one|>parameter name="',
    after={"string": '" string="true">', "other": '" string="false">'},
    close="</<|one|>parameter>",
    end="\n",
    empty="\n",
)
CASES = {
    "json": Case(JSON, "</tool_call>"),
    "qwen": Case(QWEN, "</function>"),
    "seed": Case(SEED, "</function>"),
    "glm": Case(GLM, "</tool_call>"),
    "glm, control": Case(
        Tagged(before="<|one|>", after="<|two|><", close="<|two|>"), "<|two|>", marks("<|one|>", "<|two|>")
    ),
    "minicpm": Case(Tagged(before='<param name="', after='">', close="</param>", cdata=True), "</function>"),
    "deepseek": Case(DSML, "</<|one|>invoke>"),
    "deepseek, control": Case(DSML, "</<|one|>invoke>", marks("<|one|>")),
    "python": Case(PYTHON, ")]"),
    "functiongemma": Case(BareObject(quote="<escape>"), "<end>"),
    "gemma 4": Case(BareObject(quote="<|one|>"), "<|two|>", marks("<|one|>", "<|two|>")),
    "kimi": Case(
        Tagged(
            before='<|one|>argument key="',
            after={
                "null": '" type="null"<|two|>',
                "boolean": '" type="boolean"<|two|>',
                "number": '" type="number"<|two|>',
                "string": '" type="string"<|two|>',
                "array": '" type="array"<|two|>',
                "object": '" type="object"<|two|>',
            },
            close="<|one|>/argument<|two|>",
        ),
        "<|one|>/call<|two|>",
        marks("<|one|>", "<|two|>"),
    ),
}
every = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


@every
@settings(max_examples=60, deadline=None)
@given(calls(), st.lists(st.integers(0, 10_000), max_size=8))
def test_what_is_written_is_allowed_and_read_back_in_any_pieces(
    case: Case, call: tuple[Any, dict[str, Any]], places: list[int]
) -> None:
    of, arguments = call
    try:
        text = case.style.write(of, arguments)
    except ValueError:
        reject()
    assert accepted(case.style, of, text, case.known)
    met = case.known.text(text + case.after)
    for pieces in (cut(met, places), list(met)):
        found, rest = read(case.style, of, pieces, case.known)
        assert json.loads(found) == arguments
        assert rest is not None and case.known.stood_for(rest) == case.after


@every
@settings(max_examples=50, deadline=None)
@given(calls(), st.randoms(use_true_random=False))
def test_whatever_the_grammar_allows_is_valid(
    case: Case, call: tuple[Any, dict[str, Any]], chance: random.Random
) -> None:
    of, _ = call
    taken = generated(matcher(case.style, of, case.known), chance)
    if taken is None:
        return
    text = "".join(
        bytes(run).decode() if control is None else case.known.stand_in(control)
        for run, control in _runs(taken)
    )
    found, rest = read(case.style, of, [text, case.known.text(case.after)], case.known)
    assert rest == case.known.text(case.after), (found, text)
    problems = of.arguments.problems(json.loads(found))
    assert not problems or case.style.loose(of), (found, text)


def _runs(taken: list[int]) -> list[tuple[list[int], int | None]]:
    runs: list[tuple[list[int], int | None]] = [([], None)]
    for token in taken:
        if token < 256:
            runs[-1][0].append(token)
        else:
            runs += [([], token), ([], None)]
    return runs


@every
def test_a_tool_without_parameters_has_empty_arguments(case: Case) -> None:
    of = tool({})
    text = case.style.write(of, {})
    assert accepted(case.style, of, text, case.known)
    found, rest = read(case.style, of, [case.known.text(text + case.after)], case.known)
    assert (json.loads(found), rest) == ({}, case.known.text(case.after))


@every
def test_references_into_the_definitions_of_the_whole_schema_keep_working(case: Case) -> None:
    schema: Mapping[str, Any] = {
        "properties": {
            "tree": {"$ref": "#/$defs/tree"},
            "copy": {"$ref": "#/properties/size"},
            "size": {"$ref": "#/definitions/size"},
        },
        "required": ["size"],
        "$defs": {
            "tree": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "kids": {"type": "array", "items": {"$ref": "#/$defs/tree"}},
                },
                "required": ["name"],
                "additionalProperties": False,
            }
        },
        "definitions": {"size": {"enum": ["big", "small"]}},
    }
    of = tool_of(schema)
    arguments = {"tree": {"name": "a", "kids": [{"name": "b"}]}, "copy": "big", "size": "small"}
    text = case.style.write(of, arguments)
    assert accepted(case.style, of, text, case.known)
    found, _ = read(case.style, of, [case.known.text(text + case.after)], case.known)
    assert json.loads(found) == arguments
    assert not accepted(case.style, of, text.replace("small", "smell"), case.known)


@every
@pytest.mark.parametrize(
    "wrong", [{}, {"n": "x"}, {"n": 3, "unit": "kelvin"}, {"n": 21}, {"n": 3, "other": 1}]
)
def test_invalid_arguments_are_refused_by_the_grammar(case: Case, wrong: dict[str, Any]) -> None:
    properties = {"n": {"type": "integer", "maximum": 20}, "unit": {"enum": ["celsius", "fahrenheit"]}}
    lenient = tool({"n": {}, "unit": {"type": "string"}, "other": {}})
    text = case.style.write(lenient, wrong)
    assert accepted(case.style, lenient, text, case.known)
    assert not accepted(case.style, tool(properties, ["n"]), text, case.known)
