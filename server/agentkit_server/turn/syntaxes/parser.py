"""Reads an answer back as it is generated: thoughts, text, and calls as they grow.

The text comes in any pieces, control tokens in it as their stand-ins (pieces.Marks). What may still turn
out to be a marker is held back, and is text after all when it does not become one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from agentkit_server.turn.syntaxes.arguments import CallableTool
from agentkit_server.turn.syntaxes.call_reader import BLANK, CallReader, overlap
from agentkit_server.turn.syntaxes.pieces import Content, Marks, Piece, Thinking
from agentkit_server.turn.syntaxes.shape import Shape
from agentkit_server.turn.syntaxes.syntax import Gap, Lit, Node, Syntax

State = Callable[[], bool]
"""Reads on in the held text; True = call the (new) state again."""


class Parser:
    """Of one answer in `syntax`, of what `shape` allows."""

    def __init__(self, syntax: Syntax, shape: Shape, marks: Marks) -> None:
        self._syntax = syntax
        self._shape = shape
        self._marks = marks
        self._tools: Sequence[CallableTool] = shape.tools if shape.calls != "none" else ()
        self._calls = syntax.calls if self._tools else None
        self._held = ""
        self._out: list[Piece] = []
        self._began = False
        """Something of the thoughts, or of the text, was told: white space counts from here on."""
        self._call: CallReader | None = None
        self._opening, self._closing = map(marks.text, syntax.thinking or ("", ""))
        self._aside, self._aside_end = map(marks.text, syntax.aside or ("", ""))
        self._answer, self._answer_end = self._answer_markers()
        self._trigger = "" if self._calls is None else marks.text(self._calls.trigger)
        self._tag = "" if self._calls is None else marks.text(self._calls.tag)
        opened = syntax.thinking is not None and shape.thinking == "open"
        self._state: State = self._in_thoughts if opened else self._before

    def _answer_markers(self) -> tuple[str, str]:
        """What may open the answer, and what closes it even where nothing opened it."""
        opening, closing = self._syntax.answer
        if not self._syntax.answer_always and not self._marks.ids(opening + closing):
            # Ordinary text: what is bound may contain it, and what is free may speak of it.
            opening = "" if self._shape.answer is not None else opening
            closing = "" if opening or self._shape.answer is not None else closing
        return self._marks.text(opening), self._marks.text(closing)

    @property
    def thinking(self) -> bool:
        """Is a block of thoughts open?"""
        return self._state == self._in_thoughts

    def feed(self, text: str) -> list[Piece]:
        """What is certain with `text`."""
        self._held += text
        while self._state():
            pass
        return self._told()

    def end(self) -> list[Piece]:
        """What was held back: text that looked like a marker."""
        rest = self._held if self._began else self._held.lstrip(BLANK)
        self._held = ""
        if self._state == self._in_thoughts:
            self._tell(Thinking, rest.rstrip(BLANK))
        elif self._state in (self._before, self._in_text, self._in_aside):
            self._tell(Content, rest)
        return self._told()

    def _told(self) -> list[Piece]:
        told, self._out = self._out, []
        return told

    # Between the blocks

    def _before(self) -> bool:
        """White space before a block is nobody's; then one begins."""
        text = self._held.lstrip(BLANK)
        openings = self._openings()
        if not text or any(len(marker) > len(text) and marker.startswith(text) for marker in openings):
            return False
        marker = max((marker for marker in openings if text.startswith(marker)), key=len, default=None)
        if marker is None:
            return self._unannounced(text)
        self._held = text[len(marker) :]
        openings[marker]()
        return True

    def _openings(self) -> dict[str, Callable[[], None]]:
        """What each marker that may stand here begins."""
        found: dict[str, Callable[[], None]] = {
            self._opening: lambda: self._enter(self._in_thoughts),
            self._aside: lambda: self._enter(self._in_aside),
            self._answer: self._open_answer,
        }
        if self._calls is not None and self._calls.bare:
            found[self._tag] = lambda: self._begin((Gap(), *self._first_nodes()))
        elif self._calls is not None:
            found[self._trigger] = lambda: self._begin(self._behind_trigger())
            # The prompt may have begun an answer, which stays empty.
            found[self._answer_end] = lambda: self._enter(self._behind_answer)
        if self._shape.answer is not None and self._shape.thinking == "forbidden":
            # An answer that is bound may begin like anything.
            found.pop(self._opening)
        found.pop("", None)
        return found

    def _unannounced(self, text: str) -> bool:
        """No marker stands here: text, or a call that needs none."""
        calls = self._calls
        if calls is not None and (
            self._shape.calls == "required" or (self._syntax.marked and not self._trigger)
        ):
            self._held = text
            self._begin(self._first_nodes())
        elif calls is not None and calls.bare and self._shape.answer is None:
            opens = _begins_like(self._first_nodes(), text, self._marks)
            if opens is None:
                return False
            if opens:
                self._held = text
                self._begin(self._first_nodes())
            else:
                self._enter(self._in_text)
        else:
            self._enter(self._in_text)
        return True

    def _open_answer(self) -> None:
        self._answer_end = self._marks.text(self._syntax.answer[1])
        self._enter(self._in_text)

    def _enter(self, state: State) -> None:
        self._state = state
        self._began = False

    # Thoughts and text

    def _in_thoughts(self) -> bool:
        return self._block(Thinking, self._closing)

    def _in_aside(self) -> bool:
        return self._block(Content, self._aside_end)

    def _block(self, kind: type[Thinking] | type[Content], closing: str) -> bool:
        at = self._held.find(closing)
        if at < 0:
            self._tell_certain(kind, closing)
            return False
        self._tell(kind, self._held[:at].rstrip(BLANK))
        self._held = self._held[at + len(closing) :]
        self._enter(self._resuming if self._syntax.resume else self._before)
        return True

    def _resuming(self) -> bool:
        resume = self._marks.text(self._syntax.resume)
        text = self._held.lstrip(BLANK)
        if len(text) < len(resume) and resume.startswith(text):
            return False
        self._held = text.removeprefix(resume)
        self._enter(self._before)
        return True

    def _in_text(self) -> bool:
        ends = [self._answer_end] if self._answer_end else []
        if self._calls_may_follow:
            ends.append(self._trigger)
        found = min(((at, one) for one in ends if (at := self._held.find(one)) >= 0), default=None)
        if found is None:
            self._tell_certain(Content, *ends)
            return False
        at, one = found
        self._tell(Content, self._held[:at].rstrip(BLANK))
        self._held = self._held[at + len(one) :]
        if one == self._answer_end:
            self._enter(self._over if self._calls is None or self._calls.bare else self._behind_answer)
        else:
            self._begin(self._behind_trigger())
        return True

    @property
    def _calls_may_follow(self) -> bool:
        calls = self._calls
        if calls is None or calls.bare or self._syntax.marked:
            return False
        # What is bound may contain a trigger, unless that is no text.
        return self._shape.answer is None or self._marks.is_control(calls.trigger)

    def _behind_answer(self) -> bool:
        """Behind an answer with an end of its own calls may follow."""
        text = self._held.lstrip(BLANK)
        if text.startswith(self._trigger):
            self._held = text[len(self._trigger) :]
            self._begin(self._behind_trigger())
            return True
        if not self._trigger.startswith(text):
            self._enter(self._over)
        return False

    def _over(self) -> bool:
        self._held = ""
        return False

    # Calls

    def _first_nodes(self) -> tuple[Node, ...]:
        assert self._calls is not None
        return self._calls.nodes

    def _behind_trigger(self) -> tuple[Node, ...]:
        nodes = self._first_nodes()
        at = next(at for at, node in enumerate(nodes) if isinstance(node, Lit))
        return nodes[at + 1 :]

    def _begin(self, nodes: Sequence[Node]) -> None:
        assert self._calls is not None
        self._call = CallReader(self._calls.style, nodes, self._tools, self._marks)
        self._enter(self._in_call)

    def _in_call(self) -> bool:
        assert self._call is not None
        rest = self._call.feed(self._held, self._out)
        self._held = rest or ""
        if rest is None:
            return False
        self._enter(self._between_calls if self._call.complete else self._over)
        return True

    def _between_calls(self) -> bool:
        calls = self._calls
        assert calls is not None
        if not self._held.lstrip(BLANK):
            return False
        opens = _begins_like([*calls.between, *calls.call], self._held, self._marks)
        if opens is None:
            return False
        if opens:
            self._begin([*calls.between, *calls.call])
        else:
            self._enter(self._over)
        return True

    # Telling

    def _tell(self, kind: type[Thinking] | type[Content], text: str) -> None:
        text = self._marks.stood_for(text if self._began else text.lstrip(BLANK))
        if text:
            self._began = True
            self._out.append(kind(text))

    def _tell_certain(self, kind: type[Thinking] | type[Content], *markers: str) -> None:
        """Tell what cannot be the beginning of a marker, or of white space before one."""
        held = self._held
        keep = max((overlap(held, marker) for marker in markers), default=0)
        certain = held[: len(held) - keep]
        if markers:
            certain = certain.rstrip(BLANK)
        if certain.strip(BLANK) or self._began:
            self._held = held[len(certain) :]
            self._tell(kind, certain)


def _begins_like(nodes: Sequence[Node], text: str, marks: Marks) -> bool | None:
    """Does `text` begin as `nodes` do, up to their second literal, or what is none? None: it may yet."""
    literals = 0
    rest = text
    for node in nodes:
        if isinstance(node, Gap):
            rest = rest.lstrip(BLANK)
            continue
        if not isinstance(node, Lit):
            return True
        literal = marks.text(node.text)
        if len(rest) < len(literal):
            return None if literal.startswith(rest) else False
        if not rest.startswith(literal):
            return False
        rest = rest[len(literal) :]
        literals += 1
        if literals == 2:
            return True
    return True
