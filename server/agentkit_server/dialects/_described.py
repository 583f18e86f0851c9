"""How a route says, next to its code, what it takes and what it gives. `agentkit_server/openapi.py` makes the
document at /openapi.json of it, from the very types that parse; a test fails for a route that says nothing.

    @router.post("/api/embed")
    @described(EMBED, EmbedBody)
    async def embed_inputs(request: Request) -> Response: ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec

from agentkit_server.errors import (
    AgentkitError,
    ConstraintFailed,
    DeadlinePassed,
    InsufficientMemory,
    InvalidGGUF,
    InvalidGrammar,
    InvalidModelName,
    LoadFailed,
    MissingCapability,
    ModelNotFound,
    NotBuiltYet,
    PromptTooLong,
    RequestCancelled,
    RunnerCrashed,
    RunnerDied,
    SchemaRefused,
    ServerBusy,
    StoreError,
)

JSON = "application/json"
NDJSON = "application/x-ndjson"
SSE = "text/event-stream"
TEXT = "text/plain"
BYTES = "application/octet-stream"

Schema = Mapping[str, Any]
Type = Any
"""A type that msgspec can describe, a Schema as it stands, or a tuple of alternatives."""
Error = type[AgentkitError]
_ATTRIBUTE = "__described__"

RESOLVES: tuple[Error, ...] = (InvalidModelName, ModelNotFound, InvalidGGUF, StoreError)
"""What can go wrong with the name of a model."""
LOADS: tuple[Error, ...] = (
    *RESOLVES,
    MissingCapability,
    LoadFailed,
    InsufficientMemory,
    RunnerCrashed,
    RunnerDied,
    RequestCancelled,
    ServerBusy,
)
"""What can go wrong before a model computes, and while it does."""
GENERATES: tuple[Error, ...] = (
    *LOADS,
    PromptTooLong,
    SchemaRefused,
    InvalidGrammar,
    ConstraintFailed,
    DeadlinePassed,
    NotBuiltYet,
)
"""What can go wrong when a model answers."""


class Dialect(NamedTuple):
    """A wire protocol, as the document speaks of it."""

    tag: str
    error: Type
    """The body of an error."""
    statuses: Mapping[int, int] = MappingProxyType({})
    """Statuses of errors that are others in this protocol, by what they are elsewhere."""


@dataclass(frozen=True, kw_only=True)
class Takes:
    """A request body: the fields of the type that parses it, and what that type does not say."""

    media: str = JSON
    refined: Mapping[str, Type] = field(default_factory=dict[str, Type])
    """Of fields that the type holds loosely, if it has them, what the code that reads them takes."""
    extra: Mapping[str, Schema] = field(default_factory=dict[str, Schema])
    """Fields that are accepted, if the type has not got them."""
    required: Sequence[Sequence[str]] = ()
    """Of each group one field at least."""
    unknown: bool = False
    """Fields that nobody knows are let pass."""
    examples: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    """Bodies that a server with the models `smollm2` and `all-minilm` answers, by what they show."""


@dataclass(frozen=True)
class Gives:
    """One kind of answer."""

    shape: Type = None
    """What a body is; of a stream, one line or the data of one event. None = no body."""
    media: str = JSON
    status: int = 200
    what: str = "The answer."
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Name and description of the headers that it may have."""
    end: str = ""
    """Of a stream of events: the data of the last one, where that is no JSON."""


@dataclass(frozen=True)
class Parameter:
    """A parameter in the path, the query or the headers. Those of a path are required."""

    name: str
    where: Literal["path", "query", "header"]
    what: str
    shape: Type = str
    example: Any = None


@dataclass(frozen=True, kw_only=True)
class Description:
    """All that one route says about itself."""

    dialect: Dialect
    gives: Sequence[Gives] = ()
    takes: Takes | None = None
    raises: Sequence[Error] = ()
    """What the security floor raises, and for a body of JSON BadRequest, need not be named."""
    parameters: Sequence[Parameter] = ()
    shape: type[msgspec.Struct] | None = None
    """What parses the body."""


Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def described(
    description: Description, shape: type[msgspec.Struct] | None = None
) -> Callable[[Endpoint], Endpoint]:
    """Attach `description` to an endpoint, whose body is parsed by `shape`."""

    def attach(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _ATTRIBUTE, replace(description, shape=shape))
        return endpoint

    return attach


def description_of(endpoint: Any) -> Description | None:
    """What `described` attached to `endpoint`."""
    return getattr(endpoint, _ATTRIBUTE, None)
