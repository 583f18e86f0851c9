"""The TEMPLATE layer of a model: a Go template as Ollama reads it, with the functions that it adds to the
language, and what such a template refers to."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import lru_cache
from typing import Any, cast

from agentkit_server.errors import GoTemplateError
from agentkit_server.gotemplate.nodes import (
    Action,
    Body,
    Branch,
    Field,
    If,
    Range,
    Text,
    Variable,
    With,
    walk,
)
from agentkit_server.gotemplate.template import GoTemplate
from agentkit_server.gotemplate.values import GoStruct, Printed, bare

log = logging.getLogger(__name__)

_BARE = "{{.Prompt}}"
_TYPESCRIPT = "ToTypeScriptType"


@dataclass(frozen=True)
class ModelTemplate:
    """A parsed template."""

    go: GoTemplate
    names: frozenset[str]
    """Every field that it names somewhere: Messages, Content, Tools …"""

    @property
    def legacy(self) -> bool:
        """It shows one round of System, Prompt and Response, and is run once for each."""
        return "Messages" not in self.names

    @property
    def thinks(self) -> bool:
        """It shows thoughts between two texts, the marks by which they are told from an answer."""
        return any(_shows_thoughts(body) for body in _bodies(self.go))

    @property
    def infills(self) -> bool:
        """It has a place for the text behind a gap."""
        return "Suffix" in self.names


# Few: a request may bring a template of its own, and the longest that is read takes 25 MB as a tree.
@lru_cache(maxsize=16)
def parse(source: str) -> ModelTemplate:
    """`source`, with `{{ .Response }}` at its end where it has neither that nor Messages.

    Raises GoTemplateError.
    """
    template = GoTemplate.parse(source, FUNCTIONS)
    names = _names(template)
    if not names & {"Messages", "Response"}:
        template = _with_response(template)
    return ModelTemplate(template, names)


def _with_response(template: GoTemplate) -> GoTemplate:
    body = (*template.root, *GoTemplate.parse("{{ .Response }}").root)
    return replace(template, root=body, templates={**template.templates, "": body})


def is_bare(source: str) -> bool:
    """Is it the template of models that have none: the prompt, and nothing else?"""
    return "".join(source.split()) == _BARE


@lru_cache(maxsize=64)
def readable(source: str) -> ModelTemplate | None:
    """`source` parsed; None, with a warning the first time, when it cannot be: the model is worth more than
    its template."""
    try:
        return parse(source)
    except GoTemplateError as error:
        log.warning("a model's Go template cannot be read, so nothing is known of it: %s", error)
        return None


def _bodies(template: GoTemplate) -> Iterator[Body]:
    """Every sequence of texts and actions."""
    for root in template.templates.values():
        yield root
        for node in walk(root):
            if isinstance(node, Branch | Range):
                yield node.body
            if isinstance(node, If | With | Range) and node.otherwise is not None:
                yield node.otherwise


def _shows_thoughts(body: Body) -> bool:
    return any(
        isinstance(before, Text) and before.text.strip() and isinstance(behind, Text) and behind.text.strip()
        for before, shown, behind in zip(body, body[1:], body[2:], strict=False)
        if isinstance(shown, Action) and _is_thoughts(shown)
    )


def _is_thoughts(action: Action) -> bool:
    operands = [one for command in action.pipeline.commands for one in command.operands]
    return any(isinstance(one, Field | Variable) and one.names[-1:] == ("Thinking",) for one in operands)


def _names(template: GoTemplate) -> frozenset[str]:
    return frozenset(name for chain in template.fields for name in chain.split(".") if name)


class Written(Printed):
    """A value that prints as its JSON."""

    __slots__ = ()


# The functions


def as_json(value: Any) -> str:
    """`value` as templates write it: in Go's compact form, and without its escapes for HTML, which no model
    was trained on."""
    if isinstance(value, Written):
        return value.text
    value = bare(value)
    if isinstance(value, GoStruct):
        return as_json(dict(value.fields))
    if isinstance(value, Mapping):
        items = cast("Mapping[str, Any]", value).items()
        return "{" + ",".join(f"{as_json(key)}:{as_json(one)}" for key, one in items) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(as_json(one) for one in cast("Sequence[Any]", value)) + "]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _type_script(value: Any) -> str:
    """The type of a property in TypeScript."""
    value = bare(value)
    return str(value.fields.get(_TYPESCRIPT, "any")) if isinstance(value, GoStruct) else "any"


def _current_date(*_format: str) -> str:
    return date.today().isoformat()


def _yesterday_date(*_format: str) -> str:
    return (date.today() - timedelta(days=1)).isoformat()


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "json": as_json,
    "currentDate": _current_date,
    "yesterdayDate": _yesterday_date,
    "toTypeScriptType": _type_script,
}
