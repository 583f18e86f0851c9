"""What was typed in earlier conversations: at most 100 entries in a file that only its owner can read.

Each line of the file is one entry as a JSON string, so that an entry may have several lines.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from prompt_toolkit.history import History as PromptHistory

LIMIT = 100


class History(PromptHistory):
    """The entries of `path`. While not `enabled`, nothing is written; what is there stays readable.

    A file that cannot be read or written costs the history and nothing else.
    """

    def __init__(self, path: Path, *, enabled: bool = True) -> None:
        super().__init__()
        self.enabled = enabled
        self._path = path

    def load_history_strings(self) -> Iterable[str]:
        """The entries, newest first."""
        return reversed(self._read())

    def store_string(self, string: str) -> None:
        """Adds an entry and forgets the oldest beyond the limit."""
        if self.enabled:
            self._write([*self._read(), string][-LIMIT:])

    def _read(self) -> list[str]:
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            return []
        return [entry for line in lines if (entry := _entry(line)) is not None]

    def _write(self, entries: list[str]) -> None:
        text = "".join(f"{json.dumps(entry)}\n" for entry in entries)
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(text)
            temporary.replace(self._path)
        except OSError:
            self.enabled = False


def _entry(line: str) -> str | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, str) else None
