"""Format strings: several verbs, arguments by number, widths by argument, and what does not fit."""

from __future__ import annotations

from support.go_cases import Row, check, table

FORMATS: list[Row] = [
    (name, f"{{{{printf {source}}}}}", data, written)
    for name, source, data, written in (
        ("text-only", '"abc"', {}, "abc"),
        ("empty", '""', {}, ""),
        ("several", '"%d-%s-%v" 1 "b" true', {}, "1-b-true"),
        ("percent", '"100%%"', {}, "100%"),
        ("percent-takes-no-argument", '"%%%d" 5', {}, "%5"),
        ("percent-with-a-width", '"%5%"', {}, "%"),
        ("any-script", '"é%s日" "ü"', {}, "éü日"),
        ("width-counts-characters", '"%5s|%-5s|" "日本" "é"', {}, "   日本|é    |"),
        ("precision-counts-characters", '"%.2s" "日本語"', {}, "日本"),
        ("missing", '"%d %d" 1', {}, "1 %!d(MISSING)"),
        ("missing-all", '"%s"', {}, "%!s(MISSING)"),
        ("extra", '"%d" 1 "b" nil 2.5', {}, "1%!(EXTRA string=b, <nil>, float64=2.5)"),
        ("extra-without-verbs", '"a" 1', {}, "a%!(EXTRA int=1)"),
        ("extra-list", '"" .', [1, 2], "%!(EXTRA []interface {}=[1 2])"),
        ("no-verb", '"50%"', {}, "50%!(NOVERB)"),
        ("no-verb-after-flags", '"%-05"', {}, "%!(NOVERB)"),
        ("point-at-the-end", '"%." 1', {}, "%!.(int=1)"),
        ("unknown-verb", '"%y" 1', {}, "%!y(int=1)"),
        ("percent-as-a-bad-verb-follows", '"%d%" 1', {}, "1%!(NOVERB)"),
        ("number", '"%[2]d %[1]d" 1 2', {}, "2 1"),
        ("number-then-next", '"%[2]d %d" 1 2 3', {}, "2 3"),
        ("number-twice", '"%[1]d %[1]q" 65', {}, "65 'A'"),
        ("number-with-flags", '"%+[1]d|%6.2[2]f" 1 2.5', {}, "+1|  2.50"),
        ("number-out-of-range", '"%[3]d" 1 2', {}, "%!d(BADINDEX)"),
        ("number-zero", '"%[0]d" 1', {}, "%!d(BADINDEX)"),
        ("number-is-none", '"%[x]d" 1', {}, "%!d(BADINDEX)"),
        ("number-without-end", '"%[1d" 1', {}, "%!d(BADINDEX)"),
        ("number-empty", '"%[]d" 1', {}, "%!d(BADINDEX)"),
        ("number-negative", '"%[-1]d" 1', {}, "%!d(BADINDEX)"),
        ("number-before-width", '"%[1]5d" 1', {}, "%!d(BADINDEX)"),
        ("number-hides-extra", '"%[1]d" 1 2', {}, "1"),
        ("width-by-argument", '"%*d" 5 42', {}, "   42"),
        ("negative-width-by-argument", '"%*d|" -5 42', {}, "42   |"),
        ("precision-by-argument", '"%.*f" 2 3.14159', {}, "3.14"),
        ("both-by-argument", '"%*.*f" 8 2 3.14159', {}, "    3.14"),
        ("both-by-number", '"%[3]*.[2]*[1]f" 12.0 2 6', {}, " 12.00"),
        ("width-is-no-number", '"%*d" "x" 42', {}, "%!(BADWIDTH)42"),
        ("width-is-missing", '"%*d"', {}, "%!(BADWIDTH)%!d(MISSING)"),
        ("precision-is-no-number", '"%.*d" "x" 42', {}, "%!(BADPREC)42"),
        ("precision-is-negative", '"%.*d" -1 42', {}, "%!(BADPREC)42"),
        ("width-by-argument-too-large", '"%*d" 10000000 42', {}, "%!(BADWIDTH)42"),
        ("precision-by-argument-too-large", '"%.*d" 10000000 42', {}, "%!(BADPREC)42"),
        ("width-too-large", '"%100000000d" 42', {}, "%!(NOVERB)%!(EXTRA int=42)"),
        ("width-far-too-large", '"%999999999999999999999d" 42', {}, "%!(NOVERB)%!(EXTRA int=42)"),
        ("precision-too-large", '"%.100000000d" 42', {}, "%!(NOVERB)%!(EXTRA int=42)"),
        ("zero-and-minus", '"%-010d|" 42', {}, "42        |"),
        ("flags-repeated", '"%++d" 42', {}, "+42"),
        ("plus-and-space", '"%+ d" 42', {}, "+42"),
        ("precision-zero", '"%.f" 2.7', {}, "3"),
        ("format-of-a-field", ".F 1", {"F": "<%d>"}, "<1>"),
        ("format-of-a-pipeline", '(print "%" "d") 1', {}, "1"),
        ("half-a-character", '"%q" (slice "é" 1)', {}, '"\\xa9"'),
        ("half-a-character-hexadecimal", '"%x" (slice "é" 1)', {}, "a9"),
        ("halves-make-a-character", '"%s%s" (slice "é" 0 1) (slice "é" 1)', {}, "é"),
        ("list-in-a-struct-width", '"%-4v|" .', [1, [2]], "[1    [2   ]]|"),
        (
            "nested-in-go-syntax",
            '"%#v" .',
            [{"a": [True]}],
            '[]interface {}{map[string]interface {}{"a":[]interface {}{true}}}',
        ),
        ("bad-verb-keeps-flags", '"%+z|%05z" 1 2', {}, "%!z(int=+1)|%!z(int=00002)"),
        ("w-is-for-errors-only", '"%w" 1', {}, "%!w(int=1)"),
        ("upper-case-type", '"%t %T" 1 1', {}, "%!t(int=1) int"),
        ("width-of-a-type", '"%8T|%-8T|%.2T" 1 1 1', {}, "     int|int     |in"),
    )
]


@table(FORMATS)
def test_format_strings(row: Row) -> None:
    check(row)
