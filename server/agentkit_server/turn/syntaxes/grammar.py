"""The grammar of one turn in a model's syntax, in llguidance's Lark.

Which text is free is a matter of the lexer: a text marker ends it as a lazy lexeme, so that the first
marker commits to a call, and a control token ends it by not being text at all. The lexer never goes back:
white space before a text marker is part of the marker's own terminal wherever text could be meant as well.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from agentkit_server.errors import BadRequest
from agentkit_server.turn.syntaxes.names import check_name, written_name
from agentkit_server.turn.syntaxes.pieces import Marks, quoted
from agentkit_server.turn.syntaxes.shape import Shape
from agentkit_server.turn.syntaxes.syntax import (
    Args,
    Calls,
    Gap,
    Id,
    Lit,
    Maybe,
    Name,
    NameAgain,
    Node,
    Syntax,
)

MOST_BLANKS = 8
"""White space characters that a gap may have."""
_BLANKS = rf"[ \t\r\n]{{0,{MOST_BLANKS}}}"
_MANY_BLANKS = r"[ \t\r\n]*"
_ANY = "/(?s:.*)/"


def grammar(syntax: Syntax, shape: Shape, marks: Marks) -> str:
    """Lark source of everything that `shape` allows.

    Raises BadRequest for a tool whose name cannot be written in this syntax, and for tools beside a bound
    answer where the two could not be told apart.
    """
    writer = _Grammar(syntax, shape, marks)
    return "%llguidance {}\n" + writer.source()


class _Grammar:
    def __init__(self, syntax: Syntax, shape: Shape, marks: Marks) -> None:
        self._syntax = syntax
        self._shape = shape
        self._marks = marks
        self._calls = syntax.calls if shape.tools and shape.calls != "none" else None
        self._rules: list[str] = []

    def source(self) -> str:
        start = " ".join(part for part in (self._before(), f"({' | '.join(self._body())})") if part)
        gap = rf"GAP: /[ \t\r\n]{{1,{MOST_BLANKS}}}/"
        return f"start: {start}\n{''.join(self._rules)}{gap}\nANY: {_ANY}\n"

    # Thoughts, and text beside calls

    def _before(self) -> str:
        """What may, or must, stand before the answer or the calls."""
        parts: list[str] = []
        blocks: list[str] = []
        if self._syntax.thinking is not None and self._shape.thinking != "forbidden":
            opening, closing = self._syntax.thinking
            self._rules.append(f"thoughts: {self._up_to(closing, 'thoughts')} {self._resume}\n")
            if self._shape.thinking == "open":
                parts.append("thoughts")
            if self._shape.thinking == "free" or self._syntax.repeats:
                self._rules.append(f"thought: {self._begins(opening, 'THOUGHT')} thoughts\n")
                blocks.append("thought")
        if self._syntax.aside is not None and self._calls is not None and self._free_with_calls:
            opening, closing = self._syntax.aside
            aside = f"{self._marks.lark(opening)} {self._up_to(closing, 'aside')} {self._resume}"
            self._rules.append(f"aside: {aside}\n")
            blocks.append("aside")
        if blocks:
            parts.append(f"({' | '.join(blocks)}){'*' if self._syntax.repeats else '?'}")
        return " ".join(parts)

    @property
    def _resume(self) -> str:
        return self._marks.lark(self._syntax.resume)

    @property
    def _free_with_calls(self) -> bool:
        return self._shape.calls == "auto" and self._shape.answer is None

    def _up_to(self, marker: str, rule: str, text: str = "ANY") -> str:
        """`text`, the terminal of that name, and the first `marker`."""
        head = re.split("[\ud800-\udfff]", self._marks.text(marker))[0]
        rest = self._marks.lark(marker[len(head) :])
        if not rest:
            self._rules.append(f"{rule}__end[lazy]: {text} {quoted(marker)}\n")
            return f"{rule}__end"
        if not head:
            return f"{text} {rest}"
        name = f"{rule.upper()}__HEAD"
        self._rules.append(f"{name}: {text} & /(?s:.*){_escaped(head)}/\n")
        return f"{name} {rest}"

    def _begins(self, marker: str, terminal: str) -> str:
        """`marker` with white space before it, where text may stand instead."""
        if self._syntax.marked or self._marks.is_control(marker):
            return f"GAP? {self._marked(marker)}"
        head = re.split("[\ud800-\udfff]", self._marks.text(marker))[0]
        self._rules.append(f"{terminal}: /{_BLANKS}{_escaped(head)}/\n")
        return f"{terminal} {self._marks.lark(marker[len(head) :])}".strip()

    def _marked(self, marker: str) -> str:
        """`marker`, so that a call which begins likewise can still become one."""
        trigger = "" if self._calls is None else self._calls.trigger
        if trigger and marker.startswith(trigger):
            return f"{self._marks.lark(trigger)} {self._marks.lark(marker[len(trigger) :])}"
        return self._marks.lark(marker)

    # The answer, or calls

    def _body(self) -> list[str]:
        """The ways on, once there are no more thoughts."""
        if self._calls is None:
            return [self._answer()]
        self._tools(self._calls)
        if self._shape.calls == "required":
            return [f"{self._no_answer()} {self._all_calls(self._calls, self._calls.nodes)}"]
        if self._shape.answer is not None:
            return [self._answer(), f"{self._no_answer()} {self._beside_bound(self._calls)}"]
        return [self._answer(), self._beside_free(self._calls)]

    def _no_answer(self) -> str:
        """What may stand before calls in place of an answer: the empty one, where it has marks."""
        if self._syntax.answer_always:
            return "GAP?"
        opening, closing = self._answer_markers()
        return " ".join(part for part in ("GAP?", opening, closing) if part)

    def _answer(self) -> str:
        opening, closing = self._answer_markers()
        if self._shape.answer is not None:
            self._rules.append(self._shape.answer("answer"))
            begin = f"GAP? {opening} GAP?" if opening else "GAP?"
            return f"{begin} answer GAP? {closing}" if closing else f"{begin} answer"
        self._rules.append(f"TEXT: {self._text()}\n")
        if self._syntax.marked:
            opening = f"GAP? {opening}"
        return " ".join(part for part in (opening, "TEXT", closing) if part)

    def _answer_markers(self) -> tuple[str, str]:
        opening, closing = self._syntax.answer
        if self._syntax.answer_always:
            return self._marked(opening), self._marks.lark(closing)
        # Those of ordinary text are part of free text, and beside an answer that is bound they could be
        # part of it.
        found = [self._marks.lark(one) if self._has_control(one) else "" for one in (opening, closing)]
        opening, closing = (f"({one})?" if one else "" for one in found)
        return opening, closing

    def _text(self) -> str:
        """Free text, as a terminal: valid UTF-8 that opens no thoughts and, where calls are forbidden, no
        call."""
        without: list[str] = []
        thinking, calls = self._syntax.thinking, self._syntax.calls
        if thinking is not None and not self._syntax.marked and not self._has_control(thinking[0]):
            without.append(rf"{_MANY_BLANKS}{_escaped(thinking[0])}(?s:.*)")
        if calls is not None and calls.bare:
            without.append(rf"{_MANY_BLANKS}{_bare_opening(calls, _MANY_BLANKS)}(?s:.*)")
        elif calls is not None and self._calls is None and not self._syntax.marked:
            # A control token is no text anyway.
            needed = not self._has_control(calls.trigger)
            without += [rf"(?s:.*){_escaped(calls.trigger)}(?s:.*)"] if needed else []
        return " & ".join((_ANY, *(f"~/{one}/" for one in without)))

    def _has_control(self, marker: str) -> bool:
        return bool(self._marks.ids(marker))

    def _beside_free(self, calls: Calls) -> str:
        """Calls with text before them, or in its place."""
        if calls.bare:
            self._rules.append(f"BARE: /{_BLANKS}{_bare_opening(calls, _BLANKS)}/\n")
            bare = self._all_calls(calls, _behind_bare_opening(calls))
            plain = f"BARE {bare}"
            return f"{plain} | {self._tagged(calls)}" if self._has_control(calls.tag) else plain
        if self._syntax.marked:
            return f"GAP? {self._all_calls(calls, calls.nodes)}"
        rest = self._all_calls(calls, behind_trigger(calls))
        if self._marks.is_control(calls.trigger) and not self._syntax.answer_always:
            opening, closing = self._answer_markers()
            return f"{opening} TEXT {closing} GAP? {self._marks.lark(calls.trigger)} {rest}"
        return f"{self._up_to(calls.trigger, 'call_begins', 'TEXT')} {rest}"

    def _beside_bound(self, calls: Calls) -> str:
        """Calls in place of an answer that is bound, and may begin like anything."""
        if not calls.bare:
            return self._all_calls(calls, calls.nodes)
        if not self._has_control(calls.tag):
            raise BadRequest(
                "this model's calls cannot be told from an answer that is bound by a schema; leave out the "
                "tools or the schema, or set tool_choice to required or none",
                param="tools",
            )
        return self._tagged(calls)

    def _tagged(self, calls: Calls) -> str:
        return f"{self._marks.lark(calls.tag)} GAP? {self._all_calls(calls, calls.nodes)}"

    def _all_calls(self, calls: Calls, first: Sequence[Node]) -> str:
        """Every call. `first`: the nodes of the first one, or those that are left of it."""
        before = self._nodes(first[: _name_at(first)])
        parts = [before, "tool"]
        if self._shape.parallel and calls.parallel:
            parts.append("more*")
        parts += [self._nodes(calls.closing), "GAP?"]
        return " ".join(part for part in parts if part)

    def _tools(self, calls: Calls) -> None:
        """`tool`: a call from its name on, one alternative a tool. `more`: another call."""
        choices: list[str] = []
        for number, tool in enumerate(self._shape.tools):
            check_name(self._syntax, tool.name, self._marks)
            rule, arguments = f"tool{number}", f"tool{number}__a"
            name = quoted(written_name(calls.name, tool.name))
            rest = self._nodes(calls.tail, arguments=arguments, name=quoted(tool.name))
            self._rules.append(f"{rule}: {name} {rest}\n{calls.style.fragment(arguments, tool, self._marks)}")
            choices.append(rule)
        self._rules.append(f"tool: {' | '.join(choices)}\n")
        if self._shape.parallel and calls.parallel:
            self._rules.append(f"more: {self._nodes([*calls.between, *calls.head])} tool\n")

    def _nodes(self, nodes: Sequence[Node], *, arguments: str = "", name: str = "") -> str:
        parts = [self._node(node, arguments, name) for node in nodes]
        return " ".join(part for part in parts if part)

    def _node(self, node: Node, arguments: str, name: str) -> str:
        match node:
            case Lit(text):
                return self._marks.lark(text)
            case Gap():
                return "GAP?"
            case Id(pattern):
                return f"/{pattern}/"
            case Maybe(nodes):
                return f"({self._nodes(nodes)})?"
            case Args():
                return arguments
            case NameAgain():
                return name
            case Name():
                raise ValueError("a call has one name")


def behind_trigger(calls: Calls) -> tuple[Node, ...]:
    """The first call from behind its trigger on."""
    at = next(at for at, node in enumerate(calls.nodes) if isinstance(node, Lit))
    return calls.nodes[at + 1 :]


def _bare_opening(calls: Calls, blanks: str) -> str:
    """Regex of what a bare call begins with, up to and with its second literal: `{"name"`."""
    parts = [blanks if isinstance(node, Gap) else _escaped(node.text) for node in _opening_nodes(calls)]
    return "".join(parts)


def _opening_nodes(calls: Calls) -> list[Lit | Gap]:
    found: list[Lit | Gap] = []
    for node in calls.nodes:
        if not isinstance(node, Lit | Gap) or sum(isinstance(one, Lit) for one in found) == 2:
            break
        found.append(node)
    while isinstance(found[-1], Gap):
        found.pop()
    return found


def _behind_bare_opening(calls: Calls) -> tuple[Node, ...]:
    return calls.nodes[len(_opening_nodes(calls)) :]


def _name_at(nodes: Sequence[Node]) -> int:
    return next(at for at, node in enumerate(nodes) if isinstance(node, Name))


def _escaped(text: str) -> str:
    # A slash or a line break would end the terminal.
    return re.escape(text).replace("/", r"\/").replace("\n", "n")
