"""The store: models by name, blobs by digest, in one folder that Ollama can share.

Every method blocks on the disk and may be called from any thread; `add_blob` alone is async. Manifests are
the only roots: what no manifest names is rubbish, and what a crash leaves behind is never visible.
"""

from __future__ import annotations

import builtins
import logging
import shutil
from collections.abc import AsyncIterable, Callable, Generator, Iterable
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from threading import Lock

from anyio import CancelScope, to_thread

from agentkit_server.errors import AgentkitError, InvalidGGUF, ModelNotFound, StoreError
from agentkit_server.models.blobs import Blobs, BlobWriter
from agentkit_server.models.damage import Damage
from agentkit_server.models.details import describe
from agentkit_server.models.digest import Digest
from agentkit_server.models.file_lock import locked
from agentkit_server.models.linked import link_layers
from agentkit_server.models.manifest import (
    CONFIG_TYPE,
    MAX_MANIFEST_BYTES,
    Config,
    Layer,
    Manifest,
    RootFS,
    decode_manifest,
    encode,
    layer_type,
)
from agentkit_server.models.manifests import Manifests
from agentkit_server.models.model import GGUFInfo, Model
from agentkit_server.models.names import ModelName
from agentkit_server.models.partials import Partial, disk_bytes, only_one
from agentkit_server.models.prune import prune
from agentkit_server.models.resolution import GGUFCache, ManifestFile, Resolver
from agentkit_server.models.verify import Report, Verification

_log = logging.getLogger(__name__)

_UPLOAD_BUFFER = 4 << 20


def default_root() -> Path:
    """Where Ollama keeps its models, for when no setting says otherwise."""
    return Path.home() / ".ollama" / "models"


