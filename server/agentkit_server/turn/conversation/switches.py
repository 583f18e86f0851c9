"""What turns a template's thinking on and off: variables whose values change the prompt, or words in the
system message."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from agentkit_server.turn.conversation.source import Words
from agentkit_server.turn.conversation.traits import Switch
from agentkit_server.turn.types import ThinkLevel

_NONSENSE = "qznonsense"
_LEVELS: tuple[ThinkLevel, ...] = ("low", "medium", "high", "max")
_USUAL: list[ThinkLevel] = ["low", "medium", "high"]
_NEAREST: Mapping[ThinkLevel, tuple[ThinkLevel, ...]] = {
    "low": ("low", "medium", "high", "max"),
    "medium": ("medium", "high", "low", "max"),
    "high": ("high", "max", "medium", "low"),
    "max": ("max", "high", "medium", "low"),
}
_PARTS = ("think", "reason", "thought")
_NEGATIVE = re.compile(r"(^|_)(skip|no|not|disable|without|suppress)(_|$)")
_ON = re.compile(r"(on|yes|true|enabled?|think|thinking|reasoning|auto|adaptive)")
_OFF = re.compile(r"(off|no|none|minimal|false|disabled?|chat|instruct|no_?think(ing)?|non_?thinking)")
_FLAGS = (("/think", "/no_think"), ("detailed thinking on", "detailed thinking off"))


class Text(Protocol):
    """A question rendered with variables, and words added to its system message; None when it fails."""

    def __call__(self, variables: Mapping[str, Any], extra: str = "") -> str | None: ...


def switches(text: Text, vocabulary: Words) -> tuple[Switch, ...]:
    """The variables of `vocabulary` that decide about thinking. Two names for one switch count once."""
    variables = [_Variable(name, text, vocabulary.compared(name)) for name in vocabulary.variables(*_PARTS)]
    found: list[Switch] = []
    seen: set[tuple[str | None, ...]] = set()
    for variable in variables:
        values = variable.boolean() or variable.words() or variable.budget()
        effect = tuple(variable.rendered(value) for value in values.values())
        if values and effect not in seen:
            found.append(Switch(variable=variable.name, values=values))
            seen.add(effect)
    # A level may mean something only where thinking is on.
    on = {one.variable: one.values[True] for one in found if True in one.values}
    for variable in variables:
        if any(variable.name == one.variable for one in found):
            continue
        levels = replace(variable, others=on).levels()
        if on:
            # What turns thinking on leaves its level to the template.
            levels.pop(True, None)
        if levels:
            found.append(Switch(variable=variable.name, values=levels))
    return tuple(found)


def flags(text: Text) -> tuple[str, str] | None:
    """The pair of words in a system message that the template itself acts on."""
    for on, off in _FLAGS:
        with_on, with_off = text({}, on), text({}, off)
        if with_on is None or with_off is None:
            continue
        if with_on.replace(on, "") != with_off.replace(off, ""):
            return on, off
    return None


@dataclass(frozen=True)
class _Variable:
    name: str
    text: Text
    compared: list[str]
    others: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Variables that are set besides."""

    def boolean(self) -> dict[bool | ThinkLevel, Any]:
        on, off = self.rendered(True), self.rendered(False)
        if on is None or off is None or on == off or "True" in on or "False" in off:
            return {}
        negative = _NEGATIVE.search(self.name) is not None
        return {True: not negative, False: negative}

    def words(self) -> dict[bool | ThinkLevel, Any]:
        """A mode by name: `enabled` and `disabled`, `thinking` and `chat` …"""
        on = next((word for word in self.compared if _ON.fullmatch(word) and self.rendered(word)), None)
        off = next((word for word in self.compared if _OFF.fullmatch(word) and self.rendered(word)), None)
        if on is None or off is None or self.rendered(on) == self.rendered(off):
            return {}
        return {True: on, False: off}

    def budget(self) -> dict[bool | ThinkLevel, Any]:
        """A number of tokens, of which none means no thinking."""
        some, none = self.rendered(1000), self.rendered(0)
        if some is None or none is None or "budget" not in self.name:
            return {}
        return {False: 0} if some.replace("1000", "0") != none else {}

    def levels(self) -> dict[bool | ThinkLevel, Any]:
        accepted = self._accepted()
        if not accepted:
            return {}
        values: dict[bool | ThinkLevel, Any] = {}
        for level in _LEVELS:
            values[level] = next(one for one in _NEAREST[level] if one in accepted)
        default = self.text(self.others)
        values[True] = next((one for one in accepted if self.rendered(one) == default), values["medium"])
        off = next((word for word in self.compared if _OFF.fullmatch(word)), None)
        if off is not None and self.rendered(off) not in (None, self.rendered(values["high"])):
            values[False] = off
        return values

    def _accepted(self) -> list[ThinkLevel]:
        low, high, other = self.rendered("low"), self.rendered("high"), self.rendered(_NONSENSE)
        told = [one for one in (low, high, self.rendered("medium"), self.rendered("max")) if one is not None]
        if len(set(told)) < 2:
            return []
        if other is not None and _NONSENSE in other and other.replace(_NONSENSE, "high") == high:
            # Whatever is given is written out: the usual three are what such models were trained on.
            return _USUAL
        taken: list[ThinkLevel] = [level for level in _LEVELS if self.rendered(level) is not None]
        if "max" in taken and self.rendered("max") == other:
            taken.remove("max")
        return taken

    def rendered(self, value: Any) -> str | None:
        """The prompt with this value."""
        return self.text({**self.others, self.name: value})
