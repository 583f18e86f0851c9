"""What goes over the wire, as pydantic models that also behave as dicts.

`response["message"]["content"]`, `response.get("done")` and `"thinking" in message` work beside attributes.
Fields that a newer server adds are kept, and can be read in the same ways. Durations are in nanoseconds,
sizes in bytes.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, BeforeValidator, ByteSize, ConfigDict, Field, model_serializer

from agentkit._errors import RequestError

_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


class Record(BaseModel):
    """A pydantic model with the reading side of a dict. Absent optional fields count as not contained."""

    # What checks a record is built when the first of its kind is made: `import agentkit` stays fast.
    model_config = ConfigDict(extra="allow", populate_by_name=True, defer_build=True)

    def __getitem__(self, key: str) -> Any:
        name = self._field(key)
        if name is None:
            raise KeyError(key)
        return getattr(self, name)

    def __setitem__(self, key: str, value: Any) -> None:
        setattr(self, self._field(key) or key, value)

    def __contains__(self, key: object) -> bool:
        name = self._field(key) if isinstance(key, str) else None
        return name is not None and getattr(self, name) is not None

    def get(self, key: str, default: Any = None) -> Any:
        """The value of `key`, or `default` where there is no such field."""
        name = self._field(key)
        return default if name is None else getattr(self, name)

    def _field(self, key: str) -> str | None:
        fields = type(self).model_fields
        if key in fields or key in (self.model_extra or {}):
            return key
        return next((name for name, field in fields.items() if field.alias == key), None)


def image_text(value: Any) -> Any:
    """Base64 text of an image given as bytes, a path, or base64 text."""
    if isinstance(value, Image):
        value = value.value
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, PathLike) or (isinstance(value, str) and value.lower().endswith(_IMAGE_SUFFIXES)):
        path = Path(cast("str | PathLike[str]", value))
        if not path.is_file():
            raise RequestError(f"no image file at {str(path)!r}; give an existing path, bytes or base64 text")
        return b64encode(path.read_bytes()).decode()
    return value


class Image(Record):
    """An image as callers give it: raw bytes, a path to a file, or base64 text. Sending it reads the file."""

    value: str | bytes | Path

    @model_serializer
    def _text(self) -> str:
        return str(image_text(self))


ImageText = Annotated[str, BeforeValidator(image_text)]
ImageValue = Image | str | bytes | PathLike[str]
"""Wherever an image is an argument, what is in it may also be given directly."""


class Options(Record):
    """Sampling and load-time options of one request; an absent one takes the model's default."""

    num_keep: int | None = None
    seed: int | None = None
    num_predict: int | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repeat_last_n: int | None = None
    temperature: float | None = None
    repeat_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: Sequence[str] | None = None
    num_ctx: int | None = None
    num_batch: int | None = None
    num_gpu: int | None = None
    main_gpu: int | None = None
    use_mmap: bool | None = None
    num_thread: int | None = None
    draft_num_predict: int | None = None


class Message(Record):
    """One message of a conversation; in a stream, a piece of one."""

    class ToolCall(Record):
        """One call that the model asks for."""

        class Function(Record):
            """The function a model calls, with its arguments already parsed."""

            name: str
            arguments: Mapping[str, Any] = {}
            index: int | None = None
            """Place among the calls of one answer, from 0."""

        id: str | None = None
        function: Function

    role: str
    content: str | None = None
    thinking: str | None = None
    images: Sequence[ImageText] | None = None
    tool_calls: Sequence[ToolCall] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


ToolCall = Message.ToolCall
ToolFunction = Message.ToolCall.Function


class TokenLogprob(Record):
    """One token and its log probability."""

    token: str
    logprob: float


class Logprob(TokenLogprob):
    """A generated token with the most likely alternatives at its place."""

    top_logprobs: Sequence[TokenLogprob] | None = None


class Timed(Record):
    """What every generating response carries; the counts and durations come with the last piece."""

    model: str | None = None
    created_at: str | None = None
    done: bool | None = None
    done_reason: str | None = None
    total_duration: int | None = None
    load_duration: int | None = None
    prompt_eval_count: int | None = None
    prompt_eval_cached_count: int | None = None
    """Tokens of the prompt that were read from the prefix cache."""
    prompt_eval_duration: int | None = None
    eval_count: int | None = None
    eval_thinking_count: int | None = None
    """Tokens of `eval_count` that were thoughts."""
    eval_duration: int | None = None
    constraint: Literal["exact", "checked"] | None = None
    """How the demands of `format` and `tools` were enforced: by the grammar alone, or by a looser one and a
    validation of what came out. None when nothing was demanded."""
    constraint_notes: Sequence[str] | None = None
    logprobs: Sequence[Logprob] | None = None


