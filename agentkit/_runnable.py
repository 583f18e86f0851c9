"""What stands behind a tool: a Python function, something that a JSON Schema describes, or nothing."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, Protocol

from agentkit import _problems
from agentkit._annotations import plain
from agentkit._context import RunContext
from agentkit._errors import DefinitionError, ToolArgumentsError
from agentkit._signature import Signature
from agentkit._worker import in_thread


class Runnable(Protocol):
    """Validates a model's arguments and runs with the values."""

    def validate(self, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Values by parameter; raises ToolArgumentsError."""
        ...

    async def run(self, values: dict[str, Any], context: RunContext[Any] | None) -> Any:
        """The result for `values`."""
        ...

    def bound(self, instance: Any, owner: type | None) -> Runnable:
        """Itself, or itself for one object where it is a method."""
        ...

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As Python code calls it."""
        ...


@dataclass(frozen=True)
class FunctionRun:
    """A Python callable. `binds`: what its first parameter, which is hidden, takes."""

    function: Callable[..., Any]
    signature: Signature
    binds: Literal["instance", "class"] | None = None

    def validate(self, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return self.signature.validate(tool, arguments)

    async def run(self, values: dict[str, Any], context: RunContext[Any] | None) -> Any:
        args, kwargs = self.signature.bind(values, context)
        if inspect.iscoroutinefunction(plain(self.function)):
            return await self.function(*args, **kwargs)
        result = await in_thread(partial(self.function, *args, **kwargs))
        # A wrapper may be synchronous around something that is not.
        return await result if inspect.isawaitable(result) else result

    def bound(self, instance: Any, owner: type | None) -> FunctionRun:
        to = owner if self.binds == "class" else instance
        if self.binds is None or to is None:
            return self
        return replace(self, function=types.MethodType(self.function, to), binds=None)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


class SchemaRun:
    """A coroutine function that takes the arguments as one dict, described by a JSON Schema."""

    def __init__(self, schema: dict[str, Any], function: Callable[[dict[str, Any]], Awaitable[Any]]) -> None:
        # Here, because only what is no Python function needs a validator of its own.
        from jsonschema import Draft202012Validator, SchemaError
        from jsonschema.validators import validator_for
        from jsonschema_specifications import REGISTRY

        kind: Any = validator_for(schema, default=Draft202012Validator)
        try:
            kind.check_schema(schema)
        except SchemaError as error:
            raise DefinitionError(f"no JSON Schema: {error.message}") from error
        # The registry as it is: otherwise references to other documents would be fetched.
        self._validator: Any = kind(schema, registry=REGISTRY)
        self._function = function

    def validate(self, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        from referencing.exceptions import Unresolvable

        given = dict(arguments)
        try:
            problems = _problems.of_jsonschema(self._validator.iter_errors(given), given)
        except (Unresolvable, re.error, RecursionError) as error:
            raise DefinitionError(f"the schema of {tool} cannot be used: {error}") from error
        if problems:
            raise ToolArgumentsError(_problems.message(tool, problems))
        return given

    async def run(self, values: dict[str, Any], context: RunContext[Any] | None) -> Any:
        return await self._function(values)

    def bound(self, instance: Any, owner: type | None) -> SchemaRun:
        return self

    def __call__(self, **arguments: Any) -> Any:
        return self._function(arguments)


async def nothing(arguments: dict[str, Any]) -> Any:
    """Stands behind a tool of which only the definition is known."""
    raise DefinitionError(
        "this tool is only a definition: nothing here can run it",
        hint="give the function, or use Tool.from_schema",
    )
