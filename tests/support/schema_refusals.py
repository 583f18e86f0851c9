"""Schemas that cannot be enforced, with the place and the keyword that the refusal names."""

from __future__ import annotations

from support.schema_groups import Refused

REFUSED = [
    Refused(
        "$ref",
        "to another document, or to nothing",
        {"properties": {"a": {"$ref": "http://x.test/b"}}},
        "/properties/a",
    ),
    Refused("$ref", "to another document, or to nothing", {"$ref": "#/$defs/none"}, ""),
    Refused("$ref", "that leads back to itself without going into the value", {"allOf": [{"$ref": "#"}]}, ""),
    Refused(
        "$ref",
        "required for ever",
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        "",
    ),
    Refused(
        "$dynamicRef",
        "several schemas have the anchor",
        {"$dynamicRef": "#x", "$defs": {"a": {"$dynamicAnchor": "x"}, "b": {"$dynamicAnchor": "x"}}},
        "",
    ),
    Refused(
        "pattern",
        "look-around elsewhere, backreferences, word boundaries",
        {"items": {"pattern": "a(?<!b)"}},
        "/items",
    ),
    Refused("pattern", "look-around elsewhere, backreferences, word boundaries", {"pattern": "(a)\\1"}, ""),
    Refused("pattern", "too large to compile, or no pattern", {"pattern": "((a{900}){900}){9}"}, ""),
    Refused(
        "patternProperties",
        "a pattern that cannot be used",
        {"patternProperties": {"[": True}},
        "/patternProperties",
    ),
    Refused("type", "not one of the seven", {"type": "any"}, ""),
    Refused(
        "required", "a boolean, as in draft 3", {"properties": {"a": {"required": True}}}, "/properties/a"
    ),
    Refused("enum", "empty", {"enum": []}, ""),
    Refused("schema", "nothing satisfies it", {"type": "string", "minLength": 3, "maxLength": 2}, ""),
    Refused("schema", "nothing satisfies it", False, ""),
    Refused("schema", "not an object or a boolean", {"properties": {"a": 3}}, "/properties/a"),
]
