"""How a family of models writes an answer: thoughts, calls, and the answer itself.

A declaration is data. grammar.py makes the grammar of it, parser.py the parser and write.py the writer; no
family has code of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from agentkit_server.turn.syntaxes.arguments import ArgumentStyle, CallableTool
from agentkit_server.turn.syntaxes.pieces import Marks


@dataclass(frozen=True)
class Lit:
    """Exactly this text. Markers in it may be control tokens."""

    text: str


@dataclass(frozen=True)
class Gap:
    """White space that a model may write or leave out; `typical` is what its template writes."""

    typical: str = ""


@dataclass(frozen=True)
class Name:
    """The tool's name, as the inside of a JSON string with `json`. What follows it is a Lit, or the arguments
    with `until` as the text that they, or what follows them, begin with."""

    json: bool = False
    until: str = ""


@dataclass(frozen=True)
class NameAgain:
    """The same name once more."""


@dataclass(frozen=True)
class Id:
    """An id that the model makes up, `pattern` as a regex: read over, every call gets an id of ours. It
    cannot contain what the next node begins with."""

    pattern: str
    typical: str


@dataclass(frozen=True)
class Maybe:
    """Nodes that a model may leave out, all of them or none. The first is a Lit, and what follows begins
    otherwise."""

    nodes: tuple[Lit | Gap | Id, ...]


@dataclass(frozen=True)
class Args:
    """The arguments, in the syntax's style."""


Node = Lit | Gap | Name | NameAgain | Id | Maybe | Args


@dataclass(frozen=True, kw_only=True)
class Calls:
    """How calls are written: `opening`, the calls with `between` between them, `closing`."""

    style: ArgumentStyle
    call: tuple[Node, ...]
    """Has one Name and, after it, one Args."""
    opening: tuple[Node, ...] = ()
    between: tuple[Node, ...] = (Gap("\n"),)
    closing: tuple[Node, ...] = ()
    bare: bool = False
    """No marker announces a call: an answer that begins like one, up to the name, is one."""
    tag: str = ""
    """A marker that may stand before a bare call, where the vocabulary has it as a control token."""
    parallel: bool = True

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The first call with what stands before it."""
        return (*self.opening, *self.call)

    @property
    def name(self) -> Name:
        """The node of the tool's name."""
        return next(node for node in self.call if isinstance(node, Name))

    @property
    def head(self) -> tuple[Node, ...]:
        """A call up to its name."""
        return self.call[: self.call.index(self.name)]

    @property
    def tail(self) -> tuple[Node, ...]:
        """A call from behind its name on."""
        return self.call[self.call.index(self.name) + 1 :]

    @property
    def trigger(self) -> str:
        """The text that no answer contains: a call begins with it. "" when the name comes first."""
        announced = [node.text for node in (*self.opening, *self.head) if isinstance(node, Lit)]
        return announced[0] if announced else ""


@dataclass(frozen=True, kw_only=True)
class Syntax:
    """One family."""

    name: str
    thinking: tuple[str, str] | None = None
    """What opens and what closes a block of thoughts."""
    resume: str = ""
    """What has to stand between such a block and whatever comes next."""
    repeats: bool = False
    """Several blocks of thoughts may follow one another."""
    aside: tuple[str, str] | None = None
    """What stands before and after text beside calls, in families whose answer has a marker of its own."""
    calls: Calls | None = None
    answer: tuple[str, str] = ("", "")
    """What stands before and after a final answer."""
    answer_always: bool = True
    """`answer` has to be written, rather than may be."""

    @property
    def marked(self) -> bool:
        """Does every answer begin with a marker? Then no call comes behind text."""
        return bool(self.answer[0]) and self.answer_always

    @property
    def plain(self) -> bool:
        """Is an answer without calls nothing but its text, so that there is nothing to tell apart in it?"""
        return self.thinking is None and not any(self.answer)

    @property
    def closing(self) -> str:
        """What closes the thoughts of a model that did not close them itself."""
        if self.thinking is None:
            return ""
        close = self.thinking[1]
        return f"\n{close}\n\n" if close.startswith(("</", "[BEGIN")) else close + self.resume

    def loose(self, tool: CallableTool) -> tuple[str, ...]:
        """Where calls of `tool` are checked rather than enforced, because of how arguments are written."""
        return () if self.calls is None else self.calls.style.loose(tool)

    def marks(self, marks: Marks) -> list[int]:
        """The control tokens that the parser has to see."""
        found = {token for text in _texts(self) for token in marks.ids(text)}
        return sorted(found)


def _texts(value: Any) -> Iterator[str]:
    """Every text in a declaration, the delimiters of its style among them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple):
        for one in value:  # pyright: ignore[reportUnknownVariableType]
            yield from _texts(one)
    elif isinstance(value, Mapping):
        for one in value.values():  # pyright: ignore[reportUnknownVariableType]
            yield from _texts(one)
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from _texts(getattr(value, field.name))
