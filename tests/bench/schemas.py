"""JSON schemas from flat to recursive, and the record whose rate is compared with that of free text."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def _object(**properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _array(items: Schema, most: int) -> Schema:
    return {"type": "array", "items": items, "minItems": 1, "maxItems": most}


TEXT: Schema = {"type": "string", "minLength": 1, "maxLength": 40}
WHOLE: Schema = {"type": "integer", "minimum": 0, "maximum": 5000}
YES_OR_NO: Schema = {"type": "boolean"}

SHAPES: dict[str, Schema] = {
    "flat": _object(name=TEXT, age=WHOLE, city=TEXT, married=YES_OR_NO),
    "enums": _array(_object(colour={"enum": ["red", "green", "blue"]}, size={"enum": ["S", "M", "L"]}), 5),
    "nested": _object(order=_object(id=WHOLE, lines=_array(_object(item=TEXT, price={"type": "number"}), 4))),
    "strings": _object(
        date={"type": "string", "format": "date"},
        mail={"type": "string", "format": "email"},
        code={"type": "string", "pattern": "^[A-Z]{3}-[0-9]{4}$"},
    ),
    "recursive": {
        "$defs": {
            "node": _object(
                value=TEXT, children={"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 2}
            )
        },
        "$ref": "#/$defs/node",
    },
}

RECORD = _object(
    first_name=TEXT,
    last_name=TEXT,
    birth_year=WHOLE,
    nationality={"enum": ["french", "german", "polish", "spanish"]},
    street_name=TEXT,
    house_number=WHOLE,
    postal_code=WHOLE,
    city_of_residence=TEXT,
    phone_number={"type": "string", "pattern": "^[0-9]{6}$"},
    email_verified=YES_OR_NO,
    membership_level={"enum": ["bronze", "silver", "gold"]},
    account_balance=WHOLE,
    number_of_orders=WHOLE,
    newsletter_subscribed=YES_OR_NO,
    preferred_language={"enum": ["english", "french", "german"]},
    favourite_colour={"enum": ["red", "green", "blue"]},
    occupation=TEXT,
    years_of_experience=WHOLE,
    has_driving_licence=YES_OR_NO,
    number_of_children=WHOLE,
)
"""An object of 20 fields."""

RECORD_PROMPT = (
    "<|im_start|>user\nInvent a customer of a bookshop and write the record as JSON.<|im_end|>\n"
    "<|im_start|>assistant\n"
)
FREE_PROMPT = (
    "<|im_start|>user\nInvent a customer of a bookshop and tell the story.<|im_end|>\n<|im_start|>assistant\n"
)
