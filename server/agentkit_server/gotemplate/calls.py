"""Calls of functions that the caller gave, in the data or beside it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from agentkit_server.gotemplate.limits import Budget
from agentkit_server.gotemplate.values import Fault, kind


def call(function: Callable[..., Any], name: str, arguments: list[Any], budget: Budget) -> Any:
    """What it returns, which is a value of templates. Raises Fault, also when `function` raises anything."""
    check_count(name, len(arguments), *_counts(function))
    try:
        value = function(*arguments)
    except Exception as error:
        raise Fault(f"error calling {name}: {error or type(error).__name__}") from error
    kind(value)
    if isinstance(value, str):
        budget.build(len(value))
    return value


def check_count(name: str, count: int, least: int, most: int | None) -> None:
    """Raises Fault when a function cannot be called with that many arguments."""
    if count >= least and (most is None or count <= most):
        return
    wanted = f"{least}" if least == most else f"at least {least}"
    if least != most and most is not None and count > most:
        wanted = f"at most {most}"
    raise Fault(f"wrong number of args for {name}: want {wanted} got {count}")


def _counts(function: Callable[..., Any]) -> tuple[int, int | None]:
    """How many arguments it takes, at least and at most."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        # Written in C and silent about it, or nothing that can be called: the call will tell.
        return 0, None
    places = [parameter for parameter in parameters if parameter.kind in _BY_PLACE]
    least = sum(parameter.default is parameter.empty for parameter in places)
    endless = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)
    return least, None if endless else len(places)


_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
