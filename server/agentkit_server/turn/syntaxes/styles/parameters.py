"""A tool's parameters, from the JSON Schema of its arguments: which there are, in which order, and what each
may hold, as a schema that stands by itself.

A parameter that the schema does not declare can be written only where `additionalProperties` (or
`unevaluatedProperties`) says so in as many words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from agentkit_server.turn.syntaxes.arguments import CallableTool
from agentkit_server.turn.syntaxes.styles.subschema import Schema, stands_alone, target

KEY = "[A-Za-z_][A-Za-z0-9_-]{0,63}"
"""Regex of an undeclared parameter's name."""


@dataclass(frozen=True)
class Parameter:
    """One parameter, `schema` with the definitions that it refers to."""

    name: str
    schema: Schema
    required: bool = False


@dataclass(frozen=True)
class Parameters:
    """All of them, in the order in which they are written."""

    declared: tuple[Parameter, ...]
    undeclared: Schema | None
    """What a parameter under any other name may hold; None = there is no other."""
    loose: tuple[str, ...]
    """Parts of the schema that speak of several parameters at once, which no grammar here enforces."""

    @property
    def others(self) -> tuple[Parameter, ...]:
        """The undeclared ones as one parameter without a name, where there may be any."""
        return () if self.undeclared is None else (Parameter("", self.undeclared),)

    def named(self, name: str) -> Parameter | None:
        """The parameter `name`, None when it cannot be written."""
        found = next((one for one in self.declared if one.name == name), None)
        if found is None and self.undeclared is not None:
            return Parameter(name, self.undeclared)
        return found

    def ordered(self, arguments: Mapping[str, Any]) -> list[tuple[Parameter, Any]]:
        """`arguments` in writing order. ValueError for one that is not a parameter."""
        known = [one for one in self.declared if one.name in arguments]
        others = [name for name in arguments if all(name != one.name for one in known)]
        if others and self.undeclared is None:
            raise ValueError(f"there is no parameter {others[0]!r}; write only what the tool declares")
        known += [Parameter(name, cast(Schema, self.undeclared)) for name in others]
        return [(one, arguments[one.name]) for one in known]


def parameters(tool: CallableTool) -> Parameters:
    """The parameters of `tool`."""
    return of_object(tool.arguments.schema, cast(Schema, tool.arguments.schema))


def of_object(schema: Mapping[str, Any] | bool, root: Schema, *, alone: bool = True) -> Parameters:
    """The properties of an object that `schema`, a part of `root`, describes; their schemas by themselves
    unless `alone` is False: then parts of `root`."""
    found = _Found(root, alone)
    found.visit(schema, outermost=True)
    return found.parameters()


def arranged(value: Any, schema: Schema, root: Schema) -> Any:
    """`value` with the keys of its objects in the order in which `schema`, a part of `root`, has them."""
    if isinstance(value, Mapping):
        found = of_object(schema, root)
        given = cast(Mapping[str, Any], value)
        inner = {one.name: one.schema for one in found.declared}
        names = [*(name for name in inner if name in given), *(name for name in given if name not in inner)]
        schemas = {name: inner.get(name, True) for name in names}
        return {name: arranged(given[name], schemas[name], schemas[name]) for name in names}
    if isinstance(value, list):
        items = _items(schema, root)
        return [arranged(one, items, items) for one in cast(list[Any], value)]
    return value


def _items(schema: Schema, root: Schema, depth: int = 0) -> Schema:
    """What describes the items of a list, where one schema does."""
    if isinstance(schema, bool) or depth > 16:
        return True
    if "items" in schema and isinstance(schema["items"], dict):
        return stands_alone(cast(Schema, schema["items"]), root)
    parts = [*cast(list[Schema], schema.get("anyOf", [])), *cast(list[Schema], schema.get("oneOf", []))]
    parts += cast(list[Schema], schema.get("allOf", []))
    there = target(root, cast(str, schema["$ref"])) if "$ref" in schema else None
    parts += [] if there is None else [there]
    found = [_items(part, root, depth + 1) for part in parts]
    return next((one for one in found if not isinstance(one, bool)), True)


@dataclass
class _Found:
    root: Schema
    alone: bool
    properties: dict[str, list[Any]] = field(default_factory=dict[str, list[Any]])
    required: list[str] = field(default_factory=list[str])
    others: Any = None
    loose: list[str] = field(default_factory=list[str])
    visited: set[str] = field(default_factory=set[str])

    def visit(self, schema: Mapping[str, Any] | bool, *, outermost: bool = False) -> None:
        if isinstance(schema, bool):
            return
        for keyword, value in schema.items():
            match keyword:
                case "properties":
                    for name, sub in cast(dict[str, Any], value).items():
                        self.properties.setdefault(name, []).append(sub)
                case "required":
                    self.required += cast(list[str], value)
                case "$ref":
                    self._follow(cast(str, value))
                case "allOf":
                    for sub in cast(list[Any], value):
                        self.visit(sub)
                case "anyOf" | "oneOf":
                    self._alternatives(keyword, cast(list[Any], value))
                case "additionalProperties" | "unevaluatedProperties":
                    self._others(keyword, value, outermost)
                case "minProperties" if value <= len(set(self.required)):
                    pass
                case _ if keyword in _ON_OBJECTS:
                    self._loosely(keyword)
                case _:
                    pass

    def parameters(self) -> Parameters:
        required = set(self.required)
        for name in self.required:
            self.properties.setdefault(name, [True if self.others in (None, False) else self.others])
        declared = tuple(
            Parameter(name, self._alone(subs[0] if len(subs) == 1 else {"allOf": subs}), name in required)
            for name, subs in self.properties.items()
        )
        others = None if self.others is None or self.others is False else self._alone(self.others)
        return Parameters(declared, others, tuple(dict.fromkeys(self.loose)))

    def _alone(self, schema: Schema) -> Schema:
        return stands_alone(schema, self.root) if self.alone else schema

    def _follow(self, reference: str) -> None:
        if reference in self.visited:
            return
        self.visited.add(reference)
        found = target(self.root, reference)
        if found is None:
            self._loosely("$ref")
        else:
            self.visit(found)

    def _alternatives(self, keyword: str, branches: Iterable[Any]) -> None:
        """What any branch declares may be written; which go together is left to the validator."""
        self._loosely(keyword)
        by_name: dict[str, list[Any]] = {}
        for branch in branches:
            inner = _Found(self.root, self.alone)
            inner.visit(branch)
            for one in inner.parameters().declared:
                by_name.setdefault(one.name, []).append(one.schema)
        for name, subs in by_name.items():
            self.properties.setdefault(name, [subs[0] if len(subs) == 1 else {"anyOf": subs}])

    def _others(self, keyword: str, value: Any, outermost: bool) -> None:
        if not outermost:
            self._loosely(keyword)
        elif self.others is None or keyword == "additionalProperties":
            self.others = value

    def _loosely(self, keyword: str) -> None:
        self.loose.append(
            f"{keyword!r} of the arguments, which speaks of several parameters at once, is checked afterwards"
        )


_ON_OBJECTS = {
    "$dynamicRef",
    "const",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "enum",
    "if",
    "maxProperties",
    "minProperties",
    "not",
    "patternProperties",
    "propertyNames",
}
