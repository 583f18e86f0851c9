"""Grammars over a vocabulary of single bytes, and random tools with arguments for them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, ClassVar

from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer
from llguidance._tokenizer import TokenizerWrapper

from agentkit_server.turn.schema.prepare import prepare
from agentkit_server.turn.syntaxes.arguments import ArgumentStyle, CallableTool
from agentkit_server.turn.syntaxes.pieces import Marks

CONTROL = ("<|one|>", "<|two|>")
"""Control tokens of the vocabulary; their ids begin at 256."""
END = 256 + len(CONTROL)


class _Bytes:
    eos_token_id = END
    bos_token_id = None
    tokens: ClassVar = [bytes([value]) for value in range(256)] + [
        b"\xff" + text.encode() for text in (*CONTROL, "<|end|>")
    ]
    special_token_ids: ClassVar = list(range(256, END + 1))

    def __call__(self, text: str | bytes) -> list[int]:
        return list(text if isinstance(text, bytes) else text.encode())


TOKENIZER = LLTokenizer(TokenizerWrapper(_Bytes()), n_vocab=END + 1, eos_token=[END])
PLAIN = Marks({})
"""Every marker is text."""


def marks(*texts: str) -> Marks:
    """A vocabulary in which `texts`, two at most, are control tokens."""
    return Marks({text: 256 + at for at, text in enumerate(texts)})


def tokens(text: str, known: Marks = PLAIN) -> list[int]:
    """`text` as tokens: control tokens by their text, and one for each byte."""
    found: list[int] = []
    for char in known.text(text):
        control = [token for token in known.control.values() if known.stand_in(token) == char]
        found += control or char.encode()
    return found


def tool(properties: Mapping[str, Any], required: Iterable[str] = (), **more: Any) -> CallableTool:
    """A tool with these parameters and no others unless `more` says so."""
    return tool_of({"properties": dict(properties), "required": list(required), **more})


def tool_of(schema: Mapping[str, Any]) -> CallableTool:
    closed = {"type": "object", "additionalProperties": False, **schema}
    return CallableTool(name="act", arguments=prepare(closed))


def matcher(style: ArgumentStyle, of: CallableTool, known: Marks = PLAIN) -> LLMatcher:
    grammar = f"%llguidance {{}}\nstart: args\n{style.fragment('args', of, known)}"
    found = LLMatcher(TOKENIZER, grammar, log_level=0)
    assert not found.is_error(), found.get_error()
    return found


def accepted(style: ArgumentStyle, of: CallableTool, text: str, known: Marks = PLAIN) -> bool:
    """Does the style's grammar allow exactly `text`?"""
    found = matcher(style, of, known)
    wanted = tokens(text, known)
    taken = found.try_consume_tokens(wanted)
    assert not found.is_error(), found.get_error()
    return taken == len(wanted) and found.is_accepting()


def read(
    style: ArgumentStyle, of: CallableTool, pieces: Iterable[str], known: Marks = PLAIN
) -> tuple[str, str | None]:
    """(JSON text, what followed) of arguments that come in `pieces`, as a parser meets them."""
    scanner = style.scanner(of, known)
    out: list[str] = []
    rest: str | None = None
    for piece in pieces:
        if rest is not None:
            rest += piece
            continue
        said, rest = scanner.feed(piece)
        out.append(said)
    return "".join(out), rest


def cut(text: str, places: Iterable[int]) -> list[str]:
    """`text` in pieces."""
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[a:b] for a, b in pairwise(edges)]


def generated(found: LLMatcher, chance: random.Random, *, most: int = 400) -> list[int] | None:
    """Random ASCII and control tokens that the grammar allows, up to its end; None when it went on for too
    long. What ends things is taken more often than not, so that most texts do end."""
    taken: list[int] = []
    for _ in range(most):
        allowed = _allowed(found)
        if found.is_stopped() or allowed == [END] or (END in allowed and chance.random() < 0.5):
            return taken
        allowed = [token for token in allowed if token != END]
        assert allowed, f"nothing may follow {bytes(token for token in taken if token < 256)!r}"
        likely = [token for token in allowed if token in _LIKELY]
        token = chance.choice(likely if likely and chance.random() < 0.95 else allowed)
        assert found.consume_token(token), found.get_error()
        taken.append(token)
    return None


