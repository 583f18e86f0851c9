"""Digests: the sha256 that names a blob. Every digest from outside is parsed here before it can become
part of a path."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from agentkit_server.errors import InvalidDigest

_DIGEST = re.compile(r"sha256[:-]([0-9a-fA-F]{64})", re.ASCII)


@dataclass(frozen=True)
class Digest:
    """64 lower-case hex digits."""

    hex: str

    def __post_init__(self) -> None:
        if len(self.hex) != 64 or set(self.hex) - set("0123456789abcdef"):
            raise InvalidDigest(f"invalid digest format: {self.hex!r}; expected 64 lower-case hex digits")

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read `sha256:<hex>` or `sha256-<hex>`. Raises InvalidDigest."""
        match = _DIGEST.fullmatch(text)
        if match is None:
            raise InvalidDigest(f"invalid digest format: {text!r}; expected 'sha256:' and 64 hex digits")
        return cls(match[1].lower())

    @classmethod
    def of(cls, content: bytes) -> Digest:
        """The digest of bytes at hand."""
        return cls(hashlib.sha256(content).hexdigest())

    @property
    def file_name(self) -> str:
        """Name of the blob's file."""
        return f"sha256-{self.hex}"

    @property
    def short(self) -> str:
        """12 hex digits, for people."""
        return self.hex[:12]

    def __str__(self) -> str:
        return f"sha256:{self.hex}"
