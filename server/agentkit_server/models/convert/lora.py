"""LoRA adapters of PEFT: `adapter_config.json` and `adapter_model.safetensors` become a GGUF adapter.

llama.cpp adds `alpha / rank * B A x` to what a matrix makes of x. Everything is written as F32, which holds
each of the source's types exactly. Only what can be added that way is imported; the rest is refused by name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf.constants import GGMLQuantizationType

from agentkit_server.errors import ConversionError
from agentkit_server.models.convert import floats, weights
from agentkit_server.models.convert.architectures import LAYERS
from agentkit_server.models.convert.files import Files, read_object
from agentkit_server.models.convert.gguf_file import Sink, Tensor, header, padding, sink_of
from agentkit_server.models.convert.plan import Dimensions, Wanted
from agentkit_server.models.convert.safetensors import Checkpoint, Stored
from agentkit_server.models.model import GGUFInfo

_MAX_ALPHA = 1e38
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_NAME = re.compile(
    r"(?:base_model\.model\.)?(?:model\.)?(?P<module>.+)\.lora_(?P<half>[AB])(?:\.default)?\.weight"
)
_OFF: dict[str, tuple[Any, ...]] = {
    "use_dora": (False,),
    "use_qalora": (False,),
    "fan_in_fan_out": (False,),
    "lora_bias": (False,),
    "bias": ("none",),
    "modules_to_save": ([],),
    "alpha_pattern": ({},),
    "layer_replication": ([],),
    "target_parameters": ([],),
    "trainable_token_indices": ([],),
    "alora_invocation_tokens": ([],),
    "use_bdlora": (False,),
    "arrow_config": (),
    "kasa_config": (),
    "monteclora_config": (),
    "velora_config": (),
    # The others change the base's own weights.
    "init_lora_weights": (True, False, "gaussian", "eva", "orthogonal"),
}
"""Settings of PEFT that change what is computed, with the values that do not."""


@dataclass(frozen=True)
class ConvertedAdapter:
    """What has become of an adapter. Size in bytes."""

    family: str
    """llama.cpp's name of the base's architecture."""
    size: int
    rank: int
    alpha: float
    """As llama.cpp divides it by the rank."""


@dataclass(frozen=True)
class _Pair:
    wanted: Wanted
    a: Stored
    b: Stored


def is_adapter(files: Files) -> bool:
    """Whether a folder holds an adapter rather than a model."""
    return CONFIG in files


def convert_adapter(
    files: Files, base: GGUFInfo | None, target: Sink | Path
) -> Generator[tuple[int, int], None, ConvertedAdapter]:
    """Write the adapter of a folder, made for `base`, to `target` as one GGUF.

    Blocking, in steps: yields (bytes done, bytes in all). Raises ConversionError when it is no LoRA of this
    base, or more than a LoRA.
    """
    if base is None:
        raise ConversionError("an adapter needs the model that it was trained on; give that, too")
    rank, alpha = _settings(files)
    if WEIGHTS not in files:
        raise ConversionError(f"the folder of the adapter has no {WEIGHTS!r}")
    metadata = {
        "general.architecture": base.architecture,
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.lora.alpha": alpha,
        "general.file_type": 0,
        "general.quantization_version": 2,
    }
    with Checkpoint(files, [WEIGHTS]) as found, sink_of(target) as sink:
        pairs = _pairs(found, _targets(base), base)
        tensors = [tensor for pair in pairs for tensor in _tensors(pair)]
        head = header(metadata, tensors)
        sink.write(head)
        done, total = 0, sum(tensor.size for tensor in tensors)
        for pair in pairs:
            for tensor, data in zip(_tensors(pair), _contents(pair, found), strict=True):
                sink.write(data + padding(len(data)))
                done += tensor.size
                yield done, total
    size = len(head) + sum(tensor.size + len(padding(tensor.size)) for tensor in tensors)
    return ConvertedAdapter(base.architecture, size, rank, alpha)


def _settings(files: Files) -> tuple[int, float]:
    """Rank, and alpha as llama.cpp divides it by the rank."""
    config = read_object(files, CONFIG)
    if config is None:
        raise ConversionError(f"the folder of the adapter has no {CONFIG!r}")
    kind = config.text("peft_type")
    if kind != "LORA":
        raise ConversionError(f"{CONFIG}: peft_type is {kind!r}; only 'LORA' can be imported")
    for key, allowed in _OFF.items():
        value = config.get(key)
        if value is not None and value not in allowed:
            raise ConversionError(
                f"{CONFIG}: {key} is {value!r:.80}, which cannot be imported; train without it"
            )
    rank, alpha = config.need("r"), config.number("lora_alpha")
    if alpha is None or alpha <= 0:
        raise ConversionError(f"{CONFIG}: lora_alpha is {alpha!r}; a number above 0 is needed")
    if config.flag("use_rslora"):
        if config.get("rank_pattern"):
            raise ConversionError(f"{CONFIG}: use_rslora with a rank_pattern cannot be imported")
        # Divided by the root of the rank, where llama.cpp divides by the rank.
        alpha *= math.sqrt(rank)
    if alpha > _MAX_ALPHA:
        raise ConversionError(f"{CONFIG}: r {rank} and lora_alpha {config.get('lora_alpha')} are too large")
    return rank, alpha


def _targets(base: GGUFInfo) -> dict[str, Wanted]:
    """Name of a module, below the model's root -> the matrix of the base."""
    if base.architecture not in LAYERS:
        raise ConversionError(
            f"adapters for {base.architecture!r} cannot be imported; those for {', '.join(LAYERS)} can"
        )
    inner = base.metadata.get(f"{base.architecture}.feed_forward_length")
    sizes = Dimensions(
        hidden=base.embedding_length,
        inner=inner if isinstance(inner, int) else 0,
        layers=base.block_count,
        heads=base.head_count,
        heads_kv=max(base.head_count_kv, default=0),
        head_dim=base.key_length,
        vocab=base.vocab_size,
        context=base.context_length,
    )
    wanted = [one for layer in range(sizes.layers) for one in LAYERS[base.architecture](layer, sizes)]
    matrices = {one.source.removesuffix(".weight"): one for one in wanted if len(one.shape) == 2}
    names = {tensor.name for tensor in base.tensors}
    if "output.weight" in names:
        head = Wanted("output.weight", "lm_head.weight", (sizes.vocab, sizes.hidden))
        matrices["lm_head"] = head
    return matrices


