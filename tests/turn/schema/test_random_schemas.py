"""Random schemas: what a grammar accepts against what validation says."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentkit_server.errors import SchemaRefused
from agentkit_server.turn.schema.document import read
from agentkit_server.turn.schema.grammars import matches
from agentkit_server.turn.schema.prepare import prepare
from agentkit_server.turn.schema.prepared import PreparedSchema
from agentkit_server.turn.schema.validation import Validation


def accepts(prepared: PreparedSchema, value: Any) -> bool:
    text = json.dumps(value, ensure_ascii=False)
    return matches(f"start: value\n{prepared.fragment('value')}", text)


NAMES = st.sampled_from(["a", "b", "c"])
SCALARS = st.sampled_from([None, True, False, 0, 1, 2, 5, -1, 1.5, "", "a", "b", "ab", "abc", "x-1"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
SMALL = st.integers(0, 3)
PLAIN = st.one_of(
    st.builds(
        lambda kind: {"type": kind},
        st.sampled_from(
            ["null", "boolean", "integer", "number", "string", "array", "object", ["string", "null"]]
        ),
    ),
    st.builds(lambda value: {"const": value}, SCALARS | st.just([]) | st.just({"a": 1})),
    st.builds(lambda values: {"enum": values}, st.lists(SCALARS, min_size=1, max_size=4)),
    st.builds(
        lambda keyword, edge: {keyword: edge},
        st.sampled_from(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"]),
        SMALL,
    ),
    st.builds(
        lambda keyword, count: {keyword: count},
        st.sampled_from(["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"]),
        SMALL,
    ),
    st.builds(
        lambda pattern: {"pattern": pattern},
        st.sampled_from(["^a", "b$", "^(a|ab)$", "^x-", "^(?!a)", "[^a]"]),
    ),
    st.builds(lambda names: {"required": names}, st.lists(NAMES, min_size=1, max_size=2, unique=True)),
    st.builds(lambda name, needed: {"dependentRequired": {name: [needed]}}, NAMES, NAMES),
    st.just({"uniqueItems": True}),
    st.sampled_from([True, False]),
)


def grown(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        st.builds(
            lambda keyword, parts: {keyword: parts}, st.sampled_from(["allOf", "anyOf", "oneOf"]), some
        ),
        st.builds(lambda schema: {"not": schema}, inner),
        st.builds(lambda test, then, other: {"if": test, "then": then, "else": other}, inner, inner, inner),
        st.builds(lambda parts: {"properties": parts}, st.dictionaries(NAMES, inner, min_size=1, max_size=2)),
        st.builds(
            lambda parts, rest: {"properties": parts, "additionalProperties": rest},
            st.dictionaries(NAMES, inner, max_size=2),
            inner,
        ),
        st.builds(lambda schema: {"patternProperties": {"^[ab]": schema}}, inner),
        st.builds(lambda schema: {"propertyNames": schema}, inner),
        st.builds(lambda name, schema: {"dependentSchemas": {name: schema}}, NAMES, inner),
        st.builds(lambda schema, unique: {"items": schema, "uniqueItems": unique}, inner, st.booleans()),
        st.builds(lambda parts, rest: {"prefixItems": parts, "items": rest}, some, inner),
        st.builds(lambda schema: {"contains": schema, "maxItems": 3}, inner),
        st.builds(lambda parts: {"allOf": parts, "unevaluatedProperties": False}, some),
        st.builds(
            lambda one, other: {**one, **other} if isinstance(one, dict) and isinstance(other, dict) else one,
            inner,
            inner,
        ),
    )


SCHEMAS = st.recursive(PLAIN, grown, max_leaves=5)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(schema=SCHEMAS, values=st.lists(VALUES, min_size=4, max_size=10))
def test_what_jsonschema_refuses_no_exact_grammar_accepts(schema: Any, values: list[Any]) -> None:
    try:
        prepared = prepare(schema)
    except SchemaRefused as refused:
        assert all(
            "no value" in problem.reason or "no finite" in problem.reason for problem in refused.problems
        ), refused
        return
    for value in values:
        if prepared.level == "exact" and accepts(prepared, value):
            assert prepared.problems(value) == []


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(schema=SCHEMAS, values=st.lists(VALUES, min_size=4, max_size=10))
def test_a_grammar_allows_all_that_is_valid(schema: Any, values: list[Any]) -> None:
    try:
        prepared = prepare(schema)
    except SchemaRefused:
        prepared = None
    for value in values:
        if _one_spelling(value) and not Validation(read(schema)).problems(value):
            assert prepared is not None, value
            assert accepts(prepared, value), value


def _one_spelling(value: Any) -> bool:
    """Objects of more than one key are met in an order of the grammar's own."""
    if isinstance(value, dict):
        return len(value) < 2 and all(map(_one_spelling, value.values()))
    return all(map(_one_spelling, value)) if isinstance(value, list) else True
