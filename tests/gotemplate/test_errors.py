"""Sources that cannot be read: where, and in which words."""

from __future__ import annotations

import pytest
from support.go_cases import ErrorRow, check_error, table

from agentkit_server.errors import BadRequest
from agentkit_server.gotemplate.template import GoTemplate, GoTemplateError

LEXICAL: list[ErrorRow] = [
    ("action-without-end", "a\nb {{", {}, 2, 5, "unclosed action"),
    ("action-without-end-over-lines", "{{ .A\n\n", {}, 3, 1, "unclosed action started at line 1"),
    ("comment-without-end", "a {{/* b", {}, 1, 5, "unclosed comment"),
    ("comment-and-more", "{{/* b */ 1}}", {}, 1, 3, "comment ends before closing delimiter"),
    ("space-before-a-comment", "{{ /* b */}}", {}, 1, 4, 'unexpected "/" in command'),
    ("parenthesis-without-end", "{{(1}}", {}, 1, 5, "unclosed left paren"),
    ("parenthesis-without-begin", "{{1)}}", {}, 1, 4, "unexpected right paren"),
    ("brace", "{{1 }  }}", {}, 1, 5, 'unexpected "}" in operand'),
    ("colon-alone", "{{$x : 1}}", {}, 1, 6, "expected :="),
    ("not-for-actions", "{{\x01}}", {}, 1, 3, "unrecognized character in action: U+0001"),
    ("not-for-actions-printable", "{{€}}", {}, 1, 3, "unrecognized character in action: U+20AC '€'"),
    ("field-then-sign", "{{.A+1}}", {}, 1, 5, "bad character U+002B '+'"),
    ("variable-then-sign", "{{$x+1}}", {}, 1, 5, "bad character U+002B '+'"),
    ("name-then-sign", "{{len-1}}", {}, 1, 6, "bad character U+002D '-'"),
    ("field-with-a-dash", "{{.a-b}}", {}, 1, 5, "bad character U+002D '-'"),
    ("columns-are-characters", "日本 {{é", {}, 1, 6, ""),
    ("begin-within-an-action", "{{ {{ }}", {}, 1, 4, 'unexpected "{" in command'),
]