class GenerateResponse(Timed):
    """Answer of `generate`; in a stream, a piece of it."""

    response: str | None = None
    thinking: str | None = None
    context: Sequence[int] | None = None
    image: str | None = None
    """Base64 text, of a model that makes images."""
    completed: int | None = None
    """Steps of the image that are done, of `total`."""
    total: int | None = None


class ChatResponse(Timed):
    """Answer of `chat`; in a stream, a piece of it."""

    message: Message


class EmbedResponse(Timed):
    """Answer of `embed`: one vector for each input."""

    embeddings: Sequence[Sequence[float]]


class EmbeddingsResponse(Record):
    """Answer of the older `embeddings`: one vector."""

    embedding: Sequence[float]


class TokenizeResponse(Record):
    """The token ids of a text."""

    model: str
    tokens: Sequence[int]
    count: int


class DetokenizeResponse(Record):
    """The text of token ids."""

    model: str
    text: str


class TemplateResponse(Record):
    """The prompt that a conversation comes to, and how many tokens the model would read."""

    model: str
    prompt: str
    prompt_eval_count: int
    context_length: int
    """Tokens that there is room for, the answer's among them."""


class ModelDetails(Record):
    """What kind of model it is."""

    parent_model: str | None = None
    format: str | None = None
    family: str | None = None
    families: Sequence[str] | None = None
    parameter_size: str | None = None
    quantization_level: str | None = None
    context_length: int | None = None
    embedding_length: int | None = None


class ListResponse(Record):
    """Answer of `list`."""

    class Model(Record):
        """A model in the store."""

        model: str | None = None
        name: str | None = None
        modified_at: datetime | None = None
        size: ByteSize | None = None
        digest: str | None = None
        details: ModelDetails | None = None
        capabilities: Sequence[str] | None = None

    models: Sequence[Model]


StoredModel = ListResponse.Model


class ProcessResponse(Record):
    """Answer of `ps`."""

    class Model(Record):
        """A model in memory; `size_vram` is the part of `size` that is on a GPU.

        `loading`: how much of it is there, 0.0 to 1.0, and None once it is ready; until then `size` is an
        estimate. `stopping`: it leaves once its requests have ended. `note`: what about its loading is not
        as one would expect.
        """

        model: str | None = None
        name: str | None = None
        digest: str | None = None
        size: ByteSize | None = None
        size_vram: ByteSize | None = None
        details: ModelDetails | None = None
        expires_at: datetime | None = None
        context_length: int | None = None
        loading: float | None = None
        stopping: bool | None = None
        note: str | None = None

    models: Sequence[Model]


LoadedModel = ProcessResponse.Model


class ShowResponse(Record):
    """Answer of `show`."""

    modified_at: datetime | None = None
    license: str | None = None
    modelfile: str | None = None
    parameters: str | None = None
    template: str | None = None
    system: str | None = None
    details: ModelDetails | None = None
    messages: Sequence[Message] | None = None
    modelinfo: Mapping[str, Any] | None = Field(None, alias="model_info")
    projector_info: Mapping[str, Any] | None = None
    tensors: Sequence[Mapping[str, Any]] | None = None
    capabilities: Sequence[str] | None = None
    requires: str | None = None


class StatusResponse(Record):
    """Answer of `copy` and `delete`."""

    status: str | None = None


class ProgressResponse(StatusResponse):
    """One step of a `pull`; `completed` and `total` are bytes of the blob `digest`. `model`, in the last step
    of the pull of a URL, is what the model is stored as."""

    digest: str | None = None
    total: int | None = None
    completed: int | None = None
    model: str | None = None


class VerifyResponse(Record):
    """One step of a `verify`, in bytes; the last one, which is `done`, says what was found."""

    class Problem(Record):
        """A damaged file, the models that need it, and what can be done."""

        path: str
        models: Sequence[str] = ()
        problem: str
        remedy: str

    status: str | None = None
    """`verifying`; of the last step `verified`, or `damaged` when there are problems."""
    total: int | None = None
    completed: int | None = None
    done: bool | None = None
    models: int | None = None
    files: int | None = None
    problems: Sequence[Problem] | None = None


class VersionResponse(Record):
    """Answer of `version`."""

    version: str


class WebSearchResult(Record):
    """One page that a search found; `content` is the part of it that fits the query."""

    title: str | None = None
    url: str | None = None
    content: str | None = None


class WebSearchResponse(Record):
    """Answer of `web_search`, best first."""

    results: Sequence[WebSearchResult]


class WebFetchResponse(Record):
    """Answer of `web_fetch`: the text of a page, and the URLs that it links to."""

    title: str | None = None
    content: str | None = None
    links: Sequence[str] | None = None
