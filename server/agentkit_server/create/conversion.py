"""Safetensors folders and adapters become GGUF files, in blocking steps."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from agentkit_server.models.convert.convert import convert, convert_adapter
from agentkit_server.models.model import GGUFInfo

Folder = Mapping[str, Path]
"""Files by their names, which are relative to the folder."""


@dataclass(frozen=True)
class Imported:
    """What a folder says beside its weights."""

    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    notes: tuple[str, ...] = ()
    license: str | None = None


def folder(files: Folder) -> Folder:
    """`files` with names as from the folder that holds the config of the model."""
    configs = [PurePosixPath(name) for name in files if PurePosixPath(name).name == "config.json"]
    root = min(configs, key=lambda path: len(path.parts)).parent if configs else PurePosixPath()
    if not root.parts:
        return files
    inside = {name: path for name, path in files.items() if PurePosixPath(name).is_relative_to(root)}
    return {str(PurePosixPath(name).relative_to(root)): path for name, path in inside.items()}


def converted(
    files: Folder, target: Path, base: GGUFInfo | None
) -> Generator[tuple[int, int], None, Imported]:
    """Write the model, or with `base` an adapter for it, to `target`: yields (bytes done, bytes in all).

    Raises ConversionError.
    """
    if base is not None:
        yield from convert_adapter(files, base, target)
        return Imported()
    done = yield from convert(files, target)
    return Imported(done.parameters, done.notes, done.license)
