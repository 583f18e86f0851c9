"""The LoRA adapters of a loaded model, and which of them the next batch is computed with.

A context adds one set of adapters to all that it computes. A set is what one model name adds to the
weights that it shares with others: files and scales, known by a number, of which 0 is the bare model.
Belongs to the stepper's thread.
"""

from __future__ import annotations

from typing import Any

from agentkit_server.engine.llama import Context, LlamaError
from agentkit_server.engine.types import AdapterFile

File = tuple[str, int]
"""Path and version."""


def unknown(number: int) -> tuple[str, str]:
    """Code and message of a request that names a set which is not loaded."""
    return "internal_error", f"the set of adapters {number} is not loaded: send the request again"


class Adapters:
    """Sets by number. A file that several sets name is loaded once."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._sets: dict[int, dict[File, float]] = {}
        self._loaded: dict[File, Any] = {}
        self._selected = 0

    def __contains__(self, number: int) -> bool:
        return number == 0 or number in self._sets

    def __len__(self) -> int:
        """Files that are loaded."""
        return len(self._loaded)

    def load(self, number: int, files: list[AdapterFile]) -> None:
        """Make `files` the set `number`, unless there is one. Raises LlamaError, which names the file."""
        if number in self:
            return
        scales: dict[File, float] = {}
        for file in files:
            # llama.cpp would skip the second of two that are the same.
            key = file.path, file.version
            scales[key] = scales.get(key, 0.0) + file.scale
        try:
            for key in scales:
                self._load_file(key)
        except LlamaError:
            self._free_unused()
            raise
        self._sets[number] = scales

    def _load_file(self, file: File) -> None:
        if file in self._loaded:
            return
        try:
            self._loaded[file] = self._context.load_adapter(file[0])
        except LlamaError as error:
            raise LlamaError(f"the adapter {file[0]!r} cannot be applied: {error}") from None

    def drop(self, number: int) -> None:
        """Forget a set that nothing uses, and the files that no other needs."""
        if number == self._selected:
            self.select(0)
        self._sets.pop(number, None)
        self._free_unused()

    def select(self, number: int) -> bool:
        """Compute with this set from now on; whether that is a change."""
        if number == self._selected:
            return False
        chosen = self._sets[number].items() if number else ()
        self._context.use_adapters([(self._loaded[file], scale) for file, scale in chosen])
        self._selected = number
        return True

    def _free_unused(self) -> None:
        needed = {file for files in self._sets.values() for file in files}
        for file in self._loaded.keys() - needed:
            self._context.free_adapter(self._loaded.pop(file))
