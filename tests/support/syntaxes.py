"""Every syntax over a vocabulary of single bytes and its own control tokens."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any, ClassVar

from llguidance import LLMatcher, LLTokenizer
from llguidance._tokenizer import TokenizerWrapper

from agentkit_server.turn.syntaxes import recognise
from agentkit_server.turn.syntaxes.families import json_calls, list_calls, message_calls, tagged_calls
from agentkit_server.turn.syntaxes.grammar import grammar
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
from agentkit_server.turn.syntaxes.shape import Shape
from agentkit_server.turn.syntaxes.styles.gemma import BareObject
from agentkit_server.turn.syntaxes.syntax import Syntax

_CONTROL = re.compile(
    r"<[|｜][^<>]*?[|｜]?>|<[^<>|]*?\|>|</?[a-z_]*:opensource>|\[/?[A-Z_]{4,}\]|｜DSML｜"
    r"|<escape>|<(?:start|end)_function_call>"
)
_THINK = ("<think>", "</think>")


def families() -> list[Syntax]:
    """Every declaration, whichever template shows it."""
    modules = (json_calls, list_calls, message_calls, tagged_calls)
    found = [one for module in modules for one in vars(module).values() if isinstance(one, Syntax)]
    return [*{one.name: one for one in (recognise.GENERIC, *found)}.values()]


@dataclass(frozen=True)
class Vocabulary:
    """Bytes, and some control tokens from id 256 on; the last one ends generation."""

    control: tuple[str, ...]

    @property
    def marks(self) -> Marks:
        return Marks({text: 256 + at for at, text in enumerate(self.control)})

    @property
    def end(self) -> int:
        return 256 + len(self.control)

    @property
    def tokenizer(self) -> LLTokenizer:
        return _tokenizer(self.control)

    def tokens(self, text: str) -> list[int]:
        """`text` with control tokens by their text, one token a byte otherwise."""
        marks = self.marks
        by_char = {marks.stand_in(token): token for token in marks.control.values()}
        return [token for char in marks.text(text) for token in _char(char, by_char)]

    def met(self, tokens: Iterable[int]) -> str:
        """What a parser is fed for `tokens`."""
        marks, parts, run = self.marks, [], bytearray()
        for token in tokens:
            if token < 256:
                run.append(token)
                continue
            parts += [run.decode(), marks.stand_in(token)]
            run = bytearray()
        return "".join((*parts, run.decode()))


def _char(char: str, by_char: dict[str, int]) -> list[int]:
    return [by_char[char]] if char in by_char else list(char.encode())


@lru_cache(maxsize=64)
def _tokenizer(control: tuple[str, ...]) -> LLTokenizer:
    end = 256 + len(control)

    class Tokens:
        eos_token_id = end
        bos_token_id = None
        special_token_ids: ClassVar = list(range(256, end + 1))
        tokens: ClassVar = [bytes([byte]) for byte in range(256)] + [
            b"\xff<%d>" % at for at in range(256, end + 1)
        ]

        def __call__(self, text: bytes) -> list[int]:
            return list(text)

    return LLTokenizer(TokenizerWrapper(Tokens()), n_vocab=end + 1, eos_token=[end])


def own_vocabulary(syntax: Syntax) -> Vocabulary:
    """The control tokens that models of `syntax` have."""
    texts: list[str] = []

    class Spy(Marks):
        def ids(self, literal: str) -> list[int]:
            texts.append(literal)
            return []

    syntax.marks(Spy({}))
    return Vocabulary(tuple(dict.fromkeys(one for text in texts for one in _CONTROL.findall(text))))


def vocabularies(syntax: Syntax) -> list[Vocabulary]:
    """With control tokens, and with every marker as ordinary text."""
    if syntax.calls is not None and isinstance(syntax.calls.style, BareObject):
        # Of what a bound string may hold, its grammar has less when its quote is ordinary text.
        return [own_vocabulary(syntax)]
    return [*dict.fromkeys((own_vocabulary(syntax), Vocabulary(())))]


def with_thinking(syntax: Syntax) -> Syntax:
    """`syntax` with thoughts, where the declaration leaves them to the template."""
    return syntax if syntax.thinking is not None else replace(syntax, thinking=_THINK)


def matcher(syntax: Syntax, shape: Shape, vocabulary: Vocabulary) -> LLMatcher:
    source = grammar(syntax, shape, vocabulary.marks)
    found = LLMatcher(vocabulary.tokenizer, source, log_level=0)
    assert not found.is_error(), f"{found.get_error()}\n{source}"
    return found


def refused_at(syntax: Syntax, shape: Shape, vocabulary: Vocabulary, text: str) -> int | None:
    """At which token the grammar refuses `text`: its length when it must not end there, None when it is
    accepted."""
    found = matcher(syntax, shape, vocabulary)
    tokens = vocabulary.tokens(text)
    taken = found.try_consume_tokens(tokens)
    assert not found.is_error(), found.get_error()
    return None if taken == len(tokens) and found.is_accepting() else taken


def accepts(syntax: Syntax, shape: Shape, vocabulary: Vocabulary, text: str) -> bool:
    return refused_at(syntax, shape, vocabulary, text) is None


@dataclass
class Read:
    """What a parser told, put together."""

    thinking: str = ""
    content: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)
    """(name, JSON text) of those that ended."""
    unfinished: int = 0

    @property
    def values(self) -> list[tuple[str, Any]]:
        """The calls with their arguments as values."""
        return [(name, json.loads(arguments)) for name, arguments in self.calls]


def read(syntax: Syntax, shape: Shape, vocabulary: Vocabulary, pieces: Iterable[str]) -> Read:
    """What is told of text that comes in `pieces`, with stand-ins."""
    parser = Parser(syntax, shape, vocabulary.marks)
    told = [one for piece in pieces for one in parser.feed(piece)]
    return together([*told, *parser.end()])


def together(told: Iterable[Piece]) -> Read:
    found = Read()
    name, arguments = "", ""
    for piece in told:
        match piece:
            case Thinking(text):
                assert not found.calls and not found.unfinished and text
                found.thinking += text
            case Content(text):
                assert not found.calls and not found.unfinished and text
                found.content += text
            case CallStarted(name):
                arguments = ""
                found.unfinished += 1
            case Arguments(text):
                assert found.unfinished == 1 and text
                arguments += text
            case CallEnded():
                found.unfinished -= 1
                found.calls.append((name, arguments))
    return found


def cut(text: str, places: Iterable[int]) -> Iterator[str]:
    """`text` in pieces."""
    edges = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    yield from (text[a:b] for a, b in pairwise(edges))


def generated(found: LLMatcher, vocabulary: Vocabulary, chance: random.Random, most: int) -> list[int] | None:
    """Random tokens that the grammar allows, up to its end; None when it went on for too long. What ends
    things is preferred, so that most texts do end."""
    taken: list[int] = []
    for _ in range(most):
        allowed = _allowed(found, vocabulary)
        if found.is_stopped() or allowed == [vocabulary.end]:
            return taken
        if vocabulary.end in allowed and chance.random() < 0.3:
            return taken
        allowed = [token for token in allowed if token != vocabulary.end]
        assert allowed, f"nothing may follow {bytes(token for token in taken if token < 256)!r}"
        likely = [token for token in allowed if token >= 256 or token in _LIKELY]
        token = chance.choice(likely if likely and chance.random() < 0.9 else allowed)
        assert found.consume_token(token), found.get_error()
        taken.append(token)
    return None


_LIKELY = frozenset(b"ab1<>/}]\"'{[|: \n")


def _allowed(found: LLMatcher, vocabulary: Vocabulary) -> list[int]:
    mask: Any = found.compute_bitmask()
    return [token for token in range(vocabulary.end + 1) if mask[token // 8] >> (token % 8) & 1]
