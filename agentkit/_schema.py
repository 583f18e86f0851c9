"""JSON Schemas of Python types, in the form that a model reads best: nothing repeated, no noise, and every
keyword that constrains a value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, cast

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, JsonSchemaWarningKind

Schema = dict[str, Any]

_NOISE = ("title", "discriminator")
_ANNOTATIONS = {"default", "deprecated", "examples", "readOnly", "writeOnly"}
_MAPS = ("properties", "patternProperties", "dependentSchemas", "$defs")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLES = (
    "items",
    "additionalProperties",
    "unevaluatedItems",
    "unevaluatedProperties",
    "contains",
    "propertyNames",
    "not",
    "if",
    "then",
    "else",
)
_DEFINITION = "#/$defs/"


class Generator(GenerateJsonSchema):
    """pydantic's generator; a default that JSON cannot say is left out without a warning."""

    ignored_warning_kinds: set[JsonSchemaWarningKind] = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - overrides an instance attribute

    def sort(self, value: JsonSchemaValue, parent_key: str | None = None) -> JsonSchemaValue:
        """Nothing is sorted: members stay in the order in which they are declared."""
        return value

    def get_title_from_name(self, name: str) -> str:
        """The name as it is; of titles only those of a NamedTuple's fields are used."""
        return name


def tidy(schema: Schema) -> Schema:
    """`schema` without titles, and with each definition that is used once written out in its place.

    Enums always are. Other definitions that are used more often, or that contain themselves, stay in `$defs`;
    the root is never a mere reference.
    """
    cleaned = _walked(_walked(schema, _told), _without_noise)
    definitions: dict[str, Schema] = cleaned.pop("$defs", {})
    uses = _uses({**cleaned, "$defs": definitions})
    once = {name for name, made in definitions.items() if uses[name] == 1 or "enum" in made}

    def placed(node: Schema) -> Schema:
        name = _target(node)
        if name is None or name not in once:
            return node
        return merged(_without(node, "$ref"), _walked(definitions[name], placed))

    root = _walked(cleaned, placed)
    kept = {name: _walked(made, placed) for name, made in definitions.items() if name not in once}
    name = _target(root)
    if name is not None:
        root = merged(_without(root, "$ref"), kept[name])
    return {**root, "$defs": kept} if kept else root


_IN_PLACE = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "$ref")


def closed(schema: Schema) -> Schema:
    """`schema`, with no more properties than it names in objects that do not say whether there may be more.

    Only where an object's properties stand in one place. What is put together of several schemas stays open,
    for each of them names only a part, and so does what is only tested.
    """
    shared = {name for node in _nodes(schema) if _mixed(node) for name in _references(node)}
    return _closed(schema, shared)


def _closed(node: Schema, shared: set[str]) -> Schema:
    made = dict(node)
    for keyword in ("properties", "patternProperties", "$defs"):
        if keyword in made:
            made[keyword] = {
                name: part if keyword == "$defs" and name in shared else _inner(part, shared)
                for name, part in made[keyword].items()
            }
    for keyword in ("items", "additionalProperties"):
        if keyword in made:
            made[keyword] = _inner(made[keyword], shared)
    for keyword in ("prefixItems", *(() if _mixed(node) else ("anyOf", "oneOf"))):
        if keyword in made:
            made[keyword] = [_inner(part, shared) for part in made[keyword]]
    if "properties" in made and "additionalProperties" not in made and not made.keys() & set(_IN_PLACE):
        made["additionalProperties"] = False
    return made


def _inner(part: Any, shared: set[str]) -> Any:
    return _closed(cast("Schema", part), shared) if isinstance(part, dict) else part


def _mixed(node: Schema) -> bool:
    """Do several schemas in `node` say something of one object?"""
    present = [keyword for keyword in ("properties", *_IN_PLACE) if keyword in node]
    return len(present) > 1 or "allOf" in node or "not" in node or "if" in node


def _references(node: Schema) -> set[str]:
    """Names of the definitions that `node` refers to in its place, however deep."""
    found: set[str] = set()
    for keyword in _IN_PLACE:
        part = node.get(keyword)
        parts = cast("list[Any]", part) if isinstance(part, list) else [part]
        for one in parts:
            if isinstance(one, dict):
                found |= _references(cast("Schema", one))
    name = _target(node)
    return found if name is None else found | {name}


def _nodes(schema: Schema) -> list[Schema]:
    nodes: list[Schema] = []

    def note(node: Schema) -> Schema:
        nodes.append(node)
        return node

    _walked(schema, note)
    return nodes


def merged(outer: Schema, inner: Schema) -> Schema:
    """One schema that says what both say; of annotations those of `outer`, and both descriptions."""
    if (outer.keys() & inner.keys()) - _ANNOTATIONS - {"description", "required"}:
        return {**outer, "allOf": [*outer.get("allOf", ()), inner]}
    both = dict.fromkeys(side["description"] for side in (outer, inner) if side.get("description"))
    description = {"description": "\n".join(both)} if both else {}
    names = dict.fromkeys([*inner.get("required", ()), *outer.get("required", ())])
    required = {"required": list(names)} if names else {}
    return {**inner, **outer, **required, **description}


def _told(node: Schema) -> Schema:
    """`node` with what only noise said: that the tag of a union is required, and the names of a NamedTuple's
    fields."""
    made = dict(node)
    if "discriminator" in node and "oneOf" in node:
        tag = {"required": [node["discriminator"]["propertyName"]]}
        made["oneOf"] = [merged(tag, branch) for branch in node["oneOf"]]
    if "prefixItems" in node:
        made["prefixItems"] = [_named(item) for item in node["prefixItems"]]
    return made


def _named(item: Schema) -> Schema:
    return {"description": item["title"], **item} if "title" in item else item


def _without_noise(node: Schema) -> Schema:
    return _without(node, *_NOISE)


def _without(node: Schema, *keywords: str) -> Schema:
    return {keyword: value for keyword, value in node.items() if keyword not in keywords}


def _target(node: Schema) -> str | None:
    """Name of the definition that `node` refers to."""
    reference = node.get("$ref", "")
    return reference.removeprefix(_DEFINITION) if reference.startswith(_DEFINITION) else None


def _uses(schema: Schema) -> Counter[str]:
    """How often each definition is referred to."""
    found: Counter[str] = Counter()

    def count(node: Schema) -> Schema:
        name = _target(node)
        if name is not None:
            found[name] += 1
        return node

    _walked(schema, count)
    return found


def _walked(schema: Schema, change: Callable[[Schema], Schema]) -> Schema:
    """`schema` with `change` applied to every schema in it, the innermost first.

    It goes by keyword, so that a property which is called `title`, or a default that looks like a schema, is
    not taken for one.
    """
    made = dict(schema)
    for keyword in _MAPS:
        if keyword in made:
            made[keyword] = {name: _part(part, change) for name, part in made[keyword].items()}
    for keyword in _LISTS:
        if keyword in made:
            made[keyword] = [_part(part, change) for part in made[keyword]]
    for keyword in _SINGLES:
        if keyword in made:
            made[keyword] = _part(made[keyword], change)
    return change(made)


def _part(part: Any, change: Callable[[Schema], Schema]) -> Any:
    """A schema that may be a boolean."""
    return _walked(cast("Schema", part), change) if isinstance(part, dict) else part
