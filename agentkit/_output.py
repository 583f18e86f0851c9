"""What a run's output is: what the server is to enforce, and the check that makes a value of an answer.

A pydantic model, dataclass, TypedDict, Literal, Enum, union, list or primitive is JSON by its schema. A dict
is a JSON Schema itself. A type of outlines is what it is there: a regex, a choice, a grammar, a schema.
"""

# outlines is optional, and only read here.
# pyright: reportMissingImports=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from agentkit._errors import AgentkitError, DefinitionError
from agentkit._turn import Demand

T = TypeVar("T")
_LONGEST_COMPLAINT = 600


class NotValid(AgentkitError):
    """A text that is no such output. The message is for the model: what is wrong, and nothing else."""


@dataclass(frozen=True)
class Output(Generic[T]):
    """An output type."""

    demand: Demand | None
    """None = any text."""
    parse: Callable[[str], T]
    """The value of a whole answer. Raises NotValid."""

    @property
    def is_json(self) -> bool:
        """Is the answer JSON, so that there is something to see of it while it grows?"""
        return self.demand is not None and self.demand.kind == "json_schema"


def output_of(kind: Any) -> Output[Any]:
    """The Output of what callers give as `output_type`: None or `str` is any text.

    Raises DefinitionError for a type without a JSON form.
    """
    if inspect.isroutine(kind):
        raise DefinitionError(f"{kind!r} is a function, and an output is a type", hint="give what it returns")
    if kind is None or kind is str:
        return Output(None, lambda text: text)
    if isinstance(kind, Output):
        return cast("Output[Any]", kind)
    if isinstance(kind, dict):
        return _of_schema(cast("dict[str, Any]", kind))
    if _is_outlines(kind):
        return _of_outlines(kind)
    return _of_type(kind)


def partial_json(text: str) -> Any:
    """The JSON values in the beginning of a JSON text, the last string as far as it goes; None while there is
    nothing."""
    try:
        return from_json(text, allow_partial="trailing-strings")
    except ValueError:
        return None


def _of_type(kind: Any) -> Output[Any]:
    from agentkit._schema import Generator, closed, tidy

    try:
        adapter: TypeAdapter[Any] = TypeAdapter(kind)
        # A model that may add properties does, and nobody reads them.
        schema = closed(tidy(adapter.json_schema(schema_generator=Generator)))
    except Exception as error:
        raise DefinitionError(
            f"{kind!r} cannot be an output: {str(error).splitlines()[0]}",
            hint="use a pydantic model, a dataclass, a TypedDict, a Literal, a list or a JSON Schema",
        ) from error

    def parse(text: str) -> Any:
        try:
            return adapter.validate_json(text)
        except ValidationError as error:
            raise NotValid(_complaint(error, text)) from error

    return Output(Demand("json_schema", schema), parse)


def _complaint(error: ValidationError, text: str) -> str:
    from agentkit._problems import of_pydantic

    value = partial_json(text)
    return "; ".join(of_pydantic(error, value if isinstance(value, dict) else {}))[:_LONGEST_COMPLAINT]


def _of_schema(schema: dict[str, Any]) -> Output[Any]:
    from jsonschema import Draft202012Validator, SchemaError
    from jsonschema.validators import validator_for

    validator = validator_for(schema, default=Draft202012Validator)
    try:
        validator.check_schema(schema)
    except SchemaError as error:
        raise DefinitionError(f"the output's JSON Schema is not valid: {error.message}") from error

    def parse(text: str) -> Any:
        try:
            value = json.loads(text)
        except ValueError as error:
            raise NotValid(f"it is no JSON: {error}") from error
        problems = [f"{error.json_path}: {error.message}" for error in validator(schema).iter_errors(value)]
        if problems:
            raise NotValid("; ".join(problems)[:_LONGEST_COMPLAINT])
        return value

    return Output(Demand("json_schema", schema), parse)


def _is_outlines(kind: Any) -> bool:
    return any(
        str(getattr(one, "__module__", "")).split(".")[0] == "outlines"
        for one in (kind, cast("type[Any]", type(kind)))
    )


def _of_outlines(kind: Any) -> Output[Any]:
    from outlines.types import dsl

    terms = cast("Any", dsl)
    term: Any = terms.python_types_to_terms(kind)
    if isinstance(term, terms.JsonSchema):
        return _of_schema(json.loads(term.schema))
    if isinstance(term, terms.CFG):
        return Output(Demand("grammar", term.definition), lambda text: text)
    if isinstance(term, terms.Alternatives) and all(isinstance(one, terms.String) for one in term.terms):
        return _of_choice([one.value for one in term.terms])
    return _of_regex(terms.to_regex(term))


def _of_choice(choices: list[str]) -> Output[str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise NotValid(f"it must be one of {choices!r}"[:_LONGEST_COMPLAINT])
        return text

    return Output(Demand("choice", choices), parse)


def _of_regex(pattern: str) -> Output[str]:
    import re

    compiled = re.compile(pattern)

    def parse(text: str) -> str:
        if not compiled.fullmatch(text):
            raise NotValid(f"it must match the regular expression {pattern!r}"[:_LONGEST_COMPLAINT])
        return text

    return Output(Demand("regex", pattern), parse)
