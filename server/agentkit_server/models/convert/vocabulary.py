"""A vocabulary in llama.cpp's words, whatever file it came from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gguf.constants import TokenType

from agentkit_server.errors import ConversionError
from agentkit_server.models.convert.files import Fields, is_count

SPACE = "▁"
"""How SentencePiece, and llama.cpp for BERT, write the space before a word."""
_UNUSED_SCORE = -10000.0
_ADDED_SCORE = -1000.0
# Some folders forget to say that these are special.
_LOOKS_SPECIAL = re.compile(r"<\|.*\|>|<｜.*｜>|<unused.*>|<pad>|<mask>|<2mass>|\[@BOS@\]", re.DOTALL)


@dataclass
class Vocabulary:
    """Tokens by id, as they are built up. `size` is the number of rows of the embedding: a token beyond
    it cannot be used and is left out."""

    model: str
    """`llama` (SentencePiece), `gpt2` (byte-level BPE) or `bert` (WordPiece)."""
    size: int
    pre: str = "default"
    merges: list[str] = field(default_factory=list[str])
    extra: dict[str, Any] = field(default_factory=dict[str, Any])
    """Further keys under `tokenizer.ggml.`"""
    add_bos: bool | None = None
    add_eos: bool | None = None
    """What tokenizer.model adds to a prompt; None where tokenizer.json decides that."""
    post_processors: list[Fields] = field(default_factory=list[Fields])
    """The part of tokenizer.json that adds tokens to a prompt."""
    notes: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        self.texts: list[str | None] = [None] * self.size
        self.types = [int(TokenType.UNUSED)] * self.size
        self.scores = [_UNUSED_SCORE] * self.size
        self.ids: dict[str, int] = {}
        """Text as the folder writes it -> id."""
        self.left_out = 0

    def put(self, token: int, text: str, kind: TokenType, score: float = 0.0, original: str = "") -> None:
        """Token number `token`; one that was there is replaced. `original` is the folder's text for it."""
        if token >= self.size:
            self.left_out += 1
            return
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise ConversionError(f"token {token} is {text!r:.80}, which is half a character") from None
        self.texts[token] = text
        self.types[token] = int(kind)
        self.scores[token] = score
        self.ids[original or text] = token

    def put_all(self, vocab: Mapping[str, Any], where: str, score: float = 0.0) -> None:
        """The base vocabulary: text -> id."""
        if not all(map(is_count, vocab.values())):
            raise ConversionError(f"{where}: a token has no number as its id")
        if len(set(vocab.values())) != len(vocab):
            raise ConversionError(f"{where}: two tokens have the same id")
        for text, token in vocab.items():
            self.put(token, text, TokenType.NORMAL, score)

    def put_added(self, token: int, text: str, *, special: bool) -> None:
        """A token that is cut out of a text before anything else."""
        if special or _LOOKS_SPECIAL.fullmatch(text):
            self.put(token, text, TokenType.CONTROL, _ADDED_SCORE)
        else:
            self.put(token, text.replace(SPACE, " "), TokenType.USER_DEFINED, _ADDED_SCORE, text)

    def put_added_tokens(self, tokens: list[Fields]) -> None:
        """`added_tokens` of a tokenizer.json."""
        for token in tokens:
            number, text = token.count("id"), token.text("content")
            if number is None or not text:
                raise ConversionError(f"{token.where} needs id and content")
            self.put_added(number, text, special=bool(token.flag("special")))
        trimmed = [token.text("content") for token in tokens if token.flag("rstrip") or token.flag("lstrip")]
        if trimmed:
            self._trims(trimmed)

    def _trims(self, texts: list[str | None]) -> None:
        # llama.cpp knows Phi-3's tokenizer by the model's name, and looks these tokens up.
        if {"</s>", "<unk>", "<s>", "<|endoftext|>", "<|assistant|>"} <= self.ids.keys():
            self.extra["name"] = "Phi-3"
        else:
            shown = ", ".join(repr(text) for text in texts[:3])
            self.notes.append(f"white space beside {shown} is kept, where transformers removes it")

    def metadata(self) -> dict[str, Any]:
        """Keys of the GGUF. Raises ConversionError for what llama.cpp would not survive."""
        tokens = [f"[PAD{i}]" if text is None else text for i, text in enumerate(self.texts)]
        if len(set(tokens)) != len(tokens) or "" in tokens:
            seen: set[str] = set()
            twice = next(text for text in tokens if text in seen or seen.add(text) or not text)
            raise ConversionError(f"the token {twice!r:.80} is there twice, or empty")
        if self.left_out:
            self.notes.append(f"{self.left_out} tokens have no row in the embedding and are left out")
        extra = dict(self.extra)
        name = {"general.name": extra.pop("name")} if "name" in extra else {}
        keys: dict[str, Any] = {
            "model": self.model,
            "pre": self.pre,
            "tokens": tokens,
            "token_type": self.types,
        }
        if self.model == "llama":
            keys["scores"] = self.scores
        if self.model == "gpt2":
            keys["merges"] = self.merges
        return {**name, **{f"tokenizer.ggml.{key}": value for key, value in (keys | extra).items()}}
