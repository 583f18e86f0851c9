"""Docstrings: what a function does, and what each of its parameters means. Google, NumPy and Sphinx style."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import griffe

_SECTIONS = (
    r"((?:keyword |other )?(?:args|arguments|params|parameters)"
    r"|returns?|yields?|raises|exceptions|warns|examples)"
)
_GOOGLE = re.compile(rf"^{_SECTIONS}:[ \t]*$", re.IGNORECASE | re.MULTILINE)
_NUMPY = re.compile(rf"^{_SECTIONS}[ \t]*\n-{{3,}}[ \t]*$", re.IGNORECASE | re.MULTILINE)
_SPHINX = re.compile(
    r"^:(param|parameter|arg|argument|key|keyword|type|returns?|rtype|raises?)\b.*?:", re.MULTILINE
)


@dataclass(frozen=True)
class Documented:
    """`description` without its sections, and the text for each parameter that has one."""

    description: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])


def read(text: str | None) -> Documented:
    """What the docstring `text` says, as `inspect.getdoc` gives it. One without sections is all description.

    Of the sections, parameters, returns and notes are kept; raises and examples are for people.
    """
    plain = text or ""
    style = _style(plain)
    if style is None:
        return Documented(plain)
    sections = _sections(plain, style)
    parameters: dict[str, str] = {}
    parts: list[str] = []
    for section in sections:
        if section.kind.value in ("parameters", "other parameters"):
            parameters |= {item.name.lstrip("*"): _folded(item.description) for item in section.value}
        else:
            parts.append(_part(section))
    described = {name: text for name, text in parameters.items() if text}
    return Documented("\n\n".join(part for part in parts if part), described)


def _style(text: str) -> Literal["google", "numpy", "sphinx"] | None:
    if _SPHINX.search(text):
        return "sphinx"
    if _NUMPY.search(text):
        return "numpy"
    return "google" if _GOOGLE.search(text) else None


def _sections(text: str, style: Literal["google", "numpy", "sphinx"]) -> list[griffe.DocstringSection]:
    # Here, because most programs that import the SDK have no docstring to read.
    from griffe import Docstring

    # griffe dedents once more, and takes what is under a first line for indented like it.
    if style == "google":
        whole: dict[str, Any] = {"returns_multiple_items": False, "returns_named_value": False}
        return Docstring("\n" + _spaced(text)).parse("google", warnings=False, **whole)
    return Docstring("\n" + text).parse(style, warnings=False)


def _spaced(text: str) -> str:
    """`text` with a blank line above each section: griffe takes a section without one for plain text."""
    lines: list[str] = []
    for line in text.splitlines():
        if lines and lines[-1].strip() and _GOOGLE.match(line):
            lines.append("")
        lines.append(line)
    return "\n".join(lines)


def _part(section: griffe.DocstringSection) -> str:
    """The section as a piece of the description; empty for what a model has no use for."""
    kind = section.kind.value
    if kind == "text":
        return section.value.strip()
    if kind == "admonition":
        return f"{section.title}: {section.value.description.strip()}"
    if kind == "returns":
        said = "; ".join(_folded(item.description) for item in section.value if item.description)
        return f"Returns: {said}" if said else ""
    return ""


def _folded(text: str) -> str:
    """One line for each paragraph: how a docstring is wrapped says nothing."""
    return "\n".join(" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip())
