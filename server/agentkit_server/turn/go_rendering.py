"""One conversation by one Go template, as text. A template that names Messages is given all of them at once;
a legacy one is run once for each round of system, user and assistant message.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from agentkit_server.gotemplate.limits import Limits
from agentkit_server.models.go_template import ModelTemplate
from agentkit_server.turn.continuing import MARK, marked
from agentkit_server.turn.conversation.traits import Think
from agentkit_server.turn.go_values import go_messages, go_tools, merged, system_of, text_of, thinking_values

Message = Mapping[str, Any]

EndsWith = Literal["answer", "continued", "messages"]
"""What a prompt ends with: the beginning of an answer; the last message's text with the mark behind it; or
whatever the template makes of the messages."""

# Templates ask of each message whether it is the last by counting those that are left, so that long
# conversations take many steps. What this lets through ends with its time (bounded.py).
_LIMITS = Limits(steps=20_000_000)


@dataclass(frozen=True)
class Given:
    """What a template is to render."""

    messages: Sequence[Message]
    tools: Sequence[Mapping[str, Any]] = ()
    think: Think = None
    limits: Limits = _LIMITS


def rendered(template: ModelTemplate, given: Given, ends_with: EndsWith) -> str:
    """The prompt. Raises GoTemplateError."""
    messages = list(given.messages)
    if ends_with == "continued":
        messages[-1] = marked(messages[-1])
    messages = merged(messages)
    if ends_with != "answer":
        return _text(template, replace(given, messages=messages))
    if template.legacy or _spoken_last(messages):
        # An answer begins where an empty message of the assistant would have its text.
        text = _text(template, replace(given, messages=[*messages, marked({"role": "assistant"})]))
        if MARK in text or template.legacy:
            return text.partition(MARK)[0]
    return _text(template, replace(given, messages=messages))


def filled(template: ModelTemplate, prefix: str, suffix: str) -> str:
    """The prompt for what stands between `prefix` and `suffix`. Raises GoTemplateError."""
    values = {"Prompt": prefix, "Suffix": suffix, "Response": MARK}
    return template.go.render(_variables(Given(())) | values, limits=_LIMITS).partition(MARK)[0]


def _spoken_last(messages: Sequence[Message]) -> bool:
    return bool(messages) and messages[-1].get("role") == "assistant"


def _text(template: ModelTemplate, given: Given) -> str:
    variables = _variables(given)
    if not template.legacy:
        system, messages = system_of(given.messages), go_messages(given.messages)
        return template.go.render(variables | {"System": system, "Messages": messages}, limits=given.limits)
    rounds = _rounds(given.messages)
    return "".join(template.go.render(variables | values, limits=given.limits) for values in rounds)


def _variables(given: Given) -> dict[str, Any]:
    """Every variable, those that differ from template to template empty."""
    empty: dict[str, Any] = {"System": "", "Prompt": "", "Response": "", "Suffix": "", "Messages": []}
    return {**empty, "Tools": go_tools(given.tools), **thinking_values(given.think)}


def _rounds(messages: Sequence[Message]) -> Iterator[dict[str, str]]:
    """System, Prompt and Response of each round: a message begins a new one where its place is taken."""
    values: dict[str, str] = {}
    for message in messages:
        role = message.get("role")
        if role not in _PLACES:
            continue
        if any(values.get(place) for place in _PLACES[role]):
            yield values
            values = {}
        values[_PLACES[role][0]] = text_of(message)
    if values:
        yield values


_PLACES: Mapping[Any, tuple[str, ...]] = {
    "system": ("System", "Prompt", "Response"),
    "user": ("Prompt", "Response"),
    "assistant": ("Response",),
}
"""The place of each role's text, and those behind it: what is in one of them belongs to an earlier round."""
