"""Text, trimming and comments."""

from __future__ import annotations

from support.go_cases import Row, check, table

TEXT: list[Row] = [
    ("empty", "", {}, ""),
    ("text-alone", "Hello, world", {}, "Hello, world"),
    ("lone-braces", "a { b } c }} d", {}, "a { b } c }} d"),
    ("line-breaks-stay", "a\n\tb\r\n", {}, "a\n\tb\r\n"),
    ("every-script", "añ日本🙂 {{.A}}", {"A": "ß😀"}, "añ日本🙂 ß😀"),
    ("percent-is-text", "100% %d {{1}}", {}, "100% %d 1"),
    ("two-actions-touch", "{{1}}{{2}}", {}, "12"),
    ("spaces-within-an-action", "{{   1   }}", {}, "1"),
    ("line-breaks-within-an-action", "{{\n1\n}}", {}, "1"),
    ("tabs-within-an-action", "{{\tprint\t1\t}}", {}, "1"),
    ("end-of-an-action-in-a-string", '{{"}}"}}', {}, "}}"),
    ("begin-of-an-action-in-a-string", '{{"{{"}}', {}, "{{"),
    ("begin-of-an-action-as-an-escape", '{{"{{1}}"}}', {}, "{{1}}"),
]

TRIMMING: list[Row] = [
    ("left", "a \n{{- 1}} b", {}, "a1 b"),
    ("right", "a {{1 -}} \n b", {}, "a 1b"),
    ("both", "a \t\r\n {{- 1 -}} \n b", {}, "a1b"),
    ("documented-example", "{{23 -}} < {{- 45}}", {}, "23<45"),
    ("marker-then-line-break", "a {{-\n1\n-}} b", {}, "a1b"),
    ("marker-then-tab", "a {{-\t1\t-}} b", {}, "a1b"),
    ("no-other-white-space-is-trimmed", "a\v\f\u00a0 {{- 1 -}} \u00a0b", {}, "a\v\f\u00a01\u00a0b"),
    ("minus-without-space-is-a-number", "a {{-3}} b", {}, "a -3 b"),
    ("marker-then-negative-number", "a {{- -3}} b", {}, "a-3 b"),
    ("several-spaces-before-the-right-marker", "{{1    -}}  b", {}, "1b"),
    ("between-two-actions", "{{1 -}}  \n {{- 2}}", {}, "12"),
    ("one-side-is-enough", "{{1 -}}  {{2}}", {}, "12"),
    ("text-of-spaces-only", "   {{- 1 -}}   ", {}, "1"),
    ("trims-over-lines", "a\n\n\n{{- 1}}", {}, "a1"),
    ("does-not-trim-across-an-action", 'a {{" "}} {{- 1}}', {}, "a  1"),
    ("control-actions-trim-too", "a {{- if true -}} b {{- end -}} c", {}, "abc"),
    ("a-typical-line", "{{- range .L }}\n- {{ . }}\n{{- end }}\n", {"L": ["a", "b"]}, "\n- a\n- b\n"),
    ("marker-and-parenthesis", "x {{- (print 1) -}} y", {}, "x1y"),
    ("marker-and-string", 'x {{- "a" -}} y', {}, "xay"),
    ("string-keeps-its-spaces", 'x {{- " a " -}} y', {}, "x a y"),
    ("after-a-pipe", "x {{- 1 | print -}} y", {}, "x1y"),
]

COMMENTS: list[Row] = [
    ("plain", "a{{/* c */}}b", {}, "ab"),
    ("over-lines", "a{{/* c\n\nd */}}b", {}, "ab"),
    ("trims-left", "a {{- /* c */}} b", {}, "a b"),
    ("trims-right", "a {{/* c */ -}} b", {}, "a b"),
    ("trims-both", "a {{- /* c */ -}} b", {}, "ab"),
    ("holds-braces", "a{{/* }} {{ */}}b", {}, "ab"),
    ("holds-anything", "a{{/* \" ' ` * / */}}b", {}, "ab"),
    ("empty-comment", "a{{/**/}}b", {}, "ab"),
    ("first-thing", "{{/* c */}}b", {}, "b"),
    ("between-branches", "{{if false}}a{{/* c */}}{{else}}{{/* d */}}b{{end}}", {}, "b"),
]


@table(TEXT)
def test_text_is_written_as_it_is(row: Row) -> None:
    check(row)


@table(TRIMMING)
def test_markers_trim_the_text_beside_them(row: Row) -> None:
    check(row)


@table(COMMENTS)
def test_comments_write_nothing(row: Row) -> None:
    check(row)
