from __future__ import annotations

from typing import Any

import pytest

from agentkit_server.errors import BadRequest, InvalidGrammar, SchemaRefused
from agentkit_server.turn.schema.answer import answer
from agentkit_server.turn.schema.grammars import matches
from agentkit_server.turn.types import ResponseFormat

ARITHMETIC = r"""
root  ::= (expr "=" ws term "\n")+   # lines
expr  ::= term ([-+*/] term)*
term  ::= ident | num | "(" ws expr ")" ws
ident ::= [a-z] [a-z0-9_]* ws
num   ::= [0-9]+ ws
ws    ::= [ \t\n]*
"""
JSON_GBNF = r"""
root ::= "{" ws (pair ("," ws pair)*)? "}"
pair ::= string ":" ws value
value ::= string | num | root | "[" ws (value ("," ws value)*)? "]" | "true"
string ::= "\"" ( [^"\\\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) )* "\"" ws
num ::= "-"? [0-9]{1,15} ws
ws ::= | " " | "\n" [ \t]{0,20}
"""
TAKEN = [
    ("json_object", None, ["{}", '{"a": [1]}'], ["[]", "1", " {}", ""]),
    ("json_schema", {"type": "integer"}, ["1", "-3"], ["1.5", '"1"', "1 "]),
    ("json_schema", True, ["1", "[]"], ["x"]),
    ("regex", r"^\d{3}/x$", ["123/x"], ["12/x", "0123/x", "123/x\n"]),
    ("regex", "a|b", ["a", "b"], ["ab", ""]),
    ("regex", r"a\$", ["a$"], ["a"]),
    ("regex", "(?P<year>[0-9]{4})\n", ["2024\n"], ["2024"]),
    ("regex", '[^"]+', ["ab", "a\\b"], ['a"b', ""]),
    (
        "choice",
        ["yes", "yes, but", 'a"b\\\n', "é/ü"],
        ["yes", "yes, but", 'a"b\\\n', "é/ü"],
        ["no", "", "yes,"],
    ),
    ("choice", [f"c{n}" for n in range(5_000)], ["c0", "c4999"], ["c5000", "c"]),
    ("grammar", 'start: "a" B+\nB: /[0-9]/', ["a1", "a123"], ["a", "1"]),
    ("grammar", '%llguidance {}\nstart: "<b>" x // <no>\nx: "}" | x "}"', ["<b>}", "<b>}}"], ["<b>"]),
    ("grammar", ARITHMETIC, ["x=1\n", "(a +2)*3=x\ny=2\n"], ["x=1", "=1\n", "x=\n"]),
    ("grammar", JSON_GBNF, ['{"a": [1, "x\\n"]}', "{}"], ["[]", '{"a" 1}']),
    ("grammar", 'root ::= [a-z]* "x" ("\\u00e9" | ) b-C\nb-C ::= "" | "z"', ["axé", "xx", "xz"], ["a"]),
    ("grammar", 'root ::= "no" [a-c]{2,3} . | "yes"', ["yes", "noab!"], ["noa!", "no"]),
]


def bound(kind: Any, value: Any, **how: Any) -> Any:
    return answer(ResponseFormat(kind=kind, value=value, **how))


@pytest.mark.parametrize(("kind", "value", "taken", "refused"), TAKEN)
def test_an_answer_is_what_was_asked_for(kind: Any, value: Any, taken: list[str], refused: list[str]) -> None:
    asked = bound(kind, value)
    assert asked.level == "exact" and not asked.loose
    grammar = f"start: answer\n{asked.fragment('answer')}"
    for text in taken:
        assert matches(grammar, text), text
        assert asked.problems(text) == []
    for text in refused:
        assert not matches(grammar, text), text
        assert text.strip() != text or asked.problems(text), text


