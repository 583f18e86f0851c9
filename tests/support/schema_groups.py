"""Schemas with values that are valid and invalid for them: those of single values, and what a group is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Level = str


@dataclass(frozen=True)
class Group:
    """One condition of one keyword."""

    keyword: str
    condition: str
    """As the reference page says it."""
    level: Level
    schema: Any
    valid: tuple[Any, ...] = ()
    invalid: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Refused:
    """A schema that cannot be used."""

    keyword: str
    condition: str
    schema: Any
    pointer: str


TYPES = [
    Group("type", "one type", "exact", {"type": "null"}, (None,), (0, False, "", [], {})),
    Group("type", "one type", "exact", {"type": "boolean"}, (True, False), (0, None, "true")),
    Group("type", "one type", "exact", {"type": "integer"}, (0, -7, 12345678901), (1.5, "1", True)),
    Group("type", "one type", "exact", {"type": "number"}, (0, -1.25, 1e9), ("1", None, True)),
    Group("type", "one type", "exact", {"type": "string"}, ("", 'é😀\n"\\'), (1, None, ["a"])),
    Group("type", "one type", "exact", {"type": "array"}, ([], [1, "a", None]), ({}, "[]", 0)),
    Group("type", "one type", "exact", {"type": "object"}, ({}, {"a": [1]}), ([], "x", None)),
    Group("type", "several types", "exact", {"type": ["string", "null"]}, ("a", None), (1, [], {})),
    Group(
        "enum",
        "any values",
        "exact",
        {"enum": ["a", 1, None, [1], {"x": 2}]},
        ("a", 1, None, [1], {"x": 2}),
        ("b", 2, [2], {"x": 3}, {}),
    ),
    Group("enum", "with `type`", "exact", {"type": "string", "enum": ["a", 1]}, ("a",), (1, "b")),
    Group(
        "const", "any value", "exact", {"const": {"a": [1, "x"]}}, ({"a": [1, "x"]},), ({"a": [1]}, {}, None)
    ),
    Group("const", "any value", "exact", {"const": 'a"b\\c/é'}, ('a"b\\c/é',), ("a", "")),
    Group("const", "an integer beyond 2^53", "checked", {"const": 9007199254740993}, (), (9007199254740992,)),
    Group(
        "true / false",
        "as a schema",
        "exact",
        {"properties": {"a": True, "b": False}, "type": "object"},
        ({"a": 1}, {}),
        ({"b": 1},),
    ),
]

NUMBERS = [
    Group("minimum", "below 2^53", "exact", {"type": "integer", "minimum": -3}, (-3, 0, 10), (-4, -100)),
    Group(
        "minimum", "below 2^53", "exact", {"type": "number", "minimum": 0.5}, (0.5, 0.75, 3), (0.25, -1, 0)
    ),
    Group("maximum", "below 2^53", "exact", {"type": "integer", "maximum": 12}, (12, 0, -90), (13, 100)),
    Group("maximum", "below 2^53", "exact", {"type": "number", "maximum": 1.5}, (1.5, -8.25), (1.51, 2)),
    Group(
        "exclusiveMinimum", "number", "exact", {"type": "number", "exclusiveMinimum": 1}, (1.01, 2), (1, 0)
    ),
    Group(
        "exclusiveMinimum",
        "boolean, as in draft 4",
        "exact",
        {"type": "integer", "minimum": 1, "exclusiveMinimum": True},
        (2,),
        (1, 0),
    ),
    Group("exclusiveMaximum", "number", "exact", {"type": "integer", "exclusiveMaximum": 4}, (3, -1), (4, 5)),
    Group(
        "exclusiveMaximum",
        "boolean, as in draft 4",
        "exact",
        {"exclusiveMaximum": False, "maximum": 4, "type": "integer"},
        (4,),
        (5,),
    ),
    Group(
        "minimum",
        "between 2^53 and 2^63: rounded inwards",
        "exact",
        {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
        (0, 2**62),
        (2**63, -(2**63) - 1),
    ),
    Group("minimum", "beyond 2^63", "checked", {"type": "integer", "minimum": 2**70}, (), (5,)),
    Group("minimum", "without `type`", "exact", {"minimum": 3}, (3, "a", None, []), (2,)),
    Group("multipleOf", "any number", "exact", {"type": "integer", "multipleOf": 7}, (0, 14, -21), (1, 13)),
    Group("multipleOf", "any number", "exact", {"type": "number", "multipleOf": 0.1}, (0.3, 2), (0.35, 0.01)),
    Group("multipleOf", "more than 50,000 remainders", "checked", {"multipleOf": 123456789}, (0,), (7,)),
    Group(
        "multipleOf",
        "with bounds",
        "exact",
        {"type": "integer", "multipleOf": 5, "minimum": 1, "maximum": 11},
        (5, 10),
        (0, 15, 7),
    ),
]

STRINGS = [
    Group(
        "minLength", "always", "exact", {"type": "string", "minLength": 2}, ("ab", "😀😀"), ("a", "😀", "")
    ),
    Group("maxLength", "always", "exact", {"type": "string", "maxLength": 2}, ("", "é😀"), ("abc", "😀é!")),
    Group(
        "pattern",
        "without look-around",
        "exact",
        {"type": "string", "pattern": "^[a-c]+[0-9]$"},
        ("ab1", "c9"),
        ("1", "ab", "ab11"),
    ),
    Group(
        "pattern",
        "without anchors: searched",
        "exact",
        {"type": "string", "pattern": "b+"},
        ("abba", "b"),
        ("", "acc"),
    ),
    Group(
        "pattern", "alternatives", "exact", {"type": "string", "pattern": "^a|b$"}, ("ax", "xb"), ("xa", "bx")
    ),
    Group(
        "pattern",
        "ECMA classes",
        "exact",
        {"type": "string", "pattern": "^\\d\\w\\s[^\\W_]$"},
        ("1_ a",),
        ("٣_ a", "1_a", "1_ _"),
    ),
    Group(
        "pattern",
        "classes without quote or backslash",
        "exact",
        {"type": "string", "pattern": "^[^\\\\]+$"},
        ('ab"',),
        ("a\\b", ""),
    ),
    Group(
        "pattern",
        "classes without quote or backslash",
        "exact",
        {"type": "string", "pattern": '^[^"]+$'},
        ("ab\\",),
        ('a"b', ""),
    ),
    Group(
        "pattern",
        "with lengths",
        "exact",
        {"type": "string", "pattern": "^a*$", "minLength": 1, "maxLength": 2},
        ("a", "aa"),
        ("", "aaa", "b"),
    ),
    Group(
        "pattern",
        "positive look-ahead first",
        "exact",
        {"type": "string", "pattern": "^(?=.*[0-9])[a-z0-9]+$"},
        ("a1", "7"),
        ("ab", "1!"),
    ),
    Group(
        "pattern",
        "negative look-ahead first, of plain text",
        "exact",
        {"type": "string", "pattern": "^(?!no|x)[a-z]+$"},
        ("na", "yes"),
        ("now", "xy"),
    ),
    Group(
        "pattern",
        "negative look-ahead first, of anything else",
        "checked",
        {"type": "string", "pattern": "^(?!.*\\.\\.)[a-z.]+$"},
        ("a.b",),
        ("a..b", "A"),
    ),
    Group(
        "format",
        "date",
        "exact",
        {"type": "string", "format": "date"},
        ("2024-02-29", "1999-12-31"),
        ("2023-02-29", "1999-13-01", "x"),
    ),
    Group(
        "format",
        "time",
        "exact",
        {"type": "string", "format": "time"},
        ("12:00:00Z", "23:59:59.5+01:00"),
        ("24:00:00Z", "12:00:00"),
    ),
    Group(
        "format",
        "date-time",
        "exact",
        {"type": "string", "format": "date-time"},
        ("2024-01-01T00:00:00Z",),
        ("2024-01-01", "2024-02-30T00:00:00Z"),
    ),
    Group(
        "format",
        "duration",
        "exact",
        {"type": "string", "format": "duration"},
        ("P1Y2M", "PT5S", "P3W"),
        ("P", "PT", "P1S"),
    ),
    Group(
        "format",
        "email",
        "exact",
        {"type": "string", "format": "email"},
        ("a.b@c.de",),
        ("a", "a@", "a..b@c.de"),
    ),
    Group("format", "idn-email", "exact", {"type": "string", "format": "idn-email"}, ("é@ü.de",), ("é",)),
    Group(
        "format",
        "hostname",
        "exact",
        {"type": "string", "format": "hostname"},
        ("a", "a-b.example", "abcdef"),
        ("-a", "a_b", "xn--x"),
    ),
    Group(
        "format",
        "idn-hostname",
        "checked",
        {"type": "string", "format": "idn-hostname"},
        ("ü.de",),
        ("-a", "ü_"),
    ),
    Group(
        "format",
        "ipv4",
        "exact",
        {"type": "string", "format": "ipv4"},
        ("127.0.0.1",),
        ("256.0.0.1", "1.2.3", "01.2.3.4"),
    ),
    Group(
        "format",
        "ipv6",
        "exact",
        {"type": "string", "format": "ipv6"},
        ("::1", "fe80::1:2", "::ffff:1.2.3.4"),
        ("1", ":::1", "12345::"),
    ),
    Group(
        "format",
        "uuid",
        "exact",
        {"type": "string", "format": "uuid"},
        ("2eb8aa08-aa98-11ea-b4aa-73b441d16380",),
        ("2eb8aa08", "2eb8aa08aa9811eab4aa73b441d16380"),
    ),
    Group(
        "format",
        "uri",
        "exact",
        {"type": "string", "format": "uri"},
        ("http://a.de/b?c#d", "urn:x:y"),
        ("/a", "http://a b", "\\\\x"),
    ),
    Group(
        "format",
        "uri-reference",
        "exact",
        {"type": "string", "format": "uri-reference"},
        ("/a", "#x", ""),
        ("\\\\x", "a b"),
    ),
    Group("format", "iri", "exact", {"type": "string", "format": "iri"}, ("http://é.de/ü",), ("/é", "é é")),
    Group(
        "format",
        "iri-reference",
        "exact",
        {"type": "string", "format": "iri-reference"},
        ("/é", ""),
        ("\\é",),
    ),
    Group(
        "format",
        "uri-template",
        "exact",
        {"type": "string", "format": "uri-template"},
        ("http://a/{b}{?c*}",),
        ("http://a/{b",),
    ),
    Group(
        "format",
        "json-pointer",
        "exact",
        {"type": "string", "format": "json-pointer"},
        ("", "/a~1b/0"),
        ("a", "/~2"),
    ),
    Group(
        "format",
        "relative-json-pointer",
        "exact",
        {"type": "string", "format": "relative-json-pointer"},
        ("0#", "1/a"),
        ("-1", "01"),
    ),
    Group("format", "regex", "checked", {"type": "string", "format": "regex"}, ("^a+$",), ("(", "[a")),
    Group(
        "format",
        "any other: constrains nothing, with a warning",
        "exact",
        {"type": "string", "format": "path"},
        ("x", ""),
        (1,),
    ),
    Group(
        "format",
        "with `pattern` and lengths",
        "exact",
        {"type": "string", "format": "date", "pattern": "^2", "maxLength": 10},
        ("2024-01-01",),
        ("1999-01-01",),
    ),
]

ARRAYS = [
    Group(
        "items",
        "a schema",
        "exact",
        {"type": "array", "items": {"type": "integer"}},
        ([], [1, 2]),
        (["a"], [1, None]),
    ),
    Group(
        "items",
        "a list, as before 2020-12",
        "exact",
        {"type": "array", "items": [{"type": "integer"}], "additionalItems": {"type": "string"}},
        ([], [1], [1, "a"]),
        (["a"], [1, 2]),
    ),
    Group("items", "false", "exact", {"type": "array", "items": False}, ([],), ([1],)),
    Group(
        "prefixItems",
        "always",
        "exact",
        {"type": "array", "prefixItems": [{"const": 1}, {"type": "string"}]},
        ([], [1], [1, "a", None]),
        ([2], [1, 1]),
    ),
    Group(
        "prefixItems",
        "with `items`",
        "exact",
        {"type": "array", "prefixItems": [{"const": 1}], "items": False, "minItems": 1},
        ([1],),
        ([], [1, 1]),
    ),
    Group("minItems", "always", "exact", {"type": "array", "minItems": 2}, ([1, 2], [1, 2, 3]), ([], [1])),
    Group("maxItems", "always", "exact", {"type": "array", "maxItems": 1}, ([], [1]), ([1, 2],)),
    Group(
        "uniqueItems",
        "items of up to 4 listed strings, booleans or null",
        "exact",
        {"type": "array", "items": {"enum": ["a", "b", "c"]}, "uniqueItems": True},
        ([], ["b", "a"], ["c", "a", "b"]),
        (["a", "a"], ["b", "c", "b"], ["d"]),
    ),
    Group(
        "uniqueItems",
        "with `maxItems` of 1",
        "exact",
        {"type": "array", "maxItems": 1, "uniqueItems": True},
        ([], [1]),
        ([1, 1],),
    ),
    Group(
        "uniqueItems",
        "places that no value fits two of",
        "exact",
        {
            "type": "array",
            "prefixItems": [{"type": "string"}, {"type": "integer"}],
            "items": False,
            "uniqueItems": True,
        },
        (["a", 1],),
        ([1, 1],),
    ),
    Group(
        "uniqueItems",
        "anything else: a guard refuses repeats while an answer is decoded",
        "checked",
        {"type": "array", "items": {"type": "integer"}, "uniqueItems": True},
        ([1, 2],),
        ([1, 1], ["a"]),
    ),
    Group(
        "contains",
        "with `maxItems` of up to 8",
        "exact",
        {"type": "array", "contains": {"const": 1}, "maxItems": 3},
        ([1], ["a", 1], [2, 3, 1]),
        ([], [2], [2, 2, 2, 1]),
    ),
    Group(
        "contains",
        "anything else",
        "checked",
        {"type": "array", "contains": {"const": 1}},
        ([1], [2, 1]),
        ([], [2]),
    ),
    Group(
        "minContains",
        "0",
        "exact",
        {"type": "array", "contains": {"const": 1}, "minContains": 0},
        ([], [2]),
        (1,),
    ),
    Group(
        "minContains",
        "anything else",
        "checked",
        {"type": "array", "contains": {"const": 1}, "minContains": 2},
        ([1, 1],),
        ([1], [2]),
    ),
    Group(
        "maxContains",
        "always",
        "checked",
        {"type": "array", "contains": {"const": 1}, "maxContains": 1, "maxItems": 3},
        ([1],),
        ([1, 1], []),
    ),
    Group(
        "unevaluatedItems",
        "no subschema looks at items",
        "exact",
        {"type": "array", "prefixItems": [{"type": "string"}], "unevaluatedItems": False},
        ([], ["a"]),
        (["a", 1],),
    ),
    Group(
        "unevaluatedItems",
        "anything else",
        "checked",
        {"type": "array", "anyOf": [{"prefixItems": [True]}, {"minItems": 2}], "unevaluatedItems": False},
        ([1],),
        ([1, 2],),
    ),
]
