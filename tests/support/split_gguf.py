"""A tiny model as one file and as shards, written by the `gguf` package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, TokenType

TOKENS = [b"<unk>", b"<s>", b"a", b"\xff\xfe", "ä".encode()]


def write_split_gguf(path: Path, *, shards: bool) -> list[Path]:
    """Write three tensors of different lengths to `path`, or a shard each beside it; returns the files in
    order."""
    writer = GGUFWriter(path, "llama", split_max_tensors=1 if shards else 0)
    writer.add_name("split")
    writer.add_file_type(LlamaFileType.MOSTLY_F16)
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_head_count(4)
    writer.add_uint64("odd.number", 1 << 40)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(TOKENS)
    writer.add_token_types([TokenType.NORMAL] * len(TOKENS))
    random = np.random.default_rng(1)
    writer.add_tensor("token_embd.weight", random.random((len(TOKENS), 32)).astype(np.float16))
    writer.add_tensor("output_norm.weight", random.random(33).astype(np.float32))
    quantized = random.integers(0, 255, (3, 34), dtype=np.uint8)
    writer.add_tensor("blk.0.attn_q.weight", quantized, raw_dtype=GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sorted(path.parent.glob(f"{path.stem}-*-of-*.gguf")) if shards else [path]
