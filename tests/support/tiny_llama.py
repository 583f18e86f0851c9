"""A llama small enough to write in a test, and to compute by hand: random weights, byte tokens.

`log_probabilities` is the same model in numpy; with `merged` weights it is what a LoRA adapter makes of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Weights = dict[str, Floats]
Pair = tuple[Floats, Floats]
"""A and B of one weight: (rank, columns) and (rows, rank)."""

WORDS = ("<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁a", "▁b", "▁c", "▁d")
WIDTH, HEADS, KV_HEADS, INNER, BLOCKS, CONTEXT = 32, 4, 2, 48, 2, 512
PER_HEAD = WIDTH // HEADS
BASE, EPSILON = 10_000.0, 1e-5
TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"


def weights(seed: int = 11) -> Weights:
    """As numpy multiplies with them: (rows, columns)."""
    random = np.random.default_rng(seed)

    def weight(rows: int, columns: int) -> Floats:
        return random.normal(0, 0.35, (rows, columns)).astype(np.float32).astype(np.float64)

    found: Weights = {"token_embd.weight": weight(len(WORDS), WIDTH)}
    for block in range(BLOCKS):
        shapes = {
            "attn_q": (WIDTH, WIDTH),
            "attn_k": (KV_HEADS * PER_HEAD, WIDTH),
            "attn_v": (KV_HEADS * PER_HEAD, WIDTH),
            "attn_output": (WIDTH, WIDTH),
            "ffn_gate": (INNER, WIDTH),
            "ffn_up": (INNER, WIDTH),
            "ffn_down": (WIDTH, INNER),
        }
        found |= {f"blk.{block}.{name}.weight": weight(*shape) for name, shape in shapes.items()}
    return found | {"output.weight": weight(len(WORDS), WIDTH)}


def write_tiny_llama(path: Path, seed: int = 11) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_block_count(BLOCKS)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(PER_HEAD)
    writer.add_layer_norm_rms_eps(EPSILON)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_chat_template(TEMPLATE)
    _add_vocabulary(writer)
    for name, values in weights(seed).items():
        writer.add_tensor(name, values.astype(np.float32))
    norms = [f"blk.{block}.{kind}_norm" for block in range(BLOCKS) for kind in ("attn", "ffn")]
    for name in (*norms, "output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
    return _written(writer, path)


def random_pair(rows: int, columns: int, seed: int, rank: int = 1, size: float = 0.3) -> Pair:
    """Of a weight of that shape; the numbers are those that a file of 32-bit floats holds."""
    random = np.random.default_rng(seed)
    a = random.normal(0, size, (rank, columns)).astype(np.float32)
    b = random.normal(0, size, (rows, rank)).astype(np.float32)
    return a.astype(np.float64), b.astype(np.float64)


def merged(base: Weights, pairs: Mapping[str, Pair], factor: float) -> Weights:
    """Weights with `factor` (scale * alpha / rank) times B A added."""
    return base | {name: base[name] + factor * (b @ a) for name, (a, b) in pairs.items()}


def log_probabilities(tokens: list[int], w: Weights) -> Floats:
    """Of every next token behind `tokens`."""
    return log_softmax(w["output.weight"] @ hidden(tokens, w))


def log_softmax(logits: Floats) -> Floats:
    top = logits.max()
    return logits - top - np.log(np.exp(logits - top).sum())


def hidden(tokens: list[int], w: Weights) -> Floats:
    """What the output layer sees at the last token."""
    x = w["token_embd.weight"][tokens]
    for block in range(BLOCKS):
        own = {
            name: w[f"blk.{block}.{name}.weight"] for name in ("attn_q", "attn_k", "attn_v", "attn_output")
        }
        x = x + _attention(_normed(x), own) @ own["attn_output"].T
        gate, up, down = (w[f"blk.{block}.ffn_{name}.weight"] for name in ("gate", "up", "down"))
        y = _normed(x)
        gated = y @ gate.T
        x = x + (gated / (1 + np.exp(-gated)) * (y @ up.T)) @ down.T
    return _normed(x)[-1]


def _normed(x: Floats) -> Floats:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + EPSILON)


def _attention(x: Floats, own: Weights) -> Floats:
    count = len(x)
    q = _turned((x @ own["attn_q"].T).reshape(count, HEADS, PER_HEAD))
    k = _turned((x @ own["attn_k"].T).reshape(count, KV_HEADS, PER_HEAD))
    v = (x @ own["attn_v"].T).reshape(count, KV_HEADS, PER_HEAD)
    k, v = (np.repeat(each, HEADS // KV_HEADS, axis=1) for each in (k, v))
    scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(PER_HEAD)
    scores = np.where(np.tri(count, dtype=bool), scores, -np.inf)
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    return np.einsum("hqk,khd->qhd", shares, v).reshape(count, WIDTH)


def _turned(x: Floats) -> Floats:
    """Rotary positions, on neighbouring pairs as llama has them."""
    angles = np.outer(np.arange(len(x)), BASE ** (-np.arange(0, PER_HEAD, 2) / PER_HEAD))[:, None, :]
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = np.empty_like(x)
    turned[..., 0::2] = even * np.cos(angles) - odd * np.sin(angles)
    turned[..., 1::2] = even * np.sin(angles) + odd * np.cos(angles)
    return turned


def _add_vocabulary(writer: gguf.GGUFWriter) -> None:
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    kinds += [gguf.TokenType.BYTE] * 256 + [gguf.TokenType.NORMAL] * 4
    writer.add_tokenizer_model("llama")
    writer.add_token_list(list(WORDS))
    writer.add_token_scores([0.0] * len(WORDS))
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)


def _written(writer: gguf.GGUFWriter, path: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
