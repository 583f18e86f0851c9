from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.schema_groups import Group, Refused
from support.schema_pairs import GROUPS
from support.schema_refusals import REFUSED

from agentkit_server.errors import BadRequest, SchemaRefused
from agentkit_server.turn.schema.grammars import matches
from agentkit_server.turn.schema.prepare import prepare
from agentkit_server.turn.schema.prepared import PreparedSchema

ROOT = Path(__file__).parents[3]
GRAMMAR = "start: value\n"


def accepts(prepared: PreparedSchema, value: Any, **how: Any) -> bool:
    text = json.dumps(value, ensure_ascii=False, **how)
    return matches(GRAMMAR + prepared.fragment("value"), text)


def name(group: Group | Refused) -> str:
    return f"{group.keyword}-{group.condition}"


def test_there_are_at_least_300_pairs() -> None:
    assert sum(len(group.valid) + len(group.invalid) for group in GROUPS) >= 300


@pytest.mark.parametrize("group", GROUPS, ids=name)
def test_a_schema_is_enforced_as_far_as_its_level_says(group: Group) -> None:
    prepared = prepare(group.schema)
    assert prepared.level == group.level
    assert bool(prepared.loose) == (prepared.level == "checked")
    for value in group.valid:
        assert accepts(prepared, value), value
        assert prepared.problems(value) == [], value
    for value in group.invalid:
        assert prepared.problems(value), value
        assert prepared.level == "checked" or not accepts(prepared, value), value


@pytest.mark.parametrize("refused", REFUSED, ids=name)
def test_what_cannot_be_enforced_is_refused_with_its_place(refused: Refused) -> None:
    with pytest.raises(SchemaRefused) as caught:
        prepare(refused.schema)
    (problem,) = caught.value.problems
    assert (problem.keyword, problem.pointer) == (refused.keyword, refused.pointer)
    assert problem.reason


def test_every_problem_is_listed_at_once() -> None:
    schema = {
        "properties": {"a/b": {"type": "any"}, "c": {"$ref": "other.json"}},
        "items": [{"pattern": "(?<=a)b"}, {"minLength": -1}],
        "required": "a",
    }
    with pytest.raises(SchemaRefused) as caught:
        prepare(schema)
    assert {(problem.pointer, problem.keyword) for problem in caught.value.problems} == {
        ("/properties/a~1b", "type"),
        ("/properties/c", "$ref"),
        ("/items/0", "pattern"),
        ("/items/1", "minLength"),
        ("", "required"),
    }


def test_a_loose_place_is_told_with_pointer_reason_and_rewrite() -> None:
    prepared = prepare({"properties": {"a": {"type": "array", "uniqueItems": True}}})
    (problem,) = prepared.loose
    assert (problem.pointer, problem.keyword) == ("/properties/a", "uniqueItems")
    assert problem.reason and problem.rewrite


ANY_NAME = ("", "^", ".*", "^[a-z]*", "a*|b")


@pytest.mark.parametrize("pattern", ANY_NAME)
def test_a_pattern_that_every_name_matches_speaks_of_every_property(pattern: str) -> None:
    number = {"type": "integer"}
    schema = {
        "type": "object",
        "properties": {"a": {"minimum": 3}, "b": number},
        "patternProperties": {pattern: number, "^c": {"maximum": 5}},
        "additionalProperties": False,
    }
    prepared = prepare(schema)
    assert prepared.level == "exact"
    for value in ({}, {"a": 3, "b": 0, "c": 5}, {"Z": 1}):
        assert accepts(prepared, value) and not prepared.problems(value), value
    for value in ({"a": 2}, {"a": "x"}, {"b": "x"}, {"c": 6}, {"c": "x"}, {"Z": "x"}):
        assert not accepts(prepared, value) and prepared.problems(value), value


@pytest.mark.parametrize("pattern", ["a", "^.*$", "^a*$"])
def test_a_pattern_that_some_names_do_not_match_says_nothing_of_those(pattern: str) -> None:
    schema = {"type": "object", "patternProperties": {pattern: {"type": "integer"}}}
    prepared = prepare(schema)
    assert accepts(prepared, {"a": 1}) and not accepts(prepared, {"a": "x"})
    other = {"b\n": "x"}
    assert accepts(prepared, other) and not prepared.problems(other)


