"""Whether and how long a model is to think, in any of the fields of an OpenAI request that say so:
`reasoning_effort`, `reasoning`, `thinking_budget`, and the switches in `chat_template_kwargs`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from agentkit_server.dialects._shared import shown
from agentkit_server.dialects.openai_parameters import SamplingBody
from agentkit_server.errors import BadRequest
from agentkit_server.turn.types import ThinkLevel

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Budget = Annotated[int, Meta(ge=0, le=2**31 - 1)]
_LEVELS: dict[str, Literal[False] | ThinkLevel] = {
    "none": False,
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "max",
    "max": "max",
}
SWITCHES = ("enable_thinking", "thinking")
"""The template variables that turn thinking on and off: they are asked for as `think`, which knows the names
that each template has for it."""
RESERVED = frozenset(
    {"self", "messages", "tools", "add_generation_prompt", "continue_last", "continue_final_message"}
)
"""Template variables that the server itself sets."""
MAX_TEMPLATE_KWARGS = 64


class Reasoning(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    effort: Effort | None = None
    summary: str | None = None
    """Accepted: the thoughts themselves are told, not a summary of them."""


class ThinkingBody(SamplingBody, kw_only=True):
    """The fields of a request body that speak of thinking. None = not given."""

    reasoning_effort: Effort | None = None
    reasoning: Reasoning | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    thinking_budget: Budget | None = None


def read_think(body: ThinkingBody) -> bool | ThinkLevel | None:
    """What `body` says of thinking; None when it says nothing.

    Raises BadRequest when two fields contradict each other, or a switch is no boolean.
    """
    said: dict[str, bool | ThinkLevel] = {}
    if body.reasoning_effort is not None:
        said["reasoning_effort"] = _LEVELS[body.reasoning_effort]
    if body.reasoning is not None and body.reasoning.effort is not None:
        said["reasoning"] = _LEVELS[body.reasoning.effort]
    for name in SWITCHES:
        value = (body.chat_template_kwargs or {}).get(name)
        if value is None:
            continue
        if not isinstance(value, bool):
            raise BadRequest(
                f"chat_template_kwargs.{name} is {shown(value)}; it must be true or false",
                param=f"chat_template_kwargs.{name}",
            )
        said[f"chat_template_kwargs.{name}"] = value
    return _agreed(said)


def think_param(body: ThinkingBody) -> str:
    """The field that `read_think` has it from."""
    if body.reasoning_effort is not None:
        return "reasoning_effort"
    return "chat_template_kwargs" if body.reasoning is None else "reasoning"


def template_kwargs(body: ThinkingBody) -> dict[str, Any]:
    """The other variables in `chat_template_kwargs`, for the template.

    Raises BadRequest for more than `MAX_TEMPLATE_KWARGS`, and for names that are taken or no names.
    """
    given = body.chat_template_kwargs or {}
    if len(given) > MAX_TEMPLATE_KWARGS:
        raise BadRequest(
            f"chat_template_kwargs has {len(given)} entries; at most {MAX_TEMPLATE_KWARGS} are read",
            param="chat_template_kwargs",
        )
    for name in given:
        if name in RESERVED or not name.isidentifier() or name.startswith("_"):
            raise BadRequest(
                f"chat_template_kwargs.{name} cannot be set: "
                f"{'the server sets it' if name in RESERVED else 'it is no name of a template variable'}",
                param=f"chat_template_kwargs.{name}",
            )
    return {name: value for name, value in given.items() if name not in SWITCHES}


def _agreed(said: dict[str, bool | ThinkLevel]) -> bool | ThinkLevel | None:
    """The one wish in `said`. A level is a way of saying yes."""
    wishes = set(said.values())
    if False not in wishes and len(wishes) > 1:
        wishes.discard(True)
    if len(wishes) > 1:
        raise BadRequest(
            f"{' and '.join(said)} say different things about thinking; send one of them", param=[*said][-1]
        )
    return wishes.pop() if wishes else None
