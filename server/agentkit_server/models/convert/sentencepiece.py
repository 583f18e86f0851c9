"""SentencePiece's tokenizer.model: as much of its protocol buffer as a vocabulary needs."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import cast

from gguf.constants import TokenType

from agentkit_server.errors import ConversionError
from agentkit_server.models.convert.vocabulary import Vocabulary

_FILE = "tokenizer.model"
_MAX_PIECES = 2_000_000
_BPE = 2
_MAX_SCORE = 1e38
# Field numbers of the messages ModelProto, SentencePiece, TrainerSpec and NormalizerSpec.
_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3
_TEXT, _SCORE, _TYPE = 1, 2, 3
_MODEL_TYPE = 3
_CHARS_MAP, _DUMMY_PREFIX = 2, 3

Value = int | float | bytes


def read(content: bytes, size: int) -> Vocabulary:
    """The vocabulary of a BPE model. Raises ConversionError for any other content."""
    vocabulary = Vocabulary("llama", size, add_bos=True, add_eos=False)
    vocabulary.extra["add_space_prefix"] = True
    pieces, kind = 0, 0
    for number, value in _fields(content):
        if number == _PIECES:
            _put(vocabulary, pieces, dict(_fields(_message(value))))
            pieces += 1
        elif number == _TRAINER:
            kind = dict(_fields(_message(value))).get(_MODEL_TYPE, 1)
        elif number == _NORMALIZER:
            rules = dict(_fields(_message(value)))
            if rules.get(_CHARS_MAP):
                raise _wrong("it normalises characters, which llama.cpp does not do for such a model")
            vocabulary.extra["add_space_prefix"] = bool(rules.get(_DUMMY_PREFIX, 1))
        if pieces > _MAX_PIECES:
            raise _wrong(f"it has more than {_MAX_PIECES} pieces")
    if not pieces:
        raise _wrong("it has no pieces")
    if kind != _BPE:
        raise _wrong(f"its model type is {kind!r}; only BPE (2) can be imported")
    return vocabulary


def _put(vocabulary: Vocabulary, number: int, piece: dict[int, Value]) -> None:
    try:
        text = _message(piece.get(_TEXT, b"")).decode("utf-8")
        kind = TokenType(cast("int", piece.get(_TYPE, 1)))
    except ValueError:
        raise _wrong(f"piece {number} is {piece!r:.80}") from None
    score = piece.get(_SCORE, 0.0)
    if not text or not isinstance(score, float) or not abs(score) < _MAX_SCORE:
        raise _wrong(f"piece {number} is {piece!r:.80}")
    vocabulary.put(number, text, kind, score)


def _message(value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise _wrong(f"a number stands where text belongs: {value!r}")
    return value


def _fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """Number and value of every field of one message."""
    place = 0
    while place < len(data):
        tag, place = _number(data, place)
        kind = tag & 7
        if kind == 0:
            value, place = _number(data, place)
            yield tag >> 3, value
            continue
        if kind == 2:
            length, place = _number(data, place)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise _wrong(f"a field of kind {kind} at byte {place}")
        part = data[place : place + length]
        place += length
        if len(part) != length:
            raise _wrong("it is cut short")
        yield tag >> 3, part if kind == 2 else struct.unpack("<d" if kind == 1 else "<f", part)[0]


def _number(data: bytes, place: int) -> tuple[int, int]:
    """A number of variable length, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            raise _wrong("it is cut short")
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise _wrong(f"a number without end at byte {place}")


def _wrong(what: str) -> ConversionError:
    return ConversionError(f"{_FILE!r} cannot be read as SentencePiece: {what}")
