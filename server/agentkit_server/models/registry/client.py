"""The registry protocol of Ollama, a Docker registry v2 at heart: manifests, blobs, uploads.

Each verb is one request, its login and redirects included, and tried again when the registry is busy; the
body of a blob and a chunk are the caller's to try again. All raise RegistryError.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import TypeVar

import httpx

from agentkit_server.errors import RegistryError
from agentkit_server.models.digest import Digest
from agentkit_server.models.manifest import MANIFEST_TYPE, MAX_MANIFEST_BYTES
from agentkit_server.models.names import ModelName
from agentkit_server.models.registry.bodies import read_bounded
from agentkit_server.models.registry.exchange import Call, Exchange, retried
from agentkit_server.models.registry.options import Access, TransferOptions
from agentkit_server.models.registry.origin import Origin

_TRIES = 3
"""Of a small request: somebody waits for its answer."""
_LONGEST_NUMBER = 20
_OCTETS = "application/octet-stream"
T = TypeVar("T")


@dataclass(frozen=True)
class Upload:
    """A blob on its way up: where its next chunk goes."""

    location: httpx.URL


class RegistryClient:
    """One registry. Use it as an async context manager, on one event loop."""

    def __init__(
        self, origin: Origin, options: TransferOptions | None = None, access: Access | None = None
    ) -> None:
        self.options = options or TransferOptions()
        self._exchange = Exchange(origin, self.options, access or Access())
        self._patience = replace(self.options.patience, tries=min(_TRIES, self.options.patience.tries))

    @property
    def host(self) -> str:
        return self._exchange.origin.host

    async def __aenter__(self) -> RegistryClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exchange.__aexit__()

    # --- manifests --------------------------------------------------------------------------------

    async def manifest(self, name: ModelName) -> bytes:
        """The manifest of a model, as received and not trusted. `answered` of the error is 404 when there
        is none."""
        call = self._call("GET", name, f"manifests/{name.tag}", "pull model manifest")
        call = replace(call, headers={"Accept": MANIFEST_TYPE})

        async def attempt() -> bytes:
            async with self._exchange.open(call) as response:
                if "html" in response.headers.get("content-type", ""):
                    raise RegistryError(
                        f"pull model manifest: {response.url.host!r} answered with a web page; check that it "
                        f"is a registry of models"
                    )
                return await read_bounded(response, MAX_MANIFEST_BYTES, "the manifest")

        return await self._tried(attempt)

    async def put_manifest(self, name: ModelName, content: bytes) -> None:
        """Give a name to blobs that are there."""
        call = self._call("PUT", name, f"manifests/{name.tag}", "push model manifest", push=True)
        await self._done(replace(call, headers={"Content-Type": MANIFEST_TYPE}, content=content))

    # --- blobs ------------------------------------------------------------------------------------

    async def head_blob(self, name: ModelName, digest: Digest, *, push: bool = False) -> int | None:
        """Bytes of a blob, None when it is not there. `push` asks with the rights that a push has anyway."""
        call = self._call("HEAD", name, f"blobs/{digest}", f"looking for {digest.short}", push=push)

        async def attempt() -> int:
            async with self._exchange.open(call) as response:
                return _length(response)

        try:
            return await self._tried(attempt)
        except RegistryError as error:
            if error.answered == 404:
                return None
            raise

    def blob(
        self, name: ModelName, digest: Digest, first: int | None = None, last: int | None = None
    ) -> AbstractAsyncContextManager[httpx.Response]:
        """The blob's bytes from `first` to `last`, both counted in; without them, all. A registry may
        answer 200 with the whole blob where 206 was asked for."""
        call = self._call("GET", name, f"blobs/{digest}", f"pulling {digest.short}")
        if first is not None:
            call = replace(call, headers={"Range": _span(first, last)})
        return self._exchange.open(call)

    def file(
        self, path: str, what: str, first: int | None = None, last: int | None = None, *, tag: str = ""
    ) -> AbstractAsyncContextManager[httpx.Response]:
        """As `blob`, for a file that has an address of its own. With `tag`, an ETag, all of it comes when it
        is not that one any more."""
        headers = {} if first is None else {"Range": _span(first, last)}
        if first is not None and tag.startswith('"') and tag.isascii():
            headers["If-Range"] = tag
        return self._exchange.open(Call("GET", path, what, scope="", headers=headers))

    async def document(self, path: str, what: str, limit: int) -> bytes:
        """A short file, as received."""
        call = Call("GET", path, what, scope="", headers={"Accept": "application/json"})

        async def attempt() -> bytes:
            async with self._exchange.open(call) as response:
                return await read_bounded(response, limit, f"{what}: the answer")

        return await self._tried(attempt)

    # --- uploads ----------------------------------------------------------------------------------

    async def start_upload(
        self, name: ModelName, digest: Digest, mount_from: ModelName | None = None
    ) -> Upload | None:
        """Begin a blob. None = it is there now, mounted from `mount_from`, another model of the registry."""
        call = self._call("POST", name, "blobs/uploads/", f"pushing {digest.short}", push=True)
        if mount_from is not None:
            query = httpx.QueryParams({"mount": str(digest), "from": _repository(mount_from)})
            call = replace(call, target=f"{call.target}?{query}", scope=f"{call.scope} {_scope(mount_from)}")

        async def attempt() -> Upload | None:
            async with self._exchange.open(replace(call, content=b"")) as response:
                return None if response.status_code == 201 else self._next(response)

        return await self._tried(attempt)

    async def send_chunk(
        self,
        name: ModelName,
        upload: Upload,
        content: Callable[[], AsyncIterable[bytes]],
        start: int,
        size: int,
    ) -> Upload:
        """Send `size` bytes that stand at `start` of the blob; returns where the next chunk goes. Tried
        once: what a broken one leaves is the registry's to say (`uploaded`)."""
        headers = {
            "Content-Type": _OCTETS,
            "Content-Length": str(size),
            "Content-Range": f"{start}-{start + size - 1}",
        }
        what = f"pushing bytes {start} to {start + size - 1}"
        call = Call("PATCH", upload.location, what, _scope(name, push=True), headers, content)
        async with self._exchange.open(call) as response:
            return self._next(response)

    async def uploaded(self, name: ModelName, upload: Upload) -> tuple[Upload, int]:
        """Where an upload goes on, and how many bytes the registry has of it."""
        call = Call("GET", upload.location, "asking how far a push is", _scope(name, push=True))

        async def attempt() -> tuple[Upload, int]:
            async with self._exchange.open(call) as response:
                _, _, last = response.headers.get("range", "").partition("-")
                # `0-0` is what registries write for nothing too; sending one byte again is no harm.
                end = _number(last)
                return self._next(response), end + 1 if end else 0

        return await self._tried(attempt)

    async def finish_upload(self, name: ModelName, upload: Upload, digest: Digest) -> None:
        """Make the blob visible; the registry compares its digest."""
        target = upload.location.copy_merge_params({"digest": str(digest)})
        call = Call("PUT", target, f"finishing the push of {digest.short}", _scope(name, push=True))
        await self._done(replace(call, content=b"", headers={"Content-Type": _OCTETS}))

    async def cancel_upload(self, name: ModelName, upload: Upload) -> None:
        """Have the registry forget what was sent."""
        call = Call("DELETE", upload.location, "giving up a push", _scope(name, push=True))
        async with self._exchange.open(call):
            pass

    # --- within -----------------------------------------------------------------------------------

    def _call(self, method: str, name: ModelName, rest: str, what: str, *, push: bool = False) -> Call:
        return Call(method, f"/v2/{_repository(name)}/{rest}", what, _scope(name, push=push))

    async def _tried(self, attempt: Callable[[], Awaitable[T]]) -> T:
        async def once() -> T:
            try:
                return await attempt()
            except RegistryError as error:
                # Nobody is there: the person should hear of it at once.
                error.transient &= not isinstance(error.__cause__, httpx.ConnectError | httpx.ConnectTimeout)
                raise

        return await retried(once, self._patience)

    async def _done(self, call: Call) -> None:
        async def attempt() -> None:
            async with self._exchange.open(call):
                pass

        await self._tried(attempt)

    def _next(self, response: httpx.Response) -> Upload:
        location = response.headers.get("docker-upload-location") or response.headers.get("location", "")
        if not location:
            raise RegistryError(f"the registry {response.url.host!r} does not say where the upload goes on")
        return Upload(self._exchange.follow(response.url, location))


def _repository(name: ModelName) -> str:
    return f"{name.namespace}/{name.model}"


def _scope(name: ModelName, *, push: bool = False) -> str:
    return f"repository:{_repository(name)}:{'pull,push' if push else 'pull'}"


def _span(first: int, last: int | None) -> str:
    return f"bytes={first}-{'' if last is None else last}"


def _length(response: httpx.Response) -> int:
    length = _number(response.headers.get("content-length", ""))
    if length is None:
        raise RegistryError(f"the registry {response.url.host!r} does not say how long a blob is")
    return length


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < _LONGEST_NUMBER else None
