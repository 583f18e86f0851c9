"""Tensors from a checkpoint to a GGUF: which becomes which, and their numbers, a piece at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from gguf.constants import GGMLQuantizationType, LlamaFileType

from agentkit_server.errors import ConversionError
from agentkit_server.models.convert import floats
from agentkit_server.models.convert.gguf_file import Tensor
from agentkit_server.models.convert.plan import Computed, Plan, Wanted
from agentkit_server.models.convert.safetensors import Array, Checkpoint, Stored

_FILE_TYPES = {
    GGMLQuantizationType.F32: LlamaFileType.ALL_F32,
    GGMLQuantizationType.F16: LlamaFileType.MOSTLY_F16,
    GGMLQuantizationType.BF16: LlamaFileType.MOSTLY_BF16,
}


@dataclass(frozen=True)
class Weight:
    """One tensor of the GGUF: read from the checkpoint, or computed."""

    tensor: Tensor
    wanted: Wanted | None = None
    stored: Stored | None = None
    values: Array | None = None

    @property
    def source_size(self) -> int:
        """Bytes that are read for it."""
        return self.tensor.size if self.stored is None else self.stored.size


def match(plan: Plan, found: Checkpoint) -> list[Weight]:
    """Every tensor that the GGUF has, checked against the checkpoint. Matrices of F32 are still to be looked
    at: see `undecided`.

    Raises ConversionError for a tensor that is missing, has another shape or is not known.
    """
    root = _root(plan, found.tensors)
    weights: list[Weight] = []
    for wanted in plan.wanted:
        name = wanted.source if wanted.beside else root + wanted.source
        if name in found.tensors:
            weights.append(_weight(wanted, found.tensors[name]))
        elif not wanted.optional:
            raise ConversionError(f"the tensor {name!r} is missing")
    _refuse_others(plan, found.tensors, {weight.stored.name for weight in weights if weight.stored})
    return [*weights, *map(_computed, plan.computed)]


def _root(plan: Plan, tensors: Mapping[str, Stored]) -> str:
    """What comes before every name; the first of the known ones where none fits."""
    first = plan.wanted[0].source
    return next((root for root in plan.roots if root + first in tensors), plan.roots[0])


def _weight(wanted: Wanted, stored: Stored) -> Weight:
    if stored.shape != wanted.shape:
        raise ConversionError(
            f"the tensor {stored.name!r} has the shape {stored.shape} where config.json needs {wanted.shape}"
        )
    kind = floats.KINDS[stored.readable]
    if len(wanted.shape) == 1 or wanted.exact:
        kind = GGMLQuantizationType.F32
    return Weight(Tensor(wanted.name, kind, wanted.shape), wanted, stored)


def _computed(computed: Computed) -> Weight:
    tensor = Tensor(computed.name, GGMLQuantizationType.F32, computed.values.shape)
    return Weight(tensor, values=computed.values)


def _refuse_others(plan: Plan, tensors: Mapping[str, Stored], used: set[str]) -> None:
    """A tied head may be in the file once more; anything else that is not used is part of another model."""
    others = tensors.keys() - used - {"lm_head.weight", "language_model.lm_head.weight"}
    unknown = sorted(
        name for name in others if not plan.ignored.fullmatch(name) and not plan.left_out.fullmatch(name)
    )
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise ConversionError(
            f"the checkpoint has {unknown[0]!r}{more}, which this architecture has not; the model is another "
            "one than config.json says, or has parts that are not known"
        )


def undecided(weight: Weight) -> bool:
    """Whether the type depends on the numbers: F32 matrices become F16 when they fit."""
    return weight.tensor.type == GGMLQuantizationType.F32 and not _exact(weight)


def _exact(weight: Weight) -> bool:
    return weight.wanted is None or weight.wanted.exact or len(weight.wanted.shape) == 1


def narrowed(weight: Weight) -> Weight:
    """A matrix of F32 as F16."""
    return replace(weight, tensor=replace(weight.tensor, type=GGMLQuantizationType.F16))


def file_type(weights: list[Weight]) -> LlamaFileType:
    """The type of most matrices."""
    kinds = Counter(weight.tensor.type for weight in weights if not _exact(weight))
    return _FILE_TYPES[kinds.most_common(1)[0][0]] if kinds else LlamaFileType.ALL_F32


def pieces(weight: Weight, found: Checkpoint) -> Iterator[bytes]:
    """The bytes of one tensor."""
    wanted, stored = weight.wanted, weight.stored
    if wanted is None or stored is None:
        assert weight.values is not None
        yield weight.values.tobytes()
        return
    source = iter((turned(found.whole(stored), wanted.heads),)) if wanted.heads else found.pieces(stored)
    for piece in source:
        values = floats.converted(piece, stored.dtype, weight.tensor.type)
        yield (values + np.float32(wanted.plus) if wanted.plus else values).tobytes()


def turned(values: Array, heads: int) -> Array:
    """Rows in llama.cpp's order: of each head the two halves alternate."""
    rows = values.shape[0]
    halves = values.reshape(heads, 2, rows // heads // 2, *values.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(values.shape)
