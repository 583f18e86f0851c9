from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.tiny_gguf import write_tiny_gguf

from agentkit_server.models.details import capabilities, describe, parameter_size
from agentkit_server.models.gguf import read_gguf


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (134_515_008, "134.52M"),
        (1_543_714_304, "1.5B"),
        (7_000_000_000, "7B"),
        (8_030_261_248, "8.0B"),
        (26_000_000, "26M"),
        (820_500, "820K"),
        (352, "352"),
        (0, "0"),
    ],
)
def test_parameter_sizes_read_as_ollama_writes_them(count: int, text: str) -> None:
    assert parameter_size(count) == text


def test_details_come_from_the_file(tiny: Path) -> None:
    details = describe(read_gguf(tiny))
    assert (details.format, details.family, details.families) == ("gguf", "llama", ("llama",))
    assert (details.parameter_size, details.quantization_level) == ("352", "F16")
    assert (details.context_length, details.embedding_length) == (2048, 32)


INFILL = {f"tokenizer.ggml.fim_{part}_token_id": number for number, part in enumerate(("pre", "suf", "mid"))}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, ("completion",)),
        ({"chat_template": None}, ("completion",)),
        ({"pooling": "mean"}, ("embedding",)),
        ({"pooling": "rank"}, ("rerank",)),
        ({"chat_template": "{% if tools %}{{ tools }}{% endif %}"}, ("completion", "tools")),
        ({"chat_template": "{{ message.tool_calls }}"}, ("completion", "tools")),
        ({"chat_template": "{{ 'all my footools' }}"}, ("completion",)),
        ({"chat_template": "{% if enable_thinking %}<think>{% endif %}"}, ("completion", "thinking")),
        ({"architecture": "gpt-oss"}, ("completion", "thinking")),
        ({"extra": INFILL}, ("completion", "insert")),
        ({"extra": {"llama.vision.block_count": 3}}, ("completion", "vision")),
        ({"extra": {"clip.has_audio_encoder": True}}, ("completion", "audio")),
    ],
)
def test_capabilities_follow_from_metadata_and_templates(
    tmp_path: Path, facts: dict[str, Any], expected: tuple[str, ...]
) -> None:
    assert capabilities(read_gguf(write_tiny_gguf(tmp_path / "m.gguf", **facts))) == expected


def test_a_go_template_a_projector_and_the_config_add_capabilities(tiny: Path) -> None:
    info = read_gguf(tiny)
    template = "{{ $.Tools }}{{ with .Suffix }}x{{ end }}<think>{{ .Thinking }}</think>"
    assert capabilities(info, go_template=template) == ("completion", "tools", "thinking", "insert")
    assert capabilities(info, projector=True) == ("completion", "vision")
    assert capabilities(info, stated=["audio", "telepathy"]) == ("completion", "audio")


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("Write .Tools, .Suffix and .Thinking.{{/* {{ .Tools }} */}}", ()),
        ("{{ range $i, $t := .Tools }}{{ $t }}{{ end }}", ("tools",)),
        ("{{ if and .System (gt (len $.Tools) 0) }}x{{ end }}", ("tools",)),
        ("{{ range .Messages }}{{ range .ToolCalls }}{{ .Function.Name }}{{ end }}{{ end }}", ()),
        ("{{ define `fill` }}{{ .Suffix }}{{ end }}{{ template `fill` . }}", ("insert",)),
        (
            "{{ range .Messages }}{{ if .Thinking }}<t>\n{{ .Thinking }}\n</t>{{ end }}{{ end }}",
            ("thinking",),
        ),
        (
            "{{ range $m := .Messages }}{{ with $m }}{{ else }}[{{ $m.Thinking }}]{{ end }}{{ end }}",
            ("thinking",),
        ),
        ("{{ range .Messages }}{{ .Thinking }}{{ .Content }}{{ end }}", ()),
        ("{{ range .Tools }}{{ .Suffix }}", ()),
        ("{{ .Tools", ()),
    ],
)
def test_a_go_template_is_asked_for_what_it_refers_to_and_not_for_words(
    tmp_path: Path, template: str, expected: tuple[str, ...]
) -> None:
    info = read_gguf(write_tiny_gguf(tmp_path / "m.gguf", chat_template=None))
    assert capabilities(info, go_template=template) == ("completion", *expected)