def _allowed(found: LLMatcher) -> list[int]:
    mask = found.compute_bitmask()
    return [token for token in (*range(128), *range(256, END + 1)) if mask[token // 8] >> (token % 8) & 1]


_LIKELY = {*b"ab19,<>/}]\"'n\n", *range(256, END)}


def _text(alphabet: str = "aé\n\"'\\<{}[]:, 1\U0001f600nultre>-") -> st.SearchStrategy[str]:
    return st.text(alphabet, max_size=12) | st.sampled_from(
        ["", "null", "12", "true", '{"a": 1}', "\n", "\n\n", " x "]
    )


def _kinds(depth: int) -> st.SearchStrategy[tuple[dict[str, Any], st.SearchStrategy[Any]]]:
    """Schemas, each with a strategy for its values."""
    scalars: list[st.SearchStrategy[tuple[dict[str, Any], st.SearchStrategy[Any]]]] = [
        st.just(({"type": "string"}, _text())),
        st.just(({"type": "integer"}, st.integers(-(10**9), 10**9))),
        st.just(({"type": "integer", "minimum": 0, "maximum": 20}, st.integers(0, 20))),
        st.just(({"type": "number"}, st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: round(x, 3)))),
        st.just(({"type": "boolean"}, st.booleans())),
        st.just(
            ({"enum": ["celsius", "fahrenheit", "two words"]}, st.sampled_from(["celsius", "two words"]))
        ),
        st.just(
            ({"type": "string", "minLength": 1, "maxLength": 4}, st.text("ab\né", min_size=1, max_size=4))
        ),
        st.just(
            (
                {"type": "string", "minLength": 3, "maxLength": 3000},
                st.text("a<\n", max_size=9).map(lambda text: f"abc{text}"),
            )
        ),
        st.just(({"type": "string", "pattern": "^[a-c]+$"}, st.text("abc", min_size=1, max_size=6))),
        st.just(({"type": "string", "format": "date"}, st.dates().map(lambda day: day.isoformat()))),
        st.just(({"const": "only"}, st.just("only"))),
        st.just(({"type": "null"}, st.none())),
    ]
    found = st.one_of(scalars)
    if depth <= 0:
        return found
    inner = _kinds(depth - 1)
    return st.one_of(
        found,
        found,
        inner.map(lambda pair: ({"anyOf": [pair[0], {"type": "null"}]}, pair[1] | st.none())),
        st.tuples(inner, inner).map(lambda two: ({"anyOf": [two[0][0], two[1][0]]}, two[0][1] | two[1][1])),
        inner.map(lambda pair: ({"type": "array", "items": pair[0]}, st.lists(pair[1], max_size=3))),
        objects(inner).map(lambda pair: pair),
    )


def objects(
    inner: st.SearchStrategy[tuple[dict[str, Any], st.SearchStrategy[Any]]], most: int = 3
) -> st.SearchStrategy[tuple[dict[str, Any], st.SearchStrategy[Any]]]:
    """Schemas of closed objects, each with a strategy for its values."""

    def built(listed: list[tuple[str, tuple[dict[str, Any], st.SearchStrategy[Any]], bool]]) -> Any:
        required = {name: pair[1] for name, pair, must in listed if must}
        optional = {name: pair[1] for name, pair, must in listed if not must}
        schema = {
            "type": "object",
            "properties": {name: pair[0] for name, pair, _ in listed},
            "required": list(required),
            "additionalProperties": False,
        }
        return schema, st.fixed_dictionaries(required, optional=optional)

    names = st.sampled_from(["a", "ab", "abc", "city", "n", "days_of", "Ort"])
    return st.lists(st.tuples(names, inner, st.booleans()), max_size=most, unique_by=lambda one: one[0]).map(
        built
    )


@st.composite
def calls(draw: st.DrawFn) -> tuple[CallableTool, dict[str, Any]]:
    """A tool and valid arguments for it."""
    schema, values = draw(objects(_kinds(2), most=6))
    return tool_of(schema), draw(values)
