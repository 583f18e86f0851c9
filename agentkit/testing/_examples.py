"""The smallest value that a JSON Schema accepts. What is made is validated, so a wrong guess is an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from agentkit._errors import AgentkitError

Schema = Mapping[str, Any]
_DEEPEST = 30
_FORMATS = {
    "date": "2000-01-01",
    "date-time": "2000-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "PT0S",
    "email": "a@example.com",
    "uri": "https://example.com",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "127.0.0.1",
    "ipv6": "::1",
    "hostname": "example.com",
}


def example(schema: Schema) -> Any:
    """A value that `schema` accepts. Raises AgentkitError where it finds none."""
    from jsonschema import Draft202012Validator

    value = _Maker(schema).value(schema, 0)
    validator: Any = Draft202012Validator(schema)
    for error in validator.iter_errors(value):
        raise AgentkitError(
            f"auto() knows no value for this schema: {error.json_path}: {error.message}",
            hint="give a step that has one",
        )
    return value


class _Maker:
    def __init__(self, root: Schema) -> None:
        self._root = root

    def value(self, schema: Any, depth: int) -> Any:
        if not isinstance(schema, Mapping):
            return None
        given = self._resolved(cast("Schema", schema))
        if "const" in given:
            return given["const"]
        if given.get("enum"):
            return given["enum"][0]
        for name in ("anyOf", "oneOf"):
            if given.get(name):
                return self.value(self._smallest(given[name]), depth + 1)
        kind = _type(given)
        if kind in ("integer", "number"):
            return _number(given)
        if kind == "object":
            return self._object(given, depth + 1)
        if kind == "array":
            return self._array(given, depth + 1)
        if kind == "string":
            return _string(given)
        return False if kind == "boolean" else None

    def _resolved(self, schema: Schema) -> dict[str, Any]:
        """`schema` with what it refers to, and with all of its `allOf`."""
        given = dict(schema)
        for _ in range(_DEEPEST):
            if "$ref" in given:
                given = {**self._at(given.pop("$ref")), **given}
            elif "allOf" in given:
                for part in given.pop("allOf"):
                    given = _joined(self._resolved(part), given)
            else:
                return given
        raise AgentkitError(f"auto() knows no value for {dict(schema)!r}: it refers to itself")

    def _at(self, reference: str) -> Schema:
        found: Any = self._root
        for step in reference.removeprefix("#").split("/")[1:]:
            found = found[step.replace("~1", "/").replace("~0", "~")]
        return found

    def _smallest(self, choices: list[Any]) -> Any:
        """The first choice without parts of its own, if any: what refers to itself ends there."""
        plain = [one for one in choices if _type(self._resolved(one)) not in ("object", "array")]
        return (plain or choices)[0]

    def _object(self, schema: Schema, depth: int) -> dict[str, Any]:
        if depth > _DEEPEST:
            raise AgentkitError("auto() knows no value for a schema that has to contain itself")
        properties = schema.get("properties", {})
        return {name: self.value(properties.get(name, {}), depth) for name in schema.get("required", ())}

    def _array(self, schema: Schema, depth: int) -> list[Any]:
        first = list(schema.get("prefixItems", ()))
        count = schema.get("minItems", len(first))
        items = first + [schema.get("items", {})] * max(0, count - len(first))
        return [self.value(one, depth) for one in items[:count]] if depth <= _DEEPEST else []


def _string(schema: Schema) -> str:
    text = _FORMATS.get(schema.get("format", ""), "")
    return text + "a" * (schema.get("minLength", 0) - len(text))


def _number(schema: Schema) -> float:
    step = schema.get("multipleOf") or (1 if schema.get("type") == "integer" else 0.5)
    tried = [0, *_around(schema, step)]
    value = next((one for one in tried if _allows(schema, one)), 0)
    return int(value) if value == int(value) else value


def _around(schema: Schema, step: float) -> list[float]:
    """The multiples of `step` next to the bounds."""
    lows = [schema[name] for name in ("minimum", "exclusiveMinimum") if name in schema]
    highs = [schema[name] for name in ("maximum", "exclusiveMaximum") if name in schema]
    up = [-(-low // step) * step for low in lows]
    down = [high // step * step for high in highs]
    return [*up, *(one + step for one in up), *down, *(one - step for one in down)]


def _allows(schema: Schema, value: float) -> bool:
    return (
        schema.get("minimum", value) <= value <= schema.get("maximum", value)
        and schema.get("exclusiveMinimum", value - 1) < value
        and value < schema.get("exclusiveMaximum", value + 1)
    )


def _type(schema: Schema) -> str:
    """The first type that it may have; "" where it does not say."""
    said = schema.get("type")
    if isinstance(said, list):
        return str(cast("list[Any]", said)[0])
    if said is None:
        return "object" if "properties" in schema else "array" if "items" in schema else ""
    return str(said)


def _joined(part: Schema, whole: Schema) -> dict[str, Any]:
    """A schema that demands what both do."""
    properties = {**part.get("properties", {}), **whole.get("properties", {})}
    required = [*part.get("required", ()), *whole.get("required", ())]
    both = {**part, **whole}
    return {**both, **({"properties": properties, "required": required} if properties else {})}