def _pairs(found: Checkpoint, targets: dict[str, Wanted], base: GGUFInfo) -> list[_Pair]:
    halves: dict[str, dict[str, Stored]] = {}
    for name, stored in found.tensors.items():
        match = _NAME.fullmatch(name)
        if match is None or match["module"] not in targets:
            raise ConversionError(
                f"the adapter has {name!r}, which is for no matrix of {base.architecture!r} that "
                "an adapter may change here"
            )
        halves.setdefault(match["module"], {})[match["half"]] = stored
    if not halves:
        raise ConversionError(f"{WEIGHTS!r} has no tensors")
    return [_pair(module, both, targets[module]) for module, both in halves.items()]


def _pair(module: str, halves: dict[str, Stored], wanted: Wanted) -> _Pair:
    if halves.keys() != {"A", "B"}:
        raise ConversionError(f"the adapter has only lora_{next(iter(halves))} of {module!r}")
    a, b = halves["A"], halves["B"]
    rows, columns = wanted.shape
    if len(a.shape) != 2 or len(b.shape) != 2 or a.shape[1] != columns or b.shape != (rows, a.shape[0]):
        raise ConversionError(
            f"the adapter's matrices for {module!r} have the shapes {a.shape} and {b.shape}, where the base "
            f"has {wanted.shape}; it was trained on another model"
        )
    return _Pair(wanted, a, b)


def _tensors(pair: _Pair) -> tuple[Tensor, Tensor]:
    kind = GGMLQuantizationType.F32
    return (
        Tensor(f"{pair.wanted.name}.lora_a", kind, pair.a.shape),
        Tensor(f"{pair.wanted.name}.lora_b", kind, pair.b.shape),
    )


def _contents(pair: _Pair, found: Checkpoint) -> tuple[bytes, bytes]:
    """Both matrices. Where the base's rows change places, B's do."""
    a, b = (floats.to_float32(found.whole(one), one.readable) for one in (pair.a, pair.b))
    if pair.wanted.heads:
        b = weights.turned(b, pair.wanted.heads)
    return a.tobytes(), np.ascontiguousarray(b).tobytes()
