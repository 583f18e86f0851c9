"""The object keywords, rewritten for llguidance, which knows properties, patternProperties that do not
overlap, additionalProperties, required, and counts of properties where all named ones are required."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from agentkit_server.turn.schema import formats
from agentkit_server.turn.schema.keywords import OBJECT_KEYWORDS, Schema, types_of
from agentkit_server.turn.schema.lookahead import finder, parts
from agentkit_server.turn.schema.patterns import all_but, in_json, rust_matcher, strings_of

if TYPE_CHECKING:
    from agentkit_server.turn.schema.rewrite import Rewrite

_KEYWORDS = frozenset(OBJECT_KEYWORDS)
_MOST_COMBINATIONS = 64
_MOST_DEPENDENCIES = 6
_MOST_FREE = 4


class Objects:
    """Object keywords of the schemas of one rewrite."""

    def __init__(self, rewrite: Rewrite) -> None:
        self._rewrite = rewrite

    def rewrite(self, schema: dict[str, Any], made: dict[str, Any], more: list[Schema]) -> None:
        """Add to `made`, and to `more` what has to hold besides, what the object keywords ask for."""
        if _KEYWORDS.isdisjoint(schema):
            return
        schema = _without_any_name(schema)
        properties = {name: self._rewrite.schema(part) for name, part in schema.get("properties", {}).items()}
        rest: Schema = self._rewrite.schema(schema.get("additionalProperties", True))
        patterns = self._patterns(schema, properties, rest)
        if "unevaluatedProperties" in schema:
            rest = self._unevaluated(schema, properties, rest)
        if "propertyNames" in schema:
            rest = self._names(schema, properties, patterns, rest)
        if properties:
            made["properties"] = properties
        if patterns:
            made["patternProperties"] = patterns
        if rest is not True or "additionalProperties" in schema:
            made["additionalProperties"] = rest
        if properties and rest is not False:
            self._rewrite.names_may_be_respelled = True
        self._counts(schema, made, more)
        self._dependencies(schema, more)

    def _patterns(
        self, schema: dict[str, Any], properties: dict[str, Schema], rest: Schema
    ) -> dict[str, Schema]:
        """The patterns of `schema`; names that a look-ahead leaves out, and nothing else allows, become
        `properties`."""
        given: dict[str, Schema] = schema.get("patternProperties", {})
        if len(given) > 1 and all(part == next(iter(given.values())) for part in given.values()):
            given = {"|".join(f"(?:{pattern})" for pattern in given): next(iter(given.values()))}
        patterns: dict[str, Schema] = {}
        for pattern, part in given.items():
            split = parts(pattern)
            inner = self._rewrite.schema(part)
            if rest is False and len(given) == 1 and not split.also and _leave_out(split.none, properties):
                self._rewrite.names_may_be_respelled = True
            elif split.also or split.none:
                self._rewrite.allow_more(
                    schema, "patternProperties", "look-ahead is not in the grammar", "write a simpler pattern"
                )
                inner = {"anyOf": [inner, rest]}
            patterns[in_json(split.rest)] = inner
        return patterns

    def _names(
        self, schema: dict[str, Any], properties: dict[str, Schema], patterns: dict[str, Schema], rest: Schema
    ) -> Schema:
        """`rest` with the names bounded; changes `properties` and `patterns` too."""
        names = self._rewrite.document.resolved(schema["propertyNames"])
        if names is True:
            return rest
        known = self._rewrite.knowledge.ask(names).get("string")
        if known is None:
            properties.update(dict.fromkeys(properties, False))
            patterns.clear()
            return False
        for name in properties:
            if not self._rewrite.validation.valid(names, name):
                properties[name] = False
        if all(shape.only is not None for shape in known) and self._is_listing(names):
            listed = sorted(itertools.chain.from_iterable(shape.only or () for shape in known))
            for name in (json.loads(text) for text in listed):
                properties.setdefault(name, _for_name(name, patterns, rest))
            patterns.clear()
            return False
        if rest is False and not patterns:
            return False
        pattern = _pattern_of(names)
        every = patterns.keys() <= {in_json(".*")}
        if not every or pattern is None:
            self._rewrite.allow_more(
                schema, "propertyNames", "names are bounded by one pattern only", "use 'patternProperties'"
            )
        if pattern is None or not (every or (rest is False and not properties and _all_but_any(patterns))):
            return rest
        inner = next(iter(patterns.values()), rest)
        patterns.clear()
        patterns[pattern] = inner
        return False

    def _is_listing(self, names: Schema) -> bool:
        """Are the facts of `names` all there is to it?"""
        return isinstance(names, dict) and names.keys() <= {
            "type",
            "enum",
            "const",
            "pattern",
            "minLength",
            "maxLength",
        }

    def _unevaluated(self, schema: dict[str, Any], properties: dict[str, Schema], rest: Schema) -> Schema:
        unevaluated = schema["unevaluatedProperties"]
        if unevaluated is True or "additionalProperties" in schema:
            return rest
        evaluated = self._evaluated(schema, 0)
        if evaluated is None:
            self._rewrite.allow_more(
                schema,
                "unevaluatedProperties",
                "what the subschemas look at cannot be known beforehand",
                "name the properties here and use 'additionalProperties'",
            )
            return rest
        for name in evaluated:
            properties.setdefault(name, True)
        return self._rewrite.schema(unevaluated)

    def _evaluated(self, schema: Schema, depth: int) -> list[str] | None:
        """The properties that `schema` looks at whatever the value; None if that depends on the value."""
        if isinstance(schema, bool):
            return []
        if depth > 8 or schema.keys() & {"anyOf", "oneOf", "if", "dependentSchemas", "patternProperties"}:
            return None
        if depth and schema.keys() & {"additionalProperties", "unevaluatedProperties"}:
            return None
        names = list(schema.get("properties", ()))
        inner_schemas: list[Schema] = list(schema.get("allOf", ()))
        if "$ref" in schema:
            inner_schemas.insert(0, self._rewrite.document.target(schema["$ref"]))
        for part in inner_schemas:
            inner = self._evaluated(part, depth + 1)
            if inner is None:
                return None
            names += inner
        return names

    def _counts(self, schema: dict[str, Any], made: dict[str, Any], more: list[Schema]) -> None:
        required = set(schema.get("required", ()))
        least, most = schema.get("minProperties", 0), schema.get("maxProperties", math.inf)
        if least <= len(required) and most == math.inf:
            return
        if least > most or most < len(required):
            self._only_others(schema, more)
            return
        properties: dict[str, Schema] = made.get("properties", {})
        closed = made.get("additionalProperties", True) is False and not made.get("patternProperties")
        if closed:
            names = [name for name, part in properties.items() if part is not False]
            self._combine(schema, names, (least, most), more)
            return
        if most == 0:
            made.update({"properties": dict.fromkeys(properties, False), "additionalProperties": False})
            made.pop("patternProperties", None)
            return
        if least > len(required) + 1:
            self._rewrite.allow_more(
                schema,
                "minProperties",
                "a name that the schema does not list may come twice",
                "use 'required'",
            )
        if set(properties) <= required:
            if least > len(required):
                made["minProperties"] = least
            if most != math.inf:
                made["maxProperties"] = most
            return
        self._cases(schema, made, (min(least, len(required) + 1), most))

    def _cases(self, schema: dict[str, Any], made: dict[str, Any], counts: tuple[int, float]) -> None:
        """One case for each choice of the named properties that need not be there, each of them required in
        it: so llguidance counts the others."""
        properties: dict[str, Schema] = made.get("properties", {})
        required = list(dict.fromkeys(schema.get("required", ())))
        free = [name for name, part in properties.items() if name not in required and part is not False]
        least, most = counts
        only_one = least <= 1 and most == math.inf and not required
        if made.get("patternProperties") or (len(free) > _MOST_FREE and not only_one):
            keyword = "minProperties" if least > len(required) else "maxProperties"
            self._rewrite.allow_more(schema, keyword, "too many cases to write out", "use 'required'")
            return
        rest = made.pop("additionalProperties", True)
        made.pop("required", None)
        named = made.pop("properties")
        others = {} if rest is False else {in_json(all_but([*named, *required])): rest}
        cases: list[Schema] = []
        for there in [[]] if only_one else _subsets(free):
            if len(there) + len(required) <= most:
                names = [*required, *there]
                case = {"properties": {name: named.get(name, rest) for name in names}, "required": names}
                cases.append(self._case(case, others, counts))
        if only_one:
            whole = {"properties": named, "additionalProperties": rest}
            cases += [{**whole, "required": [name]} for name in free]
        made["allOf"] = [*made.get("allOf", ()), {"anyOf": cases} if cases else False]

    def _case(self, case: dict[str, Any], others: dict[str, Schema], counts: tuple[int, float]) -> Schema:
        least, most = counts
        case.update({"additionalProperties": False, "patternProperties": others})
        if least > len(case["required"]):
            case["minProperties"] = least
        if most != math.inf:
            case["maxProperties"] = most
        return case

    def _only_others(self, schema: dict[str, Any], more: list[Schema]) -> None:
        others = [kind for kind in types_of(schema) if kind != "object"]
        more.append({"type": others} if others else False)

    def _combine(
        self, schema: dict[str, Any], names: list[str], counts: tuple[int, float], more: list[Schema]
    ) -> None:
        """Write out which of `names`, the only ones there may be, are there."""
        required = [name for name in dict.fromkeys(schema.get("required", ())) if name in names]
        free = [name for name in names if name not in required]
        least, most = counts[0] - len(required), counts[1] - len(required)
        if least > len(free):
            self._only_others(schema, more)
            return
        if least > 0:
            if math.comb(len(free), least) > _MOST_COMBINATIONS:
                self._rewrite.allow_more(
                    schema, "minProperties", "too many properties to count", "use 'required'"
                )
            else:
                some = itertools.combinations(free, least)
                more.append({"anyOf": [{"required": list(chosen)} for chosen in some]})
        if most < len(free):
            absent = len(free) - int(most)
            if math.comb(len(free), absent) > _MOST_COMBINATIONS:
                self._rewrite.allow_more(
                    schema, "maxProperties", "too many properties to count", "use 'oneOf'"
                )
            else:
                left_out = itertools.combinations(free, absent)
                more.append({"anyOf": [{"properties": dict.fromkeys(some, False)} for some in left_out]})

    def _dependencies(self, schema: dict[str, Any], more: list[Schema]) -> None:
        if "dependentRequired" not in schema and "dependentSchemas" not in schema:
            return
        rules: list[tuple[str, Schema]] = []
        required = set(schema.get("required", ()))
        for name, needed in schema.get("dependentRequired", {}).items():
            missing = [other for other in needed if other not in required and other != name]
            if missing:
                rules.append((name, {"required": missing}))
        rules += schema.get("dependentSchemas", {}).items()
        rules = [(name, then) for name, then in rules if then is not True and not self._absent(schema, name)]
        bearing = 0
        for name, then in rules:
            if name in required:
                more.append(self._present(name, then))
            elif bearing < _MOST_DEPENDENCIES:
                bearing += 1
                more.append({"anyOf": [{"properties": {name: False}}, self._present(name, then)]})
            else:
                self._rewrite.allow_more(
                    schema, "dependencies", "too many of them in one object", "use 'anyOf'"
                )

    def _present(self, name: str, then: Schema) -> Schema:
        if then is False:
            return False
        here: dict[str, Any] = {"required": [name]}
        if isinstance(then, dict) and then.keys() == {"required"}:
            return {"required": [name, *then["required"]]}
        return {"allOf": [here, self._rewrite.schema(then)]}

    def _absent(self, schema: dict[str, Any], name: str) -> bool:
        if name in schema.get("properties", {}):
            return schema["properties"][name] is False
        return schema.get("additionalProperties") is False and not schema.get("patternProperties")


def _without_any_name(schema: dict[str, Any]) -> dict[str, Any]:
    """`schema` without a pattern that every name matches, but with what it says. llguidance would intersect
    each property with that, and cannot where both are the same recursive reference, as they often are."""
    given: dict[str, Schema] = schema.get("patternProperties", {})
    pattern = next(filter(_is_in_every_name, given), None)
    if pattern is None:
        return schema
    every = given[pattern]

    def both(part: Schema) -> Schema:
        return part if part == every or every is True else {"allOf": [part, every]}

    return {
        **schema,
        "properties": {name: both(part) for name, part in schema.get("properties", {}).items()},
        "patternProperties": {name: both(part) for name, part in given.items() if name != pattern},
        "additionalProperties": every,
    }


def _is_in_every_name(pattern: str) -> bool:
    """`^[a-z]*` is: what is found in the empty name, and does not ask where it ends, begins any other."""
    return "$" not in pattern and "(?" not in pattern and finder(pattern)("")


def _leave_out(none: Iterable[str], properties: dict[str, Schema]) -> bool:
    """Forbid, in `properties`, the names that one of the patterns `none` is in, if all of them plainly list
    whole names that are not there yet."""
    listed = [strings_of(pattern) for pattern in none]
    names = {name for one in listed if one is not None for name in one[0]}
    if not names or any(one is None or not one[1] for one in listed) or names & properties.keys():
        return False
    properties.update(dict.fromkeys(sorted(names), False))
    return True


def _for_name(name: str, patterns: dict[str, Schema], rest: Schema) -> Schema:
    found = [part for pattern, part in patterns.items() if rust_matcher(pattern)(name)]
    if not found:
        return rest
    return found[0] if len(found) == 1 else {"allOf": found}


def _pattern_of(names: Schema) -> str | None:
    """One pattern for all of `names`, if there is one."""
    if not isinstance(names, dict):
        return None
    limits = {keyword: value for keyword, value in names.items() if keyword != "type"}
    if limits.keys() == {"pattern"}:
        split = parts(limits["pattern"])
        return None if split.also or split.none else in_json(split.rest)
    if limits and limits.keys() <= {"minLength", "maxLength"}:
        return f"^(?s:.{{{limits.get('minLength', 0)},{limits.get('maxLength', '')}}})$"
    if limits.keys() == {"format"}:
        loose = limits["format"] in formats.LOOSE or limits["format"] in formats.LENGTHS
        return None if loose else formats.PATTERNS[limits["format"]]
    return None


def _all_but_any(patterns: dict[str, Schema]) -> bool:
    """Is there one pattern, which leaves out none but the empty name and those with line breaks?"""
    return len(patterns) == 1 and patterns.keys() <= {in_json(".+"), in_json("^.*$"), in_json("^.+$")}


def _subsets(names: list[str]) -> list[list[str]]:
    sizes = range(len(names) + 1)
    return [list(some) for size in sizes for some in itertools.combinations(names, size)]
