"""How much a template may do. Templates come with downloaded models, so each one may be hostile."""

from __future__ import annotations

from dataclasses import dataclass

from agentkit_server.gotemplate.values import Fault

MAX_SOURCE = 1 << 17
"""Characters in a template's source."""
MAX_NESTING = 100
"""Actions and parentheses inside one another, in the source."""

_CHARACTERS_A_STEP = 1 << 10
"""Writing this many characters costs as much as one step."""
_SCANNED_A_STEP = 1 << 2
"""So does escaping this many, which goes one by one."""
_WORK = 4
"""All texts that are built on the way may have this many times the characters of the output."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one rendering; what exceeds them ends in a GoTemplateError."""

    steps: int = 1_000_000
    """Actions, commands, items that are ranged over, printed or compared."""
    depth: int = 100
    """Bodies, parentheses, templates inside one another, and data inside data that is printed."""
    characters: int = 1 << 24
    """Characters of output, and of any text on the way."""


class Exceeded(Fault):
    """The template would do more than it may."""


class Budget:
    """What is left of `limits` in one rendering."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._steps = limits.steps
        self._output = limits.characters
        self._work = limits.characters * _WORK
        self._depth = limits.depth

    def step(self, count: int = 1) -> None:
        self._steps -= count
        if self._steps < 0:
            raise Exceeded(f"the template takes more than {self._limits.steps} steps")

    def enter(self) -> None:
        """One level deeper; `leave` it again."""
        self._depth -= 1
        if self._depth < 0:
            raise Exceeded(f"exceeded maximum template depth ({self._limits.depth})")

    def leave(self) -> None:
        self._depth += 1

    def write(self, count: int) -> None:
        """`count` characters of output."""
        self._output -= count
        if self._output < 0:
            raise Exceeded(f"the template writes more than {self._limits.characters} characters")
        self.step(count // _CHARACTERS_A_STEP)

    def build(self, count: int) -> None:
        """`count` characters of a text that may yet become output. Ask before building it."""
        self._work -= count
        if count > self._limits.characters or self._work < 0:
            raise Exceeded(f"the template builds texts of more than {self._limits.characters} characters")
        self.step(count // _CHARACTERS_A_STEP)

    def read(self, count: int) -> None:
        """`count` characters, or items of a list, that are gone through at once."""
        self.step(count // _CHARACTERS_A_STEP)

    def scan(self, count: int) -> None:
        """`count` characters that are looked at one by one."""
        self.step(count // _SCANNED_A_STEP)