REFUSED = [
    ("json_schema", "string", BadRequest),
    ("json_schema", {"type": "any"}, SchemaRefused),
    ("regex", 3, BadRequest),
    ("regex", "(a", InvalidGrammar),
    ("regex", "(?!a)b", InvalidGrammar),
    ("regex", "((a{900}){900}){9}", InvalidGrammar),
    ("regex", "a^b", InvalidGrammar),
    ("choice", [], BadRequest),
    ("choice", "yes", BadRequest),
    ("choice", ["a", 1], BadRequest),
    ("choice", [""], BadRequest),
    ("choice", ["\ud800"], BadRequest),
    ("choice", [f"c{n}" for n in range(10_001)], BadRequest),
    ("grammar", "", BadRequest),
    ("grammar", "start: x", InvalidGrammar),
    ("grammar", 'start: "a" }\nb: "c"', InvalidGrammar),
    ("grammar", "start: <[5]>", InvalidGrammar),
    ("grammar", "start: <|im_end|>", InvalidGrammar),
    ("grammar", "start: @other", InvalidGrammar),
    ("grammar", "start: x\nx[max_tokens=3]: /a+/", InvalidGrammar),
    ("grammar", 'start: %json {"type": "object"}', InvalidGrammar),
    ("grammar", '%llguidance {"allow_invalid_utf8": true}\nstart: "a"', InvalidGrammar),
    ("grammar", "start: start", InvalidGrammar),
    (
        "grammar",
        "start: r0\n" + "".join(f'r{n}: "a" r{n + 1}\n' for n in range(5_000)) + 'r5000: "b"',
        InvalidGrammar,
    ),
    ("grammar", "x" * 300_000, InvalidGrammar),
    ("grammar", 'root ::= "a', InvalidGrammar),
    ("grammar", "root ::= missing", InvalidGrammar),
    ("grammar", 'other ::= "a"', InvalidGrammar),
    ("grammar", 'root ::= "a"\nroot ::= "b"', InvalidGrammar),
    ("grammar", "root ::= " + "(" * 3_000 + '"a"' + ")" * 3_000, InvalidGrammar),
    ("grammar", 'root ::= ("a"', InvalidGrammar),
    ("grammar", 'root ::= "a"{3,2}', InvalidGrammar),
    ("grammar", "root ::= [z-a]", InvalidGrammar),
    ("grammar", "root ::= []", InvalidGrammar),
    ("grammar", 'root ::= "\\ud800"', InvalidGrammar),
    ("grammar", "root ::= <|im_end|>", InvalidGrammar),
    ("grammar", "root ::= root", InvalidGrammar),
]


@pytest.mark.parametrize(("kind", "value", "error"), REFUSED)
def test_what_cannot_be_followed_is_refused(kind: Any, value: Any, error: type[BadRequest]) -> None:
    with pytest.raises(error) as caught:
        bound(kind, value)
    assert len(str(caught.value)) < 2_000


def test_compact_and_white_space_reach_the_schema() -> None:
    compact = f"start: a\n{bound('json_object', None, compact=True).fragment('a')}"
    assert matches(compact, '{"a":1}') and not matches(compact, '{"a": 1}')
    wide = f"start: a\n{bound('json_schema', {}, whitespace_pattern='[ ]{4}').fragment('a')}"
    assert matches(wide, '{"a":    1}')


def test_a_loose_schema_is_told_and_its_answers_checked() -> None:
    asked = bound("json_schema", {"type": "array", "uniqueItems": True})
    assert asked.level == "checked" and asked.loose
    assert asked.problems("[1, 1]") and asked.problems("[1,") and asked.problems("[1, 2]") == []


def test_an_answer_nested_too_deeply_to_read_is_a_problem() -> None:
    assert bound("json_schema", True).problems("[" * 100_000)


def test_several_answers_and_their_rules_keep_apart_in_one_grammar() -> None:
    one = bound("grammar", 'start: x\nx: "1" Y\nY: "2"')
    other = bound("grammar", 'root ::= x\nx ::= "3"')
    third = bound("json_object", None)
    grammar = f"start: x other third\n{one.fragment('x')}{other.fragment('other')}{third.fragment('third')}"
    assert matches(grammar, "123{}")
