"""if, with, range, break and continue; what counts as true."""

from __future__ import annotations

from support.go_cases import Row, check, table

from agentkit_server.gotemplate.template import GoStruct

IF: list[Row] = [
    ("true", "{{if true}}a{{end}}", {}, "a"),
    ("false", "{{if false}}a{{end}}", {}, ""),
    ("else", "{{if false}}a{{else}}b{{end}}", {}, "b"),
    ("else-if", "{{if .A}}a{{else if .B}}b{{else}}c{{end}}", {"A": 0, "B": 1}, "b"),
    ("else-if-falls-through", "{{if .A}}a{{else if .B}}b{{else}}c{{end}}", {"A": 0, "B": 0}, "c"),
    ("else-if-without-else", "{{if .A}}a{{else if .B}}b{{end}}", {}, ""),
    ("long-chain", "{{if eq . 1}}a{{else if eq . 2}}b{{else if eq . 3}}c{{else if eq . 4}}d{{end}}", 3, "c"),
    ("first-that-is-true", "{{if 1}}a{{else if 1}}b{{end}}", {}, "a"),
    ("nested", "{{if .A}}{{if .B}}ab{{else}}a{{end}}{{else}}-{{end}}", {"A": 1, "B": 0}, "a"),
    ("dot-stays", "{{if .A}}{{.A}}{{end}}", {"A": 7}, "7"),
    ("pipeline", "{{if .A | not}}x{{end}}", {"A": ""}, "x"),
    ("declares", "{{if $x := .A}}{{$x}}{{end}}", {"A": 5}, "5"),
    ("declared-in-else-too", "{{if $x := .A}}{{else}}[{{$x}}]{{end}}", {"A": 0}, "[0]"),
    (
        "declared-in-else-if-too",
        "{{if $x := .A}}{{else if $y := .B}}{{$x}}{{$y}}{{end}}",
        {"A": 0, "B": 2},
        "02",
    ),
    ("if-within-else", "{{if false}}{{else}}{{if true}}x{{end}}{{end}}", {}, "x"),
]

TRUTH: list[Row] = [
    (
        f"{name}-is-{'true' if true else 'false'}",
        "{{if .V}}T{{else}}F{{end}}",
        {"V": value},
        "T" if true else "F",
    )
    for name, value, true in (
        ("zero", 0, False),
        ("one", 1, True),
        ("minus-one", -1, True),
        ("zero-float", 0.0, False),
        ("small-float", 1e-9, True),
        ("empty-string", "", False),
        ("string", "x", True),
        ("string-zero", "0", True),
        ("space", " ", True),
        ("empty-list", [], False),
        ("list-of-nil", [None], True),
        ("empty-map", {}, False),
        ("map", {"a": None}, True),
        ("nil", None, False),
        ("struct", GoStruct({"A": 0}), True),
        ("truth", True, True),
        ("untruth", False, False),
    )
]

WITH: list[Row] = [
    ("sets-dot", "{{with .A}}{{.B}}{{end}}", {"A": {"B": 3}}, "3"),
    ("empty-is-left-out", "{{with .A}}x{{end}}", {"A": ""}, ""),
    ("else-has-the-outer-dot", "{{with .A}}x{{else}}{{.B}}{{end}}", {"A": 0, "B": 4}, "4"),
    ("else-with", "{{with .A}}a{{.}}{{else with .B}}b{{.}}{{else}}c{{end}}", {"B": 2}, "b2"),
    ("else-with-falls-through", "{{with .A}}a{{else with .B}}b{{else}}c{{.C}}{{end}}", {"C": 3}, "c3"),
    ("dollar-stays", "{{with .A}}{{$.B}}{{end}}", {"A": 1, "B": 2}, "2"),
    ("declares", "{{with $x := .A}}{{$x}}{{.}}{{end}}", {"A": 1}, "11"),
    ("constant", '{{with "a"}}{{.}}{{end}}', {}, "a"),
    ("nested", "{{with .A}}{{with .B}}{{.C}}{{end}}{{end}}", {"A": {"B": {"C": 9}}}, "9"),
    ("dot-comes-back", "{{with .A}}{{.}}{{end}}{{.A}}", {"A": 1}, "11"),
]

