"""What a Go template understands, and how its model writes thoughts and calls: found out by rendering small
conversations, once for each source. Only to be called within `bounded.in_time`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from agentkit_server.gotemplate.limits import Limits
from agentkit_server.models.go_template import ModelTemplate, parse
from agentkit_server.turn.conversation.probe import (
    Message,
    Probe,
    Render,
    assistant,
    call,
    probe,
    user,
)
from agentkit_server.turn.conversation.traits import Switch, TemplateTraits, Think
from agentkit_server.turn.go_rendering import Given, rendered
from agentkit_server.turn.go_values import THOUGHTS
from agentkit_server.turn.syntaxes.families.generic import GENERIC
from agentkit_server.turn.syntaxes.recognise import recognise
from agentkit_server.turn.syntaxes.shown import (
    ShownCall,
    calls_shown,
    reads,
    tags_shown,
    text_between,
)
from agentkit_server.turn.syntaxes.syntax import Calls, Syntax
from agentkit_server.turn.types import ThinkLevel, Tool

_THINKING = frozenset({"Think", "ThinkLevel", "IsThinkSet"})
_ASK, _ANSWER, _AGAIN, _THOUGHT = "qzask", "qzanswer", "qzagain", "qzthought"
_CALLS = (ShownCall("qzfirst", "qzkey", "qzvalue"), ShownCall("qzsecond", "qzotherkey", "qzothervalue"))
_LISTED = Tool(name="qzlisted", description="qzdescription", parameters={"type": "object", "properties": {}})
# There are dozens of these conversations, and they are short.
_LIMITS = Limits(steps=100_000, characters=1 << 19)


@dataclass(frozen=True)
class GoFacts:
    """Of one template."""

    traits: TemplateTraits
    shown: Calls | None
    """How calls are written, as far as that can be seen from one that the template wrote."""
    one: str
    """The text of a message with one call; "" where the template shows none."""
    tags: tuple[str, str] | None
    """What stands round thoughts in a message."""


@lru_cache(maxsize=64)
def facts(source: str) -> GoFacts:
    """Raises GoTemplateError when the template cannot be read."""
    template = parse(source)
    render = _renderer(template)
    traits = probe(render, _Words(template.names), known_switches=_switches(source, template.names))
    asking = Probe(render)
    tags = _tags(asking, replace(traits, thinking=THOUGHTS)) if "Thinking" in template.names else None
    one, several = _messages_with_calls(asking, traits)
    shown = calls_shown(one, several, _CALLS) if one else None
    return GoFacts(traits, shown, one, tags)


@lru_cache(maxsize=64)
def go_syntax(source: str, control: frozenset[str]) -> Syntax:
    """How the model of the template writes thoughts and calls; `control` as recognise.signs_in has it.

    The way whose markers are in the template, unless the template itself writes calls in another. Raises
    GoTemplateError.
    """
    found = facts(source)
    known = recognise(source, dict.fromkeys(control, 0))
    if known.thinking is None and found.tags is not None:
        known = replace(known, thinking=found.tags)
    if found.shown is None or known.marked or (known.name != GENERIC.name and _agree(known, found)):
        return known
    return replace(known, name="shown", calls=found.shown, answer=("", ""))


def _agree(known: Syntax, found: GoFacts) -> bool:
    return reads(known, found.one, _CALLS[:1])


@dataclass(frozen=True)
class _Words:
    """The little that there is to find out by name: Ollama's variables are always the same."""

    names: frozenset[str]

    def variables(self, *parts: str) -> list[str]:
        del parts
        return []

    def keys(self, *parts: str) -> list[str]:
        return [THOUGHTS] if "reasoning" in parts and "Thinking" in self.names else []

    def compared(self, variable: str) -> list[str]:
        del variable
        return []


def _switches(source: str, names: frozenset[str]) -> tuple[Switch, ...]:
    """The variables about thinking take what the caller wants as it is. Only a template that says `max` knows
    more than three levels."""
    if not names & _THINKING:
        return ()
    most = "max" if '"max"' in source else "high"
    values: dict[bool | ThinkLevel, Any] = {on: on for on in (True, False)}
    values |= {"low": "low", "medium": "medium", "high": "high", "max": most}
    return (Switch(variable="think", values=values),)


def _renderer(template: ModelTemplate) -> Render:
    def render(variables: Mapping[str, Any]) -> str:
        given = Given(variables["messages"], variables.get("tools") or (), variables.get("think"), _LIMITS)
        answer = variables.get("add_generation_prompt", True)
        return rendered(template, given, "answer" if answer else "messages")

    return render


def _messages_with_calls(asking: Probe, traits: TemplateTraits) -> tuple[str, str | None]:
    """The texts of a message with one call, and with two where the template takes that."""
    if traits.calls is None:
        return "", None
    calls = [call(one.name, f"call_qz{at}", one.arguments) for at, one in enumerate(_CALLS)]
    one = _message(asking, traits, assistant("", calls[0]))
    return one, _message(asking, traits, assistant("", *calls)) if traits.parallel and one else None


def _message(asking: Probe, traits: TemplateTraits, message: Message) -> str:
    """The text of an assistant's message, without what any other one has as well: header and end."""
    for behind in ([user(_AGAIN)], []):
        spoken = _between(asking, traits, [assistant(_ANSWER)], behind)
        text = _between(asking, traits, [message], behind)
        if spoken is None or text is None or "qz" not in text:
            continue
        header, answer, footer = spoken.partition(_ANSWER)
        if answer:
            return text_between(text, header, footer)
    return ""


def _between(
    asking: Probe, traits: TemplateTraits, messages: Sequence[Message], behind: Sequence[Message]
) -> str | None:
    """What the template writes from a question on, up to the next one."""
    tools = (_LISTED,) if traits.tools is not None else ()
    talk = [user(_ASK), *messages, *behind]
    text = asking.text(traits, talk, tools=tools, add_generation_prompt=False)
    if text is None or _ASK not in text:
        return None
    text = text[text.index(_ASK) + len(_ASK) :]
    return text.partition(_AGAIN)[0] if behind else text


def _tags(asking: Probe, traits: TemplateTraits) -> tuple[str, str] | None:
    thinks: tuple[Think, ...] = (None, True)
    for think in thinks:
        for behind in ([user(_AGAIN)], []):
            texts = [
                asking.text(traits, [user(_ASK), message, *behind], think=think, add_generation_prompt=False)
                for message in (assistant(_ANSWER), assistant(_ANSWER, thinking=_THOUGHT))
            ]
            without, thought = texts
            if without is None or thought is None or _THOUGHT not in thought:
                continue
            found = tags_shown(without, thought, _THOUGHT)
            if found is not None:
                return found
    return None
