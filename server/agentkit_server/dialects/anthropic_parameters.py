"""Reads bodies of /v1/messages. A parameter is honoured (a field of the struct), accepted because it cannot
change the output, or refused by name; nothing is dropped silently. docs/reference/anthropic.md lists all of
them, and a test keeps that page equal to the constants here."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from agentkit_server.dialects._invalid import not_built, unknown
from agentkit_server.dialects._shared import shown
from agentkit_server.dialects.anthropic_blocks import Message, Text, refuse_unbuilt
from agentkit_server.dialects.anthropic_errors import THREAD
from agentkit_server.dialects.anthropic_invalid import read
from agentkit_server.dialects.anthropic_thinking import Effort, Thinking
from agentkit_server.dialects.anthropic_tools import ToolChoiceParam
from agentkit_server.dialects.openai_parameters import Count, RunId, Seconds, StopString
from agentkit_server.errors import BadRequest, NotBuiltYet, UnsupportedParameter
from agentkit_server.turn.options import MAX_STOPS

IGNORED = frozenset(
    {
        "billing_policy",
        "cache_control",
        "diagnostics",
        "fallback_credit_token",
        "fallbacks",
        "inference_geo",
        "metadata",
        "service_tier",
        "speed",
        "user_profile_id",
    }
)
"""Accepted with any value: they are for billing, places, speed and refusals, never for the text."""
NOT_BUILT = frozenset({"compaction", "container", "mcp_servers"})
"""Refused with 501: known, and not in this version. An empty list says nothing."""
REFUSED = {THREAD: "conversations are not kept here; send the whole of it each time"}
"""Refused with 400, and why."""
MAX_MESSAGES = 100_000
CLEAR_THINKING = "clear_thinking_20251015"


class JsonSchemaFormat(
    msgspec.Struct, tag="json_schema", tag_field="type", forbid_unknown_fields=True, kw_only=True
):
    """JSON that is valid for a schema."""

    schema: dict[str, Any] | bool


class OutputConfig(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    effort: Effort | None = None
    format: JsonSchemaFormat | None = None
    task_budget: Any = None


class ContextManagement(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    edits: list[dict[str, Any]] | None = None


class MessagesBody(msgspec.Struct, kw_only=True):
    """What /v1/messages honours, and /v1/messages/count_tokens as far as it concerns the prompt. None = not
    given (null counts as such)."""

    model: str = ""
    messages: Annotated[list[Message], Meta(max_length=MAX_MESSAGES)] = msgspec.field(
        default_factory=list[Message]
    )
    max_tokens: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    """0 = compute the prompt, for the requests that begin like it."""
    system: str | list[Text] | None = None
    stream: bool | None = None
    stop_sequences: Annotated[list[StopString], Meta(max_length=MAX_STOPS)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    thinking: Thinking | None = None
    tools: list[Any] | None = None
    tool_choice: ToolChoiceParam | None = None
    output_config: OutputConfig | None = None
    output_format: JsonSchemaFormat | None = None
    """The older place of `output_config.format`."""
    context_management: ContextManagement | None = None
    # Extensions.
    num_ctx: Count | None = None
    keep_alive: str | float | None = None
    truncate: bool | None = None
    max_seconds: Seconds | None = None
    run_id: RunId | None = None

    @property
    def effort(self) -> Effort | None:
        """That of the newest system message which says one, else that of the request."""
        for message in reversed(self.messages):
            if message.output_config is not None and message.output_config.effort is not None:
                return message.output_config.effort
        return self.output_config.effort if self.output_config is not None else None


def parse(body: dict[str, Any]) -> MessagesBody:
    """Read `body`.

    Raises UnsupportedParameter for an unknown parameter, NotBuiltYet for one that this version lacks,
    BadRequest for a wrong type or range; each names the parameter.
    """
    fields = MessagesBody.__struct_fields__
    given: dict[str, Any] = {}
    for name, value in body.items():
        if value is None or name in IGNORED or (name in NOT_BUILT and value == []):
            continue
        if name not in fields:
            raise _refusal(name, value, fields)
        given[name] = value
    refuse_unbuilt(given.get("messages"))
    parsed = read(given, MessagesBody)
    if not parsed.model:
        raise BadRequest("model is required; name one that `agentkit list` shows", param="model")
    if not parsed.messages:
        raise BadRequest("messages is required; send at least one message", param="messages")
    _refuse_edits(parsed.context_management)
    if parsed.output_config is not None and parsed.output_config.task_budget is not None:
        param = "output_config.task_budget"
        raise NotBuiltYet(f"{param} is not built yet in this version; leave it out", param=param)
    return parsed


def answer_schema(body: MessagesBody) -> tuple[str, JsonSchemaFormat] | None:
    """What the answer must look like, and the parameter that says so. Raises BadRequest when two do."""
    config = body.output_config.format if body.output_config is not None else None
    if config is not None and body.output_format is not None:
        raise BadRequest(
            "output_format is the older place of output_config.format; send one of them",
            param="output_format",
        )
    if config is not None:
        return "output_config.format", config
    return None if body.output_format is None else ("output_format", body.output_format)


def _refuse_edits(management: ContextManagement | None) -> None:
    """Raises NotBuiltYet for edits that would take something from the conversation."""
    for at, edit in enumerate((management and management.edits) or ()):
        kept = edit.get("keep")
        if edit.get("type") != CLEAR_THINKING or kept not in ("all", {"type": "all"}):
            where = f"context_management.edits[{at}]"
            raise NotBuiltYet(
                f"{where} is {shown(edit)}; only {CLEAR_THINKING!r} with keep 'all' is built in this version",
                param=where,
            )


def _refusal(name: str, value: Any, known: tuple[str, ...]) -> UnsupportedParameter | NotBuiltYet:
    if name in REFUSED:
        return UnsupportedParameter(f"{name!r} = {shown(value)} is not served: {REFUSED[name]}", param=name)
    if name in NOT_BUILT:
        return not_built(name, value)
    return unknown(name, (*known, *IGNORED, *NOT_BUILT, *REFUSED))
