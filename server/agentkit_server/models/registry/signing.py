"""The key that the Ollama registry knows a person by: requests for tokens are signed with it."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key

from agentkit_server.errors import RegistryError

_MAX_KEY_BYTES = 16 << 10


class SigningKey:
    """An ed25519 key. Its public half goes to every registry that asks for a signature."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        self.public = public.split()[1].decode("ascii")
        """Base64, as OpenSSH writes it behind the key's type."""

    @classmethod
    def read(cls, path: Path) -> SigningKey | None:
        """The key at `path`, None when there is none. Raises RegistryError for one that cannot be used."""
        try:
            with path.open("rb") as file:
                content = file.read(_MAX_KEY_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _unusable(path, str(error.strerror or error)) from None
        try:
            key = load_ssh_private_key(content, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise _unusable(path, str(error)) from None
        if not isinstance(key, Ed25519PrivateKey):
            raise _unusable(path, "it is of another type")
        return cls(key)

    def authorization(self, method: str, url: str) -> str:
        """The Authorization header of a request without a body, in the way of Ollama's registry."""
        # The hex digits are what is encoded, not the bytes.
        empty = base64.b64encode(hashlib.sha256(b"").hexdigest().encode()).decode("ascii")
        signature = self._key.sign(f"{method},{url},{empty}".encode())
        return f"{self.public}:{base64.b64encode(signature).decode('ascii')}"


def _unusable(path: Path, why: str) -> RegistryError:
    return RegistryError(
        f"the key {str(path)!r} cannot sign requests to registries ({why}); it must be an ed25519 key of "
        f"OpenSSH without a passphrase: replace it, or move it away to log in without it"
    )
