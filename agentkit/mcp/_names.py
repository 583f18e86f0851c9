"""Names: of a server, from what starts or reaches it, and of its tools among those of other servers."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Sequence
from pathlib import PurePath
from urllib.parse import urlsplit

_LONGEST = 64
"""Of a tool's name, as models' servers accept it."""
_LONGEST_PREFIX = 32
_NOT_ALLOWED = re.compile(r"[^a-zA-Z0-9_-]+")
_STARTERS = {"uvx", "uv", "npx", "npm", "bunx", "bun", "deno", "node", "pipx", "python", "python3", "py"}
_WORDS = {"docker", "env", "sh", "bash", "run", "exec", "x", "tool"}
_LAUNCHERS = _STARTERS | _WORDS
_PROGRAMS = frozenset({".py", ".js", ".mjs", ".cjs", ".ts", ".exe", ".sh", ".jar"})
_SAYS_NOTHING = frozenset({"www", "mcp", "api"})


def of_url(url: str) -> str:
    """`https://mcp.example.com/v1` -> `example`."""
    host = urlsplit(url).hostname or ""
    if not re.search(r"[a-z]", host) or ":" in host:
        return _clean(host)
    labels = [label for label in host.split(".") if label not in _SAYS_NOTHING]
    return _clean(labels[0] if labels else host)


def of_command(command: Sequence[str]) -> str:
    """`["npx", "-y", "@scope/server-files@1.2", "/tmp"]` -> `server-files`."""
    programs = [part for part in command if not part.startswith("-")] or [""]
    chosen = next((part for part in programs if _bare(part) not in _LAUNCHERS), programs[0])
    return _clean(_bare(chosen))


def of_object(server: object) -> str:
    """The name that a server in this process has given itself."""
    name = getattr(server, "name", None)
    return _clean(name if isinstance(name, str) else type(server).__name__)


def split(line: str) -> list[str]:
    """The words of a command line. Raises ValueError for a quote that is not closed."""
    return shlex.split(line)


def tool_name(prefix: str, name: str) -> str:
    """The name under which a model knows the tool. One that had to be changed ends in a digest of what it
    was, so that two stay two."""
    whole = f"{prefix}_{name}" if prefix else name
    clean = _NOT_ALLOWED.sub("_", whole)
    if clean == whole and 0 < len(clean) <= _LONGEST:
        return clean
    digest = hashlib.sha256(whole.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{clean[: _LONGEST - 9]}_{digest}"


def _bare(part: str) -> str:
    path = PurePath(part)
    name = path.stem if path.suffix in _PROGRAMS else path.name
    # What follows is a version: name@1.2, name==1.2.
    return re.split(r"(?<=.)@|==", name)[0]


def _clean(name: str) -> str:
    return _NOT_ALLOWED.sub("_", name).strip("_")[:_LONGEST_PREFIX] or "mcp"
