"""Tagged parameters: the exact forms, how a value's type is decided, and what cannot be written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.calls import PLAIN, accepted, marks, matcher, read, tokens, tool

from agentkit_server.errors import SchemaRefused
from agentkit_server.turn.syntaxes.styles.tagged import Tagged

QWEN = Tagged(before="<parameter=", after=">\n", close="\n</parameter>", end="\n")
SEED = Tagged(before="<parameter=", after=">", close="</parameter>", end="\n")
GLM = Tagged(before="<arg_key>", after="</arg_key>\n<arg_value>", close="</arg_value>", end="\n")
DSML = Tagged(
    before='<｜DSML｜parameter name="',
    after={"string": '" string="true">', "other": '" string="false">'},
    close="</｜DSML｜parameter>",
    end="\n",
    empty="\n",
)
MINICPM = Tagged(before='<param name="', after='">', close="</param>", cdata=True)
ANY = tool({"s": {"type": "string"}, "n": {"type": "integer"}, "o": {"type": "object"}, "u": {}})


@pytest.mark.parametrize(
    ("style", "text"),
    [
        (QWEN, '<parameter=s>\nRome\n</parameter>\n<parameter=o>\n{"a": [1]}\n</parameter>\n'),
        (SEED, '<parameter=s>Rome</parameter>\n<parameter=o>{"a": [1]}</parameter>\n'),
        (
            GLM,
            "<arg_key>s</arg_key>\n<arg_value>Rome</arg_value>\n"
            '<arg_key>o</arg_key>\n<arg_value>{"a": [1]}</arg_value>\n',
        ),
        (
            DSML,
            '<｜DSML｜parameter name="s" string="true">Rome</｜DSML｜parameter>\n'
            '<｜DSML｜parameter name="o" string="false">{"a": [1]}</｜DSML｜parameter>\n',
        ),
    ],
)
def test_arguments_are_written_as_the_chat_template_writes_them(style: Tagged, text: str) -> None:
    assert style.write(ANY, {"o": {"a": [1]}, "s": "Rome"}) == text


@pytest.mark.parametrize(
    "value", ["", "\n", "\n\n", "a\n", "\na", " a ", "</parameter", "\n</", "ü\"'\\", "null"]
)
@pytest.mark.parametrize("style", [QWEN, SEED, GLM, DSML])
def test_a_string_comes_back_to_the_last_line_break(style: Tagged, value: str) -> None:
    text = style.write(ANY, {"s": value})
    assert accepted(style, ANY, text)
    assert json.loads(read(style, ANY, [*text, "!"])[0]) == {"s": value}


def test_a_string_streams_and_only_what_may_be_the_closing_tag_is_held_back() -> None:
    scanner = QWEN.scanner(ANY, PLAIN)
    said = [
        scanner.feed(piece)
        for piece in ["<parameter=s>\nRo", "me\n", "</para", "graph>\n</parameter>\n", "</"]
    ]
    assert said == [
        ('{"s": "Ro', None),
        ("me", None),
        ("", None),
        ('\\n</paragraph>"', None),
        ("}", "</"),
    ]


def test_a_closing_tag_without_its_line_break_is_understood() -> None:
    text = "<parameter=s>\nRome</parameter>\n"
    assert accepted(QWEN, ANY, text)
    assert read(QWEN, ANY, [text, "</function>"]) == ('{"s": "Rome"}', "</function>")


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        ({"type": ["string", "null"]}, "null", None),
        ({"type": ["string", "null"]}, "nullable", "nullable"),
        ({"type": ["string", "null"]}, " null", " null"),
        ({"type": ["string", "integer"]}, "12", 12),
        ({"type": ["string", "integer"]}, "012", "012"),
        ({"type": ["string", "integer"]}, "1.5", "1.5"),
        ({"type": ["string", "integer"]}, '"12"', '"12"'),
        ({"anyOf": [{"type": "string"}, {"type": "integer", "minimum": 10}]}, "9", "9"),
        ({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "integer"}}]}, "[1, 2]", [1, 2]),
        ({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "integer"}}]}, "[x]", "[x]"),
        ({}, "NaN", "NaN"),
        ({}, '{"a": 1}', {"a": 1}),
        ({}, "true", True),
        ({}, "truely", "truely"),
    ],
)
def test_text_that_is_json_of_another_allowed_type_is_that_and_any_other_a_string(
    schema: dict[str, Any], text: str, value: Any
) -> None:
    of = tool({"v": schema})
    whole = f"<parameter=v>{text}</parameter>\n"
    assert accepted(SEED, of, whole)
    for pieces in ([whole, "</"], [*whole, "</"]):
        assert json.loads(read(SEED, of, pieces)[0]) == {"v": value}
    assert SEED.loose(of) == ()


def test_the_tag_decides_where_it_names_the_type() -> None:
    of = tool({"v": {"type": ["string", "integer"]}})
    assert json.loads(read(DSML, of, [DSML.write(of, {"v": "12"}), "!"])[0]) == {"v": "12"}
    assert json.loads(read(DSML, of, [DSML.write(of, {"v": 12}), "!"])[0]) == {"v": 12}
    assert not accepted(DSML, of, DSML.write(of, {"v": 12}).replace("12", "x"))


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        ({"type": "string", "minLength": 2, "maxLength": 3}, ["ab", "é\n", "abc"], ["", "a", "abcd"]),
        ({"type": "string", "pattern": "^[a-z]+$"}, ["abc"], ["", "aBc", "abc1"]),
        ({"type": "string", "pattern": "b"}, ["b", "abc", "\nb\n"], ["", "ac"]),
        ({"type": "string", "pattern": "^a|c$"}, ["ax", "xc", "a"], ["xa", "cx"]),
        ({"type": "string", "pattern": r"^/x\d{2}$"}, ["/x12"], ["/x1", "x12"]),
        ({"type": "string", "format": "date"}, ["2026-02-28"], ["2026-02-30", "today"]),
        ({"type": "string", "format": "email"}, ["a.b@c.org"], ["a.b", "a@b@c"]),
        ({"enum": ["a", "b c"]}, ["a", "b c"], ["b", "", "abc"]),
        ({"anyOf": [{"enum": ["a", "b"]}, {"type": "null"}]}, ["a", "null"], ["nul", "c"]),
        ({"anyOf": [{"type": "string", "maxLength": 1}, {"type": "boolean"}]}, ["x", "true"], ["xx", "True"]),
        ({"allOf": [{"type": "string", "minLength": 2}, {"pattern": "^x"}]}, ["xy"], ["x", "yx"]),
        ({"type": "string", "enum": ["aa", "b"], "minLength": 2}, ["aa"], ["b"]),
        ({"type": "integer", "minimum": 5}, ["5", "12"], ["4", "x", "5.5"]),
    ],
)
def test_what_the_schema_says_of_a_value_is_in_the_grammar(
    schema: dict[str, Any], right: list[str], wrong: list[str]
) -> None:
    of = tool({"v": schema}, ["v"])
    assert QWEN.loose(of) == ()
    for text in right:
        assert accepted(QWEN, of, f"<parameter=v>\n{text}\n</parameter>\n"), text
    for text in wrong:
        assert not accepted(QWEN, of, f"<parameter=v>\n{text}\n</parameter>\n"), text


@pytest.mark.parametrize(
    ("properties", "more", "named"),
    [
        ({"v": {"type": "string", "pattern": "a(b|$)"}}, {}, "pattern"),
        ({"v": {"type": "string", "not": {"const": "x"}}}, {}, "'not'"),
        ({"v": {"anyOf": [{"enum": ["x"]}, {"type": "array"}]}}, {}, "types"),
        ({"v": {"type": "string"}, "w": {}}, {"minProperties": 1}, "minProperties"),
        ({"v": {"type": "string"}, "w": {}}, {"anyOf": [{"required": ["v"]}, {"required": ["w"]}]}, "anyOf"),
    ],
)
def test_what_the_grammar_cannot_say_is_said_to_the_caller(
    properties: dict[str, Any], more: dict[str, Any], named: str
) -> None:
    (why,) = QWEN.loose(tool(properties, **more))
    assert named in why


@pytest.mark.parametrize("most", [100, 5000, 20_000])
@pytest.mark.parametrize("style", [QWEN, GLM])
def test_a_length_limit_costs_little_where_the_closing_tag_begins(style: Tagged, most: int) -> None:
    of = tool({"v": {"type": "string", "minLength": 1, "maxLength": most}}, ["v"])
    found = matcher(style, of)
    for token in tokens(style.write(of, {"v": f"hello {style.close[:-1]} \n"})):
        found.compute_bitmask()
        assert found.consume_token(token), found.get_error()
    assert found.is_accepting()


def test_a_tag_behind_a_text_that_is_not_allowed_belongs_to_the_text() -> None:
    of = tool({"v": {"type": "string", "minLength": 15}}, ["v"])
    text = SEED.write(of, {"v": "</parameter>abc"})
    assert accepted(SEED, of, text)
    assert json.loads(read(SEED, of, [*text, "!"])[0]) == {"v": "</parameter>abc"}


@pytest.mark.parametrize(("limit", "length"), [("minLength", 1001), ("maxLength", 20_001)])
def test_a_length_past_what_a_grammar_counts_is_said_to_the_caller(limit: str, length: int) -> None:
    (why,) = QWEN.loose(tool({"v": {"type": "string", limit: length}}))
    assert str(length) in why


def test_undeclared_parameters_come_only_where_the_schema_says_so() -> None:
    text = "<parameter=a>\n1\n</parameter>\n<parameter=other>\n2\n</parameter>\n"
    properties = {"a": {"type": "integer"}}
    open_to_integers = tool(properties, additionalProperties={"type": "integer"})
    assert accepted(QWEN, open_to_integers, text)
    assert read(QWEN, open_to_integers, [text, "!"])[0] == '{"a": 1, "other": 2}'
    assert not accepted(QWEN, open_to_integers, text.replace("2", "x"))
    assert not accepted(QWEN, open_to_integers, text.replace("a>\n1", "a>\nx"))
    assert not accepted(QWEN, tool(properties), text)


def test_names_that_begin_alike_are_told_apart() -> None:
    of = tool({"a": {"type": "string"}, "ab": {"type": "string"}, "abc": {"type": "integer"}})
    text = QWEN.write(of, {"ab": "x", "abc": 3})
    assert accepted(QWEN, of, text)
    assert json.loads(read(QWEN, of, [*text, "!"])[0]) == {"ab": "x", "abc": 3}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, "a</parameter>b"),
        ({"type": ["string", "null"]}, "null"),
        ({"type": "integer"}, "x"),
        ({"type": ["string", "integer"], "maximum": 5}, 7),
    ],
)
def test_a_value_that_has_no_text_is_not_written(schema: dict[str, Any], value: Any) -> None:
    with pytest.raises(ValueError):
        QWEN.write(tool({"v": schema}), {"v": value})


def test_a_parameter_that_the_tool_does_not_declare_is_not_written() -> None:
    with pytest.raises(ValueError, match="'other'"):
        QWEN.write(ANY, {"other": 1})


def test_a_required_parameter_that_no_tag_can_name_is_refused() -> None:
    of = tool({"a>\nb": {"type": "string"}}, ["a>\nb"])
    with pytest.raises(SchemaRefused, match="name"):
        QWEN.fragment("args", of, PLAIN)


def test_text_may_hold_the_letters_of_a_tag_that_is_a_control_token() -> None:
    style = Tagged(before="<|one|>", after=">", close="</<|two|>x>")
    of, known = tool({"v": {"type": "string"}, "w": {"enum": ["</", "b"]}}), marks("<|one|>", "<|two|>")
    text = style.write(of, {"v": "a</b", "w": "</"})
    assert accepted(style, of, text, known)
    assert json.loads(read(style, of, [*known.text(text), "!"], known)[0]) == {"v": "a</b", "w": "</"}


def test_cdata_makes_a_string_of_what_would_be_read_as_something_else() -> None:
    of = tool({"v": {"type": ["string", "null"]}})
    text = MINICPM.write(of, {"v": "null"})
    assert text == '<param name="v"><![CDATA[null]]></param>'
    assert accepted(MINICPM, of, text)
    assert json.loads(read(MINICPM, of, [*text, "!"])[0]) == {"v": "null"}
    assert not accepted(MINICPM, of, '<param name="v">a<b</param>')


STRINGS = {"type": "array", "items": {"type": "string"}}


@pytest.mark.parametrize(
    ("schema", "value", "text"),
    [
        ({"anyOf": [{"type": "string"}, STRINGS]}, ["abc<"], '["abc<"]'),
        ({"anyOf": [STRINGS, {"enum": ["a&b", "c"]}]}, ["a&b"], '["a&b"]'),
        ({"type": ["string", "object"]}, {"<a>": {"b": "c&d\n"}}, '{"<a>": {"b": "c&d\\n"}}'),
        ({"enum": ["a<b", ["a<b"]]}, ["a<b"], '["a<b"]'),
        ({}, [{"html": "<p>"}], '[{"html": "<p>"}]'),
        ({}, '["abc<"]', '<![CDATA[["abc<"]]]>'),
        ({"enum": ["a<b", ["a<b"]]}, "a<b", "<![CDATA[a<b]]>"),
    ],
)
def test_of_values_that_may_be_strings_only_strings_stand_in_cdata(
    schema: dict[str, Any], value: Any, text: str
) -> None:
    of = tool({"v": schema})
    whole = MINICPM.write(of, {"v": value})
    assert whole == f'<param name="v">{text}</param>'
    assert accepted(MINICPM, of, whole)
    assert json.loads(read(MINICPM, of, [*whole, "!"])[0]) == {"v": value}


@pytest.mark.parametrize(
    ("schema", "text"), [({"type": ["string", "object"]}, "[<"), (STRINGS, "<![CDATA[[]]]>")]
)
def test_only_what_may_be_a_list_or_an_object_is_free_of_cdata(schema: dict[str, Any], text: str) -> None:
    assert not accepted(MINICPM, tool({"v": schema}), f'<param name="v">{text}</param>')