class Store:
    """A model store. Opening it creates what is missing and clears what a crash left.

    Without `tidy`, what falls out of use stays when a model is replaced; `delete` removes it in any case.
    Raises StoreError when `root` cannot be a store.
    """

    def __init__(self, root: Path, *, tidy: bool = True) -> None:
        self.root = root.expanduser().absolute()
        self.tidy = tidy
        self._lock_path = self.root / "agentkit.lock"
        self._blobs = Blobs(self.root / "blobs", self._lock_path)
        self._manifests = Manifests(self.root / "manifests")
        self._damage = Damage(self.root / "agentkit" / "damaged")
        self._cache = GGUFCache()
        self._resolver = Resolver(self._blobs, self._cache)
        self._complaints_lock = Lock()
        self._complaints: set[tuple[str, str]] = set()
        try:
            self._blobs.folder.mkdir(parents=True, exist_ok=True)
            self._manifests.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise StoreError(f"{str(self.root)!r} cannot be a model store: {error}") from None
        try:
            with locked(self._lock_path):
                self._blobs.sweep()
                self._manifests.sweep()
        except OSError as error:
            _log.warning("the model store %s can only be read: %s", self.root, error)

    # --- models -----------------------------------------------------------------------------------

    def list(self) -> builtins.list[Model]:
        """Every usable model, the newest first. An unusable one is left out and logged once."""
        models: builtins.list[Model] = []
        for name in self._manifests.names():
            try:
                models.append(self._read(name))
            except (AgentkitError, OSError) as error:
                self._complain(name, str(error))
        return sorted(models, key=lambda model: model.modified_at, reverse=True)

    def resolve(self, name: str | ModelName) -> Model:
        """The model of this name, whatever its case.

        Raises InvalidModelName, ModelNotFound, StoreError (a file is missing or damaged) and InvalidGGUF.
        """
        stored = self._find(name)
        with _disk():
            return self._read(stored)

    def has(self, name: str | ModelName) -> bool:
        """Whether `resolve` would succeed, and no blob was found damaged. Raises InvalidModelName."""
        try:
            stored = self._find(name)
            with _disk():
                self._read(stored)
                return not self._is_damaged(self._manifest(stored))
        except (ModelNotFound, StoreError, InvalidGGUF):
            return False

    def manifest(self, name: str | ModelName) -> Manifest:
        """What a name stands for, as it is written. Raises InvalidModelName, ModelNotFound and StoreError."""
        with _disk():
            return self._manifest(self._find(name))

    def find_source(self, source: str) -> Manifest | None:
        """A manifest with a layer from `source` (`pypi:PACKAGE`, or that with `==VERSION`), of a
        usable model without known damage. None = there is none."""
        for name in self._manifests.names():
            try:
                manifest = self._manifest(name)
                origins = [layer.source for layer in manifest.layers if layer.source]
                if any(origin == source or origin.startswith(f"{source}==") for origin in origins):
                    self._read(name)
                    if not self._is_damaged(manifest):
                        return manifest
            except (AgentkitError, OSError) as error:
                self._complain(name, str(error))
        return None

    def files(self, name: str | ModelName) -> tuple[tuple[Layer, Path], ...]:
        """Config and layers of a model, in order, each with its file, which is there and of the right size.

        Raises as `resolve` does.
        """
        stored = self._find(name)
        with _disk():
            manifest = self._manifest(stored)
            layers = (manifest.config, *manifest.layers)
            return tuple((layer, self._resolver.layer_path(stored, layer)) for layer in layers)

    def manifest_file(self, name: str | ModelName) -> tuple[ModelName, bytes]:
        """The name as it is stored, and the bytes of its manifest. Raises InvalidModelName, ModelNotFound."""
        stored = self._find(name)
        with _disk():
            return stored, self._content(stored)

    def copy(self, source: str | ModelName, destination: str | ModelName) -> None:
        """Give a model a second name. Raises ModelNotFound and InvalidModelName."""
        target = _name(destination)
        try:
            stored = self._find(source)
        except ModelNotFound:
            raise ModelNotFound(f'model "{source}" not found', param="source") from None
        with self._changing():
            content = self._content(stored)
            decode_manifest(content)
            self._replace(target, content)

    def delete(self, name: str | ModelName) -> None:
        """Forget a model and drop the blobs that no other model uses; a linked file stays.

        Works on a damaged manifest too. Raises ModelNotFound.
        """
        stored = self._find(name)
        with self._changing():
            before = self._layers(stored)
            self._manifests.remove(stored)
            self._drop(before)

    def write_manifest(self, name: ModelName, manifest: Manifest) -> None:
        """Give a name to layers, replacing what it named before; blobs that fall out of use go.

        Raises StoreError when one of the files is not there.
        """
        with self._changing():
            self._check(name, manifest)
            self._replace(name, encode(manifest))

    def add_model(
        self, name: ModelName, gguf: GGUFInfo, layers: tuple[Layer, ...], license: str | None = None
    ) -> Model:
        """Make a model of layers that are in the store, with config and license in Ollama's shape."""
        with _disk():
            if license:
                layers = (*layers, self._layer(layer_type("license"), license.encode()))
            details = describe(gguf)
            config = Config(
                model_family=details.family,
                model_families=details.families,
                model_type=details.parameter_size,
                file_type=details.quantization_level,
                rootfs=RootFS(diff_ids=tuple(layer.digest for layer in layers)),
            )
            self.write_manifest(
                name, Manifest(config=self._layer(CONFIG_TYPE, encode(config)), layers=layers)
            )
        return self.resolve(name)

    def link_file(
        self, name: str | ModelName, path: Path, progress: Callable[[int, int], None] | None = None
    ) -> Model:
        """Make a model of a GGUF file (or the first of its shards) where it lies, without copying it.

        `progress` is called with (bytes hashed, bytes in all). Raises InvalidGGUF.
        """
        steps = self.link_steps(_name(name), path)
        while True:
            try:
                done, total = next(steps)
            except StopIteration as end:
                return end.value
            if progress is not None:
                progress(done, total)

    def link_steps(self, name: ModelName, path: Path) -> Generator[tuple[int, int], None, Model]:
        """`link_file` in short blocking steps, for callers that run each in a thread."""
        path = path.expanduser().absolute()
        gguf = self._cache.read(path)
        layers = yield from link_layers(path)
        return self.add_model(name, gguf, layers)

    def prune(self) -> int:
        """Remove old blobs that no manifest names, and what is left of old downloads; returns how many files.
        For the start of a server.

        Does nothing while a manifest is unreadable, for nobody knows what that one names.
        """
        with self._changing():
            keep = self._in_use()
            if keep is None:
                _log.warning("not pruning %s: a manifest is unreadable; pull or delete that model", self.root)
                return 0
            return prune(self._blobs.folder, keep)

    def verify_steps(self, names: Iterable[str | ModelName] = ()) -> Generator[tuple[int, int], None, Report]:
        """Check the models of these names, or everything, in short blocking steps: yields (bytes read, bytes
        in all). Raises InvalidModelName and ModelNotFound."""
        found = [self._find(name) for name in names] or None
        with _disk():
            return (yield from Verification(self._manifests, self._blobs, self._damage).steps(found))

    # --- blobs ------------------------------------------------------------------------------------

    def has_blob(self, digest: str) -> bool:
        """Whether the blob is there, and was not found damaged. Raises InvalidDigest."""
        expected = Digest.parse(digest)
        return self._blobs.has(expected) and not self._damage.known(self._blobs.path(expected))

    def blob_path(self, digest: str) -> Path:
        """Where a blob is, or would be. Raises InvalidDigest."""
        return self._blobs.path(Digest.parse(digest))

    async def add_blob(self, digest: str, chunks: AsyncIterable[bytes]) -> bool:
        """Store an upload; False, without reading it, when the blob was there already.

        Raises InvalidDigest for a malformed digest and for content that does not match it.
        """
        expected = Digest.parse(digest)
        if self.has_blob(digest):
            return False
        with ExitStack() as stack, _disk():
            try:
                writer = await to_thread.run_sync(stack.enter_context, self._blobs.writer())
                buffer = bytearray()
                async for chunk in chunks:
                    buffer += chunk
                    if len(buffer) >= _UPLOAD_BUFFER:
                        await to_thread.run_sync(writer.write, bytes(buffer))
                        buffer.clear()
                await to_thread.run_sync(writer.write, bytes(buffer))
                await to_thread.run_sync(writer.commit, expected)
            finally:
                with CancelScope(shield=True):
                    await to_thread.run_sync(stack.close)
        return True

    def free_bytes(self) -> int:
        """What the disk of the blobs can still take."""
        with _disk():
            return shutil.disk_usage(self._blobs.folder).free

    @contextmanager
    def scratch(self) -> Generator[Path]:
        """An empty folder on the store's file system, gone at the end of the block."""
        with _disk(), self._blobs.scratch() as folder:
            yield folder

    @contextmanager
    def pulling(self, name: ModelName) -> Generator[None]:
        """Be the only one, in whatever process, that fetches `name`; ends with the process too.

        Raises BlockingIOError when another is at it, OSError when the store's disk has no locks.
        """
        folder = self.root / "locks"
        folder.mkdir(exist_ok=True)
        # Left in place: whoever waits for a file that is removed waits beside the next one's lock.
        with locked(folder / Digest.of(name.key.encode()).short, wait=False):
            yield

    @contextmanager
    def keeping(self, digests: Iterable[str]) -> Generator[None]:
        """While the block runs, nothing removes these blobs, or the parts of them that have come, in whatever
        process. For whoever gathers the blobs of a manifest: to be entered before asking which are there.

        Raises InvalidDigest.
        """
        names = [Digest.parse(digest) for digest in digests]
        with ExitStack() as stack:
            with _disk():
                stack.enter_context(self._blobs.needing(names))
            yield

    @contextmanager
    def partial(self, digest: Digest, size: int, tag: str = "") -> Generator[Partial]:
        """The download of a blob, kept when the block ends before it is whole. For one at a time, in whatever
        process: raises BlockingIOError when another is at it. Other OSErrors are the caller's too."""
        folder = self.root / "locks"
        folder.mkdir(exist_ok=True)
        with only_one(folder, digest), closing(Partial(self._blobs.folder, digest, size, tag)) as partial:
            yield partial

    def partial_bytes(self, digest: Digest) -> int:
        """What the disk holds of a download that is not whole."""
        with _disk():
            return disk_bytes(self._blobs.folder, digest)

    @contextmanager
    def blob_writer(self) -> Generator[BlobWriter]:
        """A new blob; what is not committed at the end of the block is gone."""
        with _disk(), self._blobs.writer() as writer:
            yield writer

    def add_layer(self, media_type: str, content: bytes) -> Layer:
        """Store bytes at hand for a manifest to come."""
        with _disk():
            return self._layer(media_type, content)

    def adopt_steps(self, path: Path) -> Generator[tuple[int, int], None, Digest]:
        """Make a file of a `scratch` folder a blob, without copying it, in short blocking steps. Yields
        (bytes hashed, bytes in all)."""
        with _disk():
            return (yield from self._blobs.adopt_steps(path))

    def discard(self, layers: Iterable[Layer]) -> None:
        """Remove the blobs of layers that no manifest names and nobody keeps."""
        with self._changing():
            self._drop(tuple(layers))

    # --- within -----------------------------------------------------------------------------------

    @contextmanager
    def _changing(self) -> Generator[None]:
        """Manifests change only under the store's lock, which other processes respect too."""
        with _disk(), locked(self._lock_path):
            yield

    def _find(self, name: str | ModelName) -> ModelName:
        stored = self._manifests.find(_name(name))
        if stored is None:
            raise ModelNotFound(f"model '{name}' not found", param="model")
        return stored

    def _content(self, name: ModelName) -> bytes:
        path = self._manifests.path(name)
        try:
            with path.open("rb") as file:
                return file.read(MAX_MANIFEST_BYTES + 1)
        except FileNotFoundError:
            raise ModelNotFound(f"model '{name}' not found", param="model") from None

    def _manifest(self, name: ModelName) -> Manifest:
        return _decode(name, self._content(name))

    def _read(self, name: ModelName) -> Model:
        content = self._content(name)
        modified = self._manifests.path(name).stat().st_mtime
        file = ManifestFile(name, Digest.of(content), modified)
        return self._resolver.model(file, _decode(name, content))

    def _check(self, name: ModelName, manifest: Manifest) -> None:
        for layer in (manifest.config, *manifest.layers):
            self._resolver.layer_path(name, layer)

    def _is_damaged(self, manifest: Manifest) -> bool:
        paths = (self._blobs.path(Digest.parse(layer.digest)) for layer in manifest.blobs)
        return any(self._damage.known(path) for path in paths)

    def _layer(self, media_type: str, content: bytes) -> Layer:
        return Layer(media_type=media_type, digest=str(self._blobs.add(content)), size=len(content))

    def _replace(self, name: ModelName, content: bytes) -> None:
        target = self._manifests.find(name) or name
        before = self._layers(target)
        self._manifests.write(target, content)
        if self.tidy:
            self._drop(before)

    def _layers(self, name: ModelName) -> tuple[Layer, ...]:
        """The blobs that a name holds; none when it is new or its manifest is damaged."""
        try:
            return self._manifest(name).blobs
        except AgentkitError:
            return ()

    def _in_use(self) -> set[str] | None:
        """File names of all blobs that a manifest names or somebody keeps; None when a manifest cannot be
        read."""
        names = self._blobs.needed()
        for name in self._manifests.names():
            try:
                names.update(Digest.parse(layer.digest).file_name for layer in self._manifest(name).blobs)
            except AgentkitError:
                return None
        return names

    def _drop(self, layers: tuple[Layer, ...]) -> None:
        keep = self._in_use() if layers else None
        if keep is None:
            return
        for digest in {Digest.parse(layer.digest) for layer in layers}:
            if digest.file_name not in keep:
                self._blobs.path(digest).unlink(missing_ok=True)

    def _complain(self, name: ModelName, what: str) -> None:
        with self._complaints_lock:
            known = (name.key, what) in self._complaints
            self._complaints.add((name.key, what))
        if not known:
            _log.warning("leaving out model %s: %s", name.short, what)


def _name(name: str | ModelName) -> ModelName:
    return name if isinstance(name, ModelName) else ModelName.parse(name)


def _decode(name: ModelName, content: bytes) -> Manifest:
    try:
        return decode_manifest(content)
    except AgentkitError as error:
        raise StoreError(
            f"the manifest of model {name.short!r} is damaged; pull the model again, or delete it ({error})"
        ) from None


@contextmanager
def _disk() -> Generator[None]:
    """Turns the system's errors into the store's."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"the model store failed: {error}; check its disk and permissions") from error
