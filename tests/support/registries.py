"""A small model in a registry, and what a pull of it leaves."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from support.docker_registry import PROGRAM, docker_registry
from support.fault_registry import Memory, Proxied, Upstream
from support.tiny_gguf import write_tiny_gguf

from agentkit_server.models.digest import Digest
from agentkit_server.models.manifest import CONFIG_TYPE, Config, Layer, Manifest, encode, layer_type
from agentkit_server.models.names import ModelName
from agentkit_server.models.pull import PullProgress, Pulls, default_sources
from agentkit_server.models.registry.client import RegistryClient
from agentkit_server.models.registry.options import Access, TransferOptions
from agentkit_server.models.registry.origin import Origin
from agentkit_server.models.store import Store

REPOSITORY = "library/tiny"
CONFIG = encode(Config(model_family="llama"))
SYSTEM = b"You are tiny."


@dataclass
class Waits:
    """A clock on which every wait is over at once; `seconds` are those that were asked for."""

    seconds: list[float] = field(default_factory=list[float])

    async def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await asyncio.sleep(0)


def weights(folder: Path, size: int) -> bytes:
    """A GGUF of this many bytes, most of them random."""
    head = write_tiny_gguf(folder / "tiny.gguf").read_bytes()
    return head + random.Random(1).randbytes(size - len(head))


def manifest_of(layers: Mapping[str, bytes]) -> Manifest:
    """Kind -> content."""
    return Manifest(
        config=Layer(media_type=CONFIG_TYPE, digest=str(Digest.of(CONFIG)), size=len(CONFIG)),
        layers=tuple(
            Layer(media_type=layer_type(kind), digest=str(Digest.of(content)), size=len(content))
            for kind, content in layers.items()
        ),
    )


def publish(upstream: Memory, layers: Mapping[str, bytes], repository: str = REPOSITORY) -> None:
    """Put a model into a registry in memory, as `latest`."""
    for content in (CONFIG, *layers.values()):
        upstream.put_blob(repository, content)
    upstream.put_manifest(repository, "latest", encode(manifest_of(layers)))


@asynccontextmanager
async def real_where_installed(folder: Path, layers: Mapping[str, bytes]) -> AsyncGenerator[Upstream]:
    """A docker-registry with the model, or, where there is no such program, a small one in memory."""
    if shutil.which(PROGRAM) is None:
        memory = Memory()
        publish(memory, layers)
        yield memory
        return
    with docker_registry(folder) as host:
        await push(host, layers)
        async with Proxied(host) as proxied:
            yield proxied


async def push(host: str, layers: Mapping[str, bytes]) -> None:
    """Put a model into a real registry."""
    reference = f"http://{host}/{REPOSITORY}"
    name = ModelName.parse(reference)
    async with RegistryClient(Origin.of(reference, insecure=True)) as client:
        for content in (CONFIG, *layers.values()):
            await _push_blob(client, name, content)
        await client.put_manifest(name, encode(manifest_of(layers)))


async def _push_blob(client: RegistryClient, name: ModelName, content: bytes) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield content

    digest = Digest.of(content)
    upload = await client.start_upload(name, digest)
    assert upload is not None
    upload = await client.send_chunk(name, upload, chunks, 0, len(content))
    await client.finish_upload(name, upload, digest)


async def pull(
    store: Store, reference: str, options: TransferOptions, access: Access | None = None
) -> list[PullProgress]:
    """The lines of a pull over http."""
    pulls, lines = Pulls(store, default_sources(options)), list[PullProgress]()
    with anyio.fail_after(60):
        async with aclosing(pulls.pull(reference, access or Access(insecure=True))) as progress:
            async for line in progress:
                lines.append(line)
    return lines


def goes_forward(lines: list[PullProgress]) -> bool:
    """Whether the progress of no status and no digest ever went back."""
    latest: dict[tuple[str, str | None], int] = {}
    for line in lines:
        key = (line.status, line.digest)
        if line.completed is not None:
            if not latest.get(key, 0) <= line.completed <= (line.total or 0):
                return False
            latest[key] = line.completed
    return True


def visible(store: Store) -> list[str]:
    """Names of all manifests, and of the model files that count as whole blobs."""
    blobs = [path for path in (store.root / "blobs").iterdir() if len(path.name) == len("sha256-") + 64]
    big = [path.name for path in blobs if path.stat().st_size > 1000]
    return [path.name for path in (store.root / "manifests").rglob("*") if path.is_file()] + big
