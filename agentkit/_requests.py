"""Builds requests: one pure function for each route, shared by the sync and the async client.

A `Request` says method, path, body and the type that the answer is read into. Nothing here does I/O, except
that images given as paths are read.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from pydantic import BaseModel

from agentkit._errors import RequestError
from agentkit._parameters import (
    ChatParameters,
    CreateParameters,
    GenerateParameters,
    KeepAlive,
    OptionValues,
    ToolValue,
)
from agentkit._types import (
    ChatResponse,
    DetokenizeResponse,
    EmbeddingsResponse,
    EmbedResponse,
    GenerateResponse,
    ListResponse,
    Message,
    ProcessResponse,
    ProgressResponse,
    Record,
    ShowResponse,
    StatusResponse,
    TemplateResponse,
    TokenizeResponse,
    VerifyResponse,
    VersionResponse,
    WebFetchResponse,
    WebSearchResponse,
    image_text,
)

R = TypeVar("R", bound=Record)
Messages = Sequence[Mapping[str, Any] | BaseModel]


@dataclass(frozen=True)
class Request(Generic[R]):
    """One HTTP request.

    `final` is the field and value that the last line of its stream must have. A `safe` one changes nothing
    on the server, so it may be sent again.
    """

    method: str
    path: str
    response: type[R]
    body: Mapping[str, Any] | None = None
    final: tuple[str, Any] | None = None
    safe: bool = False


@dataclass(frozen=True)
class Sources:
    """What a model is made of; `files` and `adapters` are file names with digests of uploaded blobs."""

    quantize: str | None
    from_: str | None
    files: Mapping[str, str] | None
    adapters: Mapping[str, str] | None


def version() -> Request[VersionResponse]:
    """The server's version."""
    return Request("GET", "/api/version", VersionResponse, safe=True)


def generate(
    model: str, prompt: str | None, suffix: str | None, stream: bool, parameters: GenerateParameters
) -> Request[GenerateResponse]:
    """Completion of a prompt; an empty prompt loads the model."""
    fields = _fields("generate", parameters, GenerateParameters)
    if fields.get("images"):
        fields["images"] = [image_text(image) for image in fields["images"]]
    body = _body(model=_named(model), prompt=prompt, suffix=suffix, stream=stream, **fields)
    return Request("POST", "/api/generate", GenerateResponse, body, final=("done", True))


def chat(
    model: str, messages: Messages | None, stream: bool, parameters: ChatParameters
) -> Request[ChatResponse]:
    """The next message of a conversation; no messages loads the model."""
    fields = _fields("chat", parameters, ChatParameters)
    if fields.get("tools"):
        fields["tools"] = [_tool(given) for given in fields["tools"]]
    written = [_message(message) for message in messages or ()]
    body = _body(model=_named(model), messages=written, stream=stream, **fields)
    return Request("POST", "/api/chat", ChatResponse, body, final=("done", True))


def embed(
    model: str,
    input: str | Sequence[str],
    truncate: bool | None,
    options: OptionValues | None,
    keep_alive: KeepAlive | None,
    dimensions: int | None,
) -> Request[EmbedResponse]:
    """Vectors of one or several texts."""
    body = _body(
        model=_named(model),
        input=input if isinstance(input, str) else list(input),
        truncate=truncate,
        options=options,
        keep_alive=keep_alive,
        dimensions=dimensions,
    )
    return Request("POST", "/api/embed", EmbedResponse, body, safe=True)


def embeddings(
    model: str, prompt: str | None, options: OptionValues | None, keep_alive: KeepAlive | None
) -> Request[EmbeddingsResponse]:
    """Vector of one text, by the older route."""
    body = _body(model=_named(model), prompt=prompt, options=options, keep_alive=keep_alive)
    return Request("POST", "/api/embeddings", EmbeddingsResponse, body, safe=True)


def tokenize(
    model: str, text: str, add_special: bool, parse_special: bool, keep_alive: KeepAlive | None
) -> Request[TokenizeResponse]:
    """The tokens of a text."""
    body = _body(
        model=_named(model),
        text=text,
        add_special=add_special,
        parse_special=parse_special,
        keep_alive=keep_alive,
    )
    return Request("POST", "/api/tokenize", TokenizeResponse, body, safe=True)


def detokenize(
    model: str, tokens: Sequence[int], special: bool, keep_alive: KeepAlive | None
) -> Request[DetokenizeResponse]:
    """The text of tokens."""
    body = _body(model=_named(model), tokens=list(tokens), special=special, keep_alive=keep_alive)
    return Request("POST", "/api/detokenize", DetokenizeResponse, body, safe=True)


def apply_template(model: str, messages: Messages, parameters: ChatParameters) -> Request[TemplateResponse]:
    """The prompt that a conversation comes to."""
    asked = chat(model, messages, False, parameters)
    return Request("POST", "/api/apply_template", TemplateResponse, asked.body, safe=True)


