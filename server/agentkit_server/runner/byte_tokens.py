"""llguidance's view of a vocabulary of single bytes and control tokens."""

from __future__ import annotations

from functools import lru_cache

from llguidance import LLTokenizer, TokenizerWrapper


class _ByteTokens:
    """Ids 0 to 255 are bytes, the next `control` tokens are no text. What TokenizerWrapper asks for."""

    bos_token_id = None

    def __init__(self, control: int, eos: int) -> None:
        special = range(256, 256 + control)
        self.eos_token_id = eos
        self.special_token_ids = list(special)
        self.tokens = [bytes([byte]) for byte in range(256)] + [b"\xff<%d>" % token for token in special]

    def __call__(self, text: bytes) -> list[int]:
        return list(text)


@lru_cache(maxsize=16)
def byte_tokenizer(control: int, ends: tuple[int, ...]) -> LLTokenizer:
    """For `control` control tokens, those with the ids `ends` ending generation. One id more, which no script
    can say, stands for them where there are none: llguidance wants one."""
    size = 256 + control + 1
    ends = ends or (size - 1,)
    tokens = TokenizerWrapper(_ByteTokens(control + 1, ends[0]))
    return LLTokenizer(tokens, n_vocab=size, eos_token=list(ends))
