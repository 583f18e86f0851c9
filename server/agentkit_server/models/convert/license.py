"""What a model folder says about its licence."""

from __future__ import annotations

import re

from agentkit_server.models.convert.files import MAX_TEXT_BYTES, Files, read_bytes

_FENCE = "---"
_NAME = re.compile(r"[\w.+-]+")


def read_license(files: Files) -> str | None:
    """The text of its LICENSE, else the name in the first lines of its README.md, else None."""
    for name in ("LICENSE", "LICENSE.txt", "LICENSE.md"):
        text = _text(files, name)
        if text:
            return text
    return _stated(_text(files, "README.md"))


def _text(files: Files, name: str) -> str:
    """One that is in an old encoding is a text all the same: no weight of the model depends on it."""
    return (read_bytes(files, name, MAX_TEXT_BYTES) or b"").decode("utf-8", errors="replace")


def _stated(readme: str) -> str | None:
    """`license:` in the facts between two lines of `---` with which a README may begin."""
    first, *lines = readme.splitlines() or [""]
    facts = [line.rstrip() for line in lines]
    if first.rstrip() != _FENCE or _FENCE not in facts:
        return None
    for line in facts[: facts.index(_FENCE)]:
        key, _, value = line.partition(":")
        name = value.strip().strip("\"'")
        if key == "license" and _NAME.fullmatch(name):
            return name
    return None
