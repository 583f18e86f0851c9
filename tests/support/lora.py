"""LoRA adapters as GGUF files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def write_lora(
    path: Path,
    pairs: Mapping[str, tuple[Array, Array]],
    alpha: float,
    *,
    architecture: str = "llama",
    extra: Mapping[str, Array] | None = None,
) -> Path:
    """An adapter for the weights that `pairs` names: A of (rank, columns) and B of (rows, rank). `extra` are
    further tensors."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    for name, (a, b) in pairs.items():
        writer.add_tensor(f"{name}.lora_a", a.astype(np.float32))
        writer.add_tensor(f"{name}.lora_b", b.astype(np.float32))
    for name, values in (extra or {}).items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
