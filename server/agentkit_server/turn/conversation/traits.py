"""What a chat template understands, as far as a conversation's rendering depends on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from agentkit_server.turn.types import ThinkLevel

Think = bool | ThinkLevel | None

IN_CONTENT = "content"
"""As `TemplateTraits.thinking`: thoughts are a part of a message's content, of type `thinking`."""


@dataclass(frozen=True, kw_only=True)
class CallForm:
    """How earlier tool calls are handed to a template."""

    arguments: Literal["object", "text", "values"] = "object"
    """object: one that the template writes as JSON or in a form of its own. text: JSON text that it copies.
    values: an object of texts that it copies, JSON text where a value is no text."""
    takes_text: bool = False
    """Arguments that are no JSON object can be handed over as they are."""
    ids: Literal["any", "short", "named", "named anew"] = "any"
    """short: exactly 9 letters and digits. named: `functions.NAME:N`, N counting the conversation's calls
    from 0, or (anew) those of each message."""
    with_content: bool = True
    """A message with content shows its calls as well; else each needs a message of its own."""
    empty_content: str | None = ""
    """The content of a message that is nothing but calls."""


@dataclass(frozen=True, kw_only=True)
class Switch:
    """A variable of the template that decides about thinking."""

    variable: str
    values: Mapping[bool | ThinkLevel, Any] = field(default_factory=dict[bool | ThinkLevel, Any])
    """What it is set to for each request that it can express."""


@dataclass(frozen=True, kw_only=True)
class TemplateTraits:
    """Facts about one template. The defaults are those of a template that takes everything."""

    tools: str | None = "tools"
    """The variable in which the template takes tools; None when it never shows them."""
    tool_form: Literal["wrapped", "bare", "text"] = "wrapped"
    """wrapped: {"type": "function", "function": …}; bare: the function alone; text: JSON text of the
    wrapped list."""
    needs_tools: bool = False
    """It fails without a list of tools, if only an empty one."""
    date: str | None = None
    """The variable that holds today's date, of a template that fails without."""
    calls: CallForm | None = CallForm()
    """None when earlier calls are not shown: they have to be part of the content."""
    parallel: bool = True
    """One message may hold several calls."""
    results: str | None = "tool"
    """The role under which results are shown; None when there is none."""
    results_key: str | None = None
    """The key of the message with the calls under which a list of {"name", "response"} is shown instead."""
    thinking: str | None = "reasoning_content"
    """The key of an assistant message under which earlier thoughts are shown, or IN_CONTENT; None when
    they never are."""
    thinking_with_content: bool = True
    """A message with calls may hold thoughts and content."""
    system: bool = True
    several_systems: bool = True
    """Several at the beginning are all shown."""
    system_in_rounds: bool = True
    """The system message is shown as well where the conversation ends in results."""
    late_system: bool = True
    """One behind other messages is shown."""
    developer: bool = True
    """The role is one that the template knows, and not just any name."""
    alternates: bool = False
    """User messages must not follow one another."""
    parts: bool = False
    """Content must be a list of typed parts."""
    switches: tuple[Switch, ...] = ()
    flags: tuple[str, str] | None = None
    """Words for thinking and against it that the template looks for in the system message."""

    def thinks(self, wanted: Think) -> dict[str, Any]:
        """The variables that ask the template for `wanted`."""
        if wanted is None:
            return {}
        found = {
            switch.variable: switch.values[wanted] for switch in self.switches if wanted in switch.values
        }
        for switch in self.switches:
            # A level is thinking as well, for a switch that knows no more.
            if wanted and True in switch.values and switch.variable not in found:
                found[switch.variable] = switch.values[True]
        return found

    def can_switch(self, wanted: bool) -> bool:
        """Can the template itself turn thinking on, or off?"""
        return self.flags is not None or any(wanted in switch.values for switch in self.switches)
