"""Arguments as one tagged text per parameter: `<parameter=city>Rome</parameter>` and its relatives.

A parameter that can only be a string is raw text up to the closing tag, one that cannot be a string is
JSON. One that can be either is raw text, and the text decides: JSON without white space round it, of a value
that is no string and that the parameter's schema allows, is that value; any other text is a string. Where
the tags name the type (DeepSeek, Kimi K3) they decide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from agentkit_server.errors import BadRequest, SchemaProblem, SchemaRefused
from agentkit_server.turn.schema.prepare import prepare
from agentkit_server.turn.schema.prepared import PreparedSchema
from agentkit_server.turn.syntaxes.arguments import CallableTool
from agentkit_server.turn.syntaxes.pieces import Marks, quoted
from agentkit_server.turn.syntaxes.styles.delimited import Delimiter
from agentkit_server.turn.syntaxes.styles.json import written
from agentkit_server.turn.syntaxes.styles.parameters import (
    KEY,
    Parameter,
    Parameters,
    arranged,
    parameters,
)
from agentkit_server.turn.syntaxes.styles.subschema import TYPES, only, type_of, types
from agentkit_server.turn.syntaxes.styles.tagged_scanner import TaggedScanner
from agentkit_server.turn.syntaxes.styles.tagged_value import (
    CDATA,
    in_cdata,
    outside_cdata,
    raw_texts,
    read_as,
)
from agentkit_server.turn.syntaxes.styles.text import texts


@dataclass(frozen=True, kw_only=True)
class Tagged:
    """`before` key `after` value `close` `end`, once for each parameter.

    Qwen3-Coder: Tagged(before="<parameter=", after=">\\n", close="\\n</parameter>", end="\\n")
    GLM-4.6: Tagged(before="<arg_key>", after="</arg_key>\\n<arg_value>", close="</arg_value>", end="\\n")
    DeepSeek V3.2: after={"string": '" string="true">', "other": '" string="false">'}
    """

    before: str
    after: str | Mapping[str, str]
    """One text, or one for each type of value: `null`, `boolean`, `number`, `string`, `array`, `object`,
    and `other` for those not named."""
    close: str
    end: str = ""
    """Follows every parameter, the last one too."""
    empty: str = ""
    """Stands in place of the parameters when there are none."""
    cdata: bool = False
    """MiniCPM5: a string with `<`, `&` or a line break stands in `<![CDATA[` and `]]>`, and what does is a
    string. Lists and objects never do."""

    def fragment(self, rule: str, tool: CallableTool, marks: Marks) -> str:
        """Raises SchemaRefused for a required parameter that cannot be written so."""
        known = parameters(tool)
        lines: list[str] = []
        sequence: list[str] = []
        for at, one in enumerate(known.declared):
            name = f"{rule}__p{at}"
            source = self._parameter(name, one, marks)
            if source:
                lines.append(source)
                sequence.append(name if one.required else f"{name}?")
        if known.undeclared is not None:
            lines.append(self._undeclared(f"{rule}__more", known, marks))
            sequence.append(f"{rule}__more*")
        body = " ".join(sequence) or quoted("")
        if self.empty and sequence and not any(one.required for one in known.declared):
            lines.append(f"{rule}__some: {' '.join(sequence)}\n")
            body = f"{rule}__some | {marks.lark(self.empty)}"
        elif self.empty and not sequence:
            body = marks.lark(self.empty)
        return f"{rule}: {body}\n{''.join(lines)}"

    def loose(self, tool: CallableTool) -> tuple[str, ...]:
        known = parameters(tool)
        stated = {(problem.pointer, problem.keyword) for problem in tool.arguments.loose}
        found = list(known.loose)
        for one in (*known.declared, *known.others):
            place = f"parameter {one.name!r}" if one.name else "an undeclared parameter"
            for _, kinds in self.readings(one):
                if "string" in kinds:
                    allowed = texts(only(one.schema, kinds, one.schema), one.schema)
                    found += [f"{place}: {why}" for why in (allowed.loose if allowed else ())]
                else:
                    inner = f"/properties/{one.name}"
                    found += [
                        f"{place}: checked afterwards: {problem}"
                        for problem in prepared(one, kinds).loose
                        if (f"{inner}{problem.pointer}", problem.keyword) not in stated
                    ]
        return tuple(dict.fromkeys(found))

    def scanner(self, tool: CallableTool, marks: Marks) -> TaggedScanner:
        return TaggedScanner(self, parameters(tool), marks)

    def write(self, tool: CallableTool, arguments: Mapping[str, Any]) -> str:
        """Raises ValueError for what cannot be written, or would be read as something else."""
        parts = [self._written(one, value) for one, value in parameters(tool).ordered(arguments)]
        return "".join(parts) or self.empty

    def readings(self, parameter: Parameter) -> list[tuple[str, frozenset[str]]]:
        """(the text between key and value, the JSON types of the value after it) for what `parameter` may
        hold."""
        possible = types(parameter.schema, parameter.schema)
        return [(after, kinds & possible) for after, kinds in self.kinds.items() if kinds & possible]

    @cached_property
    def delimiter(self) -> Delimiter:
        return Delimiter(self.close)

    @cached_property
    def kinds(self) -> dict[str, frozenset[str]]:
        """The text between key and value -> the JSON types that may follow it."""
        if isinstance(self.after, str):
            return {self.after: TYPES}
        kinds: dict[str, frozenset[str]] = {}
        for name in sorted(TYPES):
            after = self.after.get(name) or self.after["other"]
            kinds[after] = kinds.get(after, frozenset()) | {name}
        return kinds

    def _parameter(self, rule: str, one: Parameter, marks: Marks) -> str:
        """Lark source of `rule`, "" for a parameter that may be left out and cannot be written."""
        values = self._values(rule, one, marks)
        clear = not any(after.strip() in one.name for after in self.kinds) and one.name == one.name.strip()
        if not values or not clear:
            if one.required:
                raise SchemaRefused([_unwritable(one, clear)])
            return ""
        choices = " | ".join(f"{marks.lark(after)} {value}" for after, value, _ in values)
        opened = f"{marks.lark(self.before)} {quoted(one.name)} ({choices})"
        return f"{rule}: {opened} {marks.lark(self.end)}\n" + "".join(source for _, _, source in values)

    def _undeclared(self, rule: str, known: Parameters, marks: Marks) -> str:
        values = [value for others in known.others for value in self._values(rule, others, marks)]
        choices = " | ".join(f"{marks.lark(after)} {value}" for after, value, _ in values)
        names = " | ".join(quoted(one.name) for one in known.declared)
        key = f"{rule.upper()}__KEY"
        but = f" & ~({names})" if names else ""
        return (
            f"{rule}: {marks.lark(self.before)} {key} ({choices}) {marks.lark(self.end)}\n"
            f"{key}: /{KEY}/{but}\n" + "".join(source for _, _, source in values)
        )

    def _values(self, rule: str, one: Parameter, marks: Marks) -> list[tuple[str, str, str]]:
        """(text before the value, expression of value and closing delimiter, Lark source behind it)."""
        found: list[tuple[str, str, str]] = []
        for at, (after, kinds) in enumerate(self.readings(one)):
            name = f"{rule}__v{at}"
            if "string" not in kinds:
                found.append((after, f"{name} {marks.lark(self.close)}", prepared(one, kinds).fragment(name)))
                continue
            source = self._text(name, one, kinds, marks)
            if source:
                found.append((after, name, source))
        return found

    def _text(self, rule: str, one: Parameter, kinds: frozenset[str], marks: Marks) -> str:
        """Lark source of `rule`: raw text and the closing delimiter; "" when there is no such text."""
        allowed = texts(only(one.schema, kinds, one.schema), one.schema)
        if allowed is None or not self.cdata:
            return "" if allowed is None else self.delimiter.fragment(rule, allowed, marks)
        plain = self.delimiter.fragment(f"{rule}__plain", allowed.both(outside_cdata(kinds)), marks)
        strings = texts(only(one.schema, _STRING, one.schema), one.schema)
        if strings is None:
            return f"{rule}: {rule}__plain\n{plain}"
        wrapped = in_cdata(self.delimiter).fragment(f"{rule}__cdata", strings, marks)
        return f"{rule}: {rule}__plain | {quoted(CDATA)} {rule}__cdata\n{plain}{wrapped}"

    def _written(self, one: Parameter, value: Any) -> str:
        kind = type_of(value)
        reading = next((pair for pair in self.readings(one) if kind in pair[1]), None)
        if reading is None:
            raise ValueError(f"the parameter {one.name!r} cannot hold {value!r}; see its schema")
        after, kinds = reading
        text = value if isinstance(value, str) else written(arranged(value, one.schema, one.schema))
        if "string" in kinds:
            text = self._as_text(text, one, kinds, value)
        return f"{self.before}{one.name}{after}{text}{self.close}{self.end}"

    def _as_text(self, text: str, one: Parameter, kinds: frozenset[str], value: Any) -> str:
        misread = len(kinds) > 1 and read_as(text, one, kinds) != value
        wrapped = self.cdata and isinstance(value, str) and (misread or any(char in text for char in "<&\n"))
        if misread and not wrapped:
            raise ValueError(f"{value!r} as {one.name!r} would be read as another type; it has no text")
        allowed = raw_texts(one, _STRING if wrapped else kinds)
        closing = in_cdata(self.delimiter) if wrapped else self.delimiter
        if not closing.may_hold(text, allowed.holds):
            raise ValueError(f"{text!r} contains {closing.core!r}, which closes it; leave that out")
        return f"{CDATA}{text}]]>" if wrapped else text


def prepared(parameter: Parameter, kinds: frozenset[str]) -> PreparedSchema:
    """What `parameter` holds of the types `kinds`, for a grammar of JSON."""
    part = only(parameter.schema, kinds, parameter.schema)
    try:
        return prepare(part)
    except BadRequest as error:
        reason = SchemaProblem("", "type", error.message, "")
        anything = prepare({"type": sorted(kinds)})
        return _with_loose(anything, reason)


def _with_loose(schema: PreparedSchema, problem: SchemaProblem) -> PreparedSchema:
    return PreparedSchema(
        schema=schema.schema,
        level="checked",
        loose=(*schema.loose, problem),
        warnings=schema.warnings,
        fragment=schema.fragment,
        problems=schema.problems,
    )


def _unwritable(one: Parameter, clear: bool) -> SchemaProblem:
    why = "no value of it can be written" if clear else "its name cannot be told from what follows it"
    return SchemaProblem(
        f"/properties/{one.name}", "properties", f"in this model's syntax {why}", "name it with letters and _"
    )


_STRING = frozenset({"string"})
