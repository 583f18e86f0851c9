"""What a parsed template is made of. Nodes are frozen and refer to nothing but their parts, so a tree can be
walked, kept and shared between threads. `at` is where a node begins in the source.

Differences from Go's own tree: `else if` and `else with` are further branches of one node, and `define` and
`block` stay where they are written (they are also in `GoTemplate.templates`). Comments are gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias


class Position(NamedTuple):
    """Both count from 1; a column is a character, not a byte."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Text:
    """Text outside of actions, already trimmed by `{{-` and `-}}`. Never empty."""

    at: Position
    text: str


@dataclass(frozen=True, slots=True)
class Action:
    """`{{ pipeline }}`: prints its value, unless it declares or assigns variables."""

    at: Position
    pipeline: Pipeline


@dataclass(frozen=True, slots=True)
class Branch:
    """`{{ if pipeline }} body`, or the same after `else`."""

    at: Position
    pipeline: Pipeline
    body: Body


@dataclass(frozen=True, slots=True)
class If:
    at: Position
    branches: tuple[Branch, ...]
    otherwise: Body | None
    """The body of `{{ else }}`; None without one."""


@dataclass(frozen=True, slots=True)
class With:
    at: Position
    branches: tuple[Branch, ...]
    otherwise: Body | None


@dataclass(frozen=True, slots=True)
class Range:
    at: Position
    pipeline: Pipeline
    body: Body
    otherwise: Body | None


@dataclass(frozen=True, slots=True)
class Break:
    at: Position


@dataclass(frozen=True, slots=True)
class Continue:
    at: Position


@dataclass(frozen=True, slots=True)
class Template:
    """`{{ template "name" pipeline }}`."""

    at: Position
    name: str
    pipeline: Pipeline | None


@dataclass(frozen=True, slots=True)
class Define:
    """`{{ define "name" }} body {{ end }}`: writes nothing where it stands."""

    at: Position
    name: str
    body: Body


@dataclass(frozen=True, slots=True)
class Block:
    """`{{ block "name" pipeline }} body {{ end }}`: a definition that is used at once."""

    at: Position
    name: str
    pipeline: Pipeline
    body: Body


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Commands, each handing its value to the next as last argument; and the variables that take the last."""

    at: Position
    variables: tuple[str, ...]
    """With their `$`. Two only in `range`."""
    assigns: bool
    """`=` in place of `:=`."""
    commands: tuple[Command, ...]


@dataclass(frozen=True, slots=True)
class Command:
    """A function, method or value, and its arguments. Never empty."""

    at: Position
    operands: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Dot:
    at: Position


@dataclass(frozen=True, slots=True)
class Nil:
    at: Position


@dataclass(frozen=True, slots=True)
class Constant:
    at: Position
    value: bool | int | float | str
    source: str
    """As it is written, quotes included."""


@dataclass(frozen=True, slots=True)
class Field:
    """`.A.B`: names without their dots."""

    at: Position
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """`$x.A.B`; `name` has its `$`, and is just that for the data of the template."""

    at: Position
    name: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Function:
    at: Position
    name: str


@dataclass(frozen=True, slots=True)
class Chain:
    """Fields of anything else: `(index .Rows 0).Name`."""

    at: Position
    operand: Function | Pipeline
    names: tuple[str, ...]


Operand: TypeAlias = Dot | Nil | Constant | Field | Variable | Function | Chain | Pipeline
Statement: TypeAlias = Text | Action | If | With | Range | Break | Continue | Template | Define | Block
Body: TypeAlias = tuple[Statement, ...]
Node: TypeAlias = Statement | Branch | Command | Operand


def walk(body: Body) -> Iterator[Node]:
    """Every node of `body`, each before its parts, in the order of the source."""
    waiting: list[Node] = list(reversed(body))
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(reversed(list(_parts(node))))


def _parts(node: Node) -> Iterable[Node]:
    match node:
        case If() | With():
            return (*node.branches, *(node.otherwise or ()))
        case Range():
            return (node.pipeline, *node.body, *(node.otherwise or ()))
        case Branch() | Block():
            return (node.pipeline, *node.body)
        case Define():
            return node.body
        case Pipeline():
            return node.commands
        case Command():
            return node.operands
        case Action():
            return (node.pipeline,)
        case Chain():
            return (node.operand,)
        case Template():
            return () if node.pipeline is None else (node.pipeline,)
        case _:
            return ()


def spelled(operand: Operand) -> str:
    """As it is written in a template, or about so."""
    match operand:
        case Constant():
            return operand.source
        case Field():
            return "." + ".".join(operand.names)
        case Variable():
            return ".".join((operand.name, *operand.names))
        case Function():
            return operand.name
        case Chain():
            return ".".join((spelled(operand.operand), *operand.names))
        case Pipeline():
            return "(...)"
        case Nil():
            return "nil"
        case Dot():
            return "."
