"""The values that a template works on, and what Go says of them: type, truth, length.

None is nil, `bool`, `int`, `float` and `str` are themselves, a list or tuple is a `[]any`, a dict with text
keys is a `map[string]any`, and a struct is a `GoStruct`. Nothing else is a value: no attribute of a Python
object can be reached from a template.

Go's strings are bytes. A text here is characters, in which a byte that is part of no character (a slice may
end within one) stands as a lone surrogate, U+DC80 to U+DCFF, as Python's `surrogateescape` has it. Joined
again such bytes become the character; what is left of them in the output becomes U+FFFD.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, TypeGuard, cast


class Fault(Exception):
    """What went wrong, without the place: the executor adds that and makes it a GoTemplateError."""


class Kind(Enum):
    """Kinds of values. Each one's value is the name of its type in Go."""

    NIL = "<nil>"
    BOOL = "bool"
    INT = "int"
    FLOAT = "float64"
    STRING = "string"
    SLICE = "[]interface {}"
    MAP = "map[string]interface {}"
    STRUCT = "struct"
    FUNCTION = "func"


@dataclass(frozen=True, slots=True)
class GoStruct:
    """A struct: its fields in their order. One that is not there is an error, where a key of a map is nil.

    A function among the fields is a method: it is called where it is named, with the arguments given there.
    """

    fields: Mapping[str, Any]
    name: str = "struct"
    """Its type, in errors and for `%T`."""

    @classmethod
    def of(cls, instance: Any) -> GoStruct:
        """The fields of a dataclass instance, by their own names; fields that are dataclasses themselves stay
        as they are, so wrap these too."""
        if not is_dataclass(instance) or isinstance(instance, type):
            raise TypeError(f"{instance!r} is not an instance of a dataclass")
        values = {field.name: getattr(instance, field.name) for field in fields(instance)}
        return cls(values, name=type(instance).__name__)


@dataclass(frozen=True, slots=True)
class Printed:
    """A value of a type that has a `String` method: it prints as `text`, and is `value` in all else."""

    value: Any
    text: str


_FUNCTIONS = (FunctionType, MethodType, BuiltinFunctionType, partial)
_KINDS: dict[type, Kind] = {
    type(None): Kind.NIL,
    bool: Kind.BOOL,
    int: Kind.INT,
    float: Kind.FLOAT,
    str: Kind.STRING,
    list: Kind.SLICE,
    tuple: Kind.SLICE,
    dict: Kind.MAP,
    GoStruct: Kind.STRUCT,
}


def bare(value: Any) -> Any:
    """`value` without its `String` method."""
    while isinstance(value, Printed):
        value = value.value
    return value


def kind(value: Any) -> Kind:
    """Raises Fault when it is no value of a template at all."""
    value = bare(value)
    known = _KINDS.get(cast("Any", type(value)))
    if known is Kind.INT and not -(1 << 63) <= value < 1 << 64:
        # As Go's JSON decoder has it: what no integer holds is a float.
        return Kind.FLOAT
    if known is not None:
        return known
    for base, meaning in _KINDS.items():
        if isinstance(value, base):
            return meaning
    if is_function(value):
        return Kind.FUNCTION
    raise Fault(f"a Python value of type {type(value).__name__!r} is not a value of a template")


def is_function(value: Any) -> TypeGuard[Callable[..., Any]]:
    return isinstance(value, _FUNCTIONS)


def type_name(value: Any) -> str:
    """The name of its type in Go."""
    found = kind(value)
    return cast("GoStruct", bare(value)).name if found is Kind.STRUCT else found.value


def truth(value: Any) -> bool:
    """False for nil, false, zero and what is empty; a struct is always true."""
    if kind(value) in (Kind.STRUCT, Kind.FUNCTION):
        return True
    return bool(bare(value))


def as_float(value: Any) -> float:
    try:
        return float(bare(value))
    except OverflowError:
        return float("inf") if bare(value) > 0 else float("-inf")


def sorted_items(mapping: Mapping[Any, Any]) -> list[tuple[str, Any]]:
    """In the order of the keys. Raises Fault when a key is no text."""
    for key in mapping:
        if not isinstance(key, str):
            raise Fault(f"the key {key!r} of a map is not a string")
    return sorted(mapping.items())


_FOREIGN = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_ANY_SURROGATE = re.compile("[\ud800-\udfff]")


def to_bytes(text: str) -> bytes:
    """The bytes of a Go string. Halves of surrogate pairs, which no Go string holds, count as U+FFFD."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return _FOREIGN.sub("\ufffd", text).encode("utf-8", "surrogateescape")


def from_bytes(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def joined(text: str) -> str:
    """`text` with bytes that together make a character made that character."""
    return from_bytes(to_bytes(text)) if _ANY_SURROGATE.search(text) else text


def visible(text: str) -> str:
    """`text` as it leaves the template: with U+FFFD for each byte that is part of no character."""
    return _ANY_SURROGATE.sub("\ufffd", joined(text))


def byte_length(text: str) -> int:
    return len(text) if text.isascii() else len(to_bytes(text))
