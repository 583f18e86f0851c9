"""Request bodies of the native dialect. Types are strict; a field that is null counts as not given."""

from __future__ import annotations

import logging
import re
from typing import Annotated, Any, TypeVar

import msgspec
from starlette.requests import Request

from agentkit_server.dialects._control import LONGEST_RUN_ID, MOST_SECONDS
from agentkit_server.dialects._shared import read_json, shown
from agentkit_server.errors import BadRequest
from agentkit_server.models.registry.options import Access

log = logging.getLogger(__name__)

KeepAlive = str | float
Seconds = Annotated[float, msgspec.Meta(gt=0, le=MOST_SECONDS)]
Body = TypeVar("Body", bound=msgspec.Struct)


class ModelBody(msgspec.Struct, kw_only=True):
    """A body that names a model; `name` is what old clients call it."""

    model: str = ""
    name: str = ""

    @property
    def wanted(self) -> str:
        """The model's name as the caller wrote it."""
        return self.model or self.name


class RunBody(ModelBody, kw_only=True):
    """What generate and chat share."""

    stream: bool = True
    format: Any = ""
    compact: bool = False
    options: dict[str, Any] = {}
    keep_alive: KeepAlive | None = None
    think: bool | str | None = None
    thinking_budget: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] | None = None
    max_seconds: Seconds | None = None
    run_id: Annotated[str, msgspec.Meta(max_length=LONGEST_RUN_ID)] = ""
    truncate: bool = False
    shift: bool = False
    logprobs: bool = False
    top_logprobs: int = 0
    debug_render_only: bool = msgspec.field(default=False, name="_debug_render_only")


class GenerateBody(RunBody, kw_only=True):
    prompt: str = ""
    suffix: str = ""
    system: str | None = None
    template: str = ""
    context: list[int] = []
    raw: bool = False
    images: list[str] = []


class ChatMessage(msgspec.Struct, kw_only=True):
    role: str
    content: str = ""
    thinking: str = ""
    images: list[str] = []
    tool_calls: list[Any] = []
    tool_name: str = ""
    tool_call_id: str = ""


class ChatBody(RunBody, kw_only=True):
    messages: list[ChatMessage] = []
    tools: list[Any] = []
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None


class EmbedBody(ModelBody, kw_only=True):
    input: Any = None
    truncate: bool = True
    dimensions: int = 0
    keep_alive: KeepAlive | None = None
    options: dict[str, Any] = {}


class EmbeddingsBody(ModelBody, kw_only=True):
    prompt: str = ""
    keep_alive: KeepAlive | None = None
    options: dict[str, Any] = {}


class TokensBody(ModelBody, kw_only=True):
    """What tokenize and detokenize share."""

    keep_alive: KeepAlive | None = None
    options: dict[str, Any] = {}
    max_seconds: Seconds | None = None


class TokenizeBody(TokensBody, kw_only=True):
    text: str | None = None
    add_special: bool = True
    parse_special: bool = True


class DetokenizeBody(TokensBody, kw_only=True):
    tokens: list[int] | None = None
    special: bool = True


class TemplateBody(ChatBody, kw_only=True):
    tokens: bool = False


class ShowBody(ModelBody, kw_only=True):
    system: str = ""
    template: str = ""
    verbose: bool = False
    options: dict[str, Any] = {}


class CreateBody(ModelBody, kw_only=True):
    base: str = msgspec.field(default="", name="from")
    files: dict[str, str] | None = None
    draft_files: dict[str, str] | None = None
    adapters: dict[str, str] | None = None
    adapter_scales: dict[str, float] = {}
    template: str = ""
    system: str = ""
    license: Any = None
    parameters: dict[str, Any] = {}
    messages: list[dict[str, Any]] = []
    renderer: str = ""
    parser: str = ""
    requires: str = ""
    quantize: str = ""
    quantization: str = ""
    draft_quantize: str = ""
    imatrix: str = ""
    remote_host: str = ""
    info: dict[str, Any] = {}
    capabilities: list[str] = []
    stream: bool = True


class CopyBody(msgspec.Struct, kw_only=True):
    source: str = ""
    destination: str = ""


class VerifyBody(msgspec.Struct, kw_only=True):
    models: list[str] = []
    stream: bool = True


class PullBody(ModelBody, kw_only=True):
    insecure: bool = False
    stream: bool = True
    username: str = ""
    password: str = ""

    @property
    def access(self) -> Access:
        """Raises BadRequest for a password of nobody."""
        if self.password and not self.username:
            raise BadRequest("password is for a username, and there is none", param="username")
        return Access(self.insecure, self.username, self.password)


_JSON_NAMES = {"bool": "boolean", "str": "string", "int": "integer", "float": "number"}
_TYPE_WORD = re.compile(r"\b(bool|str|int|float)\b")
_MISMATCH = re.compile(r"(?P<what>.*?)(?: - at `\$\.?(?P<path>.*)`)?", re.DOTALL)


async def read_as(request: Request, shape: type[Body]) -> Body:
    """The request's body as `shape`. Unknown fields are logged, as Ollama does.

    Raises BadRequest for what is not JSON, and for a wrong type, naming the field.
    """
    body = await read_json(request)
    known = set(shape.__struct_encode_fields__)
    if unknown := body.keys() - known:
        log.warning("%s: ignoring unknown fields: %s", request.url.path, shown(sorted(unknown)))
    given = {name: value for name, value in body.items() if value is not None and name in known}
    try:
        return msgspec.convert(_without_nulls(given), shape)
    except msgspec.ValidationError as error:
        raise _wrong_type(str(error)) from None


def _without_nulls(given: dict[str, Any]) -> dict[str, Any]:
    messages = given.get("messages")
    if not isinstance(messages, list):
        return given
    kept = [_dropped(message) for message in messages]  # pyright: ignore[reportUnknownVariableType]
    return {**given, "messages": kept}


def _dropped(message: Any) -> Any:
    if not isinstance(message, dict):
        return message
    return {key: value for key, value in message.items() if value is not None}  # pyright: ignore[reportUnknownVariableType]


def _wrong_type(text: str) -> BadRequest:
    match = _MISMATCH.fullmatch(text)
    what, path = (match["what"], match["path"]) if match else (text, None)
    what = _TYPE_WORD.sub(lambda word: _JSON_NAMES[word[0]], what).replace("`", "")
    what = what.replace("Expected", "expected", 1)
    return BadRequest(f'invalid field "{path}": {what}' if path else f"invalid body: {what}", param=path)
