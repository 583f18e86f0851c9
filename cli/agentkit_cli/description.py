"""How `show` lays out a model: titled sections of indented columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agentkit_cli.output import table

if TYPE_CHECKING:
    from agentkit import ShowResponse

_LICENSE_LINES = 2
_LONG_VALUE = 60

Section = tuple[str, Sequence[Sequence[str]]]


def describe(answer: ShowResponse, *, verbose: bool = False) -> str:
    """The sections of `show` that have anything in them; `verbose` adds Metadata and Tensors."""
    sections = [*_sections(answer), *(_verbose_sections(answer) if verbose else ())]
    return "\n\n".join(_laid_out(title, rows) for title, rows in sections if rows)


def _sections(answer: ShowResponse) -> Iterator[Section]:
    yield "Model", _model_rows(answer)
    yield "Capabilities", [(name,) for name in answer.capabilities or ()]
    yield "Projector", _projector_rows(answer.projector_info or {})
    yield "Parameters", [_split_parameter(line) for line in _lines(answer.parameters)]
    yield "System", [(line,) for line in _lines(answer.system)]
    yield "License", [(line,) for line in _shortened(_lines(answer.license))]


def _verbose_sections(answer: ShowResponse) -> Iterator[Section]:
    yield "Metadata", [(key, _value_text(value)) for key, value in sorted((answer.modelinfo or {}).items())]
    yield (
        "Tensors",
        [
            (str(tensor.get("name")), str(tensor.get("type")), str(tensor.get("shape")))
            for tensor in answer.tensors or ()
        ],
    )


def _model_rows(answer: ShowResponse) -> list[tuple[str, str]]:
    info = answer.modelinfo or {}
    details = answer.details
    architecture = str(info.get("general.architecture") or (details.family if details else None) or "")
    rows = [
        ("architecture", architecture),
        ("parameters", details.parameter_size if details else None),
        ("context length", info.get(f"{architecture}.context_length")),
        ("embedding length", info.get(f"{architecture}.embedding_length")),
        ("quantization", details.quantization_level if details else None),
        ("requires", answer.requires),
    ]
    return [(name, str(value)) for name, value in rows if value]


def _projector_rows(info: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (key.rpartition(".")[2].replace("_", " "), str(value))
        for key, value in sorted(info.items())
        if key.endswith((".embedding_length", ".dimensions", ".projection_dim", "architecture"))
    ]


def _split_parameter(line: str) -> tuple[str, str]:
    name, _, value = line.strip().partition(" ")
    return name, value.strip()


def _lines(text: str | None) -> list[str]:
    return [line.strip() for line in (text or "").splitlines() if line.strip()]


def _shortened(lines: list[str]) -> list[str]:
    return [*lines[:_LICENSE_LINES], "..."] if len(lines) > _LICENSE_LINES else lines


def _value_text(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONG_VALUE else f"{text[:_LONG_VALUE]}..."


def _laid_out(title: str, rows: Sequence[Sequence[str]]) -> str:
    header, *rest = rows
    return "\n".join([f"  {title}", *(f"    {line}" for line in table(header, rest).splitlines())])
