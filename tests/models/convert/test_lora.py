"""LoRA adapters of PEFT: what they add here is what they add there, and more than that is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from support import tiny_hf
from support.conversion import converted, finished, loaded, logits

from agentkit_server.errors import ConversionError
from agentkit_server.models.convert.convert import convert_adapter, is_adapter
from agentkit_server.models.gguf import read_gguf

RANK, ALPHA = 3, 6.0
CONFIG = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "bias": "none", "use_dora": False}
DECODERS = [name for name in tiny_hf.CONFIGS if name != "BertModel"]
PREFIX = "base_model.model."
Floats = npt.NDArray[np.float32]


def modules(architecture: str) -> list[str]:
    """Names of all matrices that an adapter may change."""
    names = (name for name, values in tiny_hf.weights(architecture).items() if values.ndim == 2)
    return [name.removesuffix(".weight") for name in names if "embed_tokens" not in name]


def pair(module: str, shape: tuple[int, ...]) -> tuple[Floats, Floats]:
    rows, columns = shape
    return tiny_hf.draw(f"{module} A", RANK, columns), tiny_hf.draw(f"{module} B", rows, RANK)


def write_adapter(folder: Path, architecture: str, names: list[str], **config: Any) -> dict[str, Path]:
    every = tiny_hf.weights(architecture)
    tensors: tiny_hf.Tensors = {}
    for module in names:
        a, b = pair(module, every[f"{module}.weight"].shape)
        tensors |= {f"{PREFIX}{module}.lora_A.weight": a, f"{PREFIX}{module}.lora_B.weight": b}
    folder.mkdir()
    tiny_hf.write_safetensors(folder / "adapter_model.safetensors", tensors)
    tiny_hf.write_json(folder / "adapter_config.json", CONFIG | config)
    return tiny_hf.files_of(folder)


def merged(architecture: str, names: list[str], scale: float) -> tiny_hf.Tensors:
    """The weights with the adapter added to them."""
    every = tiny_hf.weights(architecture)
    for module in names:
        a, b = pair(module, every[f"{module}.weight"].shape)
        every[f"{module}.weight"] = every[f"{module}.weight"] + np.float32(scale) * (b @ a)
    return every


def computed(path: Path, adapter: Path | None = None) -> Floats:
    context = loaded(path)
    try:
        if adapter is not None:
            context.use_adapters([(context.load_adapter(str(adapter)), 1.0)])
        return logits(context, tiny_hf.PROMPT, tiny_hf.CHECKED)
    finally:
        context.free()


def check(folder: Path, architecture: str, scale: float, **config: Any) -> None:
    names = modules(architecture)
    (folder / "base").mkdir()
    base = tiny_hf.write_folder(folder / "base", architecture)
    converted(base, folder / "base.gguf")
    files = write_adapter(folder / "adapter", architecture, names, **config)
    steps = convert_adapter(files, read_gguf(folder / "base.gguf"), folder / "adapter.gguf")
    done, told = finished(steps)
    assert done.size == (folder / "adapter.gguf").stat().st_size and told[-1][0] == told[-1][1]
    tiny_hf.write_safetensors(base["model.safetensors"], merged(architecture, names, scale))
    converted(base, folder / "merged.gguf")
    expected, found = (
        computed(folder / "merged.gguf"),
        computed(folder / "base.gguf", folder / "adapter.gguf"),
    )
    assert np.abs(computed(folder / "base.gguf") - expected).max() > 0.5 * expected.std()
    np.testing.assert_allclose(found, expected, atol=0.03 * float(expected.std()))


@pytest.mark.parametrize("architecture", DECODERS)
def test_an_adapter_adds_what_it_would_if_it_were_merged(architecture: str, tmp_path: Path) -> None:
    check(tmp_path, architecture, ALPHA / RANK)


def test_rank_stabilised_adapters_are_scaled_by_the_root_of_the_rank(tmp_path: Path) -> None:
    check(tmp_path, "LlamaForCausalLM", ALPHA / RANK**0.5, use_rslora=True)


def test_the_file_says_that_it_is_an_adapter_for_this_architecture(tmp_path: Path) -> None:
    converted(tiny_hf.write_folder(tmp_path, "Qwen3ForCausalLM"), tmp_path / "base.gguf")
    files = write_adapter(tmp_path / "adapter", "Qwen3ForCausalLM", ["model.layers.1.mlp.up_proj"])
    assert is_adapter(files) and not is_adapter({"config.json": tmp_path})
    finished(convert_adapter(files, read_gguf(tmp_path / "base.gguf"), tmp_path / "adapter.gguf"))
    found = read_gguf(tmp_path / "adapter.gguf")
    assert found.architecture == "qwen3"
    kept = {key: found.metadata[key] for key in ("general.type", "adapter.type", "adapter.lora.alpha")}
    assert kept == {"general.type": "adapter", "adapter.type": "lora", "adapter.lora.alpha": ALPHA}
    assert [(tensor.name, tensor.type, tensor.shape) for tensor in found.tensors] == [
        ("blk.1.ffn_up.weight.lora_a", "F32", (32, RANK)),
        ("blk.1.ffn_up.weight.lora_b", "F32", (RANK, 48)),
    ]


SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "other kind": ({"peft_type": "IA3"}, "peft_type is 'IA3'; only 'LORA' can"),
    "dora": ({"use_dora": True}, "use_dora is True, which cannot be imported; train without it"),
    "saved modules": ({"modules_to_save": ["lm_head"]}, r"modules_to_save is \['lm_head'\]"),
    "other base": ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa'"),
    "biases": ({"bias": "all"}, "bias is 'all'"),
    "alphas": ({"alpha_pattern": {"q_proj": 3}}, "alpha_pattern"),
    "ranks": ({"use_rslora": True, "rank_pattern": {"q_proj": 3}}, "use_rslora with a rank_pattern"),
    "no alpha": ({"lora_alpha": 0}, "lora_alpha is 0.0; a number above 0"),
    "beyond every number": (
        {"use_rslora": True, "r": 1 << 31, "lora_alpha": 9e37},
        "r 2147483648 and lora_alpha 9e\\+37 are too large",
    ),
    "no rank": ({"r": None}, "has no r, which is needed"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_what_is_more_than_a_lora_is_refused(name: str, tmp_path: Path) -> None:
    change, why = SETTINGS[name]
    refused(tmp_path, {}, why, **change)


TENSORS: dict[str, tuple[dict[str, Floats], str]] = {
    "embedding": (
        {"base_model.model.model.embed_tokens.lora_embedding_A": np.zeros((3, 64), np.float32)},
        "for no mat",
    ),
    "saved": (
        {"base_model.model.lm_head.weight": np.zeros((64, 32), np.float32)},
        "for no matrix of 'qwen3'",
    ),
    "unknown": (
        {f"{PREFIX}model.layers.9.mlp.up_proj.lora_A.weight": np.zeros((3, 32), np.float32)},
        "for no matrix",
    ),
    "a norm": ({f"{PREFIX}model.norm.lora_A.weight": np.zeros((3, 32), np.float32)}, "for no matrix"),
    "one half": (
        {f"{PREFIX}model.layers.0.mlp.up_proj.lora_A.weight": np.zeros((3, 32), np.float32)},
        "only lora_A",
    ),
    "shape": (
        {
            f"{PREFIX}model.layers.0.mlp.up_proj.lora_A.weight": np.zeros((3, 30), np.float32),
            f"{PREFIX}model.layers.0.mlp.up_proj.lora_B.weight": np.zeros((48, 3), np.float32),
        },
        r"shapes \(3, 30\) and \(48, 3\), where the base has \(48, 32\); it was trained on another",
    ),
    "ranks": (
        {
            f"{PREFIX}model.layers.0.mlp.up_proj.lora_A.weight": np.zeros((3, 32), np.float32),
            f"{PREFIX}model.layers.0.mlp.up_proj.lora_B.weight": np.zeros((48, 4), np.float32),
        },
        "trained on another model",
    ),
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_that_fit_no_matrix_are_refused(name: str, tmp_path: Path) -> None:
    tensors, why = TENSORS[name]
    refused(tmp_path, tensors, why)


def refused(folder: Path, tensors: Mapping[str, Floats], why: str, **config: Any) -> None:
    converted(tiny_hf.write_folder(folder, "Qwen3ForCausalLM"), folder / "base.gguf")
    files = write_adapter(folder / "adapter", "Qwen3ForCausalLM", ["model.layers.1.mlp.up_proj"], **config)
    if tensors:
        tiny_hf.write_safetensors(files["adapter_model.safetensors"], tensors)
    with pytest.raises(ConversionError, match=why):
        finished(convert_adapter(files, read_gguf(folder / "base.gguf"), folder / "adapter.gguf"))


def test_an_adapter_needs_its_base_and_all_of_its_files(tmp_path: Path) -> None:
    files = write_adapter(tmp_path / "adapter", "Qwen3ForCausalLM", ["model.layers.1.mlp.up_proj"])
    with pytest.raises(ConversionError, match="needs the model that it was trained on"):
        finished(convert_adapter(files, None, tmp_path / "adapter.gguf"))
    converted(tiny_hf.write_folder(tmp_path, "BertModel"), tmp_path / "bert.gguf")
    with pytest.raises(ConversionError, match="adapters for 'bert' cannot be imported; those for llama, "):
        finished(convert_adapter(files, read_gguf(tmp_path / "bert.gguf"), tmp_path / "adapter.gguf"))
    for name in files:
        rest = {other: path for other, path in files.items() if other != name}
        with pytest.raises(ConversionError, match=f"has no '{name}'"):
            finished(convert_adapter(rest, read_gguf(tmp_path / "bert.gguf"), tmp_path / "adapter.gguf"))
