"""The same weights give the same logits here as in transformers, for every architecture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import tiny_hf
from support.conversion import converted, loaded, logits

from agentkit_server.engine.llama import Batch

# How they were made: make_reference.py.
REFERENCE = json.loads((Path(__file__).parent / "data" / "logits.json").read_text())
DECODERS = [name for name in tiny_hf.CONFIGS if name != "BertModel"]


def check(path: Path, prompt: list[int], positions: tuple[int, ...], expected: Any, n_ctx: int) -> None:
    context = loaded(path, n_ctx=n_ctx)
    try:
        found = logits(context, prompt, positions)
    finally:
        context.free()
    # Activations and the cache are rounded to F16 on the way; what is wrong differs by its own size.
    np.testing.assert_allclose(found, expected, atol=0.02 * float(np.std(expected)))


@pytest.mark.parametrize("architecture", DECODERS)
def test_logits_are_those_of_transformers(architecture: str, tmp_path: Path) -> None:
    converted(tiny_hf.write_folder(tmp_path, architecture), tmp_path / "model.gguf")
    check(tmp_path / "model.gguf", tiny_hf.PROMPT, tiny_hf.CHECKED, REFERENCE[architecture], 64)


def test_phi_3_has_its_other_factors_in_a_long_context(tmp_path: Path) -> None:
    converted(tiny_hf.write_folder(tmp_path, "Phi3ForCausalLM"), tmp_path / "model.gguf")
    last = (len(tiny_hf.LONG_PROMPT) - 1,)
    check(tmp_path / "model.gguf", tiny_hf.LONG_PROMPT, last, REFERENCE["long prompt"], 512)


def test_each_position_of_bert_is_that_of_transformers(tmp_path: Path) -> None:
    tiny_hf.write_folder(tmp_path, "BertModel")
    tiny_hf.write_json(
        tmp_path / "modules.json", [{"type": "a.Transformer"}, {"type": "a.Pooling", "path": "p"}]
    )
    for mode, expected in (
        ("mean_tokens", np.mean(REFERENCE["BertModel"], axis=0)),
        ("cls_token", REFERENCE["BertModel"][0]),
        ("lasttoken", REFERENCE["BertModel"][-1]),
    ):
        tiny_hf.write_json(tmp_path / "p" / "config.json", {f"pooling_mode_{mode}": True})
        converted(tiny_hf.files_of(tmp_path), tmp_path / "model.gguf")
        context = loaded(tmp_path / "model.gguf", embedding=True)
        try:
            batch = Batch(len(tiny_hf.PROMPT))
            batch.add(tiny_hf.PROMPT, 0, 0, output=True)
            assert context.decode(batch) == 0
            found = np.array(context.pooled_embedding(0))
        finally:
            context.free()
        np.testing.assert_allclose(found, expected, atol=0.02 * float(np.std(REFERENCE["BertModel"])))
