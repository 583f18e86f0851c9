"""Makes data/logits.json: what transformers computes with the tiny models of support/tiny_hf.py.

Not a test, and run by hand, in an environment of its own that has `torch` and `transformers` (made with
torch 2.15 and transformers 5.24, on a processor, in float32):

    PYTHONPATH=tests python tests/models/convert/make_reference.py
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from support import tiny_hf
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

DATA = Path(__file__).parent / "data" / "logits.json"


def compute(architecture: str, prompt: list[int], checked: tuple[int, ...]) -> list[list[float]]:
    """Logits at the positions that are checked; of BERT the vector of every position."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tiny_hf.write_folder(folder, architecture)
        kind: Any = AutoModel if architecture == "BertModel" else AutoModelForCausalLM
        config = AutoConfig.from_pretrained(folder)
        loaded = kind.from_pretrained(
            folder, config=config, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
        )
        model, info = loaded
        assert not any(info.values()), (architecture, info)
    with torch.no_grad():
        found = model.eval()(torch.tensor([prompt]))
    if architecture == "BertModel":
        return np.round(found.last_hidden_state[0].numpy().astype(float), 5).tolist()
    logits = found.logits[0].numpy().astype(float)
    return np.round(logits[list(checked)], 5).tolist()


if __name__ == "__main__":
    found = {name: compute(name, tiny_hf.PROMPT, tiny_hf.CHECKED) for name in tiny_hf.CONFIGS}
    found["long prompt"] = compute("Phi3ForCausalLM", tiny_hf.LONG_PROMPT, (len(tiny_hf.LONG_PROMPT) - 1,))
    DATA.write_text(json.dumps(found).replace("], [", "],\n [") + "\n")
