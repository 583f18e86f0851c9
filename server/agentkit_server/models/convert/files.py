"""The small files of a model folder, read with bounds, and typed access to what they say.

Everything in them comes from strangers: a value of the wrong kind is a ConversionError that names the file
and the key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from agentkit_server.errors import ConversionError

Files = Mapping[str, Path]
"""Name inside the folder ("config.json", "1_Pooling/config.json") -> where its content is."""

MAX_JSON_BYTES = 64 << 20
"""The largest tokenizer.json of the families that are read has 35 MB."""
MAX_TEXT_BYTES = 1 << 20
_MAX_COUNT = 1 << 31


def read_bytes(files: Files, name: str, limit: int) -> bytes | None:
    """The content of one file; None when the folder has none of that name."""
    path = files.get(name)
    if path is None:
        return None
    try:
        if path.stat().st_size > limit:
            raise ConversionError(f"{name!r} has {path.stat().st_size} bytes; at most {limit} are read")
        return path.read_bytes()
    except OSError as error:
        raise ConversionError(f"{name!r} cannot be read: {error.strerror or error}") from None


def read_text(files: Files, name: str) -> str | None:
    content = read_bytes(files, name, MAX_TEXT_BYTES)
    return None if content is None else decoded(name, content)


def decoded(name: str, content: bytes) -> str:
    """Text of a file. Raises ConversionError when it is not UTF-8."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConversionError(f"{name!r} is no UTF-8 text: {error.reason} at byte {error.start}") from None


def parse_json(name: str, content: bytes) -> Any:
    """JSON of a stranger. Raises ConversionError."""
    try:
        return json.loads(decoded(name, content))
    # RecursionError: arrays nested without end.
    except (ValueError, RecursionError) as error:
        raise ConversionError(f"{name!r} is no JSON: {error}") from None


def read_json(files: Files, name: str) -> Any:
    """The JSON of one file; None when there is no such file."""
    content = read_bytes(files, name, MAX_JSON_BYTES)
    return None if content is None else parse_json(name, content)


def read_object(files: Files, name: str) -> Fields | None:
    """One file that holds a JSON object; None when there is no such file."""
    value = read_json(files, name)
    return None if value is None and name not in files else Fields.of(value, name)


class Fields:
    """A JSON object: each method reads one key, None when it is absent or null."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self.values = values
        self.where = where

    @classmethod
    def of(cls, value: Any, where: str) -> Fields:
        if not isinstance(value, dict):
            raise ConversionError(f"{where} is {value!r:.80} where a JSON object belongs")
        return cls(cast("dict[str, Any]", value), where)

    def _wrong(self, key: str, expected: str) -> ConversionError:
        return ConversionError(f"{self.where}: {key} is {self.values[key]!r:.80} where {expected} belongs")

    def __contains__(self, key: str) -> bool:
        return self.values.get(key) is not None

    def get(self, key: str) -> Any:
        return self.values.get(key)

    def text(self, key: str) -> str | None:
        value = self.values.get(key)
        if value is not None and not isinstance(value, str):
            raise self._wrong(key, "a string")
        return value

    def flag(self, key: str, default: bool | None = None) -> bool | None:
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value

    def count(self, key: str, default: int | None = None) -> int | None:
        """A whole number from 0 to 2**31."""
        value = self.values.get(key)
        if value is None:
            return default
        if not is_count(value):
            raise self._wrong(key, f"a whole number up to {_MAX_COUNT}")
        return value

    def need(self, key: str, default: int | None = None) -> int:
        """A whole number of at least 1."""
        value = self.count(key, default)
        if value is None:
            raise ConversionError(f"{self.where} has no {key}, which is needed")
        if value < 1:
            raise self._wrong(key, "a number of at least 1")
        return value

    def number(self, key: str, default: float | None = None) -> float | None:
        """A finite number."""
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < 1e38:
            raise self._wrong(key, "a number")
        return float(value)

    def numbers(self, key: str) -> list[float] | None:
        values = self.values.get(key)
        if values is None:
            return None
        if not isinstance(values, list) or not all(map(_is_number, cast("list[Any]", values))):
            raise self._wrong(key, "a list of numbers")
        return [float(value) for value in cast("list[float]", values)]

    def object(self, key: str) -> Fields | None:
        value = self.values.get(key)
        return None if value is None else Fields.of(value, f"{self.where}: {key}")

    def list(self, key: str) -> list[Any]:
        """An array; empty when it is absent."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, list):
            raise self._wrong(key, "a list")
        return cast("list[Any]", value or [])

    def objects(self, key: str) -> list[Fields]:
        return [
            Fields.of(value, f"{self.where}: {key}[{place}]") for place, value in enumerate(self.list(key))
        ]

    def steps(self, key: str, inside: str) -> list[Fields]:
        """The steps of a tokenizer's part: the one at `key`, or those of a Sequence, which lists them at
        `inside` and may hold others."""
        first = self.object(key)
        waiting, found = [first] if first else [], list[Fields]()
        while waiting:
            step = waiting.pop()
            if step.text("type") == "Sequence":
                waiting += reversed(step.objects(inside))
            else:
                found.append(step)
        return found


def is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_COUNT


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e38
