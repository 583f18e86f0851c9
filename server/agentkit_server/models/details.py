"""What `list` and `show` say of a model: sizes and types in Ollama's wording, and its capabilities."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import get_args

from agentkit_server.models.go_template import readable
from agentkit_server.models.model import Capability, Details, GGUFInfo

_TOOLS = re.compile(r"\btools\b|\btool_calls?\b")
_THINKING = re.compile(r"</?think(ing)?>|\benable_thinking\b|\breasoning_content\b")
_INFILL = ("fim_pre_token_id", "fim_suf_token_id", "fim_mid_token_id")
_OLD_INFILL = ("prefix_token_id", "suffix_token_id", "middle_token_id")
_THINKING_ARCHITECTURES = frozenset({"gpt-oss", "gptoss"})


def parameter_size(count: int) -> str:
    """A number of parameters as Ollama writes it: 134.52M, 1.5B, 7B, 820K."""
    for unit, name, digits in ((10**9, "B", 1), (10**6, "M", 2), (10**3, "K", 0)):
        if count >= unit:
            return f"{count / unit:.{0 if count % unit == 0 else digits}f}{name}"
    return str(count)


def describe(info: GGUFInfo, families: tuple[str, ...] = ()) -> Details:
    """The `details` object. `families` are those of the config blob, where it states any."""
    return Details(
        format="gguf",
        family=info.architecture,
        families=families or (info.architecture,),
        parameter_size=parameter_size(info.parameter_count),
        quantization_level=info.quantization,
        context_length=info.context_length,
        embedding_length=info.embedding_length,
    )


def capabilities(
    info: GGUFInfo, *, go_template: str | None = None, projector: bool = False, stated: Iterable[str] = ()
) -> tuple[Capability, ...]:
    """What the model can do, from its metadata and templates and as its config blob `stated`, in a fixed
    order."""
    found = _found(info, go_template, projector) | set(stated)
    return tuple(capability for capability in get_args(Capability) if capability in found)


def _found(info: GGUFInfo, go_template: str | None, projector: bool) -> set[str]:
    if info.pooling is not None:
        return {"rerank"} if info.pooling == "rank" else {"embedding"}
    found = {"completion"}
    jinja = info.chat_template or ""
    go = readable(go_template) if go_template else None
    if projector or _has(info, "vision.block_count"):
        found.add("vision")
    if _has(info, "audio.block_count") or _has(info, "clip.has_audio_encoder"):
        found.add("audio")
    if _TOOLS.search(jinja) or (go and "Tools" in go.names):
        found.add("tools")
    if (go and go.infills) or _infill(info):
        found.add("insert")
    thinks = _THINKING.search(jinja) or (go and go.thinks)
    if thinks or info.architecture in _THINKING_ARCHITECTURES:
        found.add("thinking")
    return found


def _has(info: GGUFInfo, key: str) -> bool:
    return bool(info.metadata.get(key) or info.metadata.get(f"{info.architecture}.{key}"))


def _infill(info: GGUFInfo) -> bool:
    """The tokenizer states the three tokens of fill-in-the-middle, under new or old names."""
    return any(
        all(f"tokenizer.ggml.{key}" in info.metadata for key in keys) for keys in (_INFILL, _OLD_INFILL)
    )
