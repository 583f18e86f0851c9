"""What a parser says as it reads an answer, and what it needs to know of a model's control tokens."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Thinking:
    """More of the thoughts."""

    text: str


@dataclass(frozen=True)
class Content:
    """More of the answer."""

    text: str


@dataclass(frozen=True)
class CallStarted:
    """The name of the tool is known."""

    name: str


@dataclass(frozen=True)
class Arguments:
    """More of the JSON text of the running call's arguments."""

    text: str


@dataclass(frozen=True)
class CallEnded:
    """The running call is complete."""


Piece = Thinking | Content | CallStarted | Arguments | CallEnded


@dataclass(frozen=True)
class Marks:
    """The control tokens of one vocabulary, as the markers of a syntax meet them.

    A marker that is a control token is no text: a grammar names it by id, and the parser meets a stand-in
    for it, one lone surrogate, which decoded text cannot contain. A marker that is not is plain text in
    both. So `<tool_call>` is one string in a declaration, whatever it is in a vocabulary.
    """

    control: Mapping[str, int]
    """Text -> id (`ModelFacts.control`)."""

    def text(self, literal: str) -> str:
        """`literal` as the parser meets it."""
        return self._pattern.sub(lambda found: self.stand_in(self.control[found[0]]), literal)

    def lark(self, literal: str) -> str:
        """`literal` as a Lark expression: quoted text and `<[id]>`, "" for the empty literal."""
        parts = self._pattern.split(literal)
        return " ".join(
            f"<[{self.control[part]}]>" if at % 2 else quoted(part) for at, part in enumerate(parts) if part
        )

    def raw(self, literal: str) -> bytes:
        """`literal` as the engine's `Lead` has it: control tokens by their ids."""
        parts = self._pattern.split(literal)
        return b"".join(
            b"\xff<%d>" % self.control[part] if at % 2 else part.encode() for at, part in enumerate(parts)
        )

    def is_control(self, literal: str) -> bool:
        """Does `literal` begin with a control token?"""
        found = self._pattern.match(literal)
        return found is not None

    def ids(self, literal: str) -> list[int]:
        """The control tokens in `literal`."""
        return [self.control[text] for text in self._pattern.findall(literal)]

    def stand_in(self, token: int) -> str:
        """The character that stands for control token `token` in the parser's text."""
        return _stand_in(self._order[token])

    def stood_for(self, text: str) -> str:
        """`text` with every stand-in written out again."""
        return _SURROGATE.sub(lambda found: self._texts[ord(found[0]) - _FIRST], text)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        longest_first = sorted(self._texts, key=len, reverse=True)
        return re.compile("(" + "|".join(map(re.escape, longest_first)) + ")" if longest_first else "((?!))")

    @cached_property
    def _texts(self) -> list[str]:
        """Those that have a stand-in: all, or, in vocabularies with thousands of them, the ones in use."""
        named = (text for text in self.control if text)
        return sorted(named, key=lambda text: (bool(_SPARE.search(text)), self.control[text]))[:_MOST]

    @cached_property
    def _order(self) -> dict[int, int]:
        return {self.control[text]: at for at, text in enumerate(self._texts)}


def quoted(text: str) -> str:
    """`text` as a Lark string literal: JSON's escapes, which llguidance reads as JSON does."""
    return json.dumps(text)


_FIRST = 0xD800
_MOST = 0x800
# Names of tokens that a vocabulary keeps for later.
_SPARE = re.compile(
    "unused|reserved|extra_id|placeholder|control_|SPECIAL_|dummy|^<.?[0-9]+.?>$", re.IGNORECASE
)
_SURROGATE = re.compile("[\ud800-\udfff]")


def _stand_in(at: int) -> str:
    return chr(_FIRST + at)