RANGE: list[Row] = [
    ("list", "{{range .L}}{{.}},{{end}}", {"L": [1, 2, 3]}, "1,2,3,"),
    ("tuple", "{{range .L}}{{.}},{{end}}", {"L": (1, 2)}, "1,2,"),
    ("empty-list", "{{range .L}}x{{end}}", {"L": []}, ""),
    ("empty-list-else", "{{range .L}}x{{else}}none{{end}}", {"L": []}, "none"),
    ("nil-is-empty", "{{range .L}}x{{else}}none{{end}}", {"L": None}, "none"),
    ("missing-is-empty", "{{range .L}}x{{else}}none{{end}}", {}, "none"),
    ("else-has-the-outer-dot", "{{range .L}}x{{else}}{{.A}}{{end}}", {"A": 1}, "1"),
    ("one-variable", "{{range $e := .L}}{{$e}}{{.}};{{end}}", {"L": ["a", "b"]}, "aa;bb;"),
    ("two-variables", "{{range $i, $e := .L}}{{$i}}={{$e}};{{end}}", {"L": ["a", "b"]}, "0=a;1=b;"),
    ("map-by-sorted-keys", "{{range .M}}{{.}}{{end}}", {"M": {"b": 2, "a": 1, "c": 3}}, "123"),
    ("map-with-keys", "{{range $k, $v := .M}}{{$k}}{{$v}} {{end}}", {"M": {"b": 2, "a": 1}}, "a1 b2 "),
    ("keys-by-code-point", "{{range $k, $v := .M}}{{$k}}{{end}}", {"M": dict.fromkeys("éaZ日", 1)}, "Zaé日"),
    ("empty-map", "{{range .M}}x{{else}}none{{end}}", {"M": {}}, "none"),
    ("integer", "{{range 3}}{{.}}{{end}}", {}, "012"),
    ("integer-variable", "{{range $i := .N}}{{$i}}{{end}}", {"N": 4}, "0123"),
    ("zero-integer", "{{range 0}}x{{else}}none{{end}}", {}, "none"),
    ("negative-integer", "{{range -2}}x{{else}}none{{end}}", {}, "none"),
    ("nested", "{{range .L}}{{range .}}{{.}}{{end}};{{end}}", {"L": [[1, 2], [3]]}, "12;3;"),
    (
        "nested-variables",
        "{{range $i, $a := .L}}{{range $j, $b := $a}}{{$i}}{{$j}}{{$b}} {{end}}{{end}}",
        {"L": [[7], [8, 9]]},
        "007 108 119 ",
    ),
    ("dollar-is-the-data", "{{range .L}}{{$.A}}{{.}}{{end}}", {"L": [1, 2], "A": "-"}, "-1-2"),
    ("fields-of-elements", "{{range .L}}{{.N}}{{end}}", {"L": [{"N": 1}, {"N": 2}]}, "12"),
    ("assigns-one", "{{$x := 0}}{{range $x = .L}}{{end}}{{$x}}", {"L": [1, 2, 5]}, "5"),
    ("assigns-two", "{{$i := 0}}{{$x := 0}}{{range $i, $x = .L}}{{end}}{{$i}}{{$x}}", {"L": [1, 2, 5]}, "25"),
    ("dot-comes-back", "{{range .L}}{{.}}{{end}}{{.A}}", {"L": [1], "A": 2}, "12"),
    ("declared-collection-in-else", "{{range $x := .L}}{{else}}{{len $x}}{{end}}", {"L": []}, "0"),
    ("string-pieces-by-pipeline", "{{range slice .L 1}}{{.}}{{end}}", {"L": [1, 2, 3]}, "23"),
    ("nil-elements", "{{range .L}}{{.}},{{end}}", {"L": [None, 1]}, "<no value>,1,"),
    (
        "separator-idiom",
        "{{range $i, $e := .L}}{{if $i}}, {{end}}{{$e}}{{end}}",
        {"L": ["a", "b", "c"]},
        "a, b, c",
    ),
    ("two-variables-without-a-value", "{{$e := .L}}{{range $i, $e}}{{$i}}{{end}}", {"L": [4, 5]}, "45"),
]

LEAVING: list[Row] = [
    ("break", "{{range .L}}{{if eq . 2}}{{break}}{{end}}{{.}}{{end}}", {"L": [1, 2, 3]}, "1"),
    ("continue", "{{range .L}}{{if eq . 2}}{{continue}}{{end}}{{.}}{{end}}", {"L": [1, 2, 3]}, "13"),
    ("break-at-once", "{{range .L}}{{break}}x{{else}}y{{end}}", {"L": [1]}, ""),
    ("continue-last", "{{range .L}}{{.}}{{continue}}x{{end}}", {"L": [1, 2]}, "12"),
    (
        "break-the-inner-loop",
        "{{range .L}}{{range .}}{{.}}{{break}}{{end}};{{end}}",
        {"L": [[1, 2], [3, 4]]},
        "1;3;",
    ),
    (
        "continue-the-inner-loop",
        "{{range .L}}{{range .}}{{continue}}x{{end}};{{end}}",
        {"L": [[1], [2]]},
        ";;",
    ),
    ("break-within-with", "{{range .L}}{{with .}}{{break}}{{end}}{{end}}z", {"L": [1, 2]}, "z"),
    ("break-in-an-integer-range", "{{range 1000000000}}{{if eq . 2}}{{break}}{{end}}{{.}}{{end}}", {}, "01"),
    ("break-in-a-map", "{{range $k, $v := .M}}{{$k}}{{break}}{{end}}", {"M": {"b": 1, "a": 2}}, "a"),
    (
        "break-in-an-else-ends-that-range-only",
        "{{range .L}}{{.}}{{range $.None}}{{else}}{{break}}{{end}}x{{end}}",
        {"L": [1, 2]},
        "1x2x",
    ),
    (
        "continue-of-the-outer-loop-in-an-else",
        "{{range .L}}{{.}}{{range $.None}}{{else}}{{continue}}{{end}}x{{end}}",
        {"L": [1, 2]},
        "12",
    ),
    (
        "variables-are-gone-after-break",
        "{{$x := 1}}{{range .L}}{{$x := 2}}{{break}}{{end}}{{$x}}",
        {"L": [1]},
        "1",
    ),
    (
        "break-keeps-assignments",
        "{{$x := 1}}{{range .L}}{{$x = .}}{{break}}{{end}}{{$x}}",
        {"L": [7, 8]},
        "7",
    ),
]


@table(IF)
def test_if(row: Row) -> None:
    check(row)


@table(TRUTH)
def test_truth(row: Row) -> None:
    check(row)


@table(WITH)
def test_with(row: Row) -> None:
    check(row)


@table(RANGE)
def test_range(row: Row) -> None:
    check(row)


@table(LEAVING)
def test_break_and_continue(row: Row) -> None:
    check(row)
