"""Pipelines, variables and their scopes."""

from __future__ import annotations

from support.go_cases import ErrorRow, Row, check, check_error, table

from agentkit_server.gotemplate.template import GoStruct

PIPELINES: list[Row] = [
    ("one-command", '{{print "a"}}', {}, "a"),
    ("value-is-the-last-argument", '{{"c" | printf "%s%s%s" "a" "b"}}', {}, "abc"),
    ("three-stages", '{{"a" | printf "%s!" | printf "%q"}}', {}, '"a!"'),
    ("without-spaces", '{{"a"|len|print}}', {}, "1"),
    ("into-a-function-without-arguments", "{{.L | len}}", {"L": [1, 2]}, "2"),
    ("nil-is-handed-on", "{{.None | print}}", {}, "<nil>"),
    ("parentheses", "{{len (print 1 2 3)}}", {}, "5"),
    ("nested-parentheses", "{{len (print (len (print 10)))}}", {}, "1"),
    ("pipeline-in-parentheses", '{{printf "%d" ("abc" | len)}}', {}, "3"),
    ("parentheses-alone", "{{(1)}}", {}, "1"),
    ("parentheses-begin-a-pipeline", '{{(print "ab") | len}}', {}, "2"),
    ("field-of-a-parenthesis", "{{(index .L 1).N}}", {"L": [{"N": 1}, {"N": 2}]}, "2"),
    ("fields-of-a-parenthesis", "{{(index .L 0).A.B}}", {"L": [{"A": {"B": 5}}]}, "5"),
    ("field-of-a-parenthesis-as-an-argument", "{{print (index .L 0).N 1}}", {"L": [{"N": 7}]}, "7 1"),
    ("parenthesised-dot", "{{(.).A}}", {"A": 1}, "1"),
    ("parenthesised-field", "{{(.A).B}}", {"A": {"B": 2}}, "2"),
    ("field-of-nothing-in-parentheses", "{{(.None).B}}", {}, "<no value>"),
    ("declaration-in-parentheses", "{{($x := 5)}}{{$x}}", {}, "55"),
    ("a-pipe-at-the-end-is-allowed", "{{1 | print | }}", {}, "1"),
    ("dot-as-an-argument", "{{print . 1}}", 5, "5 1"),
    ("comment-like-string", '{{"/* a */"}}', {}, "/* a */"),
]

VARIABLES: list[Row] = [
    ("declared", "{{$x := 1}}{{$x}}", {}, "1"),
    ("declaring-writes-nothing", "[{{$x := 1}}]", {}, "[]"),
    ("assigning-writes-nothing", "{{$x := 1}}[{{$x = 2}}]{{$x}}", {}, "[]2"),
    ("without-spaces", "{{$x:=1}}{{$x}}", {}, "1"),
    ("declared-again", "{{$x := 1}}{{$x := 2}}{{$x}}", {}, "2"),
    ("another-type", '{{$x := 1}}{{$x = "a"}}{{$x}}', {}, "a"),
    ("of-a-pipeline", '{{$x := "ab" | len}}{{$x}}', {}, "2"),
    ("fields", "{{$x := .A}}{{$x.B}} {{$x.C.D}}", {"A": {"B": 1, "C": {"D": 2}}}, "1 2"),
    ("as-arguments", "{{$x := 1}}{{$y := 2}}{{print $x $y}}", {}, "1 2"),
    ("names-of-letters-and-digits", "{{$é1_b := 3}}{{$é1_b}}", {}, "3"),
    ("a-digit-first", "{{$1 := 3}}{{$1}}", {}, "3"),
    ("dollar-is-the-data", "{{$.A}}", {"A": 4}, "4"),
    ("dollar-alone", "{{$}}", 4, "4"),
    ("dollar-within-with", "{{with 1}}{{$.A}}{{end}}", {"A": 4}, "4"),
    ("dollar-declared-anew", "{{$ := 5}}{{$}}", {}, "5"),
    ("a-body-is-a-scope", "{{$x := 1}}{{if true}}{{$x := 2}}{{$x}}{{end}}{{$x}}", {}, "21"),
    ("assigned-in-a-body", "{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}", {}, "2"),
    ("assigned-in-a-loop", "{{$x := 0}}{{range .L}}{{$x = .}}{{end}}{{$x}}", {"L": [1, 2, 3]}, "3"),
    ("declared-in-a-loop-each-time", "{{range .L}}{{$x := .}}{{$x}}{{end}}", {"L": [1, 2]}, "12"),
    ("shadowed-in-a-loop", "{{$x := 9}}{{range $x := .L}}{{$x}}{{end}}{{$x}}", {"L": [1, 2]}, "129"),
    (
        "flag-set-in-a-loop",
        "{{$f := false}}{{range .L}}{{if eq . 2}}{{$f = true}}{{end}}{{end}}{{$f}}",
        {"L": [1, 2]},
        "true",
    ),
    (
        "last-index-idiom",
        "{{$n := len .L}}{{range $i, $_ := .L}}{{if eq (len (slice $.L $i)) 1}}last{{end}}{{end}}{{$n}}",
        {"L": [1, 2]},
        "last2",
    ),
    ("of-with-survives-its-body", "{{with $x := 1}}{{with $y := 2}}{{$x}}{{$y}}{{end}}{{end}}", {}, "12"),
    ("nil-variable", "[{{$x := .None}}{{$x}}]", {}, "[<no value>]"),
    ("field-of-a-nil-variable", "{{$x := .None}}{{$x.B}}", {}, "<no value>"),
    ("declared-by-template", '{{define "t"}}{{.}}{{end}}{{template "t" $x := 1}}{{$x}}', {}, "11"),
]

