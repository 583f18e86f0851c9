"""Model names: `[scheme://][host/][namespace/]model[:tag]`, the grammar of Ollama.

A parsed name is safe to join to a path: no part is empty, starts with a dot, or holds a separator.
Anything outside the grammar raises InvalidModelName.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from agentkit_server.errors import InvalidModelName

DEFAULT_HOST = "registry.ollama.ai"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}", re.ASCII)
_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}", re.ASCII)
_MODEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}", re.ASCII)
_SCHEME = re.compile(r"\A[A-Za-z][A-Za-z0-9+.-]*://", re.ASCII)


@dataclass(frozen=True)
class ModelName:
    """A complete model name; the case of each part is kept, and `key` ignores it."""

    host: str
    namespace: str
    model: str
    tag: str

    def __post_init__(self) -> None:
        parts = ((_HOST, self.host), (_NAMESPACE, self.namespace), (_MODEL, self.model), (_MODEL, self.tag))
        if not all(pattern.fullmatch(part) for pattern, part in parts):
            raise _invalid(self.full)

    @classmethod
    def parse(cls, text: str) -> ModelName:
        """Read a name as a person types it; what is left out gets its default.

        Raises InvalidModelName.
        """
        head, slash, last = _SCHEME.sub("", text, count=1).rpartition("/")
        host, inner, namespace = head.rpartition("/")
        model, colon, tag = last.partition(":")
        if (slash and not namespace) or (inner and not host) or (colon and not tag):
            raise _invalid(text)
        try:
            return cls(host or DEFAULT_HOST, namespace or DEFAULT_NAMESPACE, model, tag or DEFAULT_TAG)
        except InvalidModelName:
            raise _invalid(text) from None

    @property
    def path_parts(self) -> tuple[str, str, str, str]:
        """Folders and file of the manifest, below `manifests`."""
        return (self.host, self.namespace, self.model, self.tag)

    @property
    def full(self) -> str:
        """Every part written out."""
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"

    @property
    def short(self) -> str:
        """What people see: default host and namespace left out, the tag always there."""
        name = f"{self.model}:{self.tag}"
        if self.host != DEFAULT_HOST:
            return f"{self.host}/{self.namespace}/{name}"
        return name if self.namespace == DEFAULT_NAMESPACE else f"{self.namespace}/{name}"

    @property
    def key(self) -> str:
        """Equal for two names that differ only in case, which are the same model."""
        return self.full.casefold()

    def __str__(self) -> str:
        return self.short


def _invalid(text: str) -> InvalidModelName:
    return InvalidModelName(
        f"invalid model name {text!r}: a name is [host/][namespace/]model[:tag], each part of at most 80 "
        f"letters, digits, '-', '_' and '.'",
        param="model",
    )
