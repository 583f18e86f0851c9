"""How positions are rotated: what the configuration says, in llama.cpp's words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from agentkit_server.errors import ConversionError
from agentkit_server.models.convert.files import Fields
from agentkit_server.models.convert.plan import Computed

FULL, SLIDING = "full_attention", "sliding_attention"


@dataclass(frozen=True)
class Rope:
    """One kind of rotation. `metadata` goes under `ARCHITECTURE.rope.`"""

    theta: float
    metadata: dict[str, Any]
    computed: tuple[Computed, ...] = ()
    notes: tuple[str, ...] = ()

    def keys(self, architecture: str) -> dict[str, Any]:
        values = {"freq_base": self.theta, **self.metadata}
        return {f"{architecture}.rope.{key}": value for key, value in values.items()}


def parameters(config: Fields, kind: str = FULL) -> Fields:
    """The rotation of one kind of layer, in whichever of the ways that transformers has had to write it."""
    found = config.object("rope_parameters")
    if found is not None and isinstance(found.get(kind), dict):
        found = found.object(kind)
    if found is None:
        found = config.object("rope_scaling") or Fields({}, config.where)
    return Fields({**config.values, **found.values}, found.where)


def read_rope(given: Fields, head_dim: int, context: int, default_theta: float = 10000.0) -> Rope:
    """The rotation that `parameters` found. Raises ConversionError for one that llama.cpp does not have."""
    theta = _theta(given, default_theta)
    kind = (given.text("rope_type") or given.text("type") or "default").lower()
    partial = given.number("partial_rotary_factor", 1.0) or 1.0
    if partial != 1.0:
        raise ConversionError(
            f"{given.where}: partial_rotary_factor {partial} cannot be imported for this model"
        )
    match kind:
        case "default":
            return Rope(theta, {})
        case "linear":
            return Rope(theta, {"scaling.type": "linear", "scaling.factor": _factor(given)})
        case "dynamic":
            note = f"dynamic rope scaling has no effect here: prompts over {context} tokens will be poor"
            return Rope(theta, {}, notes=(note,))
        case "yarn":
            return Rope(theta, _yarn(given, context))
        case "llama3":
            values = _llama3(given, theta, head_dim)
            return Rope(theta, {}, (Computed("rope_freqs.weight", values),))
        case _:
            raise ConversionError(f"{given.where}: the rope type {kind!r} cannot be imported for this model")


def _theta(given: Fields, default: float) -> float:
    theta = given.number("rope_theta", default)
    if theta is None or theta <= 0:
        raise ConversionError(f"{given.where}: rope_theta is {theta}; it must be above 0")
    return theta


def _factor(given: Fields) -> float:
    factor = given.number("factor")
    if factor is None or factor <= 0:
        raise ConversionError(f"{given.where}: rope scaling needs a factor above 0, not {factor!r}")
    return factor


def _yarn(given: Fields, context: int) -> dict[str, Any]:
    for key in ("mscale", "mscale_all_dim"):
        if key in given:
            raise ConversionError(f"{given.where}: yarn with {key} cannot be imported for this model")
    if given.flag("truncate", True) is False:
        raise ConversionError(f"{given.where}: yarn with truncate false cannot be imported")
    factor = _factor(given)
    metadata: dict[str, Any] = {
        "scaling.type": "yarn",
        "scaling.factor": factor,
        "scaling.original_context_length": given.need("original_max_position_embeddings", context),
    }
    attention = given.number("attention_factor")
    if attention is not None:
        # llama.cpp multiplies with the usual factor itself.
        metadata["scaling.attn_factor"] = attention / (0.1 * math.log(factor) + 1 if factor > 1 else 1)
    for key in ("beta_fast", "beta_slow"):
        if key in given:
            metadata[f"scaling.yarn_{key}"] = float(given.number(key) or 0)
    return metadata


def _llama3(given: Fields, theta: float, head_dim: int) -> npt.NDArray[np.float32]:
    """By how much each pair's frequency is divided: those that turn slowly, by the whole factor."""
    factor = _factor(given)
    low, high = given.number("low_freq_factor", 1.0), given.number("high_freq_factor", 4.0)
    original = given.need("original_max_position_embeddings", 8192)
    assert low is not None and high is not None
    if not 0 < low < high:
        raise ConversionError(f"{given.where}: low_freq_factor {low} must be above 0 and below {high}")
    turns = original * theta ** -(np.arange(0, head_dim, 2) / head_dim) / (2 * math.pi)
    # 0 where a pair turns fewer than `low` times within the original context, 1 from `high` times on.
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return (1 / ((1 - kept) / factor + kept)).astype(np.float32)


def longrope(given: Fields, rotated: int, context: int) -> Rope:
    """Phi-3's: a divisor for each pair, one list for short contexts and one for long ones."""
    theta = _theta(given, 10000.0)
    original = given.need("original_max_position_embeddings", context)
    if original < 2:
        raise ConversionError(f"{given.where}: original_max_position_embeddings is {original}")
    metadata: dict[str, Any] = {"scaling.original_context_length": original}
    kind = (given.text("rope_type") or given.text("type") or "default").lower()
    if kind == "default":
        return Rope(theta, metadata)
    if kind not in ("longrope", "su"):
        raise ConversionError(f"{given.where}: the rope type {kind!r} cannot be imported for this model")
    computed = tuple(
        Computed(f"rope_factors_{length}.weight", _factors(given, f"{length}_factor", rotated // 2))
        for length in ("long", "short")
    )
    scale = given.number("factor") or context / original
    usual = math.sqrt(1 + math.log(scale) / math.log(original)) if scale > 1 else 1.0
    metadata |= {"scaling.type": "longrope", "scaling.attn_factor": given.number("attention_factor") or usual}
    return Rope(theta, metadata, computed)


def _factors(given: Fields, key: str, count: int) -> npt.NDArray[np.float32]:
    values = given.numbers(key)
    if values is None or len(values) != count:
        found = None if values is None else len(values)
        raise ConversionError(f"{given.where}: {key} has {found} numbers where {count} are needed")
    return np.array(values, np.float32)
