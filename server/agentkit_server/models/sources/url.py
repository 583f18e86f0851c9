"""`https://…/x.gguf`: a model file at an address of its own, stored under the file's name.

Nobody states its digest, so what comes is taken as it is, once it is a whole GGUF of the length that the
server states.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from secrets import token_hex
from urllib.parse import unquote

from anyio import to_thread

from agentkit_server.errors import InvalidGGUF, PullFailed, RegistryError
from agentkit_server.models.digest import Digest
from agentkit_server.models.gguf import read_gguf
from agentkit_server.models.manifest import Layer, layer_type
from agentkit_server.models.names import ModelName
from agentkit_server.models.registry.client import RegistryClient
from agentkit_server.models.registry.incoming import Incoming, Wanted
from agentkit_server.models.registry.options import HF_HOSTS, Access, TransferOptions
from agentkit_server.models.registry.origin import Origin
from agentkit_server.models.registry.transfers import RANGE
from agentkit_server.models.sources.file import named_after
from agentkit_server.models.sources.registry import kept
from agentkit_server.models.sources.source import PullProgress
from agentkit_server.models.store import Store

_URL = re.compile(r"(https?)://([^/?#@\s]+)(/[^?#\s]*\.gguf)(\?[^#\s]*)?", re.IGNORECASE | re.ASCII)
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.gguf$", re.IGNORECASE | re.ASCII)
_PAGE = re.compile(r"^(/[^/]+/[^/]+)/blob/")
"""The hub's page about a file; the file itself is under `resolve`."""


class Address:
    """The source of URLs of GGUF files."""

    def __init__(self, options: TransferOptions | None = None) -> None:
        self._options = options or TransferOptions()

    def matches(self, reference: str) -> bool:
        return _URL.fullmatch(reference) is not None

    def name(self, reference: str) -> ModelName:
        path = _parts(reference)[2]
        return named_after(unquote(path.rpartition("/")[2])[: -len(".gguf")])

    async def pull(
        self, reference: str, name: ModelName, store: Store, access: Access
    ) -> AsyncGenerator[PullProgress]:
        """Raises RegistryError too, as for a registry."""
        scheme, host, path, query = _parts(reference)
        if _SHARD.search(path):
            raise PullFailed(
                f"{reference!r} is one shard of a split model; pull all of it by name, as "
                f"hf.co/USER/REPO:QUANT, or fetch the shards and link the first of them"
            )
        # The same rule about http as for a name at that host.
        origin = Origin.of(f"{scheme}://{host}/any/any", insecure=access.insecure)
        yield PullProgress("pulling manifest")
        async with RegistryClient(origin, self._options, access) as client:
            what = f"pulling {path.rpartition('/')[2]}"
            wanted = await _asked(client, path + query, what)
            source = f"{origin.url}{path} {wanted.tag}"
            if await to_thread.run_sync(store.has, name):
                manifest = await to_thread.run_sync(store.manifest, name)
                if manifest.layers and manifest.layers[0].source == source:
                    return
            incoming = Incoming(store, self._options, [wanted])
            async with kept(store, [wanted]), aclosing(incoming.run()) as lines:
                async for line in lines:
                    yield line
                yield PullProgress("writing manifest")
                digest = incoming.found[wanted.digest]
                layer = Layer(
                    media_type=layer_type("model"), digest=str(digest), size=wanted.size, source=source
                )
                await to_thread.run_sync(_write, store, name, layer)


async def _asked(client: RegistryClient, target: str, what: str) -> Wanted:
    """The length of the file, and what the server calls this content of it."""
    async with client.file(target, what, 0, 0) as response:
        match = RANGE.fullmatch(response.headers.get("content-range", ""))
        size = match[2] if match else response.headers.get("content-length", "")
        if not size.isdecimal():
            raise RegistryError(f"{what}: the server does not say how long the file is")
        # Without one nobody knows whether what came earlier belongs to what comes now.
        tag = response.headers.get("etag") or response.headers.get("last-modified") or token_hex()
    key = Digest.of(f"{client.host}{target}".encode())
    open_range = partial(client.file, target, what, tag=tag)
    return Wanted(key, int(size), open_range, what.removeprefix("pulling "), tag)


def _parts(reference: str) -> tuple[str, str, str, str]:
    """Scheme, host with port, path and query (with its question mark)."""
    match = _URL.fullmatch(reference)
    if match is None:
        raise PullFailed(f"{reference!r} is no URL of a GGUF file")
    host, path = match[2], match[3]
    if host.lower() in HF_HOSTS:
        # The short name leads to the long one, and a login stays behind at a redirect.
        host, path = HF_HOSTS[-1], _PAGE.sub(r"\1/resolve/", path)
    return match[1].lower(), host, path, match[4] or ""


def _write(store: Store, name: ModelName, layer: Layer) -> None:
    try:
        gguf = read_gguf(store.blob_path(layer.digest))
    except InvalidGGUF as error:
        store.discard([layer])
        raise PullFailed(f"what came is no model, so it was not stored: {error.message}") from None
    store.add_model(name, gguf, (layer,))
