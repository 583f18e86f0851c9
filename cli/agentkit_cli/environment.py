"""Settings of the command line, read from the environment and trimmed as the SDK trims its own.

The SDK is not imported for it, so that `--help` stays quick.
"""

from __future__ import annotations

import os
from pathlib import Path

_FALSE = {"", "0", "f", "false", "no", "off"}


def setting(name: str) -> str | None:
    """`AGENTKIT_<name>`, else `OLLAMA_<name>`; None where neither says anything."""
    for variable in (f"AGENTKIT_{name}", f"OLLAMA_{name}"):
        if value := os.environ.get(variable, "").strip().strip("\"'"):
            return value
    return None


def flag(name: str) -> bool:
    """Whether the setting is on. A value that is not a boolean counts as on, as Ollama has it."""
    return (setting(name) or "").lower() not in _FALSE


def home() -> Path:
    """The person's agentkit folder. Not created here."""
    return Path.home() / ".agentkit"
