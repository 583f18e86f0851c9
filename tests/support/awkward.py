"""Twenty tools whose schemas are awkward in twenty ways, and fifty requests of which few need them."""

from __future__ import annotations

from typing import Any


def _object(required: list[str], /, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required}


_CITY = {"type": "string", "minLength": 2, "maxLength": 40}
_TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "label": {"type": "string", "maxLength": 12},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 2},
            },
            "required": ["label"],
            "additionalProperties": False,
        }
    },
    "type": "object",
    "properties": {"root": {"$ref": "#/$defs/node"}},
    "required": ["root"],
}
_PAYMENT = {
    "type": "object",
    "properties": {
        "method": {
            "oneOf": [
                {
                    "type": "object",
                    "properties": {
                        "kind": {"const": "card"},
                        "number": {"type": "string", "pattern": "^[0-9]{16}$"},
                    },
                    "required": ["kind", "number"],
                    "additionalProperties": False,
                },
                {
                    "type": "object",
                    "properties": {"kind": {"const": "iban"}, "account": {"type": "string", "maxLength": 34}},
                    "required": ["kind", "account"],
                    "additionalProperties": False,
                },
            ]
        },
        "cents": {"type": "integer", "minimum": 1, "maximum": 99999},
    },
    "required": ["method", "cents"],
}

SCHEMAS: dict[str, dict[str, Any]] = {
    "get_weather": _object(["city"], city=_CITY, unit={"enum": ["C", "F"]}),
    # A prefix of another name, and no arguments at all.
    "get": _object([]),
    "get_weather_forecast": _object(
        ["city", "days"], city=_CITY, days={"type": "integer", "minimum": 1, "maximum": 14}
    ),
    "set-thermostat.v2": _object(
        ["celsius"],
        celsius={"type": "number", "minimum": 5, "maximum": 30},
        rooms={"type": "array", "items": {"type": "string", "maxLength": 20}, "maxItems": 3},
    ),
    "tool_call": _object(["tool_call"], tool_call={"type": "string", "maxLength": 20}),
    "book_flight": _object(
        ["from", "to", "date"],
        **{
            "from": {"type": "string", "pattern": "^[A-Z]{3}$"},
            "to": {"type": "string", "pattern": "^[A-Z]{3}$"},
        },
        date={"type": "string", "format": "date"},
        seats={"type": "integer", "minimum": 1, "maximum": 9},
    ),
    "plant_tree": _TREE,
    "pay": _PAYMENT,
    "log_event": _object(
        ["level", "message"],
        level={"type": "string", "enum": ["debug", "info", "warning", "error"]},
        message={"type": "string", "maxLength": 60},
        tags={
            "type": "array",
            "items": {"type": "string", "maxLength": 10},
            "maxItems": 3,
            "uniqueItems": True,
        },
    ),
    "set_flags": {
        "type": "object",
        "properties": {},
        "additionalProperties": {"type": "boolean"},
        "minProperties": 1,
        "maxProperties": 3,
    },
    "draw": _object(
        ["points"],
        points={
            "type": "array",
            "items": {
                "type": "array",
                "prefixItems": [{"type": "integer"}, {"type": "integer"}],
                "items": False,
                "minItems": 2,
            },
            "minItems": 1,
            "maxItems": 3,
        },
    ),
    "remember": _object(["note"], note={"type": ["string", "null"], "maxLength": 50}),
    "convert": _object(
        ["value"],
        value={"anyOf": [{"type": "integer"}, {"type": "boolean"}, {"type": "string", "maxLength": 10}]},
    ),
    "send_mail": _object(
        ["to", "subject"],
        to={"type": "string", "format": "email", "maxLength": 40},
        subject={"type": "string", "maxLength": 40},
        body={"type": "string", "maxLength": 80},
    ),
    "schedule": {
        **_object(
            ["every"],
            every={"enum": ["day", "week"]},
            weekday={"enum": ["mon", "tue"]},
            hour={"type": "integer", "minimum": 0, "maximum": 23},
        ),
        "if": {"properties": {"every": {"const": "week"}}, "required": ["every"]},
        "then": {"required": ["weekday"]},
    },
    "multiply": _object(
        ["a", "b"], a={"type": "integer", "multipleOf": 5}, b={"type": "integer", "exclusiveMinimum": 0}
    ),
    "umlaut_größe": _object(["größe"], größe={"type": "integer", "minimum": 0, "maximum": 300}),
    "quote": _object(['say "it"'], **{'say "it"': {"type": "string", "maxLength": 30}}),
    "nested": _object(
        ["a"],
        a=_object(
            ["b"],
            b=_object(
                ["c"],
                c={"type": "array", "items": {"type": "number", "minimum": -1, "maximum": 1}, "maxItems": 4},
            ),
        ),
    ),
    "lookup": {
        "allOf": [
            _object(["id"], id={"type": "string", "pattern": "^[a-f0-9]{8}$"}),
            {"properties": {"verbose": {"type": "boolean"}}},
        ]
    },
}

TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {"name": name, "description": f"The tool {name}.", "parameters": schema},
    }
    for name, schema in SCHEMAS.items()
]

_SUBJECTS = (
    "the weather in Oslo",
    "a tree with two branches",
    "paying 12 euros by card",
    "a flight from BER to JFK",
    "why the sky is blue",
    "a mail to my boss",
    "three points of a triangle",
    "the size of a horse",
    "nothing in particular",
    "a marker like <tool_call> in text",
)
_OPENINGS = (
    "Tell me about {}.",
    "Please do something about {}!",
    "{}?",
    "I wonder what you can do with {}, and quickly.",
    "Write one short sentence on {}.",
)
PROMPTS = [opening.format(subject) for subject in _SUBJECTS for opening in _OPENINGS]
