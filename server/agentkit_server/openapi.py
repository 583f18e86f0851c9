"""GET /openapi.json: what every route takes and gives, as OpenAPI 3.1. Made of the descriptions that the
routes carry (`dialects/_described.py`) and of the types in them; nothing about a route is written here."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from importlib.metadata import version
from typing import Annotated, Any, NamedTuple, cast

import msgspec
from anyio import to_thread
from fastapi import APIRouter, FastAPI, Request
from fastapi.routing import iter_route_contexts
from msgspec import Meta
from starlette.responses import Response
from starlette.routing import compile_path

from agentkit_server.dialects._control import HEADERS, LONGEST_RUN_ID, MOST_SECONDS, MOST_TOKENS
from agentkit_server.dialects._described import (
    JSON,
    SSE,
    Description,
    Error,
    Gives,
    Parameter,
    Schema,
    Takes,
    Type,
    described,
    description_of,
)
from agentkit_server.dialects._shapes import KEEP_ALIVE
from agentkit_server.dialects.native_described import NATIVE
from agentkit_server.errors import (
    AgentkitError,
    BadRequest,
    BodyTooLarge,
    DeadlinePassed,
    Forbidden,
    ServerBusy,
    Unauthorized,
    UnsupportedEncoding,
)

REFS = "#/components/schemas/{name}"
INTRODUCTION = """\
Models on your own machine, behind the wire protocols that clients speak. A field that is null counts as not \
given. Every error has the shape of its route's dialect; an error after the first byte of a stream is its \
last line or event. A method that a path does not have is a 405, with `Allow`."""
_PATH_PARAMETER = re.compile(r"{(\w+)(?::\w+)?}")
_REFERENCE = re.compile(REFS.format(name='([^"]+)'))
_PACKAGE = b"agentkit_server.dialects."
_Made = tuple[list[dict[str, Any]], dict[str, Any]]
_OPEN = "/"
"""The path that never asks for a key."""
_HEADER_TYPES: dict[str, Type] = {
    "num_ctx": Annotated[int, Meta(ge=1, le=MOST_TOKENS)],
    "keep_alive": KEEP_ALIVE,
    "truncate": bool,
    "max_seconds": Annotated[float, Meta(gt=0, le=MOST_SECONDS)],
    "run_id": Annotated[str, Meta(min_length=1, max_length=LONGEST_RUN_ID)],
}
"""By the field that a header stands for."""

router = APIRouter()


class Route(NamedTuple):
    """One method of one path."""

    method: str
    template: str
    """The path as the router has it, `/v1/models/{name:path}`."""
    endpoint: Any

    @property
    def path(self) -> str:
        """The path as OpenAPI writes it, `/v1/models/{name}`."""
        return _PATH_PARAMETER.sub(r"{\1}", self.template)

    def matches(self, path: str) -> bool:
        """Is it a route for `path`, by this method or another?"""
        return compile_path(self.template)[0].match(path) is not None

    @property
    def description(self) -> Description | None:
        """What the route says of itself."""
        return description_of(self.endpoint)


@router.get("/openapi.json")
@described(Description(dialect=NATIVE, gives=[Gives({"type": "object"}, what="An OpenAPI 3.1 document.")]))
async def openapi_json(request: Request) -> Response:
    """This document."""
    app = cast(FastAPI, request.app)
    if not hasattr(app.state, "openapi"):
        said = await to_thread.run_sync(partial(document, app, keyed=app.state.keyed))
        app.state.openapi = msgspec.json.encode(said)
    return Response(app.state.openapi, media_type=JSON)


def routes_of(app: FastAPI) -> Iterator[Route]:
    """Every route of `app`, in the order in which they are tried."""
    for context in iter_route_contexts(app.routes):
        for method in sorted(context.methods or ()):
            yield Route(method, context.path or "", getattr(context, "endpoint", None))


def document(app: FastAPI, *, keyed: bool) -> dict[str, Any]:
    """The document of all routes that are described. `keyed`: the server asks for a key."""
    routes = [route for route in routes_of(app) if route.description is not None]
    types = _Types(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        assert route.description is not None
        operations = paths.setdefault(route.path, {})
        operations[route.method.lower()] = _operation(route, route.description, types, keyed)
    components = _used(paths, types.components)
    about = {"title": "agentkit", "version": version("agentkit"), "description": INTRODUCTION}
    schemes = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    }
    return {
        "openapi": "3.1.0",
        "info": about,
        **({"security": [{"bearer": []}, {"key": []}]} if keyed else {}),
        "paths": paths,
        "components": {"schemas": components} | ({"securitySchemes": schemes} if keyed else {}),
    }


