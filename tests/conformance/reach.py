"""Whether a grammar, and the guard beside it, accept a value, written as compact JSON.

A grammar fixes the order of keys. `reachable` therefore looks for one order of the value's keys, the same
value in every other respect, that is accepted: first as given, then by the order in which the schema names
them, then by trying, key by key, in a limited number of steps.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

from agentkit_server.engine.distinct import Guard
from agentkit_server.engine.types import Distinct

_END = 256
_MOST_TRIALS = 3_000


class _Bytes:
    eos_token_id = _END
    bos_token_id = None
    tokens = (*(bytes([byte]) for byte in range(256)), b"\xff<end>")
    special_token_ids = (_END,)

    def __call__(self, text: str | bytes) -> list[int]:
        return list(text if isinstance(text, bytes) else text.encode())


_TOKENIZER = LLTokenizer(TokenizerWrapper(_Bytes()), n_vocab=_END + 1, eos_token=[_END], slices=[])


def written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class Grammar:
    """A grammar over a vocabulary of bytes."""

    def __init__(self, source: str) -> None:
        self._matcher = LLMatcher(_TOKENIZER, source, log_level=0)
        self._trials = 0
        if self._matcher.is_error():
            raise ValueError(self._matcher.get_error()[:300])

    def accepts(self, text: str) -> bool:
        """Is `text` a whole sentence?"""
        matcher = self._matcher.deep_copy()
        tokens = list(text.encode("utf-8", "surrogatepass"))
        return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()

    def reachable(self, value: Any, names: dict[str, int]) -> bool:
        """Is `value` accepted in some order of its keys? `names`: name -> its place in the schema."""
        if self.accepts(written(value)) or self.accepts(written(_ordered(value, names))):
            return True
        self._trials = _MOST_TRIALS
        search = self._matcher.deep_copy()
        return self._write(search, _ordered(value, names), search.is_accepting)

    def _write(self, matcher: LLMatcher, value: Any, then: Callable[[], bool]) -> bool:
        if isinstance(value, dict):
            return self._text(matcher, "{", lambda: self._members(matcher, list(value.items()), "", then))
        if isinstance(value, list):
            return self._text(matcher, "[", lambda: self._items(matcher, value, 0, then))
        return self._text(matcher, written(value), then)

    def _members(
        self, matcher: LLMatcher, left: list[tuple[str, Any]], comma: str, then: Callable[[], bool]
    ) -> bool:
        if not left:
            return self._text(matcher, "}", then)
        for at, (name, value) in enumerate(left):
            rest = left[:at] + left[at + 1 :]
            after = lambda rest=rest: self._members(matcher, rest, ",", then)  # noqa: E731
            if self._text(
                matcher,
                f"{comma}{written(name)}:",
                lambda value=value, after=after: self._write(matcher, value, after),
            ):
                return True
        return False

    def _items(self, matcher: LLMatcher, items: list[Any], at: int, then: Callable[[], bool]) -> bool:
        if at == len(items):
            return self._text(matcher, "]", then)
        return self._text(
            matcher,
            "," if at else "",
            lambda: self._write(matcher, items[at], lambda: self._items(matcher, items, at + 1, then)),
        )

    def _text(self, matcher: LLMatcher, text: str, then: Callable[[], bool]) -> bool:
        self._trials -= 1
        if self._trials < 0:
            return False
        tokens = list(text.encode("utf-8", "surrogatepass"))
        taken = matcher.try_consume_tokens(tokens)
        if taken == len(tokens) and then():
            return True
        matcher.rollback(taken)
        return False


def guard_passes(rules: Distinct | None, value: Any, names: dict[str, int]) -> bool:
    """Does the guard of `rules` let `value` through, byte by byte, in one of two orders of its keys?"""
    texts = [written(value), written(_ordered(value, names))]
    return rules is None or any(_passes(Guard(rules, lambda byte: bytes([byte])), text) for text in texts)


def _passes(guard: Guard, text: str) -> bool:
    return all(guard.take(byte) for byte in text.encode("utf-8", "surrogatepass"))


def names_in(schema: Any) -> dict[str, int]:
    """The names of a schema's properties, in the order in which it has them."""
    places: dict[str, int] = {}
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            for keyword in ("properties", "required"):
                for name in node.get(keyword) or () if isinstance(node.get(keyword), dict | list) else ():
                    if isinstance(name, str):
                        places.setdefault(name, len(places))
            waiting.extend(reversed(list(node.values())))
        elif isinstance(node, list):
            waiting.extend(reversed(node))
    return places


def _ordered(value: Any, names: dict[str, int]) -> Any:
    if isinstance(value, dict):
        keys = sorted(value, key=lambda name: names.get(name, len(names)))
        return {name: _ordered(value[name], names) for name in keys}
    if isinstance(value, list):
        return [_ordered(item, names) for item in value]
    return value