FIELDS: list[Row] = [
    ("dot", "{{.}}", "x", "x"),
    ("key", "{{.A}}", {"A": "x"}, "x"),
    ("keys-in-lower-case", "{{.a}} {{.a_b}} {{.é}}", {"a": 1, "a_b": 2, "é": 3}, "1 2 3"),
    (
        "keys-like-keywords",
        "{{.if}}{{.end}}{{.nil}}{{.true}}",
        {"if": 1, "end": 2, "nil": 3, "true": 4},
        "1234",
    ),
    ("chain", "{{.A.B.C}}", {"A": {"B": {"C": "x"}}}, "x"),
    ("missing-key", "{{.A}}", {}, "<no value>"),
    ("key-of-nil", "{{.A}}", {"A": None}, "<no value>"),
    ("field-of-nil-data", "{{.A}}", None, "<no value>"),
    ("chain-of-nil-data", "{{.A.B.C}}", None, "<no value>"),
    ("struct", "{{.A}}{{.B}}", GoStruct({"A": 1, "B": "x"}), "1x"),
    ("struct-in-a-map", "{{.S.A}}", {"S": GoStruct({"A": 1})}, "1"),
    ("map-in-a-struct", "{{.M.k}}", GoStruct({"M": {"k": 2}}), "2"),
    ("nil-in-a-struct", "{{.A}}", GoStruct({"A": None}), "<no value>"),
    ("list-of-structs", "{{range .L}}{{.N}}{{end}}", {"L": [GoStruct({"N": 1}), GoStruct({"N": 2})]}, "12"),
    ("fields-beside-text", "a{{.A}}b{{.B}}c", {"A": 1, "B": 2}, "a1b2c"),
]

UNDEFINED: list[ErrorRow] = [
    ("never-declared", "{{$x}}", {}, 1, 3, 'undefined variable "$x"'),
    ("out-of-scope", "{{if true}}{{$x := 1}}{{end}}{{$x}}", {}, 1, 32, 'undefined variable "$x"'),
    ("of-a-range-after-it", "{{range $e := .L}}{{end}}{{$e}}", {}, 1, 28, 'undefined variable "$e"'),
    ("assigned-only", "{{$x = 1}}", {}, 1, 8, "undefined variable: $x"),
    (
        "declared-in-the-other-branch",
        "{{if .A}}{{$x := 1}}{{else}}{{$x}}{{end}}",
        {},
        1,
        31,
        "undefined variable: $x",
    ),
    ("not-seen-by-a-definition", '{{$x := 1}}{{define "t"}}{{$x}}{{end}}', {}, 1, 28, "undefined variable"),
    ("two-outside-of-range", "{{$a, $b := 1}}", {}, 1, 5, "too many declarations in command"),
    ("three-in-range", "{{range $a, $b, $c := .L}}{{end}}", {}, 1, 15, "too many declarations in range"),
    ("value-after-a-comma", "{{range $a, 1}}{{end}}", {}, 1, 13, "range can only initialize variables"),
]

