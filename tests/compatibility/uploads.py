"""Files that models are created of, which the server has before it is asked. Their digests never change."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from support.lora import write_lora
from support.tiny_gguf import write_tiny_gguf


def _made() -> tuple[bytes, bytes]:
    with TemporaryDirectory() as folder:
        model = write_tiny_gguf(Path(folder) / "model.gguf", name="uploaded").read_bytes()
        pairs = {"blk.0.attn_q.weight": (np.ones((1, 32)), np.ones((2, 1)))}
        return model, write_lora(Path(folder) / "adapter.gguf", pairs, 1).read_bytes()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


_model, _adapter = _made()
_matrix = struct.pack("<ii", 1, 1) + b"x" + struct.pack("<iif", 1, 1, 1.0)
MODEL, ADAPTER, MATRIX = _digest(_model), _digest(_adapter), _digest(_matrix)
UPLOADS = {MODEL: _model, ADAPTER: _adapter, MATRIX: _matrix}
KEEPER = {
    "model": "keeper",
    "from": "smollm2",
    "draft_files": {"a.gguf": MODEL},
    "adapters": {"a.gguf": ADAPTER},
    "stream": False,
}
"""A request that makes a model of them, so that they stay. The matrix is in no model."""
