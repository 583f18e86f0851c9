"""What an OpenAI request demands of the answer's form, in any of the fields that say so: OpenAI's own
`response_format`, vLLM's `structured_outputs` and the older `guided_*`, SGLang's `regex` and `ebnf`. One of
them at a time; each is named in the errors that it leads to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, cast

import msgspec
from msgspec import Meta

from agentkit_server.dialects._shared import shown
from agentkit_server.errors import BadRequest, NotBuiltYet
from agentkit_server.turn.types import ResponseFormat

Schema = dict[str, Any] | bool
MAX_CHOICES = 10_000
Choices = Annotated[list[Annotated[str, Meta(min_length=1)]], Meta(min_length=1, max_length=MAX_CHOICES)]


class TextFormat(msgspec.Struct, tag="text", tag_field="type", forbid_unknown_fields=True):
    """Free text."""


class JsonObjectFormat(msgspec.Struct, tag="json_object", tag_field="type", forbid_unknown_fields=True):
    """Any JSON object; with `schema`, as llama.cpp's server has it, one that is valid for it."""

    schema: Schema | None = None


class NamedSchema(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`strict` changes nothing: every schema is enforced."""

    schema: Schema
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


class JsonSchemaFormat(
    msgspec.Struct, tag="json_schema", tag_field="type", forbid_unknown_fields=True, kw_only=True
):
    """JSON that is valid for a schema."""

    json_schema: NamedSchema


class StructuredOutputs(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """vLLM's field. `json` is a schema or its text."""

    json: Schema | str | None = None
    regex: str | None = None
    choice: Choices | None = None
    grammar: str | None = None
    json_object: bool | None = None
    whitespace_pattern: str | None = None
    disable_any_whitespace: bool | None = None
    disable_fallback: bool | None = None
    disable_additional_properties: bool | None = None
    structural_tag: Any = None


class FormatBody(msgspec.Struct, kw_only=True):
    """The fields of a request body that speak of the answer's form. None = not given."""

    response_format: TextFormat | JsonObjectFormat | JsonSchemaFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    guided_json: Schema | str | None = None
    guided_regex: str | None = None
    guided_choice: Choices | None = None
    guided_grammar: str | None = None
    guided_whitespace_pattern: str | None = None
    regex: str | None = None
    ebnf: str | None = None
    compact: bool | None = None


class Demand(msgspec.Struct, frozen=True):
    """A demand, and the field of the request that made it."""

    param: str
    format: ResponseFormat


def read_format(body: FormatBody) -> Demand | None:
    """What `body` demands of the answer; None when it may be any text.

    Raises BadRequest for two demands at once and for a schema that is no JSON, NotBuiltYet for a structural
    tag.
    """
    demands = [*_of_response_format(body), *_of_structured_outputs(body), *_of_older_fields(body)]
    if len(demands) > 1:
        named = " and ".join(repr(demand.param) for demand in demands[:2])
        raise BadRequest(
            f"{named} both say what the answer must look like; send one of them", param=demands[1].param
        )
    compact, pattern = _white_space(body)
    if not demands:
        return None
    [demand] = demands
    bound = replace(demand.format, compact=compact, whitespace_pattern=pattern)
    return Demand(demand.param, bound)


def _of_response_format(body: FormatBody) -> list[Demand]:
    match body.response_format:
        case JsonObjectFormat(schema=None):
            return [Demand("response_format", ResponseFormat(kind="json_object"))]
        case JsonObjectFormat(schema=schema):
            return [_json_schema("response_format", schema)]
        case JsonSchemaFormat(json_schema=named):
            return [_json_schema("response_format", named.schema)]
        case _:
            return []


def _of_structured_outputs(body: FormatBody) -> list[Demand]:
    given = body.structured_outputs
    if given is None:
        return []
    if given.structural_tag is not None or given.disable_additional_properties:
        name = "structural_tag" if given.structural_tag is not None else "disable_additional_properties"
        param = f"structured_outputs.{name}"
        raise NotBuiltYet(f"{param} is not built yet in this version; leave it out", param=param)
    fields = {"json": given.json, "regex": given.regex, "choice": given.choice, "grammar": given.grammar}
    demands = _demands("structured_outputs.", fields)
    if given.json_object:
        return [*demands, Demand("structured_outputs.json_object", ResponseFormat(kind="json_object"))]
    if not demands:
        raise BadRequest(
            "structured_outputs demands nothing; send one of json, regex, choice, grammar, json_object in it",
            param="structured_outputs",
        )
    return demands


def _of_older_fields(body: FormatBody) -> list[Demand]:
    guided = {
        "json": body.guided_json,
        "regex": body.guided_regex,
        "choice": body.guided_choice,
        "grammar": body.guided_grammar,
    }
    sglang = {"regex": body.regex, "ebnf": body.ebnf}
    return [*_demands("guided_", guided), *_demands("", sglang)]


def _demands(prefix: str, fields: Mapping[str, Any]) -> list[Demand]:
    demands: list[Demand] = []
    for name, value in fields.items():
        param = f"{prefix}{name}"
        match name, value:
            case _, None:
                continue
            case "json", _:
                demands.append(_json_schema(param, value))
            case "regex", _:
                demands.append(Demand(param, ResponseFormat(kind="regex", value=value)))
            case "choice", _:
                demands.append(Demand(param, ResponseFormat(kind="choice", value=value)))
            case _:
                demands.append(Demand(param, ResponseFormat(kind="grammar", value=value)))
    return demands


def _json_schema(param: str, schema: Any) -> Demand:
    if isinstance(schema, str):
        schema = _decoded(schema, param)
    if not isinstance(schema, (dict, bool)):
        raise BadRequest(f"{param} is {shown(schema)}; it must be a JSON Schema", param=param)
    return Demand(param, ResponseFormat(kind="json_schema", value=cast("Schema", schema)))


def _decoded(text: str, param: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRequest(f"{param} is {shown(text)}, which is no JSON: {error}", param=param) from None


def _white_space(body: FormatBody) -> tuple[bool, str | None]:
    given = body.structured_outputs or StructuredOutputs()
    patterns = {given.whitespace_pattern, body.guided_whitespace_pattern} - {None}
    if len(patterns) > 1:
        raise BadRequest(
            "structured_outputs.whitespace_pattern and guided_whitespace_pattern contradict each other",
            param="guided_whitespace_pattern",
        )
    pattern = patterns.pop() if patterns else None
    compact = bool(body.compact or given.disable_any_whitespace)
    if compact and pattern is not None:
        param = "compact" if body.compact else "structured_outputs.disable_any_whitespace"
        raise BadRequest(
            f"{param} allows no white space and a whitespace pattern does; send one", param=param
        )
    return compact, pattern
