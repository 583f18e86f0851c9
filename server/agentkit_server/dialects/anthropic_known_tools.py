"""Tools that Anthropic's clients name by their type and run themselves: the shell, the editor and the memory.
Anthropic's models know them by heart; any other model is told what they are and how they are called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class KnownTool(NamedTuple):
    """What a type stands for."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    """JSON Schema of the arguments."""


_TEXT: dict[str, Any] = {"type": "string"}
_LINE: dict[str, Any] = {"type": "integer", "minimum": 0}
_RANGE: dict[str, Any] = {
    "type": "array",
    "items": {"type": "integer", "minimum": -1},
    "minItems": 2,
    "maxItems": 2,
    "description": "First and last line, from 1; -1 = to the end.",
}
_REPLACED = {"old_str": _TEXT, "new_str": _TEXT}
_INSERTED = {"insert_line": _LINE, "insert_text": _TEXT}
_PATH = {"path": _TEXT}


def _commands(needed: Mapping[str, Mapping[str, Any]], **optional: Any) -> dict[str, Any]:
    """Arguments of which `command` says what others are needed."""
    fields = {name: schema for group in needed.values() for name, schema in group.items()}
    return {
        "type": "object",
        "properties": {"command": {"enum": [*needed]}, **fields, **optional},
        "anyOf": [
            {"properties": {"command": {"const": command}}, "required": ["command", *group]}
            for command, group in needed.items()
        ],
        "additionalProperties": False,
    }


_BASH = KnownTool(
    "bash",
    "Runs a command in a bash session that keeps its state; `restart` begins a new session.",
    {
        "type": "object",
        "properties": {"command": _TEXT, "restart": {"type": "boolean"}},
        "anyOf": [{"required": ["command"]}, {"required": ["restart"]}],
        "additionalProperties": False,
    },
)
_EDITOR = KnownTool(
    "str_replace_based_edit_tool",
    "Views, creates and edits text files. `old_str` must be in the file exactly once; `insert_text` goes "
    "behind line `insert_line`, 0 = at the beginning.",
    _commands(
        {
            "view": _PATH,
            "create": {**_PATH, "file_text": _TEXT},
            "str_replace": {**_PATH, **_REPLACED},
            "insert": {**_PATH, **_INSERTED},
        },
        view_range=_RANGE,
    ),
)
_MEMORY = KnownTool(
    "memory",
    "Keeps notes in files under /memories, which outlive the conversation. Look there before you begin.",
    _commands(
        {
            "view": _PATH,
            "create": {**_PATH, "file_text": _TEXT},
            "str_replace": {**_PATH, **_REPLACED},
            "insert": {**_PATH, **_INSERTED},
            "delete": _PATH,
            "rename": {"old_path": _TEXT, "new_path": _TEXT},
        },
        view_range=_RANGE,
    ),
)
KNOWN_TOOLS: Mapping[str, KnownTool] = {
    "bash_20241022": _BASH,
    "bash_20250124": _BASH,
    "text_editor_20250429": _EDITOR,
    "text_editor_20250728": _EDITOR,
    "memory_20250818": _MEMORY,
}
"""By type."""
