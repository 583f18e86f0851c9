"""Whether llguidance takes a grammar, found out over a vocabulary of single bytes: any text is tokens of it,
and it costs next to nothing to build."""

from __future__ import annotations

from functools import cache

from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper

_END = 256

LIMITS = LLParserLimits(initial_lexer_fuel=700_000, max_grammar_size=300_000, verbose_errors=False)
"""Bounds of one schema or grammar, below llguidance's own, which the grammar of a whole turn has to keep."""


class _Bytes:
    eos_token_id = _END
    bos_token_id = None
    tokens = (*(bytes([byte]) for byte in range(256)), b"\xff<end>")
    special_token_ids = (_END,)

    def __call__(self, text: str | bytes) -> list[int]:
        return list(text if isinstance(text, bytes) else text.encode())


@cache
def _tokenizer() -> LLTokenizer:
    return LLTokenizer(TokenizerWrapper(_Bytes()), n_vocab=_END + 1, eos_token=[_END], slices=[])


def objection(grammar: str) -> str:
    """What llguidance has against `grammar`, in its own words; "" = nothing."""
    matcher = LLMatcher(_tokenizer(), grammar, log_level=0, limits=LIMITS)
    return matcher.get_error() if matcher.is_error() else ""


def misread(grammar: str) -> str:
    """What llguidance has against the text of `grammar`, as `objection` says it. One of which nothing is said
    here can still be too large for a lexer; finding that out takes half as long again."""
    return LLMatcher.validate_grammar(grammar, None, limits=LIMITS)


def begins(grammar: str) -> bool:
    """Does `grammar`, which llguidance takes, leave a way to begin, or match the empty text?"""
    matcher = LLMatcher(_tokenizer(), grammar, log_level=0, limits=LIMITS)
    return matcher.is_accepting() or any(matcher.compute_bitmask()[: _END // 8])


def matches(grammar: str, text: str) -> bool:
    """Is `text` one whole sentence of `grammar`? False too where llguidance gives up."""
    matcher = LLMatcher(_tokenizer(), grammar, log_level=0, limits=LIMITS)
    written = list(text.encode())
    return matcher.try_consume_tokens(written) == len(written) and matcher.is_accepting()
