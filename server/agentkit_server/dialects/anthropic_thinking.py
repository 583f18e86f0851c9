"""Thoughts in the Anthropic dialect: what a request says of thinking, and the signature of a block of
thoughts, by which they come back unchanged, or come back at all when the client did not want to see them."""

from __future__ import annotations

import base64
import hashlib
import zlib
from typing import Any, Literal

import msgspec

from agentkit_server.errors import BadRequest
from agentkit_server.turn.types import ThinkLevel

Effort = Literal["low", "medium", "high", "xhigh", "max"]
Display = Literal["summarized", "omitted"]
_LEVELS: dict[Effort, ThinkLevel] = {
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "max",
    "max": "max",
}
_SEAL, _HELD = "agentkit-sealed-", "agentkit-held-"
MOST_HELD_BYTES = 16 << 20
"""Thoughts that the signatures of one request may hold, unpacked."""


class Config(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """How a request wants the model to think."""


class Shown(Config, kw_only=True):
    display: Display | None = None
    """omitted: blocks of thoughts come without their text."""
    block_binding: dict[str, Any] | None = None
    """Accepted: thoughts are not bound to the conversation that they were made in."""


class Enabled(Shown, tag="enabled", kw_only=True):
    budget_tokens: int


class Adaptive(Shown, tag="adaptive"):
    """The model decides whether to think, and one that cannot does not."""


class Disabled(Config, tag="disabled"):
    pass


Thinking = Enabled | Adaptive | Disabled


def read_think(thinking: Thinking | None, effort: Effort | None) -> bool | ThinkLevel:
    """What a request says of thinking. One that says nothing gets no thoughts: its client expects none."""
    if thinking is None or isinstance(thinking, Disabled):
        return False
    return True if effort is None else _LEVELS[effort]


def read_budget(thinking: Thinking | None, max_tokens: int | None) -> int | None:
    """Tokens of thinking; None = no bound. Raises BadRequest for one that leaves no room for an answer."""
    if not isinstance(thinking, Enabled):
        return None
    budget = thinking.budget_tokens
    if budget < 1 or (max_tokens is not None and budget >= max_tokens):
        raise BadRequest(
            f"thinking.budget_tokens is {budget!r}; it must be at least 1 and less than max_tokens"
            + ("" if max_tokens is None else f", which is {max_tokens!r}"),
            param="thinking.budget_tokens",
        )
    return budget


def signature(thoughts: str, *, shown: bool) -> str:
    """The signature of a block of `thoughts`: their digest where they are `shown`, else they, packed."""
    data = thoughts.encode(errors="surrogatepass")
    if shown:
        return _SEAL + _text(hashlib.sha256(data).digest())
    return _HELD + _text(zlib.compress(data))


class Thoughts:
    """Reads the thoughts of the blocks of one request."""

    def __init__(self) -> None:
        self._room = MOST_HELD_BYTES

    def read(self, thinking: str, signed: str, where: str) -> str:
        """The thoughts of a block that comes back. One without a signature of ours is taken as it stands: it
        may be another server's.

        Raises BadRequest for one of ours that was changed, and for signatures that hold too much.
        """
        if signed.startswith(_HELD):
            return self._unpacked(signed.removeprefix(_HELD), where)
        if signed.startswith(_SEAL) and signed != signature(thinking, shown=True):
            raise BadRequest(
                f"{where} was changed: its signature is of other thoughts; send the block back as it came, "
                f"or leave it out",
                param=where,
            )
        return thinking

    def _unpacked(self, packed: str, where: str) -> str:
        try:
            unpacking = zlib.decompressobj()
            data = unpacking.decompress(base64.b64decode(packed, validate=True), self._room + 1)
            if len(data) > self._room:
                raise BadRequest(
                    f"{where}.signature holds too much: those of one request may hold {MOST_HELD_BYTES} "
                    f"bytes of thoughts; leave earlier blocks out",
                    param=f"{where}.signature",
                )
            if not unpacking.eof:
                raise ValueError("cut short")
            self._room -= len(data)
            return data.decode()
        except (ValueError, zlib.error):
            raise BadRequest(
                f"{where}.signature is damaged; send the block back as it came, or leave it out",
                param=f"{where}.signature",
            ) from None


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
