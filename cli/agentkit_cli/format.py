"""The form of answers as a person names it: `json`, a JSON Schema, or a file that holds one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from agentkit_cli.errors import CommandError

MAX_BYTES = 1 << 20
"""Size of a schema's file."""
_HINT = 'give json, a JSON Schema such as \'{"type": "object"}\', or the path of a file with one'


def read_format(text: str) -> str | dict[str, Any]:
    """What the server calls `format`.

    Raises:
        CommandError: `text` is none of these, or the schema cannot be read.
    """
    if text == "json":
        return text
    if text.lstrip().startswith("{"):
        return _schema(text, "the JSON Schema")
    path = Path(text).expanduser()
    try:
        if not path.is_file():
            raise CommandError(f"unknown format {text!r}", hint=_HINT)
        if path.stat().st_size > MAX_BYTES:
            raise CommandError(f"{text!r} is too large; a schema has at most {MAX_BYTES} bytes")
        return _schema(path.read_text(encoding="utf-8"), repr(text))
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{text!r} cannot be read: {error}", hint=_HINT) from error


def _schema(text: str, what: str) -> dict[str, Any]:
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CommandError(f"{what} is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise CommandError(f"{what} holds no JSON object, and so no JSON Schema")
    return cast("dict[str, Any]", value)
