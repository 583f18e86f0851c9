"""What the process that quantises is told, and what it says: plain data, without llama.cpp.

llama.cpp writes one GGUF file anew, its tensors in other types. Shards become one file.
"""

from __future__ import annotations

import msgspec

FILE_TYPES = {
    "F32": 0,
    "F16": 1,
    "BF16": 32,
    "Q8_0": 7,
    "Q6_K": 18,
    "Q5_K_M": 17,
    "Q5_K_S": 16,
    "Q5_1": 9,
    "Q5_0": 8,
    "Q4_K_M": 15,
    "Q4_K_S": 14,
    "Q4_1": 3,
    "Q4_0": 2,
    "IQ4_NL": 25,
    "IQ4_XS": 30,
    "Q3_K_L": 13,
    "Q3_K_M": 12,
    "Q3_K_S": 11,
    "IQ3_M": 27,
    "IQ3_S": 26,
    "IQ3_XS": 22,
    "IQ3_XXS": 23,
    "Q2_K": 10,
    "Q2_K_S": 21,
    "IQ2_M": 29,
    "IQ2_S": 28,
    "IQ2_XS": 20,
    "IQ2_XXS": 19,
    "IQ1_M": 31,
    "IQ1_S": 24,
    "TQ2_0": 37,
    "TQ1_0": 36,
    "Q1_0": 40,
    "MXFP4_MOE": 38,
}
"""llama.cpp's file types by the names of its llama-quantize: the number that it knows each by. Without Q2_0,
whose tensors the `gguf` package cannot read yet."""
ALIASES = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}
NEED_IMPORTANCE = frozenset({"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "Q2_K_S"})
"""Types that llama.cpp makes of no model without an importance matrix; others it refuses of some."""


class QuantizeJob(msgspec.Struct, frozen=True, kw_only=True):
    """One file to write."""

    source: str
    """Path of the GGUF, or of the first of its shards."""
    target: str
    """Path of the new file."""
    file_type: int
    """A number of FILE_TYPES."""
    importance: str = ""
    """Path of an importance matrix; "" = none."""
    importance_name: str = ""
    """What the new file says of where its importance matrix came from."""


class AtTensor(msgspec.Struct, frozen=True, tag=True):
    """The tensor that is being written now."""

    name: str
    number: int
    """From 1."""
    count: int


class Quantized(msgspec.Struct, frozen=True, tag=True):
    """The file is whole."""


class NotQuantized(msgspec.Struct, frozen=True, tag=True):
    """There is no file, or not a whole one."""

    message: str
    importance: bool = False
    """The importance matrix cannot be used, or is lacking."""


QuantizeReply = AtTensor | Quantized | NotQuantized
