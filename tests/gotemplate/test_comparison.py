"""eq, ne, lt, le, gt, ge."""

from __future__ import annotations

from support.go_cases import ErrorRow, Row, check, check_error, table

from agentkit_server.gotemplate.template import GoStruct

EQUAL: list[Row] = [
    (name, f"{{{{{source}}}}}", data, written)
    for name, source, data, written in (
        ("integers", "eq 1 1", {}, "true"),
        ("unequal-integers", "eq 1 2", {}, "false"),
        ("strings", 'eq "a" "a"', {}, "true"),
        ("unequal-strings", 'eq "a" "A"', {}, "false"),
        ("floats", "eq 1.5 1.5", {}, "true"),
        ("truth-values", "eq true true", {}, "true"),
        ("one-against-many", "eq 3 1 2 3", {}, "true"),
        ("one-against-many-others", "eq 3 1 2 4", {}, "false"),
        ("stops-at-the-first", 'eq 1 1 "a"', {}, "true"),
        ("fields", "eq .A .B", {"A": "x", "B": "x"}, "true"),
        ("character-and-integer", "eq 'a' 97", {}, "true"),
        ("byte-of-a-string", 'eq (index "a" 0) 97', {}, "true"),
        ("piped", "1 | eq 1", {}, "true"),
        ("nil-and-nil", "eq nil nil", {}, "true"),
        ("nil-and-missing", "eq .A nil", {}, "true"),
        ("missing-and-missing", "eq .A .B", {}, "true"),
        ("nil-and-integer", "eq .A 1", {}, "false"),
        ("string-and-nil", 'eq "" nil', {}, "false"),
        ("list-and-nil", "eq .L nil", {"L": []}, "false"),
        ("nil-and-list", "eq nil .L", {"L": []}, "false"),
        ("structs", "eq .A .B", {"A": GoStruct({"X": 1}), "B": GoStruct({"X": 1})}, "true"),
        ("unequal-structs", "eq .A .B", {"A": GoStruct({"X": 1}), "B": GoStruct({"X": 2})}, "false"),
        (
            "structs-with-other-fields",
            "eq .A .B",
            {"A": GoStruct({"X": 1}), "B": GoStruct({"Y": 1})},
            "false",
        ),
        ("structs-in-structs", "eq .A .A", {"A": GoStruct({"X": GoStruct({"Y": "z"}), "N": None})}, "true"),
        ("ne", "ne 1 2", {}, "true"),
        ("ne-equal", 'ne "a" "a"', {}, "false"),
        ("ne-nil", "ne .A nil", {"A": 1}, "true"),
        ("not-a-number-is-not-itself", "eq .N .N", {"N": float("nan")}, "false"),
        ("infinity", "eq .N .N", {"N": float("inf")}, "true"),
        ("any-script", r'eq "é" "\u00e9"', {}, "true"),
        ("bytes", r'eq "\xff" "\xff"', {}, "true"),
    )
]

ORDER: list[Row] = [
    (f"{operator}-{name}", f"{{{{{operator} {values}}}}}", data, "true" if holds else "false")
    for name, values, data, truths in (
        ("less", "1 2", {}, "TTFF"),
        ("same", "2 2", {}, "FTFT"),
        ("greater", "3 2", {}, "FFTT"),
        ("floats-less", "1.5 2.5", {}, "TTFF"),
        ("strings-less", '"a" "b"', {}, "TTFF"),
        ("strings-by-bytes", '"Z" "a"', {}, "TTFF"),
        ("strings-shorter", '"a" "aa"', {}, "TTFF"),
        ("strings-of-any-script", '"é" "日"', {}, "TTFF"),
        ("not-a-number", ".N 1.0", {"N": float("nan")}, "FFTT"),
    )
    for operator, holds in zip(("lt", "le", "gt", "ge"), (letter == "T" for letter in truths), strict=True)
]

INCOMPARABLE: list[ErrorRow] = [
    ("integer-and-string", '{{eq 1 "1"}}', {}, 1, 3, "incompatible types for comparison: int and string"),
    ("integer-and-float", "{{eq 1 1.0}}", {}, 1, 3, "incompatible types for comparison: int and float64"),
    ("truth-value-and-integer", "{{eq true 1}}", {}, 1, 3, "incompatible types for comparison: bool and int"),
    ("a-later-one", '{{eq 1 2 "1"}}', {}, 1, 3, "incompatible types for comparison: int and string"),
    ("string-and-list", "{{eq .S .L}}", {"S": "", "L": []}, 1, 3, "incompatible types for comparison"),
    ("lists", "{{eq .L .L}}", {"L": []}, 1, 3, "non-comparable type []interface {}"),
    ("maps", "{{eq . .}}", {}, 1, 3, "non-comparable type map[string]interface {}"),
    ("struct-with-a-list", "{{eq . .}}", GoStruct({"L": [1]}), 1, 3, "error calling eq"),
    ("one-alone", "{{eq 1}}", {}, 1, 3, "missing argument for comparison"),
    ("ne-with-three", "{{ne 1 2 3}}", {}, 1, 3, "wrong number of args for ne: want 2 got 3"),
    ("lt-integer-and-string", '{{lt 1 "a"}}', {}, 1, 3, "incompatible types for comparison: int and string"),
    ("lt-integer-and-float", "{{lt 1 1.5}}", {}, 1, 3, "incompatible types for comparison: int and float64"),
    ("lt-truth-values", "{{lt true false}}", {}, 1, 3, "invalid type for comparison"),
    ("lt-nil", "{{lt nil 1}}", {}, 1, 3, "invalid type for comparison"),
    ("gt-missing", "{{\ngt 1 .A}}", {}, 2, 1, "invalid type for comparison"),
    ("ge-lists", "{{ge .L .L}}", {"L": []}, 1, 3, "invalid type for comparison"),
    ("le-one-alone", "{{le 1}}", {}, 1, 3, "wrong number of args for le: want 2 got 1"),
]


@table(EQUAL)
def test_equality(row: Row) -> None:
    check(row)


@table(ORDER)
def test_order(row: Row) -> None:
    check(row)


@table(INCOMPARABLE)
def test_values_that_cannot_be_compared_are_an_error(row: ErrorRow) -> None:
    check_error(row)
