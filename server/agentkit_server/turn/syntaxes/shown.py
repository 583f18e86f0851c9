"""A syntax made from what a template shows: calls that it wrote into a conversation, with words that occur
nowhere else for names and arguments, are taken apart.

What cannot be taken apart, or be read back once it was, is None: the caller falls back on the generic syntax.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agentkit_server.turn.schema.prepare import prepare
from agentkit_server.turn.syntaxes.arguments import CallableTool
from agentkit_server.turn.syntaxes.parser import Parser
from agentkit_server.turn.syntaxes.pieces import Arguments, CallEnded, CallStarted, Marks
from agentkit_server.turn.syntaxes.shape import Shape
from agentkit_server.turn.syntaxes.styles.json import JSON
from agentkit_server.turn.syntaxes.syntax import Args, Calls, Gap, Lit, Name, Node, Syntax

MOST_TAG = 100
"""Characters that a marker may have."""
MOST_SHOWN = 4000
"""Characters of a message that is taken apart."""

# Behind a call, and no part of it: what ends the message.
_END_OF_MESSAGE = re.compile(
    r"(?:\s*(?:<[|｜](?:im_end|end|eo[a-z]+_?[a-z]*|end.?of.?[a-z_]+)[|｜]>|</s>|<eos>|<end_of_turn>))+\s*\Z",
    re.IGNORECASE,
)
_JSON_HEAD = re.compile(r'[\[{](?:[\[{},:\s]|"[^"]*")*"?\Z')
_JSON_TAIL = re.compile(r"\A[\]},\s]*")
_JSON_TOKEN = re.compile(r'"[^"]*"|[\[\]{},:"]')
_HALF_TAG = re.compile(r"<[^<>\s]*\Z")
_TAG = re.compile(r"<[^<>\s]+>|\[[^\[\]\s]+\]")


@dataclass(frozen=True)
class ShownCall:
    """A call that a template was given."""

    name: str
    key: str
    """Its one argument."""
    value: str

    @property
    def arguments(self) -> dict[str, Any]:
        return {self.key: self.value}


def calls_shown(one: str, two: str | None, shown: Sequence[ShownCall]) -> Calls | None:
    """How calls are written in `one`, a message with the first of `shown`, and in `two`, one with both; None
    where there is never more than one. Both begin and end with the message's text."""
    single = _taken_apart(one, shown[:1])
    if single is None:
        return None
    several = None if two is None else _taken_apart(two, shown)
    found = _alone(single) if several is None else _listed(several) or _alone(single)
    if found is None:
        return None
    syntax = Syntax(name="shown", calls=found)
    right = reads(syntax, one, shown[:1]) and (two is None or not found.parallel or reads(syntax, two, shown))
    return found if right else None


def reads(syntax: Syntax, text: str, shown: Sequence[ShownCall]) -> bool:
    """Are the calls in `text`, behind whatever a message begins with, those that were shown?"""
    if syntax.calls is None:
        return False
    tools = tuple(CallableTool(name=one.name, arguments=prepare(_ANYTHING)) for one in shown)
    at = max(text.find(syntax.calls.trigger), 0)
    parser = Parser(syntax, Shape(tools=tools, calls="required", thinking="forbidden"), Marks({}))
    found: list[tuple[str, Any]] = []
    name, arguments = "", ""
    for piece in (*parser.feed(text[at:]), *parser.end()):
        match piece:
            case CallStarted(name):
                arguments = ""
            case Arguments(more):
                arguments += more
            case CallEnded():
                found.append((name, json.loads(arguments)))
            case _:
                pass
    return found == [(one.name, one.arguments) for one in shown]


def tags_shown(without: str, with_thoughts: str, thought: str) -> tuple[str, str] | None:
    """What stands before and behind `thought` in a message that has it, and not in the same without."""
    at = with_thoughts.find(thought)
    begin = _common_begin(without, with_thoughts)
    if at < begin:
        return None
    behind, rest = with_thoughts[at + len(thought) :], without[begin:]
    opening = with_thoughts[begin:at].strip()
    closing = behind[: len(behind) - _common_end(behind, rest)].strip()
    return (opening, closing) if _is_tag(opening) and _is_tag(closing) else None


def text_between(message: str, header: str, footer: str) -> str:
    """`message` without `header` and `footer`, what other messages begin and end with, and without marks that
    end one; "" where it begins otherwise, or is longer than `MOST_SHOWN`."""
    if not message.startswith(header.rstrip()):
        return ""
    text = message[_common_begin(message, header) :]
    text = text[: len(text) - _common_end(text, footer)]
    if len(text) > MOST_SHOWN:
        return ""
    # It may end in another mark than messages with content do.
    return _END_OF_MESSAGE.sub("", _HALF_TAG.sub("", text))


_ANYTHING: dict[str, Any] = {"type": "object"}


def _taken_apart(text: str, shown: Sequence[ShownCall]) -> list[str] | None:
    """The texts around names and arguments: before a name, before arguments, before the next name …, behind
    the last arguments."""
    parts: list[str] = []
    at = 0
    for call in shown:
        name = re.search(rf"{call.name}\b", text[at:])
        if name is None:
            return None
        parts.append(text[at : at + name.start()])
        at += name.end()
        place = _arguments_in(text, at, call)
        if place is None:
            return None
        parts.append(text[at : place[0]])
        at = place[1]
    return [*parts, text[at:]]


