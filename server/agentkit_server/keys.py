"""API keys, held as sha256 hashes and compared in constant time. A key itself is never stored, logged or
put into an error."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable

from agentkit_server.errors import BindRefused

_PREFIX = "sha256:"
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Keys:
    """The keys that open the server; falsy when there are none, and then nothing is asked for."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        """Each of `keys` is a key or, so that a config file need not hold it, its hash in the form
        `sha256:<64 hex digits>`. Raises BindRefused for a malformed hash."""
        self._digests = tuple(dict.fromkeys(_digest(key) for key in keys))

    def __bool__(self) -> bool:
        return bool(self._digests)

    def __repr__(self) -> str:
        return f"Keys({len(self._digests)})"

    @property
    def hashed(self) -> list[str]:
        """The form to keep in settings: `sha256:<hex>` for each key."""
        return [_PREFIX + digest.hex() for digest in self._digests]

    def accept(self, presented: bytes) -> bool:
        """Whether `presented` is one of the keys. Takes the same time whichever it is."""
        digest = hashlib.sha256(presented).digest()
        found = False
        for known in self._digests:
            found |= hmac.compare_digest(known, digest)
        return found


def _digest(key: str) -> bytes:
    if not key.startswith(_PREFIX):
        return hashlib.sha256(key.encode()).digest()
    digest = key.removeprefix(_PREFIX).lower()
    if not _DIGEST.fullmatch(digest):
        # The value is not shown: it may be a key that someone prefixed by mistake.
        raise BindRefused("an API key that begins with 'sha256:' must go on with 64 hexadecimal digits")
    return bytes.fromhex(digest)
