"""How values are printed, by actions and by print, println and printf."""

from __future__ import annotations

from support.go_cases import Row, check, table

from agentkit_server.gotemplate.template import GoStruct

PERSON = GoStruct({"Name": "Ann", "Age": 3, "Tags": ["a", "b"], "None": None})

VALUES: list[Row] = [
    (name, "{{.}}", data, written)
    for name, data, written in (
        ("string", "a b", "a b"),
        ("integer", -7, "-7"),
        ("true", True, "true"),
        ("false", False, "false"),
        ("nil", None, "<no value>"),
        ("whole-float", 3.0, "3"),
        ("float", 0.1, "0.1"),
        ("small-float", 0.00001, "1e-05"),
        ("not-so-small-float", 0.0001, "0.0001"),
        ("large-float", 1e6, "1e+06"),
        ("not-so-large-float", 123456.0, "123456"),
        ("long-float", 1234567.0, "1.234567e+06"),
        ("very-large-float", 1.5e300, "1.5e+300"),
        ("tiny-float", 5e-324, "5e-324"),
        ("many-digits", 1 / 3, "0.3333333333333333"),
        ("negative-zero", -0.0, "-0"),
        ("infinity", float("inf"), "+Inf"),
        ("negative-infinity", float("-inf"), "-Inf"),
        ("not-a-number", float("nan"), "NaN"),
        ("list", [1, "a", True, None, 1.5], "[1 a true <nil> 1.5]"),
        ("empty-list", [], "[]"),
        ("list-of-lists", [[1], [], [[2]]], "[[1] [] [[2]]]"),
        ("map", {"b": 1, "a": "x"}, "map[a:x b:1]"),
        ("empty-map", {}, "map[]"),
        ("map-with-nil", {"a": None}, "map[a:<nil>]"),
        ("map-of-maps", {"a": {"b": [1]}}, "map[a:map[b:[1]]]"),
        ("struct", PERSON, "{Ann 3 [a b] <nil>}"),
        ("empty-struct", GoStruct({}), "{}"),
        ("struct-in-a-list", [GoStruct({"A": 1})], "[{1}]"),
    )
]

PRINT: list[Row] = [
    ("nothing", "[{{print}}]", {}, "[]"),
    ("one", "{{print 1}}", {}, "1"),
    ("space-between-numbers", "{{print 1 2 3}}", {}, "1 2 3"),
    ("no-space-beside-strings", '{{print "a" 1 "b" 2 3}}', {}, "a1b2 3"),
    ("strings", '{{print "a" "b"}}', {}, "ab"),
    ("space-between-lists", "{{print . .}}", [1], "[1] [1]"),
    ("nil-and-number", "{{print nil 1}}", {}, "<nil> 1"),
    ("missing-key", "{{print .A}}", {}, "<nil>"),
    ("string-and-nil", '{{print "a" nil "b"}}', {}, "a<nil>b"),
    ("println-nothing", "[{{println}}]", {}, "[\n]"),
    ("println", '{{println "a" 1 "b"}}', {}, "a 1 b\n"),
    ("println-nil", "{{println nil}}", {}, "<nil>\n"),
    ("print-struct", "{{print .}}", PERSON, "{Ann 3 [a b] <nil>}"),
]

