"""A callable's parameters with their annotations resolved: strings are evaluated where the callable was
defined."""

from __future__ import annotations

import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Union, cast, get_args, get_origin

from agentkit._context import RunContext
from agentkit._errors import DefinitionError

_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True)
class Parameter:
    """One parameter. `default` and `annotation` are `inspect.Parameter.empty` where there is none."""

    name: str
    kind: Any
    annotation: Any
    default: Any

    @property
    def is_context(self) -> bool:
        """It takes the RunContext, and is hidden from the model."""
        return _is_context(self.annotation)

    @property
    def is_positionals(self) -> bool:
        """`*args`."""
        return self.kind is inspect.Parameter.VAR_POSITIONAL

    @property
    def is_keywords(self) -> bool:
        """`**kwargs`."""
        return self.kind is inspect.Parameter.VAR_KEYWORD

    @property
    def is_required(self) -> bool:
        """A call must have it."""
        return self.default is inspect.Parameter.empty and self.kind not in _VARIADIC


@dataclass(frozen=True)
class Annotations:
    """The parameters that a call may give, the return annotation, and names that `**kwargs` cannot have."""

    parameters: list[Parameter]
    returns: Any
    reserved: frozenset[str]


def resolved(function: Callable[..., Any]) -> Annotations:
    """What `function` declares.

    What a `functools.partial` has fixed is no parameter any more, keywords included: a model could overwrite
    them, and would read their values.
    """
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError) as error:
        raise DefinitionError(f"{function!r} has no signature", hint="wrap it in a function") from error
    fixed = set[str](function.keywords) if isinstance(function, functools.partial) else set[str]()
    given = [parameter for name, parameter in signature.parameters.items() if name not in fixed]
    source = plain(function)
    hints = _evaluated({parameter.name: parameter.annotation for parameter in given}, source)
    parameters = [
        Parameter(
            parameter.name, parameter.kind, _nullable(hints[parameter.name], parameter), parameter.default
        )
        for parameter in given
    ]
    named = {parameter.name for parameter in _all(source) if parameter.kind not in _VARIADIC}
    returns = _return_hint(signature.return_annotation, source)
    return Annotations(parameters, returns, frozenset(named | fixed))


def _all(source: Any) -> list[inspect.Parameter]:
    """Also those that a partial or a bound method has filled already."""
    return list(inspect.signature(source).parameters.values())


def plain(function: Any) -> Any:
    """The function with a `def` behind partials, methods, callable objects and `functools.wraps`."""
    if isinstance(function, functools.partial):
        return plain(cast("functools.partial[Any]", function).func)
    if isinstance(function, types.MethodType):
        return plain(function.__func__)
    if not isinstance(function, type) and not hasattr(function, "__name__"):
        return plain(type(function).__call__)
    return inspect.unwrap(function)


def _return_hint(annotation: Any, source: Any) -> Any:
    try:
        return _evaluated({"return": annotation}, source)["return"]
    except DefinitionError:
        # A name that only a type checker sees. The model is not shown the return type.
        return inspect.Parameter.empty


def _evaluated(annotations: Mapping[str, Any], source: Any) -> dict[str, Any]:
    names: dict[str, Any] = getattr(source, "__globals__", {})
    try:
        try:
            return _hints(annotations, names, {})
        except NameError:
            return _hints(annotations, names, _enclosing(names))
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        raise DefinitionError(
            f"the annotations of {getattr(source, '__qualname__', source)!r} cannot be resolved: {error}",
            hint="import the name at run time, or define it at the top of the module",
        ) from error


def _hints(annotations: Mapping[str, Any], names: dict[str, Any], local: dict[str, Any]) -> dict[str, Any]:
    def carrier() -> None: ...

    carrier.__annotations__ = dict(annotations)
    return typing.get_type_hints(carrier, names, local, include_extras=True)


def _enclosing(names: dict[str, Any]) -> dict[str, Any]:
    """Local names of the functions that are running in the module with the globals `names`, of the innermost
    first: a tool that is defined inside a function may refer to what is defined there."""
    found: dict[str, Any] = {}
    for frame in _frames():
        if frame.f_globals is names:
            found = {**frame.f_locals, **found}
    return found


def _frames() -> Iterator[types.FrameType]:
    frame = sys._getframe()  # pyright: ignore[reportPrivateUsage] - the way to the caller's names
    while frame is not None:
        yield frame
        frame = frame.f_back


def _nullable(hint: Any, parameter: inspect.Parameter) -> Any:
    """`x: int = None` means `x: int | None = None`."""
    if parameter.default is None and hint not in (inspect.Parameter.empty, Any):
        return Union[hint, None]  # noqa: UP007 - `hint` may be no type
    return hint


def _is_context(annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType, Annotated):
        return any(_is_context(part) for part in get_args(annotation))
    kind = origin or annotation
    return isinstance(kind, type) and issubclass(kind, RunContext)
