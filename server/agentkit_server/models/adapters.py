"""LoRA adapters as GGUF files, checked against the model that they are for.

llama.cpp ends the process on much that a hostile or mistaken file can say, and a process may serve other
models of the same base: so all that it relies on is checked here first, with the bounded reader.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from gguf.constants import GGUFValueType

from agentkit_server.errors import InvalidGGUF
from agentkit_server.models.gguf_header import Header, read_header
from agentkit_server.models.model import GGUFInfo, TensorInfo

_PART = re.compile(r"(?P<base>.+)\.lora_(?P<part>[ab])", re.DOTALL)
_EMBEDDING, _OUTPUT = "token_embd.weight", "output.weight"
_IGNORED = "_norm.weight"
_FLOATS = frozenset({"F32", "F16", "BF16"})
_QUANTISED = ("Q", "IQ")
_INSIDE = frozenset({"Q8_1", "Q8_K"})
"""Types that only exist in the middle of a multiplication."""
_NOT_WITH = "NVFP4"
_TEXTS = ("general.type", "general.architecture", "adapter.type")
_ALPHA = "adapter.lora.alpha"
_INVOCATION = "adapter.alora.invocation_tokens"


def check_adapter(path: str | Path, base: GGUFInfo) -> str:
    """Raises InvalidGGUF, which names the file, when it is no LoRA adapter for `base`; returns what of it
    llama.cpp does not apply, "" = it applies all."""
    path = Path(path)
    check = _Check(path, read_header(path), base)
    check.metadata()
    return check.tensors()


class _Check:
    def __init__(self, path: Path, header: Header, base: GGUFInfo) -> None:
        self._path = path
        self._header = header
        self._base = base
        self._weights = {tensor.name: tensor for tensor in base.tensors}

    def _wrong(self, why: str) -> InvalidGGUF:
        return InvalidGGUF(f"the adapter {str(self._path)!r} cannot be applied: {why}")

    def metadata(self) -> None:
        said: dict[str, Any] = self._header.metadata
        kind, architecture, way = (said.get(key) for key in _TEXTS)
        if kind != "adapter":
            raise self._wrong(f"its general.type is {kind!r:.50} and not 'adapter': it is no adapter")
        if architecture != self._base.architecture:
            raise self._wrong(
                f"it was made for the architecture {architecture!r:.50} and the model is "
                f"{self._base.architecture!r}; use one that was trained on this model"
            )
        if way != "lora":
            raise self._wrong(f"its adapter.type is {way!r:.50}; only 'lora' is supported")
        if _ALPHA in said and not self._is_number(said[_ALPHA]):
            raise self._wrong(f"its {_ALPHA} is {said[_ALPHA]!r:.50}, which is no finite 32-bit float")
        if _INVOCATION in said:
            raise self._wrong(
                f"it has {_INVOCATION}: activated LoRA, which begins inside a prompt, is not supported"
            )

    def _is_number(self, value: Any) -> bool:
        is_float = self._header.kinds[_ALPHA] is GGUFValueType.FLOAT32
        return is_float and math.isfinite(value)

    def tensors(self) -> str:
        parts: dict[str, dict[str, TensorInfo]] = {}
        ignored = False
        for tensor in self._header.tensors:
            match = _PART.fullmatch(tensor.name)
            if match is not None:
                self._check_type(tensor)
                parts.setdefault(match["base"], {})[match["part"]] = tensor
            elif tensor.name.endswith(_IGNORED):
                ignored = True
            else:
                raise self._wrong(f"it has the tensor {tensor.name!r}, which is no part of a LoRA")
        if not parts:
            raise self._wrong("it has no LoRA tensors")
        for name, pair in parts.items():
            self._check_pair(name, pair)
        if not ignored:
            return ""
        return (
            f"the norm weights of the adapter {str(self._path)!r} are left out: llama.cpp cannot apply them"
        )

    def _check_type(self, tensor: TensorInfo) -> None:
        quantised = tensor.type.startswith(_QUANTISED) and tensor.type not in _INSIDE
        if tensor.type not in _FLOATS and not quantised:
            raise self._wrong(f"its tensor {tensor.name!r} has the type {tensor.type}")

    def _check_pair(self, name: str, pair: dict[str, TensorInfo]) -> None:
        if len(pair) != 2:
            (there,) = pair
            raise self._wrong(f"{name!r} has lora_{there} and not lora_{'b' if there == 'a' else 'a'}")
        weight = self._weights.get(name)
        if weight is None:
            raise self._wrong(
                f"the model has no tensor {name!r}; use an adapter that was trained on this model"
            )
        if name == _EMBEDDING and _OUTPUT not in self._weights and self._base.pooling is None:
            raise self._wrong(
                f"it changes {name!r}, which in this model is its output too; llama.cpp cannot do that"
            )
        if weight.type == _NOT_WITH:
            raise self._wrong(
                f"{name!r} has the type {_NOT_WITH} in the model; llama.cpp adds nothing to those"
            )
        a, b, rank = _shapes(name, weight, pair)
        fits = (_padded(pair["a"].shape), _padded(pair["b"].shape)) == (_padded(a), _padded(b))
        if len(weight.shape) < 2 or not rank or not fits:
            raise self._wrong(
                f"{name!r} has the shape {weight.shape} in the model, and {pair['a'].shape} and "
                f"{pair['b'].shape} in the adapter, which must be {a} and {b}; use an adapter that was "
                f"trained on this model"
            )


def _shapes(
    name: str, weight: TensorInfo, pair: dict[str, TensorInfo]
) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Which shapes the two parts must have, and their rank. Shapes begin with what varies fastest."""
    columns, rows, *experts = (*weight.shape, 1, 1)[: max(2, len(weight.shape))]
    rank = pair["b"].shape[0] if pair["b"].shape else 0
    if name == _EMBEDDING:
        # llama.cpp wants these two as they are looked up.
        return (rank, rows), (rank, columns), rank
    return (columns, rank, *experts), (rank, rows, *experts), rank


def _padded(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape, 1, 1, 1, 1)[:4]
