"""Python keywords and objects with bare keys: their exact forms, and what their grammars say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.calls import PLAIN, accepted, marks, read, tool

from agentkit_server.errors import SchemaRefused
from agentkit_server.turn.syntaxes.styles.gemma import BareObject
from agentkit_server.turn.syntaxes.styles.python import PYTHON

GEMMA = BareObject(quote="<escape>")
ANY = tool({"s": {}, "n": {}, "o": {}})


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("s='it\\'s', n=-1.5e3", {"s": "it's", "n": -1500.0}),
        ('s="a\\"b\\n\\x41\\u00e9"', {"s": 'a"b\nA\u00e9'}),
        ("s=None,n=True", {"s": None, "n": True}),
        ("o={'a': [false, 'x'], \"b\": {}}", {"o": {"a": [False, "x"], "b": {}}}),
        ("s='two\nlines'", {"s": "two\nlines"}),
        ("", {}),
    ],
)
def test_python_literals_are_read_in_any_pieces(text: str, arguments: dict[str, Any]) -> None:
    assert accepted(PYTHON, ANY, text)
    for pieces in ([f"{text})]"], [*text, ")]"]):
        found, rest = read(PYTHON, ANY, pieces)
        assert (json.loads(found), rest) == (arguments, ")]")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('"\\U0001f600\\a\\v\\0"', "\U0001f600\a\v\0"),
        ('"\\d\\\n"', "\\d"),
        ('"\\ud83d\\ude00"', "\U0001f600"),
    ],
)
def test_escapes_that_no_grammar_here_writes_are_read_all_the_same(text: str, value: str) -> None:
    assert json.loads(read(PYTHON, ANY, [*f"s={text})"])[0]) == {"s": value}


def test_a_python_string_streams() -> None:
    scanner = PYTHON.scanner(ANY, PLAIN)
    said = [scanner.feed(piece) for piece in ['s="Ro', "me\\", 'n"', ", n=1", "2)"]]
    assert said == [('{"s": "Ro', None), ("me", None), ('\\n"', None), (', "n": ', None), ("12}", ")")]


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        (
            "{n:5,o:{a:[1,<escape>x<escape>],b:null},s:<escape>a, {b}<escape>}",
            {"n": 5, "o": {"a": [1, "x"], "b": None}, "s": "a, {b}"},
        ),
        ("{s:<escape><escape>}", {"s": ""}),
        ("{s:<escape>\n<esc<escape>}", {"s": "\n<esc"}),
        ("{}", {}),
    ],
)
def test_bare_objects_are_read_in_any_pieces(text: str, arguments: dict[str, Any]) -> None:
    assert accepted(GEMMA, ANY, text)
    assert GEMMA.write(ANY, arguments) == text
    for pieces in ([f"{text}<end>"], [*text, "<end>"]):
        found, rest = read(GEMMA, ANY, pieces)
        assert (json.loads(found), rest) == (arguments, "<end>")


def test_keys_of_a_bare_object_stand_in_alphabetical_order() -> None:
    of = tool({"b": {"type": "integer"}, "A": {"type": "integer"}}, ["b", "A"])
    assert GEMMA.write(of, {"b": 1, "A": 2}) == "{A:2,b:1}"
    assert accepted(GEMMA, of, "{A:2,b:1}")
    assert not accepted(GEMMA, of, "{b:1,A:2}")


def test_a_string_between_control_tokens_may_hold_their_letters() -> None:
    known, style = marks("<|one|>"), BareObject(quote="<|one|>")
    text = known.text("{s:<|one|>") + "<|one" + known.text("<|one|>}")
    assert read(style, ANY, [*text, "x"], known) == ('{"s": "<|one"}', "x")


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        ({"type": "string", "minLength": 1}, ["a", "\n"], [""]),
        ({"type": "string", "pattern": "^[a-c]+$"}, ["abc"], ["", "abd"]),
        ({"type": "integer", "minimum": 3}, [3, 40], [2, "x", None]),
        (
            {"type": "array", "items": {"enum": ["a", 1]}, "minItems": 1, "maxItems": 2},
            [["a"], [1, "a"]],
            [[], ["b"]],
        ),
        ({"type": "array", "items": {"type": "null"}, "maxItems": 0}, [[]], [[None]]),
        (
            {"prefixItems": [{"type": "string"}, {"type": "null"}], "items": False, "type": "array"},
            [[], ["a"], ["a", None]],
            [["a", None, 1], [None]],
        ),
        (
            {"type": "object", "properties": {"k": {"type": "boolean"}}, "required": ["k"]},
            [{"k": True}],
            [{}, {"k": 1}],
        ),
        (
            {"type": "object", "additionalProperties": {"type": "integer"}},
            [{}, {"x": 1, "y": 2}],
            [{"x": "a"}],
        ),
        ({"type": "object"}, [{}, {"x": [1, {"y": None}]}], [1]),
        ({"anyOf": [{"type": "string", "maxLength": 1}, {"type": "integer"}]}, ["a", 12], ["ab", 1.5]),
        ({"type": "integer", "anyOf": [{"minimum": 10}, {"maximum": 1}]}, [10, 1], [5]),
        ({"allOf": [{"type": "integer"}, {"minimum": 3}]}, [3], [2]),
        ({"const": {"a": [1, "x"]}}, [{"a": [1, "x"]}], [{"a": [1]}, {}]),
    ],
)
@pytest.mark.parametrize("style", [PYTHON, GEMMA])
def test_what_the_schema_says_of_a_value_is_in_the_grammar(
    style: Any, schema: dict[str, Any], right: list[Any], wrong: list[Any]
) -> None:
    of = tool({"v": schema}, ["v"])
    assert style.loose(of) == ()
    for value in right:
        assert accepted(style, of, style.write(ANY_VALUE, {"v": value})), value
    for value in wrong:
        assert not accepted(style, of, style.write(ANY_VALUE, {"v": value})), value


ANY_VALUE = tool({"v": {}})


@pytest.mark.parametrize("style", [PYTHON, GEMMA])
@pytest.mark.parametrize(
    ("schema", "named"),
    [
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "integer", "not": {"const": 3}}, "'not'"),
        ({"type": "object", "properties": {"x": {}}, "minProperties": 1}, "minProperties"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "oneOf"),
        ({"type": "string", "pattern": "a(b|$)"}, "pattern"),
    ],
)
def test_what_the_grammar_cannot_say_is_said_to_the_caller(
    style: Any, schema: dict[str, Any], named: str
) -> None:
    (why,) = style.loose(tool({"v": schema}))
    assert named in why and why.startswith("v")


@pytest.mark.parametrize(("style", "name"), [(PYTHON, "two words"), (GEMMA, "a:b")])
def test_a_required_name_that_cannot_stand_bare_is_refused(style: Any, name: str) -> None:
    of = tool({name: {"type": "string"}}, [name])
    with pytest.raises(SchemaRefused, match="cannot be written"):
        style.fragment("args", of, PLAIN)
    with pytest.raises(ValueError, match=name):
        style.write(of, {name: "x"})


def test_a_string_that_contains_its_delimiter_is_not_written() -> None:
    with pytest.raises(ValueError, match="escape"):
        GEMMA.write(ANY, {"s": "a<escape>b"})


def test_what_could_close_a_bound_string_too_early_is_not_in_the_grammar() -> None:
    of = tool({"v": {"type": "string", "minLength": 3}}, ["v"])
    assert accepted(GEMMA, of, "{v:<escape>abc<<escape>}")
    assert not accepted(GEMMA, of, "{v:<escape>ab<escape>}")
    assert not accepted(GEMMA, of, "{v:<escape>ab<escape>}abc<escape>}")
