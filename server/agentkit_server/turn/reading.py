"""From a runner's deltas to events: thinking, text and calls told apart, stop strings found, ids given."""

from __future__ import annotations

import secrets
import string
import time
from collections.abc import Iterator, Sequence

import msgspec

from agentkit_server.engine.text import TextStream
from agentkit_server.engine.types import Delta, Finished, Timings, TokenLogprob, Usage
from agentkit_server.turn.events import (
    Event,
    TextDelta,
    ThinkingDelta,
    ToolArgumentsDelta,
    ToolCallEnd,
    ToolCallStart,
)
from agentkit_server.turn.syntaxes.parser import Parser
from agentkit_server.turn.syntaxes.pieces import (
    Arguments,
    CallEnded,
    CallStarted,
    Content,
    Marks,
    Piece,
    Thinking,
)

_ID_LETTERS = string.ascii_letters + string.digits
ID_LENGTH = 24


class Reading:
    """Reads completion `index`. Stop strings end the free text of an answer; they mean nothing inside
    thoughts, arguments and bound answers, which they would only cut short."""

    def __init__(
        self, index: int, parser: Parser, marks: Marks, stops: Sequence[str] = (), *, tokens: bool = False
    ) -> None:
        """`tokens`: also tell the token ids of each delta, in a TextDelta of their own."""
        self.index = index
        self.calls = 0
        """Calls that were completed."""
        self.thinking_tokens = 0
        self._cached_tokens = 0
        self._tokens = 0
        self._began_ns = self._first_ns = time.monotonic_ns()
        self._parser = parser
        self._marks = marks
        self._stops = TextStream(list(stops))
        self._id = self._name = ""
        self._arguments: list[str] = []
        self._logprobs: list[TokenLogprob] = []
        self._tells_tokens = tokens
        self._wrote = False

    @property
    def thinking(self) -> bool:
        """Is a block of thoughts open?"""
        return self._parser.thinking

    @property
    def stopped_by(self) -> str | None:
        """The stop string that was met: the answer ends before it."""
        return self._stops.stopped_by

    def take(self, delta: Delta) -> list[Event]:
        """The events of `delta`; of what is behind a stop string none."""
        if not self._tokens:
            self._first_ns = time.monotonic_ns()
        self._cached_tokens = delta.cached_tokens
        events: list[Event] = []
        tokens: list[int] = []
        for part in singly(delta):
            events += self._take_one(part)
            tokens += part.tokens
            if self.stopped_by is not None:
                break
        self._tokens += len(tokens)
        events = _joined(events)
        return [*events, TextDelta(self.index, "", tuple(tokens))] if self._tells_tokens else events

    def _take_one(self, delta: Delta) -> list[Event]:
        thought = self._parser.thinking
        # White space before an answer is not told.
        if not thought and (self._wrote or delta.text.strip()):
            self._logprobs += delta.logprobs or ()
        events = self._events(self._parser.feed(self._with_stand_ins(delta)))
        if thought or self._parser.thinking:
            self.thinking_tokens += len(delta.tokens)
            self._logprobs.clear()
        return events

    def end(self) -> list[Event]:
        """What was held back, once generation has ended."""
        events = self._events(self._parser.end())
        rest = self._stops.flush()
        return [*events, self._text(rest)] if rest else events

    def stopped(self, prompt_tokens: int) -> Finished:
        """The end of a completion that was left at its stop string, before the runner told its own."""
        now = time.monotonic_ns()
        return Finished(
            id=0,
            index=self.index,
            reason="stop",
            usage=Usage(prompt_tokens, self._cached_tokens, self._tokens),
            timings=Timings(0, self._first_ns - self._began_ns, now - self._first_ns),
            stop_string=self.stopped_by,
        )

    def _with_stand_ins(self, delta: Delta) -> str:
        parts: list[str] = []
        begin = 0
        for offset, token in delta.marks:
            parts += [delta.text[begin:offset], self._marks.stand_in(token)]
            begin = offset
        return "".join((*parts, delta.text[begin:]))

    def _events(self, pieces: Sequence[Piece]) -> list[Event]:
        return [event for piece in pieces if (event := self._event(piece)) is not None]

    def _event(self, piece: Piece) -> Event | None:
        match piece:
            case Thinking(text):
                self._logprobs.clear()
                return ThinkingDelta(self.index, text)
            case Content(text):
                certain = "" if self.stopped_by is not None else self._stops.push(text.encode())
                return self._text(certain) if certain else None
            case CallStarted(name):
                self._logprobs.clear()
                self._id, self._name, self._arguments = new_call_id(), name, []
                return ToolCallStart(self.index, self.calls, self._id, name)
            case Arguments(text):
                self._arguments.append(text)
                return ToolArgumentsDelta(self.index, self.calls, text)
            case CallEnded():
                self._logprobs.clear()
                self.calls += 1
                arguments = "".join(self._arguments)
                return ToolCallEnd(self.index, self.calls - 1, self._id, self._name, arguments)

    def _text(self, text: str) -> TextDelta:
        self._wrote = True
        logprobs, self._logprobs = tuple(self._logprobs), []
        return TextDelta(self.index, text, (), logprobs)


def singly(delta: Delta) -> Iterator[Delta]:
    """`delta` as one Delta for each token, so that each is counted where it belongs."""
    if not delta.ends:
        yield delta
        return
    begin, marks = 0, list(delta.marks)
    for at, (token, end) in enumerate(zip(delta.tokens, delta.ends, strict=True)):
        # Text and marks of no token, of one that ended the answer for instance, go with the last.
        last = at == len(delta.tokens) - 1
        own = marks if last else [mark for mark in marks[:1] if mark[1] == token]
        marks = marks[len(own) :]
        yield msgspec.structs.replace(
            delta,
            text=delta.text[begin:] if last else delta.text[begin:end],
            tokens=[token],
            ends=[],
            logprobs=None if delta.logprobs is None else delta.logprobs[at : at + 1],
            marks=[(offset - begin, mark) for offset, mark in own],
        )
        begin = end


def _joined(events: list[Event]) -> list[Event]:
    """What follows each other told in one: a line to a client costs more than its text."""
    joined: list[Event] = []
    for event in events:
        match (joined[-1] if joined else None, event):
            case TextDelta(index, text, tokens, logprobs), TextDelta(_, more, also, others):
                joined[-1] = TextDelta(index, text + more, tokens + also, logprobs + others)
            case ThinkingDelta(index, text), ThinkingDelta(_, more):
                joined[-1] = ThinkingDelta(index, text + more)
            case ToolArgumentsDelta(index, call, text), ToolArgumentsDelta(_, same, more) if call == same:
                joined[-1] = ToolArgumentsDelta(index, call, text + more)
            case _:
                joined.append(event)
    return joined


def new_call_id() -> str:
    """An id that no other call has."""
    return "call_" + "".join(secrets.choice(_ID_LETTERS) for _ in range(ID_LENGTH))
