"""Go's text/template language: templates that come with models from Ollama's registry.

    template = GoTemplate.parse("{{ range .Messages }}{{ .Role }}: {{ .Content }}\\n{{ end }}")
    template.render({"Messages": [{"Role": "user", "Content": "Hi"}]})

Both raise GoTemplateError, with line and column, for anything that goes wrong. What a template may do is
bounded, and it reaches nothing but the data and functions that it is given; docs/reference/go-templates.md
says more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from agentkit_server.errors import GoTemplateError
from agentkit_server.gotemplate.executor import execute
from agentkit_server.gotemplate.functions import BUILTINS
from agentkit_server.gotemplate.limits import Limits
from agentkit_server.gotemplate.nodes import Body, Chain, Field, Variable, walk
from agentkit_server.gotemplate.parser import parse
from agentkit_server.gotemplate.values import GoStruct, Printed

__all__ = ["GoStruct", "GoTemplate", "GoTemplateError", "Limits", "Printed"]

_NONE: Mapping[str, Callable[..., Any]] = MappingProxyType({})


@dataclass(frozen=True)
class GoTemplate:
    """A template that is read and can be rendered, by several threads at once."""

    root: Body
    """Its tree, definitions included; see `nodes.py`, whose `walk` goes through all of it."""
    templates: Mapping[str, Body]
    """What it defines, by name; the template itself is named ""."""
    fields: frozenset[str]
    """Every chain of fields anywhere in it, as `.Messages` and `.Function.Name`; behind a variable too, so
    that `$.Tools` and `$call.Tools` are `.Tools`."""
    functions: Mapping[str, Callable[..., Any]]
    """The caller's, beside the language's own."""

    @classmethod
    def parse(cls, source: str, functions: Mapping[str, Callable[..., Any]] = _NONE) -> GoTemplate:
        """Raises GoTemplateError. `functions` come before the language's own of the same name; they get their
        arguments as values of templates, and return one or raise."""
        parsed = parse(source, BUILTINS.keys() | functions.keys())
        templates = MappingProxyType(parsed.templates)
        return cls(parsed.root, templates, frozenset(_chains(parsed.root)), MappingProxyType(dict(functions)))

    def render(self, data: Any, *, limits: Limits | None = None) -> str:
        """What it writes for `data`, which is the template's dot; values.py says what data may be.

        Raises GoTemplateError when it cannot be carried out or exceeds `limits`.
        """
        return execute(self.templates, self.functions, data, limits or Limits())


def _chains(root: Body) -> Iterator[str]:
    for node in walk(root):
        if isinstance(node, Field | Chain | Variable) and node.names:
            yield "." + ".".join(node.names)