def _used(paths: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    """Those of `components` that `paths` refer to, and so on."""
    used: dict[str, Any] = {}
    waiting: list[Any] = [paths]
    while waiting:
        for name in sorted(set(_REFERENCE.findall(msgspec.json.encode(waiting.pop()).decode())) - set(used)):
            used[name] = components[name]
            waiting.append(components[name])
    return dict(sorted(used.items()))


class _Types:
    """Every type that some route names, as a schema; those with a name under `components`."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._types: list[Type] = []
        for route in routes:
            assert route.description is not None
            self._types += filter(_is_type, _types_of(route.description))
        made = msgspec.json.encode(msgspec.json.schema_components(self._types, ref_template=REFS))
        # Two types of one name are called by their modules, too.
        self._schemas, self.components = msgspec.json.decode(made.replace(_PACKAGE, b""), type=_Made)

    def schema(self, type_: Type) -> dict[str, Any]:
        """The schema of a type that a route names."""
        if isinstance(type_, dict):
            return cast("dict[str, Any]", type_)
        if isinstance(type_, tuple):
            return {"anyOf": [self.schema(each) for each in cast("tuple[Type, ...]", type_)]}
        return self._schemas[self._types.index(type_)]

    def named(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The component that `schema` refers to."""
        return self.components[schema["$ref"].rpartition("/")[2]]


def _types_of(description: Description) -> Iterator[Type]:
    refined = () if description.takes is None else description.takes.refined.values()
    named = (
        description.shape,
        *refined,
        *(gives.shape for gives in description.gives),
        *(parameter.shape for parameter in description.parameters),
        *_HEADER_TYPES.values(),
        str,
        description.dialect.error,
    )
    for type_ in named:
        yield from cast("tuple[Type, ...]", type_) if isinstance(type_, tuple) else (type_,)


def _is_type(type_: Type) -> bool:
    return type_ is not None and not isinstance(type_, dict)


def _operation(route: Route, description: Description, types: _Types, keyed: bool) -> dict[str, Any]:
    said = " ".join((inspect.getdoc(route.endpoint) or "").split())
    summary, _, rest = said.partition(". ")
    parameters = [_parameter(parameter, types) for parameter in _parameters(route.path, description)]
    operation: dict[str, Any] = {
        "tags": [description.dialect.tag],
        "operationId": f"{route.method.lower()}{re.sub(r'[^a-zA-Z0-9]+', '_', route.path).rstrip('_')}",
        "summary": summary.rstrip("."),
        **({"description": said} if rest else {}),
        **({"parameters": parameters} if parameters else {}),
        **({"security": []} if keyed and route.path == _OPEN else {}),
    }
    if description.takes is not None:
        name = f"{description.dialect.tag}_{route.endpoint.__name__}_body".title().replace("_", "")
        operation["requestBody"] = {"required": True, "content": _body(name, description, types)}
    operation["responses"] = _responses(route, description, types, keyed)
    return operation


def _parameters(path: str, description: Description) -> Iterator[Parameter]:
    named = {parameter.name for parameter in description.parameters if parameter.where == "path"}
    yield from description.parameters
    if description.shape is not None:
        yield from _headers(description.shape.__struct_encode_fields__)
    for name in _PATH_PARAMETER.findall(path):
        if name not in named:
            yield Parameter(name, "path", "")


def _headers(fields: Sequence[str]) -> Iterator[Parameter]:
    """Headers that stand for one of `fields`; `num_ctx` may be one of the `options` among them."""
    for name, header in HEADERS.items():
        if header.field in fields or (header.field == "num_ctx" and "options" in fields):
            what = f"The same as {header.field} in the body: {header.wanted}."
            yield Parameter(name, "header", what, _HEADER_TYPES[header.field])


def _parameter(parameter: Parameter, types: _Types) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.where,
        "required": parameter.where == "path",
        **({"description": parameter.what} if parameter.what else {}),
        "schema": types.schema(parameter.shape),
        **({} if parameter.example is None else {"example": parameter.example}),
    }


