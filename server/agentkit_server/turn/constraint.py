"""What a turn binds its answer to, and the one grammar that is made of it.

Two steps: `demands` prepares the schemas of tools and answer before a model is loaded, so that what cannot
be enforced is refused at once; `constrain` writes the grammar once the model's syntax is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from agentkit_server.engine.types import Distinct
from agentkit_server.errors import BadRequest, SchemaProblem
from agentkit_server.turn.custom import custom_arguments
from agentkit_server.turn.events import Level
from agentkit_server.turn.schema.answer import Answer, answer
from agentkit_server.turn.schema.distinct import joined
from agentkit_server.turn.schema.prepare import prepare
from agentkit_server.turn.syntaxes.arguments import CallableTool
from agentkit_server.turn.syntaxes.grammar import grammar
from agentkit_server.turn.syntaxes.lead import follows_arguments, lead
from agentkit_server.turn.syntaxes.pieces import Marks
from agentkit_server.turn.syntaxes.shape import Shape
from agentkit_server.turn.syntaxes.syntax import Syntax
from agentkit_server.turn.types import ResponseFormat, Tool, ToolChoice, Turn

Thinking = Literal["free", "open", "forbidden"]


@dataclass(frozen=True, kw_only=True)
class Demands:
    """What the caller asked of the answer, prepared."""

    tools: tuple[CallableTool, ...] = ()
    """Those that may be called."""
    calls: Literal["none", "auto", "required"] = "none"
    parallel: bool = True
    answer: Answer | None = None
    forbids: bool = False
    """There are tools in the prompt, and none may be called."""

    @property
    def anything(self) -> bool:
        """Is there something that a grammar has to see to?"""
        return bool(self.tools) or self.forbids or self.answer is not None


@dataclass(frozen=True, kw_only=True)
class Constraint:
    """The demands in one model's syntax."""

    demands: Demands
    syntax: Syntax
    marks: Marks
    level: Level | None
    notes: tuple[str, ...]

    def shape(self, thinking: Thinking, *, call_now: bool = False) -> Shape:
        """What the grammar allows when the prompt leaves `thinking` so. `call_now`: nothing but calls."""
        demands = self.demands
        return Shape(
            tools=demands.tools,
            calls="required" if call_now else demands.calls,
            parallel=demands.parallel,
            answer=None if demands.answer is None else demands.answer.fragment,
            thinking=thinking,
        )

    def grammar(self, shape: Shape) -> str:
        """The grammar of `shape`, "" when nothing is demanded."""
        return grammar(self.syntax, shape, self.marks) if self.demands.anything else ""

    def distinct(self, shape: Shape) -> Distinct | None:
        """What the answer of `shape`, and the arguments of its calls, may not repeat, beside its grammar."""
        answer = None if shape.calls == "required" else self.demands.answer
        calls = shape.tools if shape.calls != "none" and follows_arguments(self.syntax) else ()
        rules, places = joined(answer and answer.distinct, [tool.arguments.distinct for tool in calls])
        if not rules:
            return None
        return Distinct(places=rules, lead=lead(self.syntax, shape, self.marks, places))


def demands(turn: Turn) -> Demands:
    """What `turn` asks of its answer.

    Raises SchemaRefused, InvalidGrammar, and BadRequest for a tool choice that contradicts the tools.
    """
    wanted = None if turn.response_format is None else _answer(turn.response_format)
    chosen = _chosen(turn.tools, turn.tool_choice)
    if turn.tool_choice.mode == "none" or not chosen:
        return Demands(answer=wanted, forbids=bool(turn.tools))
    return Demands(
        tools=tuple(_callable(at, tool) for at, tool in chosen),
        calls=turn.tool_choice.mode,
        parallel=turn.tool_choice.parallel,
        answer=wanted,
    )


def constrain(wanted: Demands, syntax: Syntax, control: Mapping[str, int]) -> Constraint:
    """`wanted` in the words of a model's syntax."""
    prepared = [(f"tool {tool.name!r}", tool.arguments) for tool in wanted.tools]
    notes = [f"{what}: {note}" for what, one in prepared for note in (*_loosely(one.loose), *one.warnings)]
    notes += [f"tool {tool.name!r}: {note}" for tool in wanted.tools for note in syntax.loose(tool)]
    checked = any(one.level == "checked" for _, one in prepared)
    checked = checked or any(syntax.loose(tool) for tool in wanted.tools)
    if wanted.answer is not None:
        notes += [*_loosely(wanted.answer.loose), *wanted.answer.warnings]
        checked = checked or wanted.answer.level == "checked"
    level: Level | None = None if not wanted.anything else "checked" if checked else "exact"
    return Constraint(demands=wanted, syntax=syntax, marks=Marks(control), level=level, notes=tuple(notes))


def _loosely(loose: Sequence[SchemaProblem]) -> list[str]:
    return [f"checked afterwards: {problem}" for problem in loose]


def _chosen(tools: Sequence[Tool], choice: ToolChoice) -> list[tuple[int, Tool]]:
    names = [tool.name for tool in tools]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise BadRequest(
            f"two tools are named {repeated!r}; give every tool a name of its own", param="tools"
        )
    unknown = next((name for name in choice.names if name not in names), None)
    if unknown is not None:
        listed = ", ".join(names) or "none"
        raise BadRequest(
            f"tool_choice names {unknown!r}, which is not among the tools; they are: {listed}",
            param="tool_choice",
        )
    chosen = [(at, tool) for at, tool in enumerate(tools) if not choice.names or tool.name in choice.names]
    if choice.mode == "required" and not chosen:
        raise BadRequest(
            "tool_choice requires a call, and there are no tools; send some", param="tool_choice"
        )
    return chosen


def _answer(wanted: ResponseFormat) -> Answer:
    try:
        return answer(wanted)
    except BadRequest as error:
        error.param = error.param or "response_format"
        raise


def _callable(at: int, tool: Tool) -> CallableTool:
    try:
        prepared = custom_arguments(tool) if tool.custom else prepare(_arguments(tool.parameters))
    except BadRequest as error:
        error.param = f"tools[{at}].custom.format" if tool.custom else f"tools[{at}].function.parameters"
        raise
    return CallableTool(name=tool.name, arguments=prepared)


def _arguments(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of the arguments object. Declared properties are all that there are unless the schema
    says that others may come: a model that makes up arguments helps nobody."""
    schema = {"type": "object", **parameters}
    closed = "properties" in schema and not _OPENING & schema.keys()
    return {**schema, "additionalProperties": False} if closed else schema


_OPENING = {
    "additionalProperties",
    "unevaluatedProperties",
    "patternProperties",
    "propertyNames",
    "minProperties",
    "allOf",
    "anyOf",
    "oneOf",
    "if",
    "dependentSchemas",
    "dependencies",
    "$ref",
    "$dynamicRef",
}
"""Keywords that may speak of properties which `properties` does not list."""
