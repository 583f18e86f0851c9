"""Schemas of outputs: no room for properties that nobody named, where that can be."""

from __future__ import annotations

from typing import Any

import pytest

A = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}


B = {"type": "object", "properties": {"b": {"type": "string"}}, "required": ["b"]}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"allOf": [{"$ref": "#/$defs/A"}, B], "$defs": {"A": A}}, {"a": "x", "b": "y"}),
        ({**A, "anyOf": [B, {"properties": {"c": {"type": "null"}}}]}, {"a": "x", "b": "y"}),
        ({"if": A, "then": B}, {"a": "x", "b": "y", "c": "z"}),
        ({"not": A}, {"b": "y"}),
    ],
)
def test_closing_a_schema_leaves_what_is_put_together_satisfiable(schema: Any, value: Any) -> None:
    from jsonschema import Draft202012Validator

    from agentkit._schema import closed

    Draft202012Validator(closed(schema)).validate(value)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (A, {"a": "x", "more": 1}),
        ({"anyOf": [A, B]}, {"a": "x", "more": 1}),
        ({"type": "array", "items": A}, [{"a": "x", "more": 1}]),
        ({"properties": {"inner": A}}, {"inner": {"a": "x", "more": 1}}),
        ({"$ref": "#/$defs/A", "$defs": {"A": A}}, {"a": "x", "more": 1}),
    ],
)
def test_a_closed_schema_has_no_room_for_properties_that_nobody_named(schema: Any, value: Any) -> None:
    from jsonschema import Draft202012Validator

    from agentkit._schema import closed

    assert Draft202012Validator(schema).is_valid(value)
    assert not Draft202012Validator(closed(schema)).is_valid(value)
