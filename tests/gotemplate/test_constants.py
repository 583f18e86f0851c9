"""Constants: what they may look like, and what they are."""

from __future__ import annotations

from support.go_cases import ErrorRow, Row, check, check_error, table

STRINGS: list[Row] = [
    ("double-quotes", '{{"abc"}}', {}, "abc"),
    ("empty-string", '[{{""}}]', {}, "[]"),
    ("quote-in-it", r'{{"a\"b"}}', {}, 'a"b'),
    ("backslash-in-it", r'{{"a\\b"}}', {}, "a\\b"),
    ("one-letter-escapes", r'{{"\a\b\f\n\r\t\v"}}', {}, "\a\b\f\n\r\t\v"),
    ("hexadecimal", r'{{"\x41\x7a"}}', {}, "Az"),
    ("octal", r'{{"\101\172"}}', {}, "Az"),
    ("four-digits", r'{{"\u00e9\u65e5"}}', {}, "é日"),
    ("eight-digits", r'{{"\U0001F600"}}', {}, "😀"),
    ("bytes-make-a-character", r'{{"\xc3\xa9"}}', {}, "é"),
    ("octal-bytes-make-a-character", r'{{"\303\251"}}', {}, "é"),
    ("raw", r"{{`a\n\"b`}}", {}, r"a\n\"b"),
    ("raw-over-lines", "{{`a\nb`}}", {}, "a\nb"),
    ("raw-drops-carriage-returns", "{{`a\r\nb`}}", {}, "a\nb"),
    ("raw-holds-quotes", "{{`\"'`}}", {}, "\"'"),
    ("any-script", '{{"añ日🙂"}}', {}, "añ日🙂"),
    ("string-beside-a-parenthesis", '{{(print "a")}}', {}, "a"),
]

NUMBERS: list[Row] = [
    ("zero", "{{0}}", {}, "0"),
    ("integer", "{{42}}", {}, "42"),
    ("negative", "{{-42}}", {}, "-42"),
    ("plus-sign", "{{+42}}", {}, "42"),
    ("hexadecimal", "{{0xFf}} {{0XAB}}", {}, "255 171"),
    ("octal", "{{0o17}} {{0O17}}", {}, "15 15"),
    ("octal-as-in-c", "{{017}}", {}, "15"),
    ("binary", "{{0b101}} {{0B11}}", {}, "5 3"),
    ("underscores", "{{1_000_000}} {{0x_ff}} {{0_17}}", {}, "1000000 255 15"),
    ("largest", "{{9223372036854775807}}", {}, "9223372036854775807"),
    ("smallest", "{{-9223372036854775808}}", {}, "-9223372036854775808"),
    ("hexadecimal-with-an-e", "{{0x1e3}}", {}, "483"),
    ("float", "{{1.5}}", {}, "1.5"),
    ("float-without-whole-part", "{{.5}}", {}, "0.5"),
    ("float-without-fraction", "{{5.}}", {}, "5"),
    ("exponent", "{{1e3}} {{1E3}} {{1e+3}} {{15e-1}}", {}, "1000 1000 1000 1.5"),
    ("negative-float", "{{-0.25}}", {}, "-0.25"),
    ("hexadecimal-float", "{{0x1p4}} {{0x1.8p1}}", {}, "16 3"),
    ("underscores-in-a-float", "{{1_000.5}}", {}, "1000.5"),
    ("an-exponent-makes-a-float", '{{printf "%T %T" 1e3 1000}}', {}, "float64 int"),
    ("character", "{{'a'}}", {}, "97"),
    ("character-of-any-script", "{{'日'}} {{'🙂'}}", {}, "26085 128578"),
    (
        "character-escapes",
        r"{{'\n'}} {{'\\'}} {{'\''}} {{'\x41'}} {{'\u00e9'}} {{'\101'}}",
        {},
        "10 92 39 65 233 65",
    ),
    ("character-with-a-high-byte", r"{{'\xff'}}", {}, "255"),
    ("character-is-an-integer", """{{printf "%T %c" 'x' 'x'}}""", {}, "int x"),
]

OTHERS: list[Row] = [
    ("true", "{{true}}", {}, "true"),
    ("false", "{{false}}", {}, "false"),
    ("nil-as-an-argument", "{{print nil}}", {}, "<nil>"),
    ("nil-is-false", "{{if not nil}}yes{{end}}", {}, "yes"),
]

BAD: list[ErrorRow] = [
    ("unterminated-string", 'ab {{"x', {}, 1, 6, "unterminated quoted string"),
    ("string-over-a-line", '{{"x\ny"}}', {}, 1, 3, "unterminated quoted string"),
    ("unterminated-raw-string", "{{`x", {}, 1, 3, "unterminated raw quoted string"),
    ("unterminated-character", "{{'x", {}, 1, 3, "unterminated character constant"),
    ("two-characters", "{{'xy'}}", {}, 1, 3, "malformed character constant: 'xy'"),
    ("no-character", "{{''}}", {}, 1, 3, "malformed character constant"),
    ("unknown-escape", r'{{"\q"}}', {}, 1, 3, "invalid syntax"),
    ("single-quote-escaped-in-a-string", r"""{{"\'"}}""", {}, 1, 3, "invalid syntax"),
    ("half-an-escape", r'{{"\x4"}}', {}, 1, 3, "invalid syntax"),
    ("octal-beyond-a-byte", r'{{"\777"}}', {}, 1, 3, "invalid syntax"),
    ("escaped-surrogate", r'{{"\ud800"}}', {}, 1, 3, "invalid syntax"),
    ("character-beyond-unicode", r'{{"\U00110000"}}', {}, 1, 3, "invalid syntax"),
    ("letters-in-a-number", "{{12ab}}", {}, 1, 3, 'bad number syntax: "12a"'),
    ("digit-beyond-the-base", "{{0b12}}", {}, 1, 3, "bad number syntax"),
    ("eight-in-an-octal-number", "{{089}}", {}, 1, 3, ""),
    ("two-points", "{{1.2.3}}", {}, 1, 6, "unexpected"),
    ("two-underscores", "{{1__0}}", {}, 1, 3, ""),
    ("sign-alone", "{{+}}", {}, 1, 3, "illegal number syntax"),
    ("number-then-minus", "{{3-}}", {}, 1, 3, 'bad number syntax: "3-"'),
    ("beyond-64-bits", "{{9223372036854775808}}", {}, 1, 3, "overflows int"),
    ("far-beyond-64-bits", "{{" + "9" * 5000 + "}}", {}, 1, 3, ""),
    ("float-beyond-its-range", "{{1e999}}", {}, 1, 3, "illegal number syntax"),
    ("hexadecimal-float-without-exponent", "{{0x1.8}}", {}, 1, 3, "illegal number syntax"),
    ("nil-alone", "{{nil}}", {}, 1, 3, "nil is not a command"),
]

IMAGINARY: list[ErrorRow] = [
    ("imaginary", "{{2i}}", {}, 1, 3, "imaginary numbers are not supported"),
    ("complex", "{{1+2i}}", {}, 1, 3, "imaginary numbers are not supported"),
]


@table(STRINGS)
def test_strings(row: Row) -> None:
    check(row)


@table(NUMBERS)
def test_numbers(row: Row) -> None:
    check(row)


@table(OTHERS)
def test_truth_values_and_nil(row: Row) -> None:
    check(row)


@table(BAD)
def test_a_constant_that_cannot_be_read_is_an_error(row: ErrorRow) -> None:
    check_error(row)


@table(IMAGINARY)
def test_imaginary_numbers_are_refused_by_name(row: ErrorRow) -> None:
    check_error(row)