def tags() -> Request[ListResponse]:
    """The models of the store."""
    return Request("GET", "/api/tags", ListResponse, safe=True)


def ps() -> Request[ProcessResponse]:
    """The models in memory."""
    return Request("GET", "/api/ps", ProcessResponse, safe=True)


def show(model: str, verbose: bool | None) -> Request[ShowResponse]:
    """Details of a model."""
    return Request("POST", "/api/show", ShowResponse, _body(model=_named(model), verbose=verbose), safe=True)


def copy(source: str, destination: str) -> Request[StatusResponse]:
    """A second name for a model."""
    return Request("POST", "/api/copy", StatusResponse, _body(source=source, destination=destination))


def delete(model: str) -> Request[StatusResponse]:
    """Removal of a name from the store."""
    return Request("DELETE", "/api/delete", StatusResponse, _body(model=_named(model)))


def pull(model: str, insecure: bool, stream: bool) -> Request[ProgressResponse]:
    """Download of a model."""
    body = _body(model=_named(model), insecure=insecure or None, stream=stream)
    return Request("POST", "/api/pull", ProgressResponse, body, final=("status", "success"))


def push(model: str, insecure: bool, stream: bool) -> Request[ProgressResponse]:
    """Upload of a model."""
    body = _body(model=_named(model), insecure=insecure or None, stream=stream)
    return Request("POST", "/api/push", ProgressResponse, body, final=("status", "success"))


def verify(models: Sequence[str], stream: bool) -> Request[VerifyResponse]:
    """Check of the store, or of some models in it."""
    body = _body(models=list(models), stream=stream)
    return Request("POST", "/api/verify", VerifyResponse, body, final=("done", True), safe=True)


def create(
    model: str, sources: Sources, stream: bool, parameters: CreateParameters
) -> Request[ProgressResponse]:
    """Making of a model from another one or from uploaded files."""
    fields = _fields("create", parameters, CreateParameters)
    if fields.get("messages"):
        fields["messages"] = [_message(message) for message in fields["messages"]]
    made_of = {
        "from": sources.from_,
        "quantize": sources.quantize,
        "files": sources.files,
        "adapters": sources.adapters,
    }
    body = _body(model=_named(model), stream=stream, **made_of, **fields)
    return Request("POST", "/api/create", ProgressResponse, body, final=("status", "success"))


def stop(model: str) -> Request[GenerateResponse]:
    """Unload: an empty prompt that keeps the model for no time."""
    return Request(
        "POST", "/api/generate", GenerateResponse, _body(model=_named(model), keep_alive=0, stream=False)
    )


def web_search(query: str, max_results: int) -> Request[WebSearchResponse]:
    """Search of the web, by the cloud."""
    return Request("POST", "/api/web_search", WebSearchResponse, _body(query=query, max_results=max_results))


def web_fetch(url: str) -> Request[WebFetchResponse]:
    """Text of one page, by the cloud."""
    return Request("POST", "/api/web_fetch", WebFetchResponse, _body(url=url))


@contextmanager
def written() -> Generator[None]:
    """Turns what no JSON can say, such as NaN or half of a surrogate pair, into a RequestError."""
    try:
        yield
    except ValueError as error:
        raise RequestError(f"the request cannot be written as JSON: {error}") from error


def blob_path(digest: str) -> str:
    """Path of the blob `digest` (`sha256:` and 64 hex digits)."""
    return f"/api/blobs/{digest}"


def _named(model: str) -> str:
    if not model:
        raise RequestError("no model is named; give a model name such as 'smollm2'")
    return model


def _tool(given: ToolValue) -> Mapping[str, Any] | BaseModel:
    """`given` in its JSON form; what has that form already is sent as it is."""
    if isinstance(given, Mapping | BaseModel):
        return cast("Mapping[str, Any] | BaseModel", given)
    # What reads signatures and docstrings is half of the package, and most programs call no tool.
    from agentkit._tool import as_tool

    return as_tool(given).definition()


def _message(given: Mapping[str, Any] | BaseModel) -> Message:
    """`given` as a message of this package: an `ollama` one has the same fields."""
    fields = given.model_dump(exclude_none=True) if isinstance(given, BaseModel) else dict(given)
    return Message.model_validate(fields)


def _fields(method: str, parameters: Mapping[str, Any], declared: type) -> dict[str, Any]:
    unknown = parameters.keys() - declared.__annotations__.keys()
    if unknown:
        raise TypeError(f"{method}() got an unexpected keyword argument {min(unknown)!r}")
    return dict(parameters)


def _body(**fields: Any) -> dict[str, Any]:
    return {name: _plain(value) for name, value in fields.items() if value is not None}


def _plain(value: Any) -> Any:
    """JSON-ready form of pydantic models, and of the mappings and lists that hold them."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_none=True, by_alias=True)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in cast("Sequence[Any]", value)]
    return value
