"""What the native dialect takes and gives, for /openapi.json. Requests are read by the types of
native_types.py; the types of answers here only describe, and a test holds every answer against them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from agentkit_server.dialects._described import (
    BYTES,
    GENERATES,
    LOADS,
    NDJSON,
    RESOLVES,
    TEXT,
    Description,
    Dialect,
    Gives,
    Parameter,
    Schema,
    Takes,
)
from agentkit_server.dialects._shapes import (
    KEEP_ALIVE,
    TOOL_CHOICE,
    WEATHER,
    GivenCall,
    Logprob,
    Problem,
    Tools,
    loosened,
)
from agentkit_server.dialects.native_lines import Metrics
from agentkit_server.dialects.native_types import ChatMessage
from agentkit_server.errors import (
    InvalidDigest,
    InvalidModelName,
    NotFound,
    PromptTooLong,
    PullFailed,
    RegistryError,
    RequestCancelled,
    StoreError,
)
from agentkit_server.turn.embed import MAX_INPUTS
from agentkit_server.turn.options import option_schemas


class NativeError(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An error. `problems` are there when a JSON Schema was refused."""

    error: str
    problems: list[Problem] | UnsetType = UNSET


class CalledFunction(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    index: int
    name: str
    arguments: dict[str, Any]


class NativeCall(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    id: str
    function: CalledFunction


class NativeMessage(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    role: str
    content: str
    thinking: str | UnsetType = UNSET
    tool_calls: list[NativeCall] | UnsetType = UNSET


class Line(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What every line has."""

    model: str
    created_at: str
    done: bool
    logprobs: list[Logprob] | UnsetType = UNSET


def _last_fields() -> list[Any]:
    """The fields of Metrics, which are on the last line only."""
    fields = msgspec.structs.fields(Metrics)
    return [(field.encode_name, field.type | UnsetType, UNSET) for field in fields]


def _line(name: str, *fields: Any) -> Any:
    every = [*fields, *_last_fields()]
    return msgspec.defstruct(name, every, bases=(Line,), kw_only=True, forbid_unknown_fields=True)


GenerateLine = _line(
    "GenerateLine",
    ("response", str),
    ("thinking", str | UnsetType, UNSET),
    ("tool_calls", list[NativeCall] | UnsetType, UNSET),
)
ChatLine = _line("ChatLine", ("message", NativeMessage))


class Progress(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How far a pull is, in bytes. The last line of the pull of a URL has the name of the `model`."""

    status: str
    digest: str | UnsetType = UNSET
    total: int | UnsetType = UNSET
    completed: int | UnsetType = UNSET
    model: str | UnsetType = UNSET


class Embeddings(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    model: str
    embeddings: list[list[float]]
    total_duration: int
    load_duration: int
    prompt_eval_count: int
    truncated_tokens: int | UnsetType = UNSET


class Embedding(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    embedding: list[float]
    truncated_tokens: int | UnsetType = UNSET


class ModelDetails(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    parent_model: str
    format: str
    family: str
    families: list[str]
    parameter_size: str
    quantization_level: str
    context_length: int
    embedding_length: int


class StoredModel(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    details: ModelDetails
    capabilities: list[str]


class LoadedModel(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    name: str
    model: str
    size: int
    size_vram: int
    digest: str
    details: ModelDetails
    expires_at: str
    context_length: int
    loading: Annotated[float, Meta(ge=0, le=1)] | UnsetType = UNSET
    stopping: bool | UnsetType = UNSET
    note: str | UnsetType = UNSET


class StoredModels(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    models: list[StoredModel]


class LoadedModels(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    models: list[LoadedModel]


class TensorInfo(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    name: str
    type: str
    shape: list[int]


class Shown(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    license: str
    modelfile: str
    parameters: str
    template: str
    system: str
    details: ModelDetails
    messages: list[Any]
    model_info: dict[str, Any]
    projector_info: dict[str, Any]
    tensors: list[TensorInfo]
    capabilities: list[str]
    modified_at: str
    requires: str | UnsetType = UNSET


class Status(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    status: str


class Version(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    version: str


class Cloud(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    disabled: bool
    source: str


class CloudStatus(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    cloud: Cloud


NATIVE = Dialect("native", NativeError)
CONSTRAINT = {"X-Agentkit-Constraint": "How far a demand is enforced: exact or checked."}
OPTIONS: Schema = {"type": "object", "properties": option_schemas()}
NO_IMAGES = Annotated[list[str], Meta(max_length=0)]
MESSAGES = list[loosened(ChatMessage, ("role",), images=NO_IMAGES, tool_calls=list[GivenCall])]
REFINED: dict[str, Any] = {
    "options": OPTIONS,
    "keep_alive": KEEP_ALIVE,
    "format": {
        "description": '`"json"`, or a JSON Schema.',
        "anyOf": [{"enum": ["", "json"]}, {"type": "object"}],
    },
    "think": {"anyOf": [{"type": "boolean"}, {"enum": ["low", "medium", "high", "max"]}]},
    "top_logprobs": {"type": "integer", "minimum": 0, "maximum": 20, "default": 0},
    "_debug_render_only": {"enum": [False]},
    "images": NO_IMAGES,
    "input": str | Annotated[list[str], Meta(max_length=MAX_INPUTS)],
    "messages": MESSAGES,
    "tools": Tools,
    "tool_choice": TOOL_CHOICE,
}
"""Fields that the types of native_types.py hold loosely."""
DIGEST = Parameter(
    "digest",
    "path",
    "The sha256 of the content.",
    {"type": "string", "pattern": "^sha256[:-][0-9a-fA-F]{64}$"},
    f"sha256:{'0' * 64}",
)
RUN_ID = Parameter("run_id", "path", "Any text; slashes are part of it.", example="run-1")
DONE = Gives(what="Done; no body.")


def _takes(*required: Sequence[str], **examples: dict[str, Any]) -> Takes:
    """Fields that nobody knows are ignored."""
    return Takes(refined=REFINED, required=required, unknown=True, examples=examples)


def _lines(shape: Any, headers: Mapping[str, str] | None = None) -> tuple[Gives, Gives]:
    """A stream of lines, and the one object that it comes to without `stream`."""
    whole = Gives(shape, what="One object, or a stream of lines.", headers=headers or {})
    return whole, Gives((shape, NativeError), media=NDJSON)


MODEL = ("model", "name")
"""`name` stands for `model` where old clients say so."""
GENERATE = Description(
    dialect=NATIVE,
    takes=_takes(
        MODEL,
        stream={"model": "smollm2", "prompt": "Why is the sky blue?"},
        json={"model": "smollm2", "prompt": "Name a colour.", "format": "json", "stream": False},
        load={"model": "smollm2", "keep_alive": "10m"},
    ),
    gives=_lines(GenerateLine, CONSTRAINT),
    raises=GENERATES,
)
CHAT = Description(
    dialect=NATIVE,
    takes=_takes(
        MODEL,
        stream={"model": "smollm2", "messages": [{"role": "user", "content": "Hello!"}]},
        tools={
            "model": "smollm2",
            "messages": [{"role": "user", "content": "How is the weather in Oslo?"}],
            "tools": [WEATHER],
            "stream": False,
        },
    ),
    gives=_lines(ChatLine, CONSTRAINT),
    raises=GENERATES,
)
EMBED = Description(
    dialect=NATIVE,
    takes=_takes(MODEL, texts={"model": "all-minilm", "input": ["a text", "another"]}),
    gives=[Gives(Embeddings)],
    raises=(*LOADS, PromptTooLong),
)
EMBEDDINGS = Description(
    dialect=NATIVE,
    takes=_takes(MODEL, text={"model": "all-minilm", "prompt": "a text"}),
    gives=[Gives(Embedding)],
    raises=LOADS,
)
TAGS = Description(dialect=NATIVE, gives=[Gives(StoredModels)], raises=[StoreError])
PS = Description(dialect=NATIVE, gives=[Gives(LoadedModels)])
SHOW = Description(
    dialect=NATIVE, takes=_takes(MODEL, model={"model": "smollm2"}), gives=[Gives(Shown)], raises=RESOLVES
)
COPY = Description(
    dialect=NATIVE,
    takes=_takes(["source"], ["destination"], copy={"source": "smollm2", "destination": "mine"}),
    gives=[DONE],
    raises=RESOLVES,
)
DELETE = Description(
    dialect=NATIVE, takes=_takes(MODEL, delete={"model": "smollm2"}), gives=[DONE], raises=RESOLVES
)
PROGRESS = _lines(Progress)
PULL = Description(
    dialect=NATIVE,
    takes=_takes(MODEL, stream={"model": "smollm2"}, whole={"model": "smollm2", "stream": False}),
    gives=PROGRESS,
    raises=(InvalidModelName, PullFailed, RegistryError, RequestCancelled),
)
PUSH = Description(
    dialect=NATIVE,
    # Whatever can be pushed to is no example: it would be sent there.
    takes=_takes(MODEL, refused_for_plain_http={"model": "http://registry.example/me/mine"}),
    gives=PROGRESS,
    raises=(*RESOLVES, RegistryError, RequestCancelled),
)
HAS_BLOB = Description(
    dialect=NATIVE,
    gives=[Gives(what="It is there.")],
    raises=(NotFound, InvalidDigest),
    parameters=[DIGEST],
)
ADD_BLOB = Description(
    dialect=NATIVE,
    takes=Takes(media=BYTES),
    gives=[Gives(what="It was there already."), Gives(status=201, what="Stored.")],
    raises=(InvalidDigest, StoreError, RequestCancelled),
    parameters=[DIGEST],
)
ROOT = Description(dialect=NATIVE, gives=[Gives(str, media=TEXT)])
VERSION = Description(dialect=NATIVE, gives=[Gives(Version)])
STATUS = Description(dialect=NATIVE, gives=[Gives(CloudStatus)])
# A line break is in no path of any route, and such an id finds none.
RELEASE_RUN = Description(dialect=NATIVE, gives=[Gives(Status)], raises=[NotFound], parameters=[RUN_ID])
