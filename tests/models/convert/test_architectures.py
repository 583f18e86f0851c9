"""What is read from config.json: every way to write it, and an error for what llama.cpp has not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import tiny_hf
from support.conversion import converted

from agentkit_server.errors import ConversionError
from agentkit_server.models.convert.architectures import KNOWN, read_plan
from agentkit_server.models.convert.files import Fields
from agentkit_server.models.gguf import read_gguf

ODD: tuple[Any, ...] = (
    None,
    -1,
    0,
    1,
    3,
    2.5,
    "x",
    [],
    [1],
    {},
    {"a": 1},
    True,
    False,
    2**40,
    1e300,
    float("nan"),
)


def test_an_unknown_architecture_is_named_with_those_that_are_known(tmp_path: Path) -> None:
    files = tiny_hf.write_folder(tmp_path, "LlamaForCausalLM", architectures=["MambaForCausalLM"])
    with pytest.raises(ConversionError) as error:
        converted(files, tmp_path / "model.gguf")
    assert error.value.message == f"'MambaForCausalLM' cannot be imported; what can be is {', '.join(KNOWN)}"
    assert error.value.status == 400


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "two architectures": (
        "LlamaForCausalLM",
        {"architectures": ["A", "B"]},
        r"\['A', 'B'\] cannot be imported",
    ),
    "no architecture": (
        "LlamaForCausalLM",
        {"architectures": None},
        "config.json names no architecture; what can be is Llama",
    ),
    "quantised": ("LlamaForCausalLM", {"quantization_config": {"quant_method": "fp8"}}, r"quantised \(fp8\)"),
    "activation": ("LlamaForCausalLM", {"hidden_act": "relu"}, "hidden_act is 'relu'; what can .* 'silu'"),
    "partly rotated": (
        "LlamaForCausalLM",
        {"partial_rotary_factor": 0.5},
        "partial_rotary_factor 0.5 cannot",
    ),
    "rope": ("LlamaForCausalLM", {"rope_scaling": {"type": "ntk"}}, "rope type 'ntk' cannot"),
    "deep yarn": ("Qwen2ForCausalLM", {"rope_scaling": {"type": "yarn", "factor": 2, "mscale": 1}}, "mscale"),
    "no factor": ("Qwen2ForCausalLM", {"rope_scaling": {"type": "linear"}}, "needs a factor above 0"),
    "others' rope": (
        "Qwen2ForCausalLM",
        {"rope_scaling": tiny_hf.LLAMA3},
        "Llama 3's rope scaling for Llama",
    ),
    "gemma's rope": (
        "Gemma3ForCausalLM",
        {"rope_scaling": tiny_hf.LLAMA3},
        "Llama 3's rope scaling for Llama",
    ),
    "wide heads": ("Qwen2ForCausalLM", {"head_dim": 16}, "4 heads of 16 are not 32"),
    "shared heads": (
        "LlamaForCausalLM",
        {"num_key_value_heads": 3},
        "4 heads cannot share 3 keys and values",
    ),
    "a window": ("Qwen2ForCausalLM", {"use_sliding_window": True}, "use_sliding_window is True"),
    "positions": ("SmolLM3ForCausalLM", {"no_rope_layers": [1, 1, 0, 0]}, "every fourth layer"),
    "cap off": ("Gemma2ForCausalLM", {"attn_logit_softcapping": None}, "is off, which llama.cpp cannot"),
    "scale": ("Gemma2ForCausalLM", {"query_pre_attn_scalar": 99}, "is 99.0; llama.cpp takes 16"),
    "both ways": ("Gemma3ForCausalLM", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
    "layer types": ("Gemma3ForCausalLM", {"layer_types": ["chunked", "full_attention"]}, "layer_types is"),
    "layer types of another kind": ("Gemma3ForCausalLM", {"layer_types": [[], {}]}, "layer_types is"),
    "own head": ("Gemma3ForCausalLM", {"tie_word_embeddings": False}, "a head of its own cannot"),
    "long factors": (
        "Phi3ForCausalLM",
        {"rope_scaling": {"type": "longrope", "long_factor": [1]}},
        "has 1 numb",
    ),
    "decoder": ("BertModel", {"is_decoder": True}, "is_decoder is True"),
    "relative": ("BertModel", {"position_embedding_type": "relative_key"}, "'relative_key'"),
    "shape": (
        "LlamaForCausalLM",
        {"intermediate_size": 40},
        r"\(48, 32\) where config.json needs \(40, 32\)",
    ),
    "layers": (
        "LlamaForCausalLM",
        {"num_hidden_layers": 3},
        "'model.layers.2.input_layernorm.weight' is missing",
    ),
    "more": (
        "LlamaForCausalLM",
        {"num_hidden_layers": 1},
        "has 'model.layers.1.*' and 15 more, which this arch",
    ),
    "no size": ("LlamaForCausalLM", {"hidden_size": None}, "has no hidden_size, which is needed"),
    "many tokens": ("LlamaForCausalLM", {"vocab_size": 2**31}, "at most 4000000 tokens"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_llama_cpp_has_not_is_refused_by_name(name: str, tmp_path: Path) -> None:
    architecture, change, why = REFUSED[name]
    files = tiny_hf.write_folder(tmp_path, architecture)
    tiny_hf.write_json(tmp_path / "config.json", tiny_hf.config(architecture) | change)
    with pytest.raises(ConversionError, match=why):
        converted(files, tmp_path / "model.gguf")


def test_a_folder_without_config_is_refused(tmp_path: Path) -> None:
    files = tiny_hf.write_folder(tmp_path, "LlamaForCausalLM")
    del files["config.json"]
    with pytest.raises(ConversionError, match=r"no config.json, which says what model it is"):
        converted(files, tmp_path / "model.gguf")


@pytest.mark.parametrize("architecture", tiny_hf.CONFIGS)
def test_an_odd_value_of_any_key_gives_an_error_or_a_plan(architecture: str) -> None:
    for changed in odd(tiny_hf.config(architecture)):
        try:
            plan = read_plan(Fields(changed, "config.json"), {})
        except ConversionError as error:
            assert error.message
        else:
            assert plan.wanted


def odd(given: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """`given` with one value replaced, at any depth."""
    for key, value in given.items():
        for other in ODD:
            yield {**given, key: other}
        if isinstance(value, dict):
            for inner in odd(value):
                yield {**given, key: inner}


V5: dict[str, dict[str, Any]] = {
    "LlamaForCausalLM": {
        "rope_parameters": {"rope_theta": 500.0, **tiny_hf.CONFIGS["LlamaForCausalLM"]["rope_scaling"]}
    },
    "Gemma3ForCausalLM": {
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
        }
    },
}


@pytest.mark.parametrize("architecture", V5)
def test_rope_is_read_as_newer_programs_write_it(architecture: str, tmp_path: Path) -> None:
    files = tiny_hf.write_folder(tmp_path, architecture)
    converted(files, tmp_path / "old.gguf")
    older = ("rope_theta", "rope_scaling", "rope_local_base_freq")
    kept = {key: value for key, value in tiny_hf.config(architecture).items() if key not in older}
    tiny_hf.write_json(tmp_path / "config.json", kept | V5[architecture])
    converted(files, tmp_path / "new.gguf")
    assert (tmp_path / "old.gguf").read_bytes() == (tmp_path / "new.gguf").read_bytes()


@pytest.mark.parametrize("root", ["language_model.model.", "model.language_model."])
def test_of_a_gemma_that_sees_the_text_part_is_imported(root: str, tmp_path: Path) -> None:
    text = tiny_hf.write_folder(tmp_path, "Gemma3ForCausalLM")
    converted(text, tmp_path / "text.gguf")
    every = {
        root + name.removeprefix("model."): values
        for name, values in tiny_hf.weights("Gemma3ForCausalLM").items()
    }
    every["vision_tower.a.weight"] = np.zeros((2, 2), np.float32)
    every["multi_modal_projector.b"] = np.zeros(2, np.float32)
    tiny_hf.write_safetensors(tmp_path / "model.safetensors", every)
    given = {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "text_config": tiny_hf.config("Gemma3ForCausalLM"),
    }
    tiny_hf.write_json(tmp_path / "config.json", given)
    done = converted(text, tmp_path / "seen.gguf")
    assert done.notes == ("only the text part is imported: images cannot be shown to this model",)
    assert (tmp_path / "seen.gguf").read_bytes() == (tmp_path / "text.gguf").read_bytes()


@pytest.mark.parametrize(
    ("architecture", "change", "note"),
    [
        ("MistralForCausalLM", {"sliding_window": 16}, "no window of 16 tokens for this model"),
        ("Phi3ForCausalLM", {"sliding_window": 16}, "does not use the window of 16 tokens"),
        (
            "LlamaForCausalLM",
            {"rope_scaling": {"type": "dynamic", "factor": 2.0}},
            "over 64 tokens will be poor",
        ),
    ],
)
def test_what_is_other_than_in_transformers_is_told(
    architecture: str, change: dict[str, Any], note: str, tmp_path: Path
) -> None:
    done = converted(tiny_hf.write_folder(tmp_path, architecture, **change), tmp_path / "model.gguf")
    assert len(done.notes) == 1 and note in done.notes[0]


def test_a_head_that_is_the_embedding_is_not_written_twice(tmp_path: Path) -> None:
    files = tiny_hf.write_folder(tmp_path, "LlamaForCausalLM")
    every = tiny_hf.weights("LlamaForCausalLM")
    tiny_hf.write_json(
        tmp_path / "config.json", tiny_hf.config("LlamaForCausalLM") | {"tie_word_embeddings": True}
    )
    converted(files, tmp_path / "with.gguf")
    del every["lm_head.weight"]
    tiny_hf.write_safetensors(tmp_path / "model.safetensors", every)
    converted(files, tmp_path / "without.gguf")
    assert (tmp_path / "with.gguf").read_bytes() == (tmp_path / "without.gguf").read_bytes()
    assert "output.weight" not in {tensor.name for tensor in read_gguf(tmp_path / "with.gguf").tensors}
    # Nobody says that it is tied, and there is no other: it is.
    tiny_hf.write_json(tmp_path / "config.json", tiny_hf.config("LlamaForCausalLM"))
    converted(files, tmp_path / "unsaid.gguf")
    tiny_hf.write_json(
        tmp_path / "config.json", tiny_hf.config("LlamaForCausalLM") | {"tie_word_embeddings": False}
    )
    with pytest.raises(ConversionError, match=r"'lm_head.weight' is missing"):
        converted(files, tmp_path / "denied.gguf")


@pytest.mark.parametrize(
    ("modules", "pooling", "why"),
    [
        ([{"type": "a.Dense"}], {}, "has a module 'Dense'; Transformer, Pooling and Normalize"),
        (
            [{"type": "a.Pooling", "path": "1"}],
            {"pooling_mode_max_tokens": True},
            "pools by pooling_mode_max_tokens",
        ),
        ([{"type": "a.Pooling", "path": "1"}], {}, "pools by None"),
        ([{"type": "a.Pooling", "path": "2"}], {}, "names '2/config.json', which is not in the folder"),
        ({"type": "a.Pooling"}, {}, "modules is .* where a list belongs"),
    ],
)
def test_a_vector_that_llama_cpp_would_make_otherwise_is_refused(
    modules: Any, pooling: dict[str, Any], why: str, tmp_path: Path
) -> None:
    tiny_hf.write_folder(tmp_path, "BertModel")
    tiny_hf.write_json(tmp_path / "modules.json", modules)
    tiny_hf.write_json(tmp_path / "1" / "config.json", pooling)
    with pytest.raises(ConversionError, match=why):
        converted(tiny_hf.files_of(tmp_path), tmp_path / "model.gguf")


def test_a_cased_bert_keeps_its_case(tmp_path: Path) -> None:
    files = tiny_hf.write_folder(tmp_path, "BertModel")
    tokenizer = tiny_hf.word_piece_tokenizer()
    tokenizer["normalizer"] |= {"lowercase": False, "strip_accents": None}
    tiny_hf.write_json(tmp_path / "tokenizer.json", tokenizer)
    converted(files, tmp_path / "model.gguf")
    metadata = read_gguf(tmp_path / "model.gguf").metadata
    assert metadata["tokenizer.ggml.normalizer.lowercase"] is False
    assert metadata["tokenizer.ggml.normalizer.strip_accents"] is False
    assert metadata["tokenizer.ggml.tokens"][5:7] == ["▁worda", "▁wordb"]
    assert metadata["tokenizer.ggml.tokens"][25:27] == ["a", "b"]
