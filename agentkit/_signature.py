"""A callable's parameters: the JSON Schema that a model sees of them, and the way from a model's arguments to
Python values.

pydantic does both, through one model with a field for each parameter. The fields are called `p0`, `p1`, … and
the parameters' names are their aliases, so that a parameter may have any name.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, RootModel, TypeAdapter, ValidationError, create_model
from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticSerializationError, PydanticUndefined, SchemaError, to_json

from agentkit import _problems
from agentkit._annotations import Parameter, resolved
from agentkit._context import RunContext
from agentkit._errors import DefinitionError, ToolArgumentsError
from agentkit._schema import Generator, Schema, merged, tidy

_UNDEFINABLE = (PydanticUserError, PydanticUndefinedAnnotation, SchemaError, TypeError, RecursionError)
Values = dict[str, Any]
"""A Python value for each parameter that the model fills, by the parameter's name."""


class _Arguments(BaseModel):
    """Base of the model of a function's parameters."""

    model_config = ConfigDict(coerce_numbers_to_str=True)


@dataclass(frozen=True)
class Signature:
    """What a callable takes and gives."""

    parameters: Sequence[Parameter]
    schema: Schema
    """Of the arguments object."""
    read_json: Callable[[bytes], Values]
    """Checks and converts arguments that the schema knows by name, and `**kwargs` under this name."""
    returns: Schema | None
    """None where the return type says nothing."""
    reserved: frozenset[str]
    """Names that `**kwargs` cannot have: they are other parameters, or fixed by a partial."""

    def validate(self, tool: str, arguments: Mapping[str, Any]) -> Values:
        """The values for `arguments`. Raises ToolArgumentsError with every problem."""
        known, problems = self._sorted(arguments)
        values: Values = {}
        try:
            values = self.read_json(to_json(known, inf_nan_mode="constants"))
        except ValidationError as error:
            problems += _problems.of_pydantic(error, known)
        except PydanticSerializationError as error:
            problems.append(f"not JSON: {error}")
        if problems:
            raise ToolArgumentsError(_problems.message(tool, problems))
        return values

    def _sorted(self, arguments: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """What `read_json` takes, and the problem of names that there are not."""
        named: Mapping[str, Any] = self.schema["properties"]
        known = {name: value for name, value in arguments.items() if name in named}
        others = {name: value for name, value in arguments.items() if name not in named}
        keywords = next((parameter for parameter in self.parameters if parameter.is_keywords), None)
        if keywords is not None:
            known[_keywords_field(keywords)] = {
                name: value for name, value in others.items() if name not in self.reserved
            }
            others = {name: value for name, value in others.items() if name in self.reserved}
        elif self.schema["additionalProperties"] is not False:
            return dict(arguments), []
        return known, [_problems.unknown(others, named)] if others else []

    def bind(self, values: Values, context: RunContext[Any] | None) -> tuple[list[Any], dict[str, Any]]:
        """Positional and keyword arguments of the call. Raises DefinitionError without a context that is
        needed."""
        positional: list[Any] = []
        keywords: dict[str, Any] = {}
        for parameter in self.parameters:
            value = _context(parameter, context) if parameter.is_context else values[parameter.name]
            if parameter.is_positionals:
                positional += value
            elif parameter.is_keywords:
                keywords |= value
            elif parameter.kind is inspect.Parameter.KEYWORD_ONLY:
                keywords[parameter.name] = value
            else:
                positional.append(value)
        return positional, keywords


def read(
    function: Callable[..., Any], descriptions: Mapping[str, str], *, skip_first: bool = False
) -> Signature:
    """The signature of `function`; `skip_first` leaves out `self`. `descriptions`: by parameter.

    Raises DefinitionError for types that have no JSON Schema, and for names that cannot be resolved.
    """
    found = resolved(function)
    parameters = found.parameters[1:] if skip_first else found.parameters
    shown = [parameter for parameter in parameters if not parameter.is_context]
    schema, read_json = _flattened(shown, descriptions) or _wrapped(shown, descriptions)
    return Signature(parameters, schema, read_json, _returns(found.returns), found.reserved)


def _flattened(
    shown: Sequence[Parameter], descriptions: Mapping[str, str]
) -> tuple[Schema, Callable[[bytes], Values]] | None:
    """The fields of the only parameter, where that is a pydantic model: an object around it says nothing."""
    if len(shown) != 1 or not shown[0].is_required or not _is_model(shown[0].annotation):
        return None
    [parameter] = shown
    try:
        adapter = TypeAdapter[Any](parameter.annotation)
        schema = tidy(adapter.json_schema(schema_generator=Generator))
    except _UNDEFINABLE as error:
        raise _undefinable(parameter, error) from error
    if schema.get("type") != "object" or "properties" not in schema:
        return None
    text = descriptions.get(parameter.name)
    schema = merged({"description": text} if text else {}, schema)
    schema.setdefault("additionalProperties", False)
    return schema, lambda given: {parameter.name: adapter.validate_json(given)}


def _wrapped(
    shown: Sequence[Parameter], descriptions: Mapping[str, str]
) -> tuple[Schema, Callable[[bytes], Values]]:
    """A property for each parameter; `**kwargs` are what is no property."""
    fields = {f"p{at}": parameter for at, parameter in enumerate(shown)}
    model = _model(fields, descriptions)
    schema = tidy(model.model_json_schema(schema_generator=Generator))
    if len(schema.get("properties", {})) < len(fields):
        names = ", ".join(parameter.name for parameter in shown)
        raise DefinitionError(f"two of the parameters {names} have the same alias")
    schema["additionalProperties"] = False
    for parameter in shown:
        if parameter.is_keywords:
            schema["additionalProperties"] = _of_values(schema["properties"].pop(_keywords_field(parameter)))

    def read_json(given: bytes) -> Values:
        data = model.model_validate_json(given)
        return {parameter.name: getattr(data, field) for field, parameter in fields.items()}

    return schema, read_json


def _model(fields: Mapping[str, Parameter], descriptions: Mapping[str, str]) -> type[BaseModel]:
    types = {
        field: _field(parameter, descriptions.get(parameter.name)) for field, parameter in fields.items()
    }
    try:
        made = create_model("_arguments", __base__=_Arguments, **cast("Any", types))
        made.model_json_schema(schema_generator=Generator)
    except _UNDEFINABLE as error:
        raise _undefinable(next(filter(_fails, fields.values()), None), error) from error
    return made


def _keywords_field(parameter: Parameter) -> str:
    """No name that an argument could have."""
    return f"**{parameter.name}"


def _field(parameter: Parameter, text: str | None) -> tuple[Any, Any]:
    """Type and default, as `create_model` takes them."""
    kind = _type(parameter)
    if parameter.is_positionals:
        return _annotated(list[kind], parameter.name, text), Field(default_factory=list)
    if parameter.is_keywords:
        return _annotated(dict[str, kind], _keywords_field(parameter), text), Field(default_factory=dict)
    default = PydanticUndefined if parameter.is_required else parameter.default
    own = default.description if isinstance(default, FieldInfo) else None
    return _annotated(kind, parameter.name, None if own else text), default


def _annotated(kind: Any, name: str, text: str | None) -> Any:
    """`kind` with the name and the text of the docstring; what the annotation itself says of them counts
    more."""
    said = FieldInfo.from_annotation(kind)
    added: dict[str, Any] = {}
    if said.alias is None and said.validation_alias is None:
        added["alias"] = name
    if said.description is None:
        text = next((item for item in said.metadata if isinstance(item, str)), text)
        added |= {"description": text} if text else {}
    return Annotated[kind, Field(**added)] if added else kind


def _of_values(mapping: Schema) -> Schema | bool:
    """Schema of the values of `**kwargs`, from that of a dict."""
    values: Schema | bool = mapping["additionalProperties"]
    text = mapping.get("description")
    return merged({"description": text}, {} if isinstance(values, bool) else values) if text else values


def _type(parameter: Parameter) -> Any:
    return Any if parameter.annotation is inspect.Parameter.empty else parameter.annotation


def _is_model(annotation: Any) -> bool:
    kind = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    return isinstance(kind, type) and issubclass(kind, BaseModel) and not issubclass(kind, RootModel)


def _returns(annotation: Any) -> Schema | None:
    """Schema of what a call returns; None where the annotation is absent or has no schema."""
    if annotation is inspect.Parameter.empty:
        return None
    try:
        made = TypeAdapter[Any](annotation).json_schema(mode="serialization", schema_generator=Generator)
    except _UNDEFINABLE:
        return None
    return tidy(made) or None


def _context(parameter: Parameter, context: RunContext[Any] | None) -> Any:
    if context is not None or type(None) in get_args(parameter.annotation):
        return context
    if parameter.default is not inspect.Parameter.empty:
        return parameter.default
    raise DefinitionError(
        f"parameter {parameter.name!r} needs a RunContext", hint="call the tool with one, or in an agent"
    )


def _fails(parameter: Parameter) -> bool:
    try:
        TypeAdapter[Any](_type(parameter)).json_schema(schema_generator=Generator)
    except _UNDEFINABLE:
        return True
    return False


def _undefinable(parameter: Parameter | None, error: Exception) -> DefinitionError:
    of = f"the type of parameter {parameter.name!r}" if parameter else "a parameter's type"
    said = error.message if isinstance(error, PydanticUserError) else str(error)
    return DefinitionError(f"{of} has no JSON Schema: {said.partition(chr(10))[0]}")