def _body(name: str, description: Description, types: _Types) -> dict[str, Any]:
    """`name` is what the schema of a body of JSON is called. One type may be read in several ways."""
    takes = description.takes
    assert takes is not None
    if description.shape is None:
        return {takes.media: {"schema": {}}}
    examples = {name: {"value": value} for name, value in takes.examples.items()}
    types.components[name] = {"title": name, **_body_schema(description.shape, takes, types)}
    return {takes.media: {"schema": {"$ref": REFS.format(name=name)}, "examples": examples}}


def _body_schema(shape: Type, takes: Takes, types: _Types) -> dict[str, Any]:
    """Every field may be null, but for one that is required alone."""
    known = types.named(types.schema(shape))["properties"]
    refined = {name: types.schema(type_) for name, type_ in takes.refined.items() if name in known}
    properties = {**takes.extra, **known, **refined}
    alone = [group[0] for group in takes.required if len(group) == 1]
    fields = {name: schema if name in alone else _or_null(schema) for name, schema in properties.items()}
    groups = [group for group in takes.required if len(group) > 1]
    some = {"type": "string", "minLength": 1}
    either = [
        {"anyOf": [{"required": [name], "properties": {name: some}} for name in group]} for group in groups
    ]
    return {
        "type": "object",
        "properties": fields,
        **({"required": alone} if alone else {}),
        **({"allOf": either} if either else {}),
        **({} if takes.unknown else {"additionalProperties": False}),
    }


def _or_null(schema: Schema) -> Schema:
    """`schema` or null. A default of null says nothing."""
    schema = {key: value for key, value in schema.items() if (key, value) != ("default", None)}
    if not schema or schema.keys() == {"description"} or {"type": "null"} in schema.get("anyOf", ()):
        return schema
    outside = {key: schema.pop(key) for key in ("description", "default") if key in schema}
    options = schema["anyOf"] if schema.keys() == {"anyOf"} else [schema]
    return {"anyOf": [*options, {"type": "null"}], **outside}


def _responses(route: Route, description: Description, types: _Types, keyed: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for gives in description.gives:
        answer = found.setdefault(str(gives.status), {"description": gives.what})
        if gives.headers:
            answer["headers"] = {
                name: {"schema": {"type": "string"}, "description": what}
                for name, what in gives.headers.items()
            }
        if gives.shape is not None and route.method != "HEAD":
            answer.setdefault("content", {})[gives.media] = {"schema": _content(gives, types)}
    for status, errors in _by_status(_errors(route, description, keyed)).items():
        status = description.dialect.statuses.get(status, status)
        body = None if route.method == "HEAD" else types.schema(description.dialect.error)
        found[str(status)] = _refusal(errors, body)
    return found


def _content(gives: Gives, types: _Types) -> dict[str, Any]:
    schema = types.schema(gives.shape)
    if gives.media != SSE:
        return schema
    data: dict[str, Any] = {"type": "string", "contentMediaType": JSON, "contentSchema": schema}
    if gives.end:
        data = {"anyOf": [{"const": gives.end}, data]}
    return {"type": "object", "description": gives.what, "properties": {"data": data}, "required": ["data"]}


def _errors(route: Route, description: Description, keyed: bool) -> Iterator[Error]:
    """What the route raises, and what is raised in front of any route."""
    yield from description.raises
    yield from (AgentkitError, Forbidden)
    if keyed and route.path != _OPEN:
        yield Unauthorized
    if description.shape is not None:
        yield from (BadRequest, BodyTooLarge, UnsupportedEncoding)
        if "max_seconds" in description.shape.__struct_encode_fields__:
            yield DeadlinePassed


def _by_status(errors: Iterable[Error]) -> dict[int, list[Error]]:
    found: dict[int, list[Error]] = {}
    for error in sorted(dict.fromkeys(errors), key=lambda error: error.status):
        found.setdefault(error.status, []).append(error)
    return found


def _refusal(errors: list[Error], body: dict[str, Any] | None) -> dict[str, Any]:
    """`body` is the schema of its body; None = without one."""
    said = "\n".join(f"- `{error.code}`: {_sentence(error)}" for error in errors)
    refusal: dict[str, Any] = {"description": said}
    if body is not None:
        refusal["content"] = {JSON: {"schema": body}}
    if ServerBusy in errors:
        seconds = {"schema": {"type": "integer"}, "description": "Seconds to wait."}
        refusal["headers"] = {"Retry-After": seconds}
    if Unauthorized in errors:
        refusal["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}}}
    return refusal


def _sentence(error: Error) -> str:
    if error is AgentkitError:
        return "A fault of the server; its log has the details."
    return " ".join((inspect.getdoc(error) or "").split())