NO_FIELD: list[ErrorRow] = [
    ("struct-without-it", "a\n{{.B}}", GoStruct({"A": 1}), 2, 3, "can't evaluate field B in type struct"),
    ("of-a-string", "{{.A.B}}", {"A": "x"}, 1, 3, "can't evaluate field B in type string"),
    ("of-a-number", "{{.A.B}}", {"A": 1}, 1, 3, "can't evaluate field B in type int"),
    ("of-a-list", "{{.A.B}}", {"A": []}, 1, 3, "can't evaluate field B in type []interface {}"),
    ("of-nil-in-a-map", "{{.A.B}}", {"A": None}, 1, 3, "nil pointer evaluating interface {}.B"),
    ("of-a-missing-key", "{{ .A.B }}", {}, 1, 4, "nil pointer evaluating interface {}.B"),
    ("of-a-nil-element", "{{range .L}}{{.B}}{{end}}", {"L": [None]}, 1, 15, "nil pointer evaluating"),
    (
        "of-a-nil-range-variable",
        "{{range $e := .L}}{{$e.B}}{{end}}",
        {"L": [None]},
        1,
        21,
        "nil pointer evaluating",
    ),
    ("of-a-variable", "{{$x := 1}}{{$x.B}}", {}, 1, 14, "can't evaluate field B in type int"),
    ("of-a-parenthesis", "{{(print 1).B}}", {}, 1, 3, "can't evaluate field B in type string"),
    ("with-an-argument", "{{.A 1}}", {"A": 1}, 1, 3, "A is not a method but has arguments"),
    ("with-a-piped-argument", "{{1 | .A}}", {"A": 1}, 1, 7, "A is not a method but has arguments"),
    ("constant-with-an-argument", "{{1 2}}", {}, 1, 3, "can't give argument to non-function 1"),
    ("dot-with-an-argument", "{{. 1}}", {}, 1, 3, "can't give argument to non-function ."),
    ("parenthesis-with-an-argument", "{{(1) 2}}", {}, 1, 3, "can't give argument to non-function"),
    ("variable-with-an-argument", "{{$x := 1}}{{$x 2}}", {}, 1, 14, "can't give argument to non-function $x"),
    ("piped-into-a-variable", "{{$x := 1}}{{2 | $x}}", {}, 1, 18, "can't give argument to non-function $x"),
    ("range-over-a-string", '{{range "abc"}}{{end}}', {}, 1, 9, "range can't iterate over"),
    ("range-over-a-truth-value", "{{range true}}{{end}}", {}, 1, 9, "range can't iterate over"),
    ("range-over-a-float", "{{range 1.5}}{{end}}", {}, 1, 9, "range can't iterate over"),
    ("range-over-a-struct", "{{range .}}{{end}}", GoStruct({"A": 1}), 1, 9, "range can't iterate over"),
    ("two-variables-over-an-integer", "{{range $i, $e := 3}}{{end}}", {}, 1, 19, "more than one variable"),
]


@table(PIPELINES)
def test_pipelines(row: Row) -> None:
    check(row)


@table(VARIABLES)
def test_variables(row: Row) -> None:
    check(row)


@table(FIELDS)
def test_fields(row: Row) -> None:
    check(row)


@table(UNDEFINED)
def test_a_variable_that_is_not_there_is_an_error(row: ErrorRow) -> None:
    check_error(row)


@table(NO_FIELD)
def test_what_a_value_does_not_have_is_an_error(row: ErrorRow) -> None:
    check_error(row)