def test_a_property_and_a_pattern_may_be_the_same_recursive_reference() -> None:
    person = {
        "allOf": [
            {
                "type": "object",
                "properties": {"by": {"$ref": "#/$defs/people"}, "name": {"type": "string"}},
                "required": ["name"],
                "additionalProperties": False,
            }
        ]
    }
    list_of = {"type": "array", "items": {"anyOf": [{"$ref": "#/$defs/person"}, {"type": "null"}]}}
    people = {"type": "object", "properties": {"first": list_of}, "patternProperties": {".*": list_of}}
    prepared = prepare({"$ref": "#/$defs/people", "$defs": {"people": people, "person": person}})
    assert prepared.level == "exact"
    deep = {"first": [{"by": {"x": [None, {"name": "n"}]}, "name": "m"}], "y": []}
    assert accepts(prepared, deep)
    assert not accepts(prepared, {"first": [{"name": 1}]}) and not accepts(prepared, {"y": [{"by": {}}]})


LINK = {"type": "string", "format": "uri", "maxLength": 30}
NEVER = {"type": "string", "minLength": 2, "maxLength": 1}


def test_a_string_that_comes_several_times_is_written_once() -> None:
    once = prepare({"type": "object", "properties": {"a": LINK}, "additionalProperties": False})
    names = [f"p{number}" for number in range(20)]
    often = prepare(
        {"type": "object", "properties": dict.fromkeys(names, LINK), "additionalProperties": False}
    )
    assert often.level == "exact"
    assert len(often.fragment("v")) < len(once.fragment("v")) + 20 * 40
    assert accepts(often, {"p3": "https://a.example"})
    for wrong in ("no link", "https://a.example/" + 30 * "x"):
        assert not accepts(often, {"p3": wrong}) and not accepts(often, {"p19": wrong})


def test_strings_that_nothing_matches_are_left_out_however_often_they_come() -> None:
    schema = {"type": "object", "properties": {"a": NEVER, "b": NEVER, "c": {"type": "integer"}}}
    prepared = prepare({**schema, "additionalProperties": False})
    assert prepared.level == "exact"
    assert accepts(prepared, {"c": 1}) and accepts(prepared, {})
    assert not accepts(prepared, {"a": "x"})
    with pytest.raises(SchemaRefused, match="no value can satisfy it"):
        prepare({**schema, "required": ["b"]})


def test_only_definitions_that_are_needed_are_in_the_grammar() -> None:
    schema = {"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#/$defs/b"}}, "b": {"type": "null"}}}
    unused = {"c": {"properties": {"unused": {"$ref": "#/$defs/a"}}}}
    fragment = prepare({**schema, "$defs": {**schema["$defs"], **unused}}).fragment("v")
    assert fragment == prepare(schema).fragment("v") and "unused" not in fragment


def test_every_loose_place_is_told_though_equal_ones_share_a_definition() -> None:
    unlike = {"type": "string", "pattern": "^(?!.*x)a+$"}
    prepared = prepare({"type": "object", "properties": {"a": unlike, "b": unlike}})
    assert [problem.pointer for problem in prepared.loose] == ["/properties/a", "/properties/b"]


def test_an_unknown_format_is_a_warning() -> None:
    prepared = prepare({"type": "string", "format": "slug"})
    assert prepared.level == "exact"
    assert any("slug" in warning for warning in prepared.warnings)


VALUE = {"a": [1, {"b": None}], "c": "x"}


@pytest.mark.parametrize(
    "how",
    [{"separators": (",", ":")}, {}, {"indent": 2}, {"indent": 4}, {"indent": "\t"}],
    ids=["compact", "spaced", "by 2", "by 4", "by tab"],
)
def test_usual_white_space_passes(how: dict[str, Any]) -> None:
    assert accepts(prepare({"type": "object"}), VALUE, **how)


@pytest.mark.parametrize("text", ['{"a":' + " " * 40 + "1}", '{\n\n"a":1}', ' {"a":1}', '{"a":1}\n'])
def test_white_space_is_bounded(text: str) -> None:
    assert not matches(GRAMMAR + prepare({"type": "object"}).fragment("value"), text)


def test_compact_leaves_no_white_space() -> None:
    prepared = prepare({"type": "object"}, compact=True)
    assert accepts(prepared, VALUE, separators=(",", ":"))
    assert not accepts(prepared, VALUE)


