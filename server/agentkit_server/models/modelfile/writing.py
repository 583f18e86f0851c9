"""From a `Modelfile` to text, in Ollama's grammar wherever that can say it; `parse` reads back the same.

Beyond Ollama are the scale of an adapter and `json:"…"`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from agentkit_server.errors import ModelfileError
from agentkit_server.models.modelfile.reading import parse
from agentkit_server.models.modelfile.structure import AdapterLine, Modelfile
from agentkit_server.models.modelfile.values import json_value, write_value


def render(modelfile: Modelfile) -> str:
    """The text of a Modelfile. Its values are to be such as `parse` gives."""
    return "".join(f"{line}\n" for line in _lines(modelfile))


def render_parameters(parameters: Mapping[str, Any]) -> str:
    """The `parameters` block of `show`: one aligned `name value` line for each value."""
    return "\n".join(f"{name:<30} {value}" for name, value in written_parameters(parameters))


def written_parameters(parameters: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and written value, one pair for each value: `stop` may have several."""
    for name, value in parameters.items():
        for single in cast("list[Any]", value) if isinstance(value, list | tuple) else [value]:
            yield name, _literal(single)


def _lines(modelfile: Modelfile) -> Iterator[str]:
    yield from (f"FROM {write_value(source, bare=True)}" for source in modelfile.from_)
    yield from (_adapter(adapter) for adapter in modelfile.adapters)
    if modelfile.draft is not None:
        yield f"DRAFT {write_value(modelfile.draft, bare=True)}"
    if modelfile.template is not None:
        yield f"TEMPLATE {write_value(modelfile.template)}"
    if modelfile.system is not None:
        yield f"SYSTEM {write_value(modelfile.system)}"
    yield from (f"PARAMETER {name} {value}" for name, value in written_parameters(modelfile.parameters))
    yield from (f"MESSAGE {message.role} {write_value(message.content)}" for message in modelfile.messages)
    yield from (f"LICENSE {write_value(text)}" for text in modelfile.license)
    for word in ("renderer", "parser", "requires"):
        if (value := getattr(modelfile, word)) is not None:
            yield f"{word.upper()} {write_value(value, bare=True)}"


def _adapter(adapter: AdapterLine) -> str:
    scale = "" if adapter.scale == 1 else f" scale={adapter.scale!r}"
    path = adapter.path
    # A path may itself end like a scale, or go over lines.
    forms = (write_value(path, bare=True), write_value(path), json_value(path))
    lines = [f"ADAPTER {form}{scale}" for form in forms]
    return next(line for line in lines if _is_read(line, adapter))


def _is_read(line: str, adapter: AdapterLine) -> bool:
    try:
        return parse(f"FROM x\n{line}").adapters == (adapter,)
    except ModelfileError:
        return False


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return write_value(value) if isinstance(value, str) else str(value)
