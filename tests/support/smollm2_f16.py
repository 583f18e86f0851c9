"""smollm2 in F16, made once of the quantised one and kept beside it, as a source for quantising."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from llama_cpp import llama_cpp as lib
from support.smollm2 import gguf_path, models_folder

F16 = 1


def f16_path() -> Path:
    """The GGUF file, 270 MB."""
    path = models_folder() / "smollm2-f16.gguf"
    if not path.exists():
        unfinished = path.with_suffix(f".{os.getpid()}")
        params = lib.llama_model_quantize_default_params()
        # No source of quantised weights for anybody but a test: what they lost does not come back.
        params.allow_requantize, params.ftype = True, F16
        code = lib.llama_model_quantize(bytes(gguf_path()), bytes(unfinished), ctypes.byref(params))  # pyright: ignore[reportArgumentType]
        assert code == 0, "smollm2 could not be written in F16"
        unfinished.rename(path)
    return path
