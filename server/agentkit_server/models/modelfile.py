"""Modelfile text for `show`: what a person would write to build this model again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from agentkit_server.models.model import Model


def render_modelfile(model: Model) -> str:
    """The Modelfile of a stored model."""
    return "\n".join(_lines(model)) + "\n"


def render_parameters(parameters: dict[str, Any]) -> str:
    """The `parameters` block of `show`: one aligned `name value` line for each value."""
    return "\n".join(f"{name:<30} {_literal(value)}" for name, value in _flat(parameters))


def _lines(model: Model) -> Iterator[str]:
    yield "# The Modelfile of this model. To change it, save it to a file and put there:"
    yield f"# FROM {model.name.short}"
    yield ""
    yield f"FROM {model.path}"
    yield from (f"FROM {projector}" for projector in model.projectors)
    yield from (f"ADAPTER {adapter}" for adapter in model.adapters)
    if model.go_template:
        yield f"TEMPLATE {_quoted(model.go_template)}"
    if model.system:
        yield f"SYSTEM {_quoted(model.system)}"
    yield from (f"PARAMETER {name} {_literal(value)}" for name, value in _flat(model.parameters))
    for message in model.messages:
        yield f"MESSAGE {message['role']} {_quoted(message['content'])}"
    yield from (f"LICENSE {_quoted(text)}" for text in model.license)


def _flat(parameters: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """One pair for each value: `stop` may have several."""
    for name, value in parameters.items():
        for single in cast("list[Any]", value) if isinstance(value, list) else [value]:
            yield name, single


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return _quoted(value) if isinstance(value, str) else str(value)


def _quoted(text: str) -> str:
    """The grammar has no escapes, so text with a line break or a quote needs three quotes."""
    return f'"""{text}"""' if "\n" in text or '"' in text else f'"{text}"'