def test_a_white_space_pattern_replaces_the_default() -> None:
    prepared = prepare({"type": "object"}, whitespace_pattern="[ ]{3}")
    assert matches(GRAMMAR + prepared.fragment("value"), '{"a":   1}')
    assert not matches(GRAMMAR + prepared.fragment("value"), '{"a": 1}')


def test_a_white_space_pattern_that_is_none_is_refused() -> None:
    with pytest.raises(BadRequest):
        prepare({"type": "object"}, whitespace_pattern="(")


def test_keys_come_in_the_order_of_the_schema() -> None:
    forth = prepare({"properties": {"a": {}, "b": {}}, "type": "object"})
    back = prepare({"properties": {"b": {}, "a": {}}, "type": "object"})
    assert accepts(forth, {"a": 1, "b": 2}) and not accepts(forth, {"b": 2, "a": 1})
    assert accepts(back, {"b": 2, "a": 1}) and not accepts(back, {"a": 1, "b": 2})


def test_a_name_spelled_with_an_escape_is_no_other_name() -> None:
    prepared = prepare({"type": "object", "properties": {"a": {"type": "integer"}}})
    assert not matches(GRAMMAR + prepared.fragment("value"), '{"\\u0061":"x"}')


def test_the_same_schema_decoded_again_is_not_prepared_again() -> None:
    schema = {"type": "object", "properties": {"again": {"type": "integer"}}}
    assert prepare(copy.deepcopy(schema)) is prepare(copy.deepcopy(schema))


def test_fragments_keep_apart_in_one_grammar() -> None:
    one, other = prepare(GROUPS[0].schema), prepare({"type": "integer"})
    grammar = f'start: a "/" b\n{one.fragment("a")}{other.fragment("b")}'
    assert matches(grammar, "null/3")
    assert not matches(grammar, "3/null")


def deep(levels: int) -> Any:
    schema: Any = {"type": "integer"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


HOSTILE = {
    "deep": deep(150),
    "deeper": deep(5_000),
    "wide": {"properties": {f"p{n}": {"type": "string"} for n in range(1_000)}},
    "wider": {"properties": {f"p{n}": {"enum": [n]} for n in range(20_000)}},
    "a chain of references": {
        "$ref": "#/$defs/0",
        "$defs": {str(n): {"properties": {"a": {"$ref": f"#/$defs/{n + 1}"}}} for n in range(2_000)}
        | {"2000": {"type": "integer"}},
    },
    "doubling": {
        "$ref": "#/$defs/0",
        "$defs": {str(n): {"anyOf": [{"$ref": f"#/$defs/{n + 1}"}] * 2} for n in range(40)}
        | {"40": {"const": 1}},
    },
    "doubling, both": {
        "$ref": "#/$defs/0",
        "$defs": {str(n): {"allOf": [{"$ref": f"#/$defs/{n + 1}"}] * 2} for n in range(40)}
        | {"40": {"const": 1}},
    },
    "many negations": {"allOf": [{"not": {"enum": [f"{n}{m}" for m in range(50)]}} for n in range(50)]},
    "many branches": {"oneOf": [{"properties": {f"p{n}": {"type": "integer"}}} for n in range(150)]},
    "exploding pattern": {"type": "string", "pattern": "^(a|b|ab)*c(a|b){0,200}$"},
    "huge counts": {"type": "array", "minItems": 10**9, "items": {"type": "array", "maxItems": 10**12}},
    "huge lengths": {"type": "string", "minLength": 10**12},
    "dependencies": {"dependentRequired": {str(n): [str(n + 1)] for n in range(200)}},
    "no schema": {"properties": {"a": [], "b": 1}, "anyOf": {}, "type": {}, "$ref": 3},
}


@pytest.mark.parametrize("schema", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_schema_ends_in_a_grammar_or_a_refusal(schema: Any) -> None:
    try:
        prepared = prepare(schema)
    except BadRequest as refused:
        assert refused.message
    else:
        assert matches(GRAMMAR + prepared.fragment("value"), "this is no JSON") is False


def test_a_value_that_would_be_checked_for_ever_is_a_problem() -> None:
    assert prepare(HOSTILE["doubling"]).problems(2)


def test_the_reference_page_is_what_the_pairs_say() -> None:
    script = str(ROOT / "scripts" / "schema_reference.py")
    said = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True).stdout
    page = (ROOT / "docs" / "reference" / "json-schema.md").read_text(encoding="utf-8")
    assert said == page, "run: python scripts/schema_reference.py > docs/reference/json-schema.md"
