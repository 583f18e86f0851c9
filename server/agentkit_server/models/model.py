"""What a model is, once its name has been resolved: a GGUF file and the facts around it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from agentkit_server.models.names import ModelName

Capability = Literal[
    "completion", "chat", "embedding", "tools", "thinking", "insert", "vision", "audio", "rerank"
]


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of a GGUF file, as `show` lists it."""

    name: str
    type: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class GGUFInfo:
    """The metadata of a GGUF file, read with bounds (gguf.py). Sizes in bytes."""

    metadata: dict[str, Any]
    """Every key and value. Arrays are lists, and long ones (vocabulary, merges) are sequences that read
    their file when they are iterated: see gguf_header.LongArray."""
    tensors: tuple[TensorInfo, ...]
    file_size: int
    architecture: str
    parameter_count: int
    quantization: str
    """File type by name, for example Q4_1."""
    context_length: int
    """Trained context length in tokens; 0 when the file does not say."""
    embedding_length: int
    block_count: int
    head_count: int
    head_count_kv: tuple[int, ...]
    """Key/value heads of each block (0 for a block without attention)."""
    key_length: int
    value_length: int
    pooling: Literal["none", "mean", "cls", "last", "rank"] | None
    """None when the file has no pooling key: a generative model."""
    chat_template: str | None
    vocab_size: int


@dataclass(frozen=True)
class Details:
    """The `details` object of the native dialect."""

    format: str
    family: str
    families: tuple[str, ...]
    parameter_size: str
    """For example 134.52M."""
    quantization_level: str
    context_length: int
    embedding_length: int
    parent_model: str = ""


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter of a model: its GGUF file, and how much of it is added."""

    path: Path
    scale: float = 1.0


@dataclass(frozen=True)
class Model:
    """A resolved model. `path` is a blob of the store, or the person's own file (served in place)."""

    name: ModelName
    digest: str
    """Hex sha256 of the manifest; for a plain file, of its path, size and modification time."""
    size: int
    modified_at: datetime
    path: Path
    gguf: GGUFInfo
    details: Details
    capabilities: tuple[Capability, ...]
    system: str | None = None
    go_template: str | None = None
    """TEMPLATE layer of an Ollama manifest (Go text/template), see go_template.py."""
    parameters: dict[str, Any] = field(default_factory=dict[str, Any])
    """PARAMETER layer: option name -> value."""
    messages: tuple[dict[str, str], ...] = ()
    license: tuple[str, ...] = ()
    weights: str = ""
    """Digests of the weights' layers; "" = not known. Models of the same weights can share them in memory."""
    adapters: tuple[Adapter, ...] = ()
    projectors: tuple[Path, ...] = ()
    draft: Path | None = None
    """DRAFT layer: a smaller model of the same vocabulary. Kept, and not used in this version."""
    renderer: str | None = None
    """Name of a prompt renderer of Ollama's. Kept, and not used: the template counts."""
    parser: str | None = None
    requires: str | None = None
    """The least version of Ollama that its author wants."""
