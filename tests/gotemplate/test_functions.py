"""Functions of the language that are not about printing or comparing, and functions that the caller gives."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

import pytest
from support.go_cases import ErrorRow, Row, check, check_error, table

from agentkit_server.gotemplate.template import GoStruct, GoTemplate, GoTemplateError, Printed

LOGIC: list[Row] = [
    ("and-all-true", "{{and 1 2 3}}", {}, "3"),
    ("and-first-false", '{{and 1 "" 0}}|{{and 1 0 ""}}', {}, "|0"),
    ("and-one", "{{and 0}}", {}, "0"),
    ("or-first-true", "{{or 0 2 3}}", {}, "2"),
    ("or-none-true", '{{or "" 0}}', {}, "0"),
    ("or-one", "{{or 5}}", {}, "5"),
    ("not", "{{not 0}} {{not 1}} {{not .None}} {{not .L}}", {"L": []}, "true false true true"),
    ("or-of-fields", "{{or .A .B}}", {"B": "x"}, "x"),
    ("and-of-nothing", "[{{and .A .B}}]", {}, "[<no value>]"),
    ("and-of-nil", "[{{and nil 1}}]", {}, "[<no value>]"),
    ("and-does-not-look-behind-the-first-false", "{{and .A (index .L 5)}}", {"A": 0, "L": []}, "0"),
    ("or-does-not-look-behind-the-first-true", "{{or .A (index .L 5)}}", {"A": 1, "L": []}, "1"),
    ("and-with-a-piped-value", "{{3 | and 1 2}}", {}, "3"),
    ("and-stops-before-a-piped-value", "{{3 | and 0}}", {}, "0"),
    ("or-with-a-piped-value", "{{3 | or 0}}", {}, "3"),
    ("and-of-only-a-piped-value", "{{3 | and}}", {}, "3"),
    ("within-if", "{{if and .A (or .B .C)}}x{{end}}", {"A": 1, "C": 1}, "x"),
    ("not-of-a-pipeline", "{{if not (and .A .B)}}x{{end}}", {"A": 1}, "x"),
    ("lists-are-values", "{{len (or .A .B)}}", {"A": [], "B": [1, 2]}, "2"),
]

LEN: list[Row] = [
    ("list", "{{len .}}", [1, 2, 3], "3"),
    ("map", "{{len .}}", {"a": 1, "b": 2}, "2"),
    ("empty-list", "{{len .}}", [], "0"),
    ("string", '{{len "abc"}}', {}, "3"),
    ("string-counts-bytes", '{{len "é日🙂"}}', {}, "9"),
    ("of-a-half-character", '{{len (slice "é" 1)}}', {}, "1"),
    ("of-escaped-bytes", r'{{len "\xff\xfe"}}', {}, "2"),
]

INDEX: list[Row] = [
    ("list", "{{index .L 1}}", {"L": ["a", "b"]}, "b"),
    ("map", '{{index .M "k"}}', {"M": {"k": 5}}, "5"),
    ("several", '{{index .L 1 "k" 0}}', {"L": [0, {"k": [7]}]}, "7"),
    ("no-index", "{{index .L}}", {"L": [1]}, "[1]"),
    ("missing-key", '[{{index .M "none"}}]', {"M": {}}, "[<no value>]"),
    ("key-with-a-dash", '{{index . "a-b"}}', {"a-b": 1}, "1"),
    ("string-gives-a-byte", '{{index "abc" 1}}', {}, "98"),
    ("string-gives-a-byte-of-a-character", '{{index "é" 1}}', {}, "169"),
    ("character-as-an-index", r"{{index .L '\x01'}}", {"L": [1, 2]}, "2"),
    ("of-a-pipeline", "{{.L | len | index .N}}", {"L": [1], "N": ["a", "b"]}, "b"),
    ("field-of-it", '{{(index .M "k").A}}', {"M": {"k": {"A": 1}}}, "1"),
    ("field-of-a-missing-one", '{{(index .M "k").A}}', {"M": {}}, "<no value>"),
    ("struct-within", "{{(index .L 0).A}}", {"L": [GoStruct({"A": 3})]}, "3"),
]

SLICE: list[Row] = [
    ("whole-list", "{{slice .}}", [1, 2, 3], "[1 2 3]"),
    ("from", "{{slice . 1}}", [1, 2, 3], "[2 3]"),
    ("from-to", "{{slice . 1 2}}", [1, 2, 3], "[2]"),
    ("with-capacity", "{{slice . 0 2 3}}", [1, 2, 3], "[1 2]"),
    ("empty-slice", "{{slice . 3}}", [1, 2, 3], "[]"),
    ("string", '{{slice "abcdef" 1 3}}', {}, "bc"),
    ("string-from", '{{slice "abcdef" 4}}', {}, "ef"),
    ("string-by-bytes", '{{slice "é日a" 2 5}}', {}, "日"),
    ("half-a-character", '[{{slice "é" 0 1}}]', {}, "[\ufffd]"),
    ("part-of-a-character", '[{{slice "日" 0 2}}]', {}, "[\ufffd\ufffd]"),
    ("halves-joined-again", '{{print (slice "é" 0 1) (slice "é" 1)}}', {}, "é"),
    ("halves-written-side-by-side", '{{slice "é" 0 1}}{{slice "é" 1}}', {}, "é"),
    ("halves-in-variables", '{{$a := slice "é" 0 1}}{{eq (print $a "\\xa9") "é"}}', {}, "true"),
    ("last-element", "{{index (slice . 2) 0}}", [1, 2, 3], "3"),
]

ESCAPES: list[Row] = [
    (
        "html",
        "{{html .}}",
        "<a href=\"x\">'&'</a>\0",
        "&lt;a href=&#34;x&#34;&gt;&#39;&amp;&#39;&lt;/a&gt;\ufffd",
    ),
    ("html-of-values", "{{html 1 true .None}}", {}, "1 true&lt;no value&gt;"),
    ("html-piped", '{{"<" | html}}', {}, "&lt;"),
    (
        "js",
        "{{js .}}",
        "a'b\"c\\d<e>&=\n\t\x7f",
        "a\\'b\\\"c\\\\d\\u003Ce\\u003E\\u0026\\u003D\\u000A\\u0009\x7f",
    ),
    ("js-of-any-script", "{{js .}}", "é日🙂\u2028\u00ad", "é日🙂\\u2028\\u00AD"),
    ("urlquery", "{{urlquery .}}", "a b&c=d/é?~-_.*", "a+b%26c%3Dd%2F%C3%A9%3F~-_.%2A"),
    ("urlquery-of-values", "{{urlquery 1 2}}", {}, "1+2"),
    ("urlquery-of-a-half-character", '{{urlquery (slice "é" 1)}}', {}, "%A9"),
    ("several-strings", '{{html "<" ">"}}', {}, "&lt;&gt;"),
    ("nothing", "[{{html}}{{js}}{{urlquery}}]", {}, "[]"),
]

BAD: list[ErrorRow] = [
    ("not-defined", "{{none 1}}", {}, 1, 3, 'function "none" not defined'),
    ("not-defined-as-an-argument", "{{print (none)}}", {}, 1, 10, 'function "none" not defined'),
    ("too-few", "{{len}}", {}, 1, 3, "wrong number of args for len: want 1 got 0"),
    ("too-many", "{{not 1 2}}", {}, 1, 3, "wrong number of args for not: want 1 got 2"),
    ("too-many-with-the-piped-one", "{{1 | len 2}}", {}, 1, 7, "wrong number of args for len: want 1 got 2"),
    ("none-at-all", "{{and}}", {}, 1, 3, "wrong number of args for and: want at least 1 got 0"),
    ("len-of-a-number", "{{len 3}}", {}, 1, 3, "error calling len: len of type int"),
    ("len-of-nil", "{{len nil}}", {}, 1, 3, "error calling len"),
    ("len-of-a-missing-key", "{{len .A}}", {}, 1, 3, "error calling len"),
    ("index-of-nil", "{{index nil 1}}", {}, 1, 3, "index of untyped nil"),
    ("index-of-a-missing-key", "{{index .A 1}}", {}, 1, 3, "index of untyped nil"),
    ("index-through-nil", '{{index .M "a" "b"}}', {"M": {}}, 1, 3, "index of nil pointer"),
    ("index-of-a-number", "{{index 1 1}}", {}, 1, 3, "can't index item of type int"),
    ("index-beyond", "\n  {{index . 3}}", [1, 2, 3], 2, 5, "index out of range: 3"),
    ("index-far-beyond", "{{index . 30}}", [1, 2, 3], 1, 3, "index out of range: 30"),
    ("index-negative", "{{index . -1}}", [1], 1, 3, "index out of range: -1"),
    (
        "index-of-a-list-by-a-string",
        '{{index . "a"}}',
        [1],
        1,
        3,
        "cannot index slice/array with type string",
    ),
    (
        "index-of-a-list-by-a-float",
        "{{index . 1.0}}",
        [1, 2],
        1,
        3,
        "cannot index slice/array with type float64",
    ),
    ("index-of-a-list-by-true", "{{index . true}}", [1, 2], 1, 3, "cannot index slice/array with type bool"),
    ("index-of-a-list-by-nil", "{{index . nil}}", [1, 2], 1, 3, "cannot index slice/array with nil"),
    ("index-of-a-map-by-a-number", "{{index . 1}}", {"a": 1}, 1, 3, "value has type int; should be string"),
    ("index-of-a-map-by-nil", "{{index . nil}}", {"a": 1}, 1, 3, "value is nil; should be of type string"),
    ("index-of-a-struct", '{{index . "A"}}', GoStruct({"A": 1}), 1, 3, "can't index item of type"),
    ("slice-of-nil", "{{slice nil}}", {}, 1, 3, "slice of untyped nil"),
    ("slice-of-a-map", "{{slice . 1}}", {}, 1, 3, "can't slice item of type map[string]interface {}"),
    ("slice-the-wrong-way", "{{slice . 2 1}}", [1, 2, 3], 1, 3, "invalid slice index: 2 > 1"),
    ("slice-beyond-its-capacity", "{{slice . 0 2 1}}", [1, 2, 3], 1, 3, "invalid slice index: 2 > 1"),
    ("slice-beyond", "{{slice . 4}}", [1, 2, 3], 1, 3, "index out of range: 4"),
    ("slice-of-a-string-beyond", '{{slice "é" 3}}', {}, 1, 3, "index out of range: 3"),
    ("slice-of-a-string-with-capacity", '{{slice "abc" 0 1 2}}', {}, 1, 3, "cannot 3-index slice a string"),
    ("slice-with-too-many", "{{slice . 0 1 2 3}}", [1, 2, 3], 1, 3, "too many slice indexes: 4"),
    ("printf-without-a-string", "{{printf 1}}", {}, 1, 3, "expected string"),
    ("printf-of-nil", "{{printf .A}}", {}, 1, 3, "expected string"),
    ("call-of-a-number", "{{call 1}}", {}, 1, 3, "error calling call"),
    ("call-of-nil", "{{call nil}}", {}, 1, 3, "error calling call: nil is not a function"),
]


@table(LOGIC)
def test_and_or_not(row: Row) -> None:
    check(row)


@table(LEN)
def test_len(row: Row) -> None:
    check(row)


@table(INDEX)
def test_index(row: Row) -> None:
    check(row)


@table(SLICE)
def test_slice(row: Row) -> None:
    check(row)


def test_an_index_of_slice_may_be_a_value_of_a_map_which_go_refuses() -> None:
    assert GoTemplate.parse("{{slice .L .N}}").render({"L": [1, 2, 3], "N": 1}) == "[2 3]"


@table(ESCAPES)
def test_html_js_and_urlquery(row: Row) -> None:
    check(row)


@table(BAD)
def test_a_call_that_cannot_be_made_is_an_error(row: ErrorRow) -> None:
    check_error(row)


def join(separator: str, *parts: Any) -> str:
    return separator.join(str(part) for part in parts)


def twice(text: str, again: str = "") -> str:
    return text + (again or text)


def fail() -> str:
    raise ValueError("no such thing")


GIVEN: dict[str, Callable[..., Any]] = {
    "join": join,
    "twice": twice,
    "fail": fail,
    "json": json.dumps,
    "nothing": lambda: None,
    "upper": functools.partial(str.upper),
    "pair": lambda: {"A": 1, "B": [2]},
    "break": lambda: "broken",
    "len": lambda value: f"length of {value}",
    "set": lambda: {1, 2},
}


@pytest.mark.parametrize(
    ("source", "written"),
    [
        ('{{join "-" 1 2}}', "1-2"),
        ('{{2 | join "-" 1}}', "1-2"),
        ('{{twice "a"}} {{twice "a" "b"}}', "aa ab"),
        ("{{json .}}", '{"k": [1, null]}'),
        ('{{"x" | upper}}', "X"),
        ("{{nothing}}", "<no value>"),
        ("{{(pair).A}} {{index (pair).B 0}} {{pair.A}}", "1 2 1"),
        ("{{range (pair).B}}{{.}}{{end}}", "2"),
        ("{{break}}", "broken"),
        ("{{range 2}}{{break}}{{end}}", "brokenbroken"),
        ("{{len 1}}", "length of 1"),
    ],
)
def test_functions_of_the_caller_get_values_and_come_before_the_languages_own(
    source: str, written: str
) -> None:
    assert GoTemplate.parse(source, GIVEN).render({"k": [1, None]}) == written


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("\n{{ fail }}", "error calling fail: no such thing"),
        ("\n{{ twice }}", "wrong number of args for twice: want at least 1 got 0"),
        ("\n{{ twice 1 2 3 }}", "wrong number of args for twice: want at most 2 got 3"),
        ("\n{{ nothing 1 }}", "wrong number of args for nothing: want 0 got 1"),
        ("\n{{ set }}", "a Python value of type 'set' is not a value of a template"),
        ("\n{{ nothing.A }}", "nil pointer evaluating interface {}.A"),
    ],
)
def test_what_goes_wrong_in_a_function_of_the_caller_is_an_error_with_its_place(
    source: str, words: str
) -> None:
    with pytest.raises(GoTemplateError, match=r"^template:2:4: ") as caught:
        GoTemplate.parse(source, GIVEN).render({})
    assert words in caught.value.reason


METHODS = {
    "Add": lambda first, second: first + second,
    "Me": lambda: GoStruct({"Name": "me", "Say": lambda text: f"me: {text}"}),
    "Nothing": lambda: None,
}


@pytest.mark.parametrize("data", [METHODS, GoStruct(METHODS)])
@pytest.mark.parametrize(
    ("source", "written"),
    [
        ("{{.Add 1 2}}", "3"),
        ("{{2 | .Add 1}}", "3"),
        ("{{.Me.Name}}", "me"),
        ('{{.Me.Say "hi"}}', "me: hi"),
        ('{{"hi" | .Me.Say}}', "me: hi"),
        ('{{$x := .Me}}{{$x.Say "hi"}}', "me: hi"),
        ('{{with .Me}}{{.Say "hi"}}{{end}}', "me: hi"),
        ("{{print (.Add 1 2) .Me.Name}}", "3me"),
        ("{{call .Add 1 2}}", "3"),
        ("{{2 | call .Add 1}}", "3"),
        ('{{call .Me.Say "hi"}}', "me: hi"),
        ("{{$.Add 1 2}}", "3"),
        ("[{{.Nothing}}]", "[<no value>]"),
    ],
)
def test_a_function_in_the_data_is_a_method(source: str, written: str, data: Any) -> None:
    assert GoTemplate.parse(source).render(data) == written


def test_a_function_that_is_a_value_is_called_by_call_and_cannot_be_printed() -> None:
    data = [lambda text: text * 2]
    assert GoTemplate.parse('{{call (index . 0) "ab"}}').render(data) == "abab"
    with pytest.raises(GoTemplateError, match="can't print a value of type func"):
        GoTemplate.parse("{{index . 0}}").render(data)


def test_a_printed_value_prints_as_its_text_and_is_itself_in_all_else() -> None:
    tools = Printed([{"Name": "clock"}], '[{"name":"clock"}]')
    source = (
        '{{.T}} {{len .T}} {{(index .T 0).Name}} {{range .T}}{{.Name}}{{end}} {{printf "%s|%d" .T .T}} {{.}}'
    )
    assert GoTemplate.parse(source).render({"T": tools}) == (
        '[{"name":"clock"}] 1 clock clock [{"name":"clock"}]|[map[%!d(string=Name):%!d(string=clock)]] '
        'map[T:[{"name":"clock"}]]'
    )
