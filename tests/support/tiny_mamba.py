"""A recurrent model small enough to write in a test: random weights, a handful of tokens, real llama.cpp."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

WORDS = ("<unk>", "<s>", "</s>", *(f"▁w{i}" for i in range(61)))
WIDTH, INNER, STATE, RANK, KERNEL = 32, 64, 8, 4, 4


def write_tiny_mamba(path: Path) -> Path:
    writer = gguf.GGUFWriter(path, "mamba")
    writer.add_name("tiny mamba")
    writer.add_context_length(256)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    writer.add_block_count(1)
    writer.add_ssm_conv_kernel(KERNEL)
    writer.add_ssm_inner_size(INNER)
    writer.add_ssm_state_size(STATE)
    writer.add_ssm_time_step_rank(RANK)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(list(WORDS))
    writer.add_token_scores([0.0] * len(WORDS))
    kinds = (gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL)
    writer.add_token_types([*kinds, *[gguf.TokenType.NORMAL] * (len(WORDS) - 3)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    _add_weights(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_weights(writer: gguf.GGUFWriter) -> None:
    random = np.random.default_rng(7)

    def weight(name: str, *shape: int) -> None:
        writer.add_tensor(name, random.normal(0, 0.3, shape).astype(np.float32))

    weight("token_embd.weight", len(WORDS), WIDTH)
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    writer.add_tensor("blk.0.attn_norm.weight", np.ones(WIDTH, np.float32))
    weight("blk.0.ssm_in.weight", 2 * INNER, WIDTH)
    weight("blk.0.ssm_conv1d.weight", INNER, KERNEL)
    weight("blk.0.ssm_conv1d.bias", INNER)
    weight("blk.0.ssm_x.weight", RANK + 2 * STATE, INNER)
    weight("blk.0.ssm_dt.weight", INNER, RANK)
    weight("blk.0.ssm_dt.bias", INNER)
    writer.add_tensor("blk.0.ssm_a", -np.abs(random.normal(1, 0.2, (INNER, STATE))).astype(np.float32))
    weight("blk.0.ssm_d", INNER)
    weight("blk.0.ssm_out.weight", WIDTH, INNER)
