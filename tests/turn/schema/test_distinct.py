"""Which arrays a schema says must have distinct items."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.schema_pairs import GROUPS

from agentkit_server.engine.distinct import Guard
from agentkit_server.engine.types import Distinct, Lead
from agentkit_server.turn.schema.distinct import distinct
from agentkit_server.turn.schema.document import read
from agentkit_server.turn.schema.prepare import prepare
from agentkit_server.turn.schema.validation import Validation
from agentkit_server.turn.syntaxes.lead import lead
from agentkit_server.turn.syntaxes.pieces import Marks
from agentkit_server.turn.syntaxes.shape import Shape
from agentkit_server.turn.syntaxes.syntax import Syntax

from .test_random_schemas import SCHEMAS, VALUES

SET = {"type": "array", "uniqueItems": True}
LIST = {"type": "array"}


def passes(rules: Distinct | None, value: Any) -> bool:
    if rules is None:
        return True
    guard = Guard(rules, lambda byte: bytes([byte]))
    return all(guard.take(byte) for byte in json.dumps(value).encode())


def guarded(schema: Any, value: Any) -> bool:
    return not passes(distinct(read(schema)), value)


REFUSED = {
    "at the top": (SET, [1, 1]),
    "a property": ({"properties": {"a": SET}}, {"a": ["x", "x"]}),
    "a property behind a reference": (
        {"properties": {"a": {"$ref": "#/$defs/s"}}, "$defs": {"s": SET}},
        {"a": [1, 1]},
    ),
    "other properties": ({"properties": {"a": LIST}, "additionalProperties": SET}, {"b": [1, 1]}),
    "a pattern where nothing else may be": (
        {"patternProperties": {"^a": SET, "b$": SET}, "additionalProperties": False},
        {"a": [1, 1]},
    ),
    "items": ({"items": SET}, [[1], [1, 1]]),
    "first items": ({"prefixItems": [LIST, SET]}, [[1, 1], [1, 1]]),
    "the only branch with an array": ({"oneOf": [{"type": "string"}, SET, {"type": "object"}]}, [1, 1]),
    "every branch": ({"anyOf": [{**SET, "minItems": 1}, {**SET, "maxItems": 5}]}, [1, 1]),
    "one of all": ({"allOf": [LIST, {"minItems": 1}, SET]}, [1, 1]),
    "then and else": ({"if": {"minItems": 3}, "then": SET, "else": SET}, [1, 1]),
    "recursive": (
        {"$ref": "#/$defs/n", "$defs": {"n": {"properties": {"n": {"$ref": "#/$defs/n"}, "s": SET}}}},
        {"n": {"n": {"s": [1, 1]}}},
    ),
}


@pytest.mark.parametrize(("schema", "value"), REFUSED.values(), ids=REFUSED)
def test_an_item_that_comes_twice_is_refused_in(schema: Any, value: Any) -> None:
    assert guarded(schema, value)


ALLOWED = {
    "a branch does not demand it": ({"anyOf": [SET, {**LIST, "maxItems": 2}]}, [1, 1]),
    "no type": ({"anyOf": [SET, {"minItems": 1}]}, [1, 1]),
    "then, not else": ({"if": {"minItems": 3}, "then": SET}, [1, 1]),
    "another property": ({"properties": {"a": SET}}, {"b": [1, 1]}),
    "inside": ({"properties": {"a": SET}}, {"a": [[1, 1]]}),
    "not": ({"not": SET}, [1, 1]),
    "a pattern beside others": ({"patternProperties": {"^a": SET}}, {"b": [1, 1]}),
    "depends on a property": ({"dependentSchemas": {"x": {"properties": {"a": SET}}}}, {"a": [1, 1]}),
    "draft 7, beside a reference": (
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "definitions": {"l": LIST},
            "properties": {"a": {"$ref": "#/definitions/l", "uniqueItems": True}},
        },
        {"a": [1, 1]},
    ),
}


@pytest.mark.parametrize(("schema", "value"), ALLOWED.values(), ids=ALLOWED)
def test_what_may_come_twice_passes_where(schema: Any, value: Any) -> None:
    assert not guarded(schema, value)


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: f"{group.keyword}-{group.condition}")
def test_no_valid_value_is_refused(group: Any) -> None:
    rules = distinct(read(group.schema))
    assert all(passes(rules, value) for value in group.valid)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(schema=SCHEMAS, values=st.lists(VALUES, min_size=4, max_size=10))
def test_no_valid_value_of_a_random_schema_is_refused(schema: Any, values: list[Any]) -> None:
    document = read(schema)
    rules, validation = distinct(document), Validation(document)
    for value in values:
        if not validation.problems(value):
            assert passes(rules, value), value


def test_too_large_a_schema_has_no_guard() -> None:
    wide = {"properties": {f"p{n}": {"prefixItems": [{}] * (n % 60) + [SET]} for n in range(4_000)}}
    assert distinct(read(wide)) is None or passes(distinct(read(wide)), {"p1": [1, 1]})
    many = {
        "allOf": [
            {"anyOf": [{**SET, "minItems": n}, {**LIST, "minItems": m}]} for n in range(9) for m in range(9)
        ]
    }
    assert passes(distinct(read(many)), [1, 1])


def test_only_a_schema_that_is_checked_has_a_guard() -> None:
    assert prepare({"items": {"type": "string"}, **SET}).distinct is not None
    assert prepare({"items": {"enum": ["a", "b"]}, **SET}).distinct is None


def test_what_an_item_can_be_is_told_where_the_schema_lists_it() -> None:
    rules = distinct(
        read({**SET, "items": {"anyOf": [{"enum": ["b", "a"]}, {"type": "null", "const": None}]}})
    )
    assert rules is not None and rules.places[0].values == ['"a"', '"b"', "null"]
    rules = distinct(read({**SET, "items": {"type": "integer", "minimum": 1, "exclusiveMaximum": 3}}))
    assert rules is not None and {*rules.places[0].values} >= {"1", "2"}


def bound(**fields: Any) -> Shape:
    return Shape(answer=lambda rule: f'{rule}: "x"\n', **fields)


def test_the_lead_is_what_the_syntax_and_the_prompt_leave_before_the_answer() -> None:
    syntax = Syntax(name="t", thinking=("<think>", "</think>"), resume="<go>")
    marks = Marks({"</think>": 7})
    assert lead(syntax, bound(thinking="forbidden"), marks) == Lead()
    assert lead(syntax, bound(thinking="open"), marks) == Lead(inside=True, closing=b"\xff<7><go>")
    assert lead(syntax, bound(), marks) == Lead(opening=b"<think>", closing=b"\xff<7><go>")
    assert not lead(syntax, Shape(), marks).answer
