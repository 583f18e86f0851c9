"""The config blob of a new model: what `list` says without opening its files, and what other programs read.

Fields that this server does not know are those of the model it is made from, as they were.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast, get_args

import msgspec

from agentkit_server.errors import BadRequest, UnsupportedParameter
from agentkit_server.models.details import describe
from agentkit_server.models.manifest import Layer
from agentkit_server.models.model import Capability, GGUFInfo

_INFO = {
    "model_family": ("model_family", str),
    "base_name": ("base_name", str),
    "quantization_level": ("file_type", str),
    "parameter_size": ("model_type", str),
    "context_length": ("context_length", int),
    "embedding_length": ("embedding_length", int),
}
"""Fields of `info`, by what they are called in the config blob."""
_VERSION = re.compile(r"v?\d+(\.\d+){0,2}(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?", re.ASCII)
_MAX_WORD = 200
_MAX_COUNT = (1 << 31) - 1


def config_changes(
    info: Mapping[str, Any], capabilities: Sequence[str], *, renderer: str, parser: str, requires: str
) -> dict[str, Any]:
    """The fields that a request states. Raises BadRequest."""
    if requires and not _VERSION.fullmatch(requires):
        raise BadRequest(f"requires must be a version such as 0.14.0: {requires[:80]!r}", param="requires")
    words = {"renderer": renderer, "parser": parser, "requires": requires}
    stated: dict[str, Any] = {name: _word(name, value) for name, value in words.items() if value}
    given = {name: value for name, value in info.items() if value is not None}
    capable = [*_capabilities(given.pop("capabilities", [])), *_capabilities(capabilities)]
    if capable:
        stated["capabilities"] = list(dict.fromkeys(capable))
    stated |= dict(_stated(name, value) for name, value in given.items())
    if "model_family" in stated:
        stated["model_families"] = [stated["model_family"]]
    return stated


def config_json(
    base: Mapping[str, Any], stated: Mapping[str, Any], gguf: GGUFInfo, layers: Sequence[Layer], draft: str
) -> bytes:
    """The blob. `base` is the config of the model that this one has its weights from, {} when they are its
    own; `draft` is the architecture of a draft layer, "" = none is given."""
    details = describe(gguf, _families(gguf, layers))
    facts: dict[str, Any] = {
        "model_format": details.format,
        "model_family": details.family,
        "model_families": details.families,
        "model_type": details.parameter_size,
        "file_type": details.quantization_level,
        "architecture": "amd64",
        "os": "linux",
    }
    drafted = {"draft": {"model_format": "gguf", "architecture": draft}} if draft else {}
    inherited = {name: value for name, value in base.items() if value}
    rootfs = {"type": "layers", "diff_ids": [layer.digest for layer in layers]}
    return msgspec.json.encode({**facts, **inherited, **drafted, **stated, "rootfs": rootfs})


def _families(gguf: GGUFInfo, layers: Sequence[Layer]) -> tuple[str, ...]:
    projector = any(layer.kind == "projector" for layer in layers)
    return (gguf.architecture, "clip") if projector else (gguf.architecture,)


def _capabilities(given: Any) -> list[str]:
    known = get_args(Capability)
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise BadRequest(f"info.capabilities must be a list: {given!r:.80}", param="info")
    for name in cast("Sequence[Any]", given):
        if name not in known:
            raise BadRequest(
                f"unknown capability: {name!r:.80}; there are {', '.join(known)}", param="info.capabilities"
            )
    return [*cast("Sequence[str]", given)]


def _stated(name: str, value: Any) -> tuple[str, str | int]:
    if name not in _INFO:
        raise UnsupportedParameter(
            f"unknown field {name[:80]!r} of info; there are capabilities, {', '.join(_INFO)}", param="info"
        )
    field, kind = _INFO[name]
    if kind is str and isinstance(value, str):
        return field, _word(f"info.{name}", value)
    if kind is int and isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_COUNT:
        return field, value
    wanted = "a string" if kind is str else f"a whole number from 0 to {_MAX_COUNT}"
    raise BadRequest(f"info.{name} must be {wanted}: {value!r:.80}", param="info")


def _word(name: str, value: str) -> str:
    if len(value) > _MAX_WORD:
        raise BadRequest(f"{name} has {len(value)} characters, more than {_MAX_WORD}", param=name)
    return value
