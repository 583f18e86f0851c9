"""The functions that the language itself has. `and`, `or` and `call` do not get their arguments as values:
they are in evaluation.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

from agentkit_server.gotemplate import escaping
from agentkit_server.gotemplate.comparison import equals_any, is_less
from agentkit_server.gotemplate.limits import Budget
from agentkit_server.gotemplate.printf import formatted
from agentkit_server.gotemplate.printing import printed, printed_line
from agentkit_server.gotemplate.values import (
    Fault,
    Kind,
    bare,
    byte_length,
    from_bytes,
    kind,
    to_bytes,
    truth,
    type_name,
)

Arguments: TypeAlias = list[Any]


@dataclass(frozen=True, slots=True)
class Builtin:
    run: Callable[[Arguments, Budget], Any]
    least: int = 1
    most: int | None = None
    """Arguments; None = any number."""


def length(arguments: Arguments, budget: Budget) -> int:
    """Of a string it is the number of bytes."""
    value = bare(arguments[0])
    found = kind(value)
    if found is Kind.STRING:
        budget.read(len(value))
        return byte_length(value)
    if found in (Kind.SLICE, Kind.MAP):
        return len(value)
    raise Fault("len of untyped nil" if found is Kind.NIL else f"len of type {type_name(value)}")


def index(arguments: Arguments, budget: Budget) -> Any:
    """The first argument, indexed by each of the others in turn."""
    item = arguments[0]
    if item is None:
        raise Fault("index of untyped nil")
    for key in arguments[1:]:
        item = _indexed(bare(item), bare(key), budget)
    return item


def _indexed(item: Any, key: Any, budget: Budget) -> Any:
    found = kind(item)
    if found is Kind.NIL:
        raise Fault("index of nil pointer")
    if found is Kind.MAP:
        if key is None or kind(key) is not Kind.STRING:
            raise Fault("value is nil; should be of type string" if key is None else _wrong_key(key))
        return item.get(key)
    if found not in (Kind.SLICE, Kind.STRING):
        raise Fault(f"can't index item of type {type_name(item)}")
    if found is Kind.STRING:
        budget.read(len(item))
        item = to_bytes(item)
    position = _position(key, len(item))
    if position == len(item):
        raise Fault(f"index out of range: {position}")
    return item[position]


def _wrong_key(key: Any) -> str:
    return f"value has type {type_name(key)}; should be string"


def _position(key: Any, most: int) -> int:
    found = kind(key)
    if found is not Kind.INT:
        what = "nil" if found is Kind.NIL else f"type {type_name(key)}"
        raise Fault(f"cannot index slice/array with {what}")
    if not 0 <= key <= most:
        raise Fault(f"index out of range: {key}")
    return int(key)


def slice_(arguments: Arguments, budget: Budget) -> Any:
    """`slice x 1 2` is Go's `x[1:2]`. Of a string it takes bytes."""
    item, limits = bare(arguments[0]), [bare(limit) for limit in arguments[1:]]
    found = kind(item)
    if found is Kind.NIL:
        raise Fault("slice of untyped nil")
    if len(limits) > 3:
        raise Fault(f"too many slice indexes: {len(limits)}")
    if found not in (Kind.STRING, Kind.SLICE):
        raise Fault(f"can't slice item of type {type_name(item)}")
    if found is Kind.STRING:
        if len(limits) == 3:
            raise Fault("cannot 3-index slice a string")
        budget.build(len(item))
        start, stop = _bounds(limits, byte_length(item))
        return item[start:stop] if item.isascii() else from_bytes(to_bytes(item)[start:stop])
    start, stop = _bounds(limits, len(item))
    budget.step(stop - start)
    return item[start:stop]


def _bounds(limits: list[Any], size: int) -> tuple[int, int]:
    positions = [_position(limit, size) for limit in limits]
    start, stop, *capacity = [*positions, *(0, size)[len(positions) :]]
    for lower, upper in ((start, stop), (stop, *capacity))[: 1 + len(capacity)]:
        if lower > upper:
            raise Fault(f"invalid slice index: {lower} > {upper}")
    return start, stop


def printf(arguments: Arguments, budget: Budget) -> str:
    template = bare(arguments[0])
    if template is None:
        raise Fault("invalid value; expected string")
    if kind(template) is not Kind.STRING:
        raise Fault(f"wrong type for value; expected string; got {type_name(template)}")
    return formatted(template, arguments[1:], budget)


def _escaping(escape: Callable[[str], str]) -> Callable[[Arguments, Budget], str]:
    def run(arguments: Arguments, budget: Budget) -> str:
        """As a string; a nil is printed as an action prints it."""
        text = printed(["<no value>" if value is None else value for value in arguments], budget)
        budget.scan(len(text))
        escaped = escape(text)
        budget.build(len(escaped))
        return escaped

    return run


def _not_evaluated(_arguments: Arguments, _budget: Budget) -> Any:
    raise AssertionError("evaluation.py runs this function itself")


BUILTINS: Mapping[str, Builtin] = MappingProxyType(
    {
        "and": Builtin(_not_evaluated),
        "or": Builtin(_not_evaluated),
        "call": Builtin(_not_evaluated),
        "not": Builtin(lambda values, _: not truth(values[0]), most=1),
        "len": Builtin(length, most=1),
        "index": Builtin(index),
        "slice": Builtin(slice_),
        "print": Builtin(printed, least=0),
        "println": Builtin(printed_line, least=0),
        "printf": Builtin(printf),
        "html": Builtin(_escaping(escaping.html), least=0),
        "js": Builtin(_escaping(escaping.javascript), least=0),
        "urlquery": Builtin(_escaping(escaping.url_query), least=0),
        "eq": Builtin(lambda values, budget: equals_any(values[0], values[1:], budget)),
        "ne": Builtin(lambda values, budget: not equals_any(values[0], values[1:], budget), 2, 2),
        "lt": Builtin(lambda values, budget: is_less(values[0], values[1], budget), 2, 2),
        "le": Builtin(lambda values, budget: _at_most(values, budget), 2, 2),
        "gt": Builtin(lambda values, budget: not _at_most(values, budget), 2, 2),
        "ge": Builtin(lambda values, budget: not is_less(values[0], values[1], budget), 2, 2),
    }
)


def _at_most(values: Arguments, budget: Budget) -> bool:
    """Less or equal. Not the opposite of "greater": nothing is either beside NaN."""
    return is_less(values[0], values[1], budget) or equals_any(values[0], values[1:], budget)