SYNTAX: list[ErrorRow] = [
    ("nothing", "{{}}", {}, 1, 3, "missing value for command"),
    ("nothing-trimmed", "{{- -}}", {}, 1, 5, ""),
    ("end-alone", "a{{end}}", {}, 1, 4, "unexpected {{end}}"),
    ("else-alone", "a{{else}}", {}, 1, 4, "unexpected {{else}}"),
    ("end-too-often", "{{if 1}}{{end}}{{end}}", {}, 1, 18, "unexpected {{end}}"),
    ("if-without-end", "{{if 1}}a", {}, 1, 10, "unexpected EOF"),
    ("range-without-end", "{{range .}}\n", {}, 2, 1, "unexpected EOF"),
    ("if-without-a-value", "{{if}}{{end}}", {}, 1, 5, "missing value for if"),
    ("range-without-a-value", "{{range}}{{end}}", {}, 1, 8, "missing value for range"),
    ("with-without-a-value", "{{with}}{{end}}", {}, 1, 7, "missing value for with"),
    ("else-if-without-a-value", "{{if 1}}{{else if}}{{end}}", {}, 1, 18, "missing value for if"),
    ("two-elses", "{{if 1}}{{else}}{{else}}{{end}}", {}, 1, 19, "expected end; found {{else}}"),
    ("else-if-after-else", "{{if 1}}{{else}}{{else if 2}}{{end}}", {}, 1, 19, "expected end; found {{else}}"),
    ("else-with-in-if", "{{if 1}}{{else with 2}}{{end}}", {}, 1, 16, "unexpected <with> in input"),
    ("else-if-in-range", "{{range .}}{{else if 2}}{{end}}", {}, 1, 19, "unexpected <if> in input"),
    ("end-with-more", "{{if 1}}{{end 1}}", {}, 1, 15, 'unexpected "1" in end'),
    ("else-with-more", "{{if 1}}{{else 1}}{{end}}", {}, 1, 16, 'unexpected "1" in else'),
    ("break-outside", "{{break}}", {}, 1, 3, "{{break}} outside {{range}}"),
    ("continue-outside", "{{if 1}}{{continue}}{{end}}", {}, 1, 11, "{{continue}} outside {{range}}"),
    (
        "break-in-the-else-of-a-range",
        "{{range .}}{{else}}{{break}}{{end}}",
        {},
        1,
        22,
        "{{break}} outside {{range}}",
    ),
    ("break-with-more", "{{range .}}{{break 1}}{{end}}", {}, 1, 20, 'unexpected "1" in {{break}}'),
    ("keyword-as-a-value", "{{print if}}", {}, 1, 9, "unexpected <if> in operand"),
    ("keyword-in-an-if", "{{if end}}{{end}}", {}, 1, 6, "unexpected <end> in if"),
    ("pipe-first", "{{| 1}}", {}, 1, 3, 'unexpected "|" in command'),
    ("pipe-twice", "{{1 || print}}", {}, 1, 6, 'unexpected "|" in command'),
    ("constant-after-a-pipe", "{{1 | 2}}", {}, 1, 7, "non executable command in pipeline stage 2"),
    (
        "string-after-two-pipes",
        '{{1 | print | "a"}}',
        {},
        1,
        15,
        "non executable command in pipeline stage 3",
    ),
    ("dot-after-a-pipe", "{{1 | .}}", {}, 1, 7, "non executable command in pipeline stage 2"),
    ("nil-after-a-pipe", "{{1 | nil}}", {}, 1, 7, "non executable command in pipeline stage 2"),
    ("values-not-separated", '{{print "a""b"}}', {}, 1, 12, 'unexpected "\\"b\\"" in operand'),
    (
        "long-token-is-cut",
        '{{print "a""bcdefghijklmnop"}}',
        {},
        1,
        12,
        'unexpected "\\"bcdefghij"... in operand',
    ),
    ("comma", "{{print 1, 2}}", {}, 1, 10, 'unexpected "," in operand'),
    ("assigned-to-a-field", "{{.A = 1}}", {}, 1, 6, 'unexpected "=" in operand'),
    ("assigned-to-a-field-of-a-variable", "{{$x := 1}}{{$x.A = 1}}", {}, 1, 19, 'unexpected "=" in operand'),
    ("declared-nothing", "{{$x := }}", {}, 1, 9, "missing value for command"),
    ("declared-itself", "{{:= 1}}", {}, 1, 3, 'unexpected ":=" in command'),
    ("parentheses-with-nothing", "{{()}}", {}, 1, 4, "missing value for parenthesized pipeline"),
    ("field-of-a-number", "{{1.A}}", {}, 1, 3, "bad number syntax"),
    ("field-of-a-string", '{{"a".B}}', {}, 1, 3, 'unexpected . after term "\\"a\\""'),
    ("field-of-nil", "{{nil.B}}", {}, 1, 3, 'unexpected . after term "nil"'),
    ("field-of-true", "{{true.B}}", {}, 1, 3, 'unexpected . after term "true"'),
    ("two-dots", "{{..}}", {}, 1, 4, "unexpected <.> in operand"),
    (
        "place-over-lines",
        "line one\nline two {{ if .A }}\n  {{ foo }}\n{{ end }}",
        {},
        3,
        6,
        'function "foo" not defined',
    ),
]


@table(LEXICAL)
def test_what_is_no_token_is_an_error_at_its_place(row: ErrorRow) -> None:
    check_error(row)


@table(SYNTAX)
def test_what_is_no_template_is_an_error_at_its_place(row: ErrorRow) -> None:
    check_error(row)


def test_an_error_is_a_bad_request_that_names_its_place() -> None:
    with pytest.raises(BadRequest) as caught:
        GoTemplate.parse("a\n{{ oops }}")
    error = caught.value
    assert isinstance(error, GoTemplateError)
    assert str(error) == 'template:2:4: function "oops" not defined'
    assert (error.line, error.column, error.reason) == (2, 4, 'function "oops" not defined')
    assert (error.status, error.code) == (400, "invalid_template")
