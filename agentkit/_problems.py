"""What is wrong with a call's arguments, in words that a small model can act on: which argument, what it must
be, what it was. Bounded in length, because it goes into the conversation."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from jsonschema import ValidationError as SchemaError
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

MOST_PROBLEMS = 5
MOST_CHARACTERS = 200
"""Of one problem."""
_MOST_SHOWN = 60
"""Characters of a wrong value."""

_OF_PYDANTIC = {
    "missing": "is required",
    "extra_forbidden": "is not known",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must have at least {min_length} characters",
    "string_pattern_mismatch": "must match {pattern}",
    "too_long": "must have at most {max_length} items",
    "too_short": "must have at least {min_length} items",
    "union_tag_invalid": "{discriminator} must be one of {expected_tags}",
    "union_tag_not_found": "{discriminator} is required",
}
_OF_JSONSCHEMA = {
    "type": "must be of type {}",
    "enum": "must be one of {}",
    "const": "must be {}",
    "minimum": "must be at least {}",
    "maximum": "must be at most {}",
    "exclusiveMinimum": "must be more than {}",
    "exclusiveMaximum": "must be less than {}",
    "minLength": "must have at least {} characters",
    "maxLength": "must have at most {} characters",
    "minItems": "must have at least {} items",
    "maxItems": "must have at most {} items",
    "pattern": "must match {}",
}


def message(tool: str, problems: Sequence[str]) -> str:
    """One line for all `problems` of a call of `tool`."""
    told = [_cut(problem, MOST_CHARACTERS) for problem in problems[:MOST_PROBLEMS]]
    if len(problems) > MOST_PROBLEMS:
        told.append(f"and {len(problems) - MOST_PROBLEMS} more")
    return f"arguments of {tool} are not valid: {'; '.join(told)}"


def unknown(names: Iterable[str], known: Iterable[str]) -> str:
    """The problem of arguments that the tool does not have."""
    has = ", ".join(known) or "none"
    return f"{', '.join(_cut(name, _MOST_SHOWN) for name in names)}: not known; the arguments are: {has}"


def of_pydantic(error: ValidationError, arguments: Mapping[str, Any]) -> list[str]:
    """The problems that pydantic found in `arguments`, one for each place."""
    places: dict[str, list[str]] = {}
    values: dict[str, str] = {}
    for detail in error.errors(include_url=False):
        place = _place(detail, arguments)
        wanted = _wanted(detail)
        known = places.setdefault(place, [])
        if wanted not in known:
            known.append(wanted)
        if place and detail["type"] != "missing":
            values[place] = f" (got {_shown(detail['input'])})"
    # A union has a problem for each of its members, all at one place.
    return [_placed(place, _either(wanted)) + values.get(place, "") for place, wanted in places.items()]


def of_jsonschema(errors: Iterable[SchemaError], arguments: Mapping[str, Any]) -> list[str]:
    """The problems that a JSON Schema validator found in `arguments`."""
    found: list[str] = []
    for error in errors:
        place = ".".join(str(step) for step in error.absolute_path)
        found += _of_schema_keyword(place, error)
    return list(dict.fromkeys(found))


def _of_schema_keyword(place: str, error: SchemaError) -> list[str]:
    keyword, demand, value = (
        str(error.validator),
        cast("Any", error.validator_value),
        cast("Any", error.instance),
    )
    if keyword == "required":
        return [_placed(f"{place}.{name}".lstrip("."), "is required") for name in demand if name not in value]
    if keyword == "additionalProperties" and demand is False:
        known: Mapping[str, Any] = cast("Any", error.schema).get("properties", {})
        return [unknown([name for name in value if name not in known], known)]
    if keyword in _OF_JSONSCHEMA:
        said = _OF_JSONSCHEMA[keyword].format(_shown(demand, MOST_CHARACTERS))
        return [f"{_placed(place, said)} (got {_shown(value)})"]
    return [_placed(place, error.message)]


def _either(wanted: Sequence[str]) -> str:
    first, *others = wanted
    return " or ".join([first, *(other.removeprefix("must be ") for other in others)])


def _placed(place: str, text: str) -> str:
    return f"{place}: {text}" if place else text


def _place(detail: ErrorDetails, arguments: Mapping[str, Any]) -> str:
    """Dotted path into the arguments. Of pydantic's location only what the arguments have: the rest names
    members of unions."""
    steps: list[str] = []
    value: Any = arguments
    for at, step in enumerate(detail["loc"]):
        last = at == len(detail["loc"]) - 1
        if _has(value, step):
            value = value[step]
            if str(step).startswith("**"):
                # Not an argument: what holds those of `**kwargs`.
                continue
        elif not (last and detail["type"] == "missing"):
            continue
        steps.append(str(step))
    return ".".join(steps)


def _has(value: Any, step: str | int) -> bool:
    if isinstance(value, Mapping):
        return step in value
    return isinstance(value, list) and isinstance(step, int) and step < len(cast("list[Any]", value))


def _wanted(detail: ErrorDetails) -> str:
    text = _OF_PYDANTIC.get(detail["type"])
    context = detail.get("ctx", {})
    if text is not None:
        return text.format(**context)
    said = re.sub(r"^(Value error|Assertion failed), ", "", detail["msg"])
    said = re.sub(r"^Input should be ", "must be ", said)
    return re.sub(r", unable to .*", "", said)


def _shown(value: Any, most: int = _MOST_SHOWN) -> str:
    return _cut(json.dumps(value, ensure_ascii=False, default=str), most)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
