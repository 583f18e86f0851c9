"""Tools: what a model may call. A function, its JSON Schema, and how it is run."""

from __future__ import annotations

import asyncio
import functools
import inspect
import re
import types
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypedDict, Unpack, cast, overload

from agentkit import _docstring, _signature
from agentkit._annotations import plain
from agentkit._context import RunContext
from agentkit._errors import DefinitionError, ToolTimeout
from agentkit._runnable import FunctionRun, Runnable, SchemaRun, nothing

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
Approval = bool | Callable[[RunContext[Any], Mapping[str, Any]], bool]


class ToolOptions(TypedDict, total=False):
    """What `tool` and `as_tool` take beside the function; the fields of `Tool` of these names."""

    name: str
    description: str
    requires_approval: Approval
    timeout: float | None
    retries: int
    raises: tuple[type[BaseException], ...]
    sequential: bool


@dataclass(frozen=True, eq=False)
class Tool:
    """Something that a model may call. Made by `tool`, `as_tool` or `Tool.from_schema`.

    One that is made from a function can be called as the function.
    """

    name: str
    """1 to 64 letters, digits, `_` and `-`."""
    description: str
    parameters: dict[str, Any]
    """JSON Schema of the arguments, of an object."""
    target: Runnable = field(repr=False)
    returns: dict[str, Any] | None = None
    """JSON Schema of what it returns, where that is known."""
    requires_approval: Approval = False
    """Whether a person has to agree to a call, or a function of context and arguments that says so."""
    timeout: float | None = None
    """Seconds that a call may take."""
    retries: int = 1
    """How often a call that failed may be repeated before it counts as given up."""
    raises: tuple[type[BaseException], ...] = ()
    """Errors that go up to the caller of the run, and not to the model."""
    sequential: bool = False
    """It never runs beside other calls."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise DefinitionError(
                f"{self.name!r} is no name for a tool", hint="give name= with 1 to 64 of a-z A-Z 0-9 _ -"
            )
        if self.timeout is not None and not self.timeout > 0:
            raise DefinitionError(f"a timeout is a number of seconds above 0, and not {self.timeout!r}")
        if self.retries < 0:
            raise DefinitionError(f"retries are 0 or more, and not {self.retries!r}")

    @classmethod
    def from_schema(
        cls,
        name: str,
        description: str,
        parameters: Mapping[str, Any],
        run: Callable[[dict[str, Any]], Awaitable[Any]],
    ) -> Tool:
        """A tool whose arguments are described by a JSON Schema, such as one of another server. `run` gets
        them as they are, once they are valid. Raises DefinitionError for what is no schema."""
        return cls(name, description, dict(parameters), SchemaRun(dict(parameters), run))

    def definition(self) -> dict[str, Any]:
        """The wire form, as `tools` of a request has it."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": function}

    def validate(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Python values by parameter. Raises ToolArgumentsError, whose message the model can act on."""
        return self.target.validate(self.name, arguments)

    async def call(self, arguments: Mapping[str, Any], context: RunContext[Any] | None = None) -> Any:
        """Validates and runs. A synchronous function runs in a thread.

        Raises ToolArgumentsError, ToolTimeout, and what the function raises.
        """
        values = self.validate(arguments)
        limit = asyncio.timeout(self.timeout)
        try:
            async with limit:
                return await self.target.run(values, context)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise ToolTimeout(f"{self.name} took longer than {self.timeout:g} s") from error

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function itself: nothing is validated."""
        return self.target(*args, **kwargs)

    def __get__(self, instance: Any, owner: type | None = None) -> Tool:
        """As an attribute of a class: a tool that is made of a method is bound as the method would be."""
        target = self.target.bound(instance, owner)
        return self if target is self.target else replace(self, target=target)


@overload
def tool(function: Callable[..., Any], /, **options: Unpack[ToolOptions]) -> Tool: ...
@overload
def tool(**options: Unpack[ToolOptions]) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(
    function: Callable[..., Any] | None = None, /, **options: Unpack[ToolOptions]
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Makes a function a tool: `@tool`, or `@tool(timeout=5)`.

    Raises DefinitionError where its parameters have no JSON Schema, or its name is none for a tool.
    """
    if function is None:
        return functools.partial(_of_function, **options)
    return _of_function(function, **options)


def as_tool(value: Tool | Callable[..., Any] | Mapping[str, Any]) -> Tool:
    """A Tool as it is, and one made of a function, a bound method, a partial, a callable object, or a
    definition in the wire form, which cannot be run."""
    if isinstance(value, Tool):
        return value
    if isinstance(value, Mapping):
        return _of_definition(cast("Mapping[str, Any]", value))
    if isinstance(value, types.MethodType) and isinstance(value.__func__, Tool):
        return value.__func__.__get__(value.__self__)
    return _of_function(value)


def _of_function(function: Any, **options: Unpack[ToolOptions]) -> Tool:
    kind = cast("type[Any]", type(function))
    if kind in (classmethod, staticmethod):
        function = function.__func__
    if isinstance(function, type) or not callable(function):
        raise DefinitionError(f"{function!r} is no function", hint="give a function, a Tool, or a dict")
    source = plain(function)
    name = options["name"] if "name" in options else _name(function, source)
    if inspect.isgeneratorfunction(source) or inspect.isasyncgenfunction(source):
        raise DefinitionError(f"{name!r} is a generator, and a tool gives one result", hint="return a list")
    documented = _docstring.read(_text(function, source))
    binds = "class" if kind is classmethod else "instance" if _is_unbound(function) else None
    signature = _signature.read(function, documented.parameters, skip_first=binds is not None)
    made = Tool(
        name=name,
        description=documented.description,
        parameters=signature.schema,
        returns=signature.returns,
        target=FunctionRun(function, signature, binds),
    )
    return replace(made, **options)


def _name(function: Any, source: Any) -> str:
    """The function's name; of a callable object, its class's."""
    named = source if source.__name__ != "__call__" else cast("type[Any]", type(function))
    if named.__name__ == "<lambda>":
        raise DefinitionError("a lambda has no name", hint="write tool(lambda …, name='…'), or use def")
    return named.__name__


def _text(function: Any, source: Any) -> str | None:
    """The docstring; that of its class where a callable object's `__call__` has none."""
    text = inspect.getdoc(source)
    if text is None and source.__name__ == "__call__":
        return inspect.getdoc(cast("type[Any]", type(function)))
    return text


def _is_unbound(function: Any) -> bool:
    """A method that is decorated in the body of its class, where it is a mere function yet."""
    if not isinstance(function, types.FunctionType):
        return False
    in_class = "." in function.__qualname__.rpartition("<locals>.")[2]
    return in_class and next(iter(inspect.signature(function).parameters), "") in ("self", "cls")


def _of_definition(definition: Mapping[str, Any]) -> Tool:
    function: Any = definition.get("function")
    if not isinstance(function, Mapping) or "name" not in function:
        raise DefinitionError(
            f"{dict(definition)!r} is no tool",
            hint="write {'type': 'function', 'function': {'name': …, 'description': …, 'parameters': {…}}}",
        )
    said = cast("Mapping[str, Any]", function)
    parameters = cast("Mapping[str, Any]", said.get("parameters") or {"type": "object", "properties": {}})
    return Tool.from_schema(said["name"], said.get("description") or "", parameters, nothing)
