"""Names of the types that a model can be quantised to."""

from __future__ import annotations

from agentkit_server.engine.quantize_job import ALIASES, FILE_TYPES
from agentkit_server.errors import BadRequest

SOURCES = ("F16", "BF16", "F32")
"""Types that may be quantised: what others have lost does not come back."""


def quantization(text: str, param: str) -> str:
    """The type that `text` names, in whatever case; "" for "". Raises BadRequest that lists all of them."""
    name = text.strip().upper()
    name = ALIASES.get(name, name)
    if name and name not in FILE_TYPES:
        known = ", ".join(FILE_TYPES)
        raise BadRequest(
            f"unsupported quantization type {name[:50]} - supported types are {known}", param=param
        )
    return name


def file_type(quantization: str) -> str:
    """What a file of this type says that it is."""
    return quantization.removesuffix("_MOE")


def check_source(quantization: str, subject: str) -> None:
    """Raises BadRequest when a model of this type cannot be quantised; `subject` is what it is, a model or a
    draft model."""
    if quantization not in SOURCES:
        raise BadRequest(
            f"quantization is only supported for F16, BF16 and F32 models: this {subject} is {quantization}",
            param="quantize" if subject == "model" else "draft_quantize",
        )
