"""define, template and block."""

from __future__ import annotations

from support.go_cases import ErrorRow, Row, check, check_error, table

from agentkit_server.gotemplate.template import GoTemplate

DEFINITIONS: list[Row] = [
    ("defines-write-nothing", 'a{{define "t"}}x{{end}}b', {}, "ab"),
    ("used", '{{define "t"}}x{{end}}{{template "t"}}', {}, "x"),
    ("used-before-its-definition", '{{template "t"}}{{define "t"}}x{{end}}', {}, "x"),
    ("used-twice", '{{define "t"}}x{{end}}{{template "t"}}{{template "t"}}', {}, "xx"),
    ("with-a-dot", '{{define "t"}}[{{.A}}]{{end}}{{template "t" .B}}', {"B": {"A": 1}}, "[1]"),
    ("without-a-dot", '{{define "t"}}[{{.}}]{{end}}{{template "t"}}', {"B": 1}, "[<no value>]"),
    ("field-without-a-dot", '{{define "t"}}[{{.A}}]{{end}}{{template "t"}}', {"B": 1}, "[<no value>]"),
    (
        "dollar-is-its-own-dot",
        '{{define "t"}}{{with 1}}{{$.A}}{{end}}{{end}}{{template "t" .B}}',
        {"B": {"A": 2}},
        "2",
    ),
    ("pipeline", '{{define "t"}}{{.}}{{end}}{{template "t" .A | len}}', {"A": "abc"}, "3"),
    ("raw-name", "{{define `t`}}x{{end}}{{template `t`}}", {}, "x"),
    ("escaped-name", r'{{define "\x74"}}x{{end}}{{template "t"}}', {}, "x"),
    ("any-name", '{{define "a b/ç"}}x{{end}}{{template "a b/ç"}}', {}, "x"),
    (
        "one-uses-another",
        '{{define "a"}}A{{template "b"}}{{end}}{{define "b"}}B{{end}}{{template "a"}}',
        {},
        "AB",
    ),
    ("trims", 'a {{- define "t" -}} x {{- end -}} b {{template "t"}}', {}, "ab x"),
    (
        "recursion",
        '{{define "t"}}{{.N}}{{with .Next}}{{template "t" .}}{{end}}{{end}}{{template "t" .}}',
        {"N": 1, "Next": {"N": 2, "Next": {"N": 3}}},
        "123",
    ),
    (
        "within-range",
        '{{define "t"}}<{{.}}>{{end}}{{range .L}}{{template "t" .}}{{end}}',
        {"L": [1, 2]},
        "<1><2>",
    ),
    (
        "variables-are-not-inherited",
        '{{define "t"}}{{$x := 2}}{{$x}}{{end}}{{$x := 1}}{{template "t"}}{{$x}}',
        {},
        "21",
    ),
    ("empty-definition-gives-way", '{{define "t"}} {{end}}{{define "t"}}x{{end}}{{template "t"}}', {}, "x"),
    (
        "empty-definition-changes-nothing",
        '{{define "t"}}x{{end}}{{define "t"}} {{end}}{{template "t"}}',
        {},
        "x",
    ),
    ("never-used", '{{define "t"}}{{.A.B.C}}{{end}}ok', {}, "ok"),
    ("not-defined-and-not-reached", '{{if false}}{{template "t"}}{{end}}ok', {}, "ok"),
    ("block", '{{block "t" .A}}[{{.}}]{{end}}', {"A": 1}, "[1]"),
    ("block-is-a-definition", '{{block "t" 1}}[{{.}}]{{end}}{{template "t" 2}}', {}, "[1][2]"),
    ("block-within-a-body", '{{range .L}}{{block "t" .}}<{{.}}>{{end}}{{end}}', {"L": [1, 2]}, "<1><2>"),
    ("block-within-a-block", '{{block "a" 1}}a{{block "b" 2}}b{{.}}{{end}}{{.}}{{end}}', {}, "ab21"),
    ("block-and-an-empty-definition", '{{define "t"}}{{end}}{{block "t" 1}}x{{end}}', {}, "x"),
    ("definition-of-the-unnamed", '{{define ""}}x{{end}} ', {}, "x"),
]

BAD: list[ErrorRow] = [
    ("not-defined", 'a\n {{template "t"}}', {}, 2, 2, 'template "t" not defined'),
    (
        "defined-twice",
        '{{define "t"}}a{{end}}{{define "t"}}b{{end}}',
        {},
        1,
        40,
        'multiple definition of template "t"',
    ),
    (
        "block-of-a-defined-name",
        '{{define "t"}}a{{end}}{{block "t" 1}}b{{end}}',
        {},
        1,
        41,
        "multiple definition",
    ),
    ("define-within-if", '{{if 1}}{{define "t"}}{{end}}{{end}}', {}, 1, 11, "unexpected <define> in command"),
    (
        "define-within-define",
        '{{define "a"}}{{define "b"}}{{end}}{{end}}',
        {},
        1,
        17,
        "unexpected <define> in command",
    ),
    ("name-is-no-string", "{{define t}}{{end}}", {}, 1, 10, 'unexpected "t" in define clause'),
    ("more-than-a-name", '{{define "t" .}}{{end}}', {}, 1, 14, "unexpected <.> in define clause"),
    ("no-end", '{{define "t"}}x', {}, 1, 16, "unexpected EOF"),
    ("else-in-it", '{{define "t"}}{{else}}{{end}}', {}, 1, 17, "unexpected {{else}} in define clause"),
    ("template-without-a-name", "{{template}}", {}, 1, 11, 'unexpected "}}" in template clause'),
    ("template-by-a-field", "{{template .A}}", {}, 1, 12, 'unexpected ".A" in template clause'),
    ("block-without-a-value", '{{block "t"}}{{end}}', {}, 1, 12, "missing value for block clause"),
    (
        "break-in-a-block-in-a-range",
        '{{range .L}}{{block "t" .}}{{break}}{{end}}{{end}}',
        {},
        1,
        30,
        "{{break}} outside {{range}}",
    ),
    (
        "error-within-another-template",
        '{{define "t"}}\n{{.A.B}}{{end}}{{template "t" .}}',
        {"A": 1},
        2,
        3,
        "can't evaluate field B in type int",
    ),
]


@table(DEFINITIONS)
def test_templates_that_are_defined(row: Row) -> None:
    check(row)


@table(BAD)
def test_a_definition_or_use_that_is_wrong_is_an_error(row: ErrorRow) -> None:
    check_error(row)


def test_the_names_of_a_template_are_its_definitions_and_its_own_which_is_empty() -> None:
    template = GoTemplate.parse('{{define "a"}}{{end}}{{block "b" .}}{{end}}')
    assert set(template.templates) == {"", "a", "b"}
