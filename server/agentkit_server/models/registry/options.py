"""How registries are reached: what the person's settings say, and what one caller adds to them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from agentkit_server.errors import BadRequest
from agentkit_server.models.registry.origin import Origin
from agentkit_server.models.registry.pace import Pace
from agentkit_server.settings import Settings

HF_HOSTS = ("hf.co", "huggingface.co")


def default_key() -> Path:
    """Where Ollama keeps the key that its registry knows a person by."""
    return Path.home() / ".ollama" / "id_ed25519"


@dataclass(frozen=True)
class Patience:
    """How often a request is tried, and how long is waited in between. Seconds."""

    tries: int = 6
    first: float = 1.0
    longest: float = 60.0
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep

    def pause(self, attempt: int, asked: float | None = None) -> float:
        """Seconds to wait after the failed try number `attempt`, counted from 1; what the server `asked`
        for comes first."""
        return asked if asked is not None else min(self.longest, self.first * 2 ** (attempt - 1))


@dataclass(frozen=True)
class Access:
    """What one caller allows and knows: plain http, and a login for this registry."""

    insecure: bool = False
    username: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True)
class TransferOptions:
    """Everything about transfers that is the same for each of them."""

    streams: int = 4
    part_bytes: int = 16 << 20
    """The shortest part that a download is split into."""
    stall_seconds: float = 30.0
    patience: Patience = Patience()
    pace: Pace = field(default_factory=Pace)
    """Shared by all transfers of a server."""
    auth: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """`Origin.credentials_key` -> `TOKEN` or `USER:PASSWORD`."""
    realms: Mapping[str, str] = field(default_factory=dict[str, str])
    """Host -> the other host that may hand out its tokens."""
    key: Path | None = field(default_factory=default_key)
    """An ed25519 key in OpenSSH's format; None = requests for tokens are not signed."""
    hf_endpoint: str = "https://huggingface.co"

    @classmethod
    def of(cls, settings: Settings) -> TransferOptions:
        """Raises BadRequest for a setting that cannot be read."""
        auth = _pairs(settings.registry_auth, "AGENTKIT_REGISTRY_AUTH", "HOST=TOKEN or HOST=USER:PASSWORD")
        endpoint = settings.hf_endpoint or cls.hf_endpoint
        hub = Origin.parse(endpoint, "HF_ENDPOINT")
        if settings.hf_token:
            # Over http only to the mirror that the person chose.
            auth = dict.fromkeys((*HF_HOSTS, hub.credentials_key), settings.hf_token) | auth
        if not all(secret.isprintable() and (":" in secret or secret.isascii()) for secret in auth.values()):
            # Not shown: it may be a secret with a line break behind it.
            raise BadRequest(
                "a token in AGENTKIT_REGISTRY_AUTH or HF_TOKEN has characters that no header can carry"
            )
        return cls(
            streams=settings.max_transfer_streams,
            stall_seconds=settings.transfer_stall,
            pace=Pace(settings.transfer_rate),
            auth=auth,
            realms=_pairs(settings.registry_realms, "AGENTKIT_REGISTRY_REALMS", "HOST=REALM_HOST"),
            hf_endpoint=endpoint,
        )


def _pairs(entries: Sequence[str], setting: str, form: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for entry in entries:
        host, _, value = (part.strip() for part in entry.partition("="))
        if not host or not value:
            # The entry may be a secret, so it is not shown.
            raise BadRequest(f"{setting} has an entry that is not {form}; separate entries by commas")
        pairs[host.lower()] = value
    return pairs
