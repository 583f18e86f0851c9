"""eq, ne, lt, le, gt and ge, with Go's rules: only values of the same kind can be compared."""

from __future__ import annotations

from typing import Any

from agentkit_server.gotemplate.limits import Budget
from agentkit_server.gotemplate.values import (
    Fault,
    GoStruct,
    Kind,
    as_float,
    bare,
    kind,
    to_bytes,
    type_name,
)

_BASIC = frozenset({Kind.BOOL, Kind.INT, Kind.FLOAT, Kind.STRING})
_ORDERED = _BASIC - {Kind.BOOL}


def equals_any(value: Any, others: list[Any], budget: Budget) -> bool:
    """`value` is equal to one of `others`; those behind the first that is are not looked at."""
    if not others:
        raise Fault("missing argument for comparison")
    return any(_equal(value, other, budget) for other in others)


def _equal(left: Any, right: Any, budget: Budget) -> bool:
    budget.step()
    kinds = kind(left), kind(right)
    if Kind.NIL in kinds:
        return kinds == (Kind.NIL, Kind.NIL)
    if kinds[0] is not kinds[1]:
        raise _incompatible(left, right)
    if kinds[0] in _BASIC:
        return bool(_basic(left, budget) == _basic(right, budget))
    if kinds[0] is not Kind.STRUCT:
        raise Fault(f"non-comparable type {type_name(right)}")
    return _equal_structs(bare(left), bare(right), budget)


def _equal_structs(left: GoStruct, right: GoStruct, budget: Budget) -> bool:
    if left.name != right.name or left.fields.keys() != right.fields.keys():
        return False
    budget.enter()
    pairs = ((left.fields[name], right.fields[name]) for name in left.fields)
    equal = all(kind(one) is kind(other) and _equal(one, other, budget) for one, other in pairs)
    budget.leave()
    return equal


def is_less(left: Any, right: Any, budget: Budget) -> bool:
    budget.step()
    kinds = kind(left), kind(right)
    if not _BASIC.issuperset(kinds):
        raise Fault("invalid type for comparison")
    if kinds[0] is not kinds[1]:
        raise _incompatible(left, right)
    if kinds[0] not in _ORDERED:
        raise Fault("invalid type for comparison")
    return bool(_basic(left, budget) < _basic(right, budget))


def _basic(value: Any, budget: Budget) -> Any:
    """What Python compares as Go compares `value`."""
    value = bare(value)
    if isinstance(value, str):
        budget.read(len(value))
        return to_bytes(value)
    return as_float(value) if kind(value) is Kind.FLOAT else value


def _incompatible(left: Any, right: Any) -> Fault:
    return Fault(f"incompatible types for comparison: {type_name(left)} and {type_name(right)}")
