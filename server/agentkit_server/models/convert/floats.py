"""Numbers from one type to another. BF16, which numpy lacks, is an array of its bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from gguf.constants import GGMLQuantizationType

Array = npt.NDArray[Any]

LARGEST_HALF = 65504.0
KINDS = {
    "F32": GGMLQuantizationType.F32,
    "F16": GGMLQuantizationType.F16,
    "BF16": GGMLQuantizationType.BF16,
}


def to_float32(values: Array, dtype: str) -> npt.NDArray[np.float32]:
    """Exact, whatever the type."""
    if dtype == "BF16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32, copy=False)


def converted(values: Array, dtype: str, target: GGMLQuantizationType) -> Array:
    """`values` of the safetensors type `dtype` as `target`: the same type, F32, or F16 from F32."""
    if KINDS[dtype] == target:
        return values
    if target == GGMLQuantizationType.F32:
        return to_float32(values, dtype)
    return to_float32(values, dtype).astype(np.float16)


def fits_half(values: Array) -> bool:
    """Whether F32 numbers stay finite as F16."""
    # Not a number is not larger than anything: it stays what it is.
    return not bool(np.any(np.abs(values) > LARGEST_HALF))
