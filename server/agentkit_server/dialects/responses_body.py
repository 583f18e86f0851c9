"""The body of POST /v1/responses. OpenAI's own fields are read here; the extension fields, and what
`text.format` and `reasoning` ask for, are those of the other OpenAI routes and read as there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from agentkit_server.dialects._invalid import not_built, unknown
from agentkit_server.dialects.openai_formats import Schema, TextFormat
from agentkit_server.dialects.openai_parameters import Count, parse
from agentkit_server.dialects.openai_thinking import Effort, ThinkingBody
from agentkit_server.errors import BadRequest, NotBuiltYet

EXTENSIONS = frozenset(
    {
        "chat_template_kwargs",
        "compact",
        "ebnf",
        "frequency_penalty",
        "keep_alive",
        "logit_bias",
        "max_seconds",
        "min_p",
        "num_ctx",
        "presence_penalty",
        "regex",
        "repeat_last_n",
        "repeat_penalty",
        "run_id",
        "seed",
        "stop",
        "structured_outputs",
        "temperature",
        "thinking_budget",
        "top_k",
        "top_p",
        "truncate",
        "typical_p",
    }
)
"""Fields that mean here what they mean in chat/completions."""
IGNORED = frozenset({"client_metadata", "prompt_cache_retention"})
"""Accepted with any value: they are for caches and logs."""
NOT_BUILT = frozenset(
    {
        "access_programs",
        "background_options",
        "context_management",
        "conversation",
        "image",
        "moderation",
        "prompt",
        "prompt_cache_options",
    }
)
"""Refused with 501: known, and not in this version."""
Includable = Literal[
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
    "web_search_call.action.sources",
    "web_search_call.results",
]
"""Those that speak of items which never come here are accepted: there is nothing to leave out."""
Metadata = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]], Meta(max_length=16)
]
NAMES: Mapping[str, str] = {
    "prompt": "input",
    "think": "reasoning.effort",
    "response_format": "text.format",
    "messages": "input",
}
"""What the fields are called here that a turn's errors call otherwise."""


class JsonObject(msgspec.Struct, tag="json_object", tag_field="type", forbid_unknown_fields=True):
    """Any JSON object."""


class JsonSchema(msgspec.Struct, tag="json_schema", tag_field="type", forbid_unknown_fields=True):
    """JSON that is valid for a schema. `strict` changes nothing: every schema is enforced."""

    schema: Schema
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


class TextConfig(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    format: TextFormat | JsonObject | JsonSchema | None = None
    verbosity: Literal["low", "medium", "high"] | None = None

    def __post_init__(self) -> None:
        if self.verbosity in ("low", "high"):
            raise NotBuiltYet(
                f"text.verbosity = {self.verbosity!r} is not built yet in this version; "
                f"say in instructions how long answers should be",
                param="text.verbosity",
            )


class Reasoning(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    effort: Effort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None
    """OpenAI's older name of `summary`."""
    context: Literal["auto"] | None = None
    mode: Literal["standard"] | None = None


class StreamOptions(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    include_obfuscation: bool | None = None


class ResponsesBody(msgspec.Struct, kw_only=True):
    """OpenAI's fields that responses honour. None = not given (null counts as such)."""

    model: str = ""
    input: str | list[Any] | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    store: bool | None = None
    background: bool | None = None
    include: list[Includable] | None = None
    max_output_tokens: Count | None = None
    max_tool_calls: Count | None = None
    metadata: Metadata | None = None
    tools: list[Any] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    prompt_cache_key: Annotated[str, Meta(max_length=200)] | None = None
    reasoning: Reasoning | None = None
    safety_identifier: str | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None
    """There is one queue, and the answer says `default`."""
    text: TextConfig | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    user: str | None = None

    @property
    def summarised(self) -> bool:
        """Thoughts are told as a summary."""
        given = self.reasoning
        return given is not None and bool(given.summary or given.generate_summary)

    @property
    def obfuscates(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_obfuscation)

    @property
    def includes(self) -> frozenset[str]:
        return frozenset(self.include or ())


class Retrieval(msgspec.Struct, kw_only=True):
    """The query of a retrieval. What is stored is told as it was made: `include` changes nothing."""

    stream: bool = False
    starting_after: Annotated[int, Meta(ge=0)] | None = None
    include: list[Includable] = msgspec.field(default_factory=list[Includable])
    include_obfuscation: bool = False

    def __post_init__(self) -> None:
        if self.include_obfuscation:
            raise BadRequest(
                "include_obfuscation is true, and events are told again as they were made; create "
                "the response with stream_options.include_obfuscation",
                param="include_obfuscation",
            )


class ItemPage(msgspec.Struct, kw_only=True):
    """The query of a list of items."""

    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    order: Literal["asc", "desc"] = "desc"
    after: str | None = None
    include: list[Includable] = msgspec.field(default_factory=list[Includable])


class Asked(msgspec.Struct, frozen=True):
    """A body, read."""

    own: ResponsesBody
    extended: ThinkingBody
    """The extension fields, and `text.format` and `reasoning.effort` as chat/completions calls them."""


def read_body(body: Mapping[str, Any]) -> Asked:
    """Read `body`.

    Raises UnsupportedParameter for an unknown parameter, NotBuiltYet for one that this version lacks,
    BadRequest for a wrong type or range; each names the parameter.
    """
    for name in NOT_BUILT & body.keys():
        if body[name] is not None:
            raise not_built(name, body[name])
    extensions = {name: body[name] for name in EXTENSIONS & body.keys()}
    given = {
        name: value for name, value in body.items() if value is not None and name not in EXTENSIONS | IGNORED
    }
    for name in given:
        if name not in ResponsesBody.__struct_fields__:
            raise unknown(name, (*ResponsesBody.__struct_fields__, *EXTENSIONS))
    own = parse(given, ResponsesBody)
    return Asked(own, parse({"model": own.model, **extensions, **_as_in_chat(own)}, ThinkingBody))


def _as_in_chat(own: ResponsesBody) -> dict[str, Any]:
    asked: dict[str, Any] = {}
    if own.reasoning is not None:
        asked["reasoning"] = {"effort": own.reasoning.effort}
    match own.text and own.text.format:
        case JsonObject():
            asked["response_format"] = {"type": "json_object"}
        case JsonSchema(schema=schema):
            asked["response_format"] = {"type": "json_schema", "json_schema": {"schema": schema}}
        case _:
            pass
    return asked
