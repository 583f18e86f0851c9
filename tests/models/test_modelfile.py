from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from agentkit_server.models.modelfile import render_modelfile, render_parameters
from agentkit_server.models.store import Store


def test_a_modelfile_has_what_the_model_is_made_of(store: Store, tiny: Path) -> None:
    model = replace(
        store.link_file("mine", tiny),
        go_template="{{ .Prompt }}\n",
        system="Be brief.",
        parameters={"stop": ["<|im_end|>", 'say "x"'], "temperature": 0.5, "use_mmap": True},
        messages=({"role": "user", "content": "hi"},),
        license=("Apache-2.0",),
        adapters=(Path("/a/lora.gguf"),),
    )
    lines = render_modelfile(model).splitlines()
    assert "# FROM mine:latest" in lines
    assert lines[lines.index(f"FROM {tiny}") :] == [
        f"FROM {tiny}",
        "ADAPTER /a/lora.gguf",
        'TEMPLATE """{{ .Prompt }}',
        '"""',
        'SYSTEM "Be brief."',
        'PARAMETER stop "<|im_end|>"',
        'PARAMETER stop """say "x""""',
        "PARAMETER temperature 0.5",
        "PARAMETER use_mmap true",
        'MESSAGE user "hi"',
        'LICENSE "Apache-2.0"',
    ]


def test_parameters_are_aligned_one_value_a_line() -> None:
    text = render_parameters({"stop": ["a", "b"], "top_k": 3})
    assert text.splitlines() == [f'{"stop":<30} "a"', f'{"stop":<30} "b"', f"{'top_k':<30} 3"]