def _arguments_in(text: str, at: int, call: ShownCall) -> tuple[int, int] | None:
    """Where the arguments begin and end, as a JSON object."""
    key = text.find(f'"{call.key}"', at)
    begin = text.rfind("{", at, key) if key >= 0 else -1
    if begin < 0:
        return None
    try:
        value, end = json.JSONDecoder().raw_decode(text, begin)
    except (ValueError, RecursionError):
        return None
    return (begin, end) if value == call.arguments else None


def _alone(parts: Sequence[str]) -> Calls | None:
    begin, middle, end = parts
    return _calls("", begin.lstrip(), middle, end, None, "")


def _listed(parts: Sequence[str]) -> Calls | None:
    """From a message with two calls: what is before, between and behind all calls, and what each has."""
    begin, middle, next_one, again, end = parts
    if middle != again:
        return None
    head = next_one[len(next_one) - _common_end(begin, next_one) :].lstrip()
    behind = next_one[: len(next_one) - len(head)]
    tail = behind[: _common_begin(behind, end)]
    opening, between, closing = begin[: len(begin) - len(head)], behind[len(tail) :], end[len(tail) :]
    if re.search(r"\w", between):
        # Calls are numbered, or otherwise not all alike.
        return None
    return _calls(opening, head, middle, tail, between, closing)


def _calls(
    opening: str, head: str, middle: str, tail: str, between: str | None, closing: str
) -> Calls | None:
    """`between` is None where there is one call only."""
    if "qz" in f"{opening}{head}{middle}{tail}{between}{closing}":
        # Something of the call stands elsewhere as well: an id, another form of it.
        return None
    begin = _joined(_before(opening), _before(head))
    first = next((node.text for node in begin if isinstance(node, Lit)), "")
    bare = first in ("{", "[")
    if not middle or not (bare or _is_marker(first)):
        return None
    in_json = head.endswith('"') and middle.startswith('"')
    behind_name = [Lit('"'), *_json(middle[1:], gap=True)] if in_json else _middle(middle)
    call = _joined(_before(head), [Name(json=in_json), *behind_name, Args(), Gap()], _behind(tail))
    return Calls(
        style=JSON,
        opening=_joined(_before(opening), [Gap()]) if opening else (),
        call=call,
        between=_joined([Gap()], _behind(between or "")),
        closing=_joined([Gap()], _behind(closing)) if closing else (),
        bare=bare,
        parallel=between is not None,
    )


def _before(text: str) -> list[Node]:
    """A tag, and behind it the beginning of some JSON."""
    found = _JSON_HEAD.search(text)
    at = len(text) if found is None else found.start()
    return [*_plain(text[:at]), *_json(text[at:])]


def _middle(text: str) -> list[Node]:
    """What stands between a plain name and its arguments."""
    kept = text.rstrip() or text
    return [Lit(kept), Gap(text[len(kept) :])]


def _behind(text: str) -> list[Node]:
    """The end of some JSON, and behind it a tag."""
    found = _JSON_TAIL.match(text)
    at = 0 if found is None else found.end()
    return [*_json(text[:at]), *_plain(text[at:])]


def _plain(text: str) -> list[Node]:
    """A tag, with white space round it that a model may leave out."""
    kept = text.strip()
    if not kept:
        return [Gap(text)] if text else []
    before, _, behind = text.partition(kept)
    nodes = (Gap(before), Lit(kept), Gap(behind))
    return [node for node in nodes if not isinstance(node, Gap) or node.typical]


def _json(text: str, *, gap: bool = False) -> list[Node]:
    """Pieces of JSON, with gaps between them, and with `gap` before them: JSON may have white space there."""
    nodes: list[Node] = []
    at = 0
    for token in _JSON_TOKEN.finditer(text):
        if nodes or gap or token.start() > at:
            nodes.append(Gap(text[at : token.start()]))
        nodes.append(Lit(token[0]))
        at = token.end()
    return [*nodes, Gap(text[at:])] if at < len(text) else nodes


def _joined(*parts: Sequence[Node]) -> tuple[Node, ...]:
    """The nodes of all `parts`, gaps that meet made one, and none where there is nothing to leave out."""
    done: list[Node] = []
    for node in (node for nodes in parts for node in nodes):
        if isinstance(node, Gap) and done and isinstance(done[-1], Gap):
            done[-1] = max(done[-1], node, key=lambda one: len(one.typical))
        else:
            done.append(node)
    return tuple(done)


def _is_marker(text: str) -> bool:
    """Is this a text that no answer has by chance?"""
    return 3 <= len(text) <= MOST_TAG and re.search(r"[^\w\s]", text) is not None


def _is_tag(text: str) -> bool:
    """One marker, and not the header of a message."""
    return 0 < len(text) <= MOST_TAG and "qz" not in text and len(_TAG.findall(text)) <= 1


def _common_begin(one: str, other: str) -> int:
    """How many characters both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def _common_end(one: str, other: str) -> int:
    return _common_begin(one[::-1], other[::-1])