VERBS: list[Row] = [
    (f"{verb.strip('%')}-of-{name}", f'{{{{printf "{verb}" .}}}}', data, written)
    for name, data, verbs in (
        (
            "string",
            "é\n",
            {
                "%v": "é\n",
                "%s": "é\n",
                "%q": '"é\\n"',
                "%+q": '"\\u00e9\\n"',
                "%#q": '"é\\n"',
                "%x": "c3a90a",
                "%X": "C3A90A",
                "% x": "c3 a9 0a",
                "%#x": "0xc3a90a",
                "% #x": "0xc3 0xa9 0x0a",
                "%#v": '"é\\n"',
                "%T": "string",
                "%d": "%!d(string=é\n)",
                "%t": "%!t(string=é\n)",
                "%f": "%!f(string=é\n)",
            },
        ),
        (
            "plain-string",
            "ab",
            {
                "%#q": "`ab`",
                "%5s": "   ab",
                "%-5s": "ab   ",
                "%05s": "000ab",
                "%.1s": "a",
                "%5.1q": '  "a"',
                "%8q": '    "ab"',
                "%-8q": '"ab"    ',
                "%.0s": "",
                "%6x": "  6162",
                "%-6x": "6162  ",
                "%.1x": "61",
                "%z": "%!z(string=ab)",
                "%5z": "%!z(string=   ab)",
                "%c": "%!c(string=ab)",
                "%U": "%!U(string=ab)",
            },
        ),
        (
            "odd-string",
            '\x00\x7f\u00a0\u2028\ufeff😀`"\\',
            {
                "%q": '"\\x00\\x7f\\u00a0\\u2028\\ufeff😀`\\"\\\\"',
                "%+q": '"\\x00\\x7f\\u00a0\\u2028\\ufeff\\U0001f600`\\"\\\\"',
            },
        ),
        ("empty-string", "", {"%q": '""', "%x": "", "%5x": "     ", "%#v": '""', "%3s": "   "}),
        (
            "integer",
            42,
            {
                "%v": "42",
                "%d": "42",
                "%b": "101010",
                "%o": "52",
                "%O": "0o52",
                "%x": "2a",
                "%X": "2A",
                "%#x": "0x2a",
                "%#X": "0X2A",
                "%#o": "052",
                "%#b": "0b101010",
                "%c": "*",
                "%q": "'*'",
                "%U": "U+002A",
                "%#U": "U+002A '*'",
                "%5d": "   42",
                "%-5d": "42   ",
                "%05d": "00042",
                "%+d": "+42",
                "% d": " 42",
                "%+05d": "+0042",
                "%.4d": "0042",
                "%7.4d": "   0042",
                "%-7.4d": "0042   ",
                "%07.4d": "   0042",
                "%-05d": "42   ",
                "%s": "%!s(int=42)",
                "%f": "%!f(int=42)",
                "%t": "%!t(int=42)",
                "%T": "int",
                "%#v": "42",
                "%+v": "42",
                "%6v": "    42",
                "%08b": "00101010",
                "%e": "%!e(int=42)",
                "%p": "%!p(int=42)",
                "%+q": "'*'",
                "%5c": "    *",
                "%.6U": "U+00002A",
                "%!": "%!!(int=42)",
                "%é": "%!é(int=42)",
            },
        ),
        (
            "negative-integer",
            -42,
            {
                "%d": "-42",
                "%x": "-2a",
                "%#x": "-0x2a",
                "%5d": "  -42",
                "%05d": "-0042",
                "%+d": "-42",
                "%.4d": "-0042",
                "%c": "\ufffd",
                "%q": "'\ufffd'",
                "%o": "-52",
                "%U": "U+FFFFFFFFFFFFFFD6",
            },
        ),
        (
            "zero",
            0,
            {
                "%.0d": "",
                "%3.0d": "   ",
                "%d": "0",
                "%#x": "0x0",
                "%#o": "0",
                "%05d": "00000",
                "%c": "\x00",
                "%q": "'\\x00'",
            },
        ),
        (
            "character",
            0x1F600,
            {"%c": "😀", "%q": "'😀'", "%+q": "'\\U0001f600'", "%U": "U+1F600", "%#U": "U+1F600 '😀'"},
        ),
        ("no-character", 0xD800, {"%c": "\ufffd", "%q": "'\ufffd'", "%U": "U+D800"}),
        ("quote", 39, {"%q": "'\\''", "%c": "'"}),
        (
            "float",
            3.14159,
            {
                "%v": "3.14159",
                "%f": "3.141590",
                "%F": "3.141590",
                "%e": "3.141590e+00",
                "%E": "3.141590E+00",
                "%g": "3.14159",
                "%G": "3.14159",
                "%.2f": "3.14",
                "%5.2f": " 3.14",
                "%-7.2f|": "3.14   |",
                "%08.3f": "0003.142",
                "%+.1f": "+3.1",
                "% .1f": " 3.1",
                "%.3g": "3.14",
                "%.0f": "3",
                "%.3e": "3.142e+00",
                "%x": "0x1.921f9f01b866ep+01",
                "%X": "0X1.921F9F01B866EP+01",
                "%.3x": "0x1.922p+01",
                "%b": "7074231776675438p-51",
                "%d": "%!d(float64=3.14159)",
                "%s": "%!s(float64=3.14159)",
                "%t": "%!t(float64=3.14159)",
                "%T": "float64",
                "%#v": "3.14159",
                "%6v": "3.14159",
                "%10v": "   3.14159",
                "%+v": "3.14159",
                "%#g": "3.14159",
                "%#.8g": "3.1415900",
                "%q": "%!q(float64=3.14159)",
                "%.3v": "3.14",
                "%8.3v": "    3.14",
            },
        ),
        (
            "whole-float",
            2.0,
            {
                "%v": "2",
                "%g": "2",
                "%f": "2.000000",
                "%.1f": "2.0",
                "%#v": "2",
                "%#g": "2.00000",
                "%#.3g": "2.00",
                "%#.0f": "2.",
                "%x": "0x1p+01",
                "%#x": "0x1.0000p+01",
                "%e": "2.000000e+00",
            },
        ),
        (
            "large-float",
            1e21,
            {
                "%v": "1e+21",
                "%f": "1000000000000000000000.000000",
                "%g": "1e+21",
                "%.3g": "1e+21",
                "%#v": "1e+21",
                "%G": "1E+21",
                "%#g": "1.00000e+21",
            },
        ),
        ("rounded-float", 2.5, {"%.0f": "2", "%.0e": "2e+00", "%.0x": "0x1p+01", "%.1g": "2", "%.0g": "2"}),
        (
            "negative-float",
            -0.5,
            {"%v": "-0.5", "%f": "-0.500000", "%06.1f": "-000.5", "%6.1f": "  -0.5", "%+f": "-0.500000"},
        ),
        (
            "infinite",
            float("inf"),
            {
                "%v": "+Inf",
                "%f": "+Inf",
                "%6f": "  +Inf",
                "%06f": "  +Inf",
                "%+f": "+Inf",
                "% f": " Inf",
                "%x": "+Inf",
                "%g": "+Inf",
                "%.2f": "+Inf",
            },
        ),
        (
            "not-a-number",
            float("nan"),
            {"%f": "NaN", "%+f": "+NaN", "%06f": "   NaN", "% f": " NaN", "%-6f|": "NaN   |"},
        ),
        (
            "true",
            True,
            {
                "%t": "true",
                "%v": "true",
                "%6t": "  true",
                "%-6t|": "true  |",
                "%d": "%!d(bool=true)",
                "%s": "%!s(bool=true)",
                "%T": "bool",
                "%#v": "true",
                "%q": "%!q(bool=true)",
                "%06t": "00true",
            },
        ),
        (
            "nil",
            None,
            {
                "%v": "<nil>",
                "%s": "%!s(<nil>)",
                "%d": "%!d(<nil>)",
                "%T": "<nil>",
                "%+v": "<nil>",
                "%#v": "<nil>",
                "%8v": "   <nil>",
                "%t": "%!t(<nil>)",
                "%q": "%!q(<nil>)",
            },
        ),
        (
            "list",
            [1, "a", None],
            {
                "%v": "[1 a <nil>]",
                "%s": "[%!s(int=1) a <nil>]",
                "%d": "[1 %!d(string=a) <nil>]",
                "%q": "['\\x01' \"a\" <nil>]",
                "%x": "[1 61 <nil>]",
                "%T": "[]interface {}",
                "%#v": '[]interface {}{1, "a", interface {}(nil)}',
                "%3v": "[  1   a <nil>]",
                "%+v": "[1 a <nil>]",
                "%t": "[%!t(int=1) %!t(string=a) <nil>]",
                "%03d": "[001 %!d(string=00a) <nil>]",
            },
        ),
        (
            "strings",
            ["a", "b"],
            {"%v": "[a b]", "%s": "[a b]", "%q": '["a" "b"]', "%4s": "[   a    b]", "%x": "[61 62]"},
        ),
        (
            "map",
            {"b": 1, "a": "x"},
            {
                "%v": "map[a:x b:1]",
                "%s": "map[a:x b:%!s(int=1)]",
                "%d": "map[%!d(string=a):%!d(string=x) %!d(string=b):1]",
                "%#v": 'map[string]interface {}{"a":"x", "b":1}',
                "%T": "map[string]interface {}",
                "%q": 'map["a":"x" "b":\'\\x01\']',
                "%+v": "map[a:x b:1]",
                "%3v": "map[  a:  x   b:  1]",
            },
        ),
        (
            "struct",
            GoStruct({"A": 1, "B": "x"}),
            {
                "%v": "{1 x}",
                "%+v": "{A:1 B:x}",
                "%s": "{%!s(int=1) x}",
                "%d": "{1 %!d(string=x)}",
            },
        ),
    )
    for verb, written in verbs.items()
]

NAMED: list[Row] = [
    (
        "type-of-a-struct",
        '{{printf "%T %#v" . .}}',
        GoStruct({"A": 1, "B": "x"}, name="api.Tool"),
        'api.Tool api.Tool{A:1, B:"x"}',
    ),
    ("integers-beyond-64-bits-are-floats", '{{.}} {{printf "%T" .}}', 10**25, "1e+25 float64"),
    ("integers-beyond-any-float", "{{.}}", -(10**5000), "-Inf"),
]


@table(VALUES)
def test_an_action_prints_a_value_as_go_does(row: Row) -> None:
    check(row)


@table(PRINT)
def test_print_and_println(row: Row) -> None:
    check(row)


@table(VERBS)
def test_verbs_of_printf(row: Row) -> None:
    check(row)


@table([*NAMED])
def test_types_that_have_a_name_and_integers_that_go_does_not_have(row: Row) -> None:
    check(row)
