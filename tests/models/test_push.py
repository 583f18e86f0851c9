"""Pushes to a registry that goes wrong on request; test_real_registry.py has a real one."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path

import anyio
import pytest
from msgspec.structs import replace
from support.docker_registry import docker_registry
from support.stores import OllamaFolder, add_tiny
from support.tiny_gguf import write_tiny_gguf
from support.upload_registry import (
    Fault,
    UploadRegistry,
    busy,
    cut_half_way,
    denied,
    half_and_busy,
    lost,
    taken,
)

from agentkit_server.errors import BadRequest, ModelNotFound, RegistryError, StoreError
from agentkit_server.models.names import ModelName
from agentkit_server.models.pull import Pulls, default_sources
from agentkit_server.models.push import push
from agentkit_server.models.registry import uploads
from agentkit_server.models.registry.options import Access, Patience, TransferOptions
from agentkit_server.models.sources.source import PullProgress
from agentkit_server.models.store import Store

pytestmark = pytest.mark.anyio

SECONDS = 60


@pytest.fixture
def waits() -> list[float]:
    """How long each pause would have been."""
    return []


@pytest.fixture
def options(waits: list[float]) -> TransferOptions:
    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    return TransferOptions(patience=Patience(tries=3, sleep=sleep), key=None)


@pytest.fixture
async def registry() -> AsyncIterator[UploadRegistry]:
    registry = UploadRegistry()
    async with registry.serving():
        yield registry


@pytest.fixture
def content(tiny: Path) -> bytes:
    return tiny.read_bytes()


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "CHUNK", 1000)
    monkeypatch.setattr(uploads, "PIECE", 300)


async def pushed(
    store: Store, reference: str, options: TransferOptions, *, insecure: bool = True
) -> list[PullProgress]:
    with anyio.fail_after(SECONDS):
        async with aclosing(push(store, reference, options, Access(insecure=insecure))) as progress:
            return [line async for line in progress]
    raise AssertionError("the push took too long")


def never_back(lines: Sequence[PullProgress]) -> bool:
    """Whether no blob's count goes down, and each ends whole."""
    counts: dict[str, list[int]] = {}
    for line in lines:
        if line.digest is not None:
            counts.setdefault(line.digest, []).append(line.completed or 0)
            assert line.status == f"pushing {line.digest[7:19]}"
    totals = {line.digest: line.total for line in lines if line.digest}
    return all(each == sorted(each) and each[-1] == totals[digest] for digest, each in counts.items())


async def test_blobs_go_in_chunks_and_the_manifest_comes_last(
    store: Store, tiny: Path, content: bytes, registry: UploadRegistry, options: TransferOptions
) -> None:
    name = f"{registry.address}/me/mine:v1"
    digest = add_tiny(store, name, tiny)
    lines = await pushed(store, name, options)
    assert [line.status for line in lines if line.digest is None] == [
        "retrieving manifest",
        "pushing manifest",
        "success",
    ]
    assert never_back(lines)
    assert registry.blobs["me/mine"][digest] == content
    assert len(registry.blobs["me/mine"]) == 2
    assert {(0, 1000), (1000, 1000), (2000, 112)} <= set(registry.chunks)
    assert registry.asked[-1] == "PUT /v2/me/mine/manifests/v1"
    assert registry.manifests["/v2/me/mine/manifests/v1"] == store.manifest_file(name)[1]


async def test_what_the_registry_has_is_not_sent_again(
    store: Store, tiny: Path, registry: UploadRegistry, options: TransferOptions
) -> None:
    name = f"{registry.address}/me/mine"
    add_tiny(store, name, tiny)
    await pushed(store, name, options)
    registry.asked.clear()
    assert never_back(await pushed(store, name, options))
    assert registry.counted == {"HEAD": 2, "PUT": 1}


@pytest.mark.parametrize(
    "faults",
    [
        [cut_half_way],
        [busy],
        [half_and_busy],
        [lost],
        [busy, cut_half_way],
        [half_and_busy, cut_half_way, half_and_busy, cut_half_way, half_and_busy],
        [lost, lost],
    ],
)
async def test_a_chunk_that_breaks_goes_on_where_the_registry_has_it(
    store: Store,
    tiny: Path,
    content: bytes,
    registry: UploadRegistry,
    options: TransferOptions,
    faults: list[Fault],
) -> None:
    name = f"{registry.address}/me/mine"
    digest = add_tiny(store, name, tiny)
    registry.faults = faults
    assert never_back(await pushed(store, name, options))
    assert registry.faults == []
    assert registry.blobs["me/mine"][digest] == content


async def test_half_a_chunk_that_came_is_not_sent_again(
    store: Store, tiny: Path, registry: UploadRegistry, options: TransferOptions
) -> None:
    name = f"{registry.address}/me/mine"
    store.link_file(name, tiny)
    await pushed(store, name, options)
    registry.blobs.clear()
    registry.chunks.clear()
    registry.faults = [cut_half_way]
    alone = TransferOptions(streams=1, patience=options.patience, key=None)
    await pushed(store, name, alone)
    # The config, 260 bytes and something, comes first and is cut.
    (_, whole), (start, rest), *_ = registry.chunks
    assert (start, rest) == (whole // 2, whole - whole // 2)


async def test_the_pauses_between_tries_grow_and_end(
    store: Store, tiny: Path, registry: UploadRegistry, options: TransferOptions, waits: list[float]
) -> None:
    name = f"{registry.address}/me/mine"
    add_tiny(store, name, tiny)
    registry.faults = [busy] * 20
    alone = TransferOptions(streams=1, patience=options.patience, key=None)
    with pytest.raises(RegistryError, match=r"in trouble.*given up after 3 tries: push again"):
        await pushed(store, name, alone)
    assert waits == [1, 2]
    assert registry.manifests == {}
    assert all(session.lost for session in registry.sessions.values())


async def test_a_registry_that_forgets_the_upload_each_time_is_given_up(
    store: Store, tiny: Path, registry: UploadRegistry, options: TransferOptions
) -> None:
    name = f"{registry.address}/me/mine"
    store.link_file(name, tiny)
    alone = TransferOptions(streams=1, patience=options.patience, key=None)
    # The config goes in one chunk, and of the model only ever the first.
    registry.faults = [taken, *[taken, lost] * 20]
    with pytest.raises(RegistryError, match="given up after 3 tries"):
        await pushed(store, name, alone)


async def test_a_refusal_is_not_tried_again(
    store: Store, tiny: Path, registry: UploadRegistry, options: TransferOptions, waits: list[float]
) -> None:
    name = f"{registry.address}/me/mine"
    add_tiny(store, name, tiny)
    registry.faults = [denied] * 2
    with pytest.raises(RegistryError, match="answered 403; not yours"):
        await pushed(store, name, options)
    assert waits == []


async def test_a_lost_answer_to_the_last_step_does_not_matter(
    store: Store, tiny: Path, registry: UploadRegistry, options: TransferOptions
) -> None:
    name = f"{registry.address}/me/mine"
    add_tiny(store, name, tiny)
    registry.faults_at_the_end = 2
    assert (await pushed(store, name, options))[-1].status == "success"
    assert len(registry.blobs["me/mine"]) == 2


@pytest.mark.parametrize("mounts", [True, False])
async def test_a_layer_of_another_model_of_the_registry_is_mounted_where_that_is_let(
    tmp_path: Path,
    tiny: Path,
    content: bytes,
    registry: UploadRegistry,
    options: TransferOptions,
    mounts: bool,
) -> None:
    folder = OllamaFolder(tmp_path / "ollama")
    file = folder.model(f"{registry.address}/me/child/latest", {"model": content})
    manifest = json.loads(file.read_bytes())
    manifest["layers"][0]["from"] = f"{registry.address}/me/base:latest"
    file.write_text(json.dumps(manifest))
    digest = manifest["layers"][0]["digest"]
    registry.blobs["me/base"] = {digest: content}
    registry.mounts = mounts
    await pushed(Store(folder.root), f"{registry.address}/me/child", options)
    assert registry.blobs["me/child"][digest] == content
    assert any(f"mount=sha256%3A{digest[7:]}&from=me%2Fbase" in line for line in registry.asked)
    assert ((0, 1000) in registry.chunks) is not mounts
    assert registry.manifests["/v2/me/child/manifests/latest"] == file.read_bytes()


async def test_a_linked_file_goes_as_an_ordinary_layer_and_no_path_leaves_this_machine(
    store: Store, tiny: Path, content: bytes, registry: UploadRegistry, options: TransferOptions
) -> None:
    name = f"{registry.address}/me/mine"
    store.link_file(name, tiny)
    await pushed(store, name, options)
    manifest = json.loads(registry.manifests["/v2/me/mine/manifests/latest"])
    (layer,) = manifest["layers"]
    assert set(layer) == {"mediaType", "digest", "size"}
    assert registry.blobs["me/mine"][layer["digest"]] == content
    assert store.resolve(name).path == tiny


@pytest.mark.parametrize("path", ["/home/ann/.ollama/models/blobs/sha256-1", "C:\\Users\\ann\\x.gguf"])
async def test_a_path_that_an_old_ollama_wrote_does_not_leave_this_machine(
    store: Store, tiny: Path, registry: UploadRegistry, options: TransferOptions, path: str
) -> None:
    name = ModelName.parse(f"{registry.address}/me/mine")
    store.link_file(name, tiny)
    manifest = store.manifest(name)
    (layer,) = manifest.layers
    store.write_manifest(name, replace(manifest, layers=(replace(layer, origin=path),)))
    await pushed(store, name.full, options)
    (layer,) = json.loads(registry.manifests["/v2/me/mine/manifests/latest"])["layers"]
    assert "from" not in layer


async def test_a_linked_file_that_changed_is_not_pushed(
    store: Store, tiny: Path, registry: UploadRegistry, options: TransferOptions
) -> None:
    name = f"{registry.address}/me/mine"
    store.link_file(name, tiny)
    write_tiny_gguf(tiny, name="another")
    with pytest.raises(StoreError, match="has changed since it was linked"):
        await pushed(store, name, options)
    assert registry.asked == []


async def test_leaving_a_push_stops_it_and_lets_go_of_the_blobs(
    store: Store, tiny: Path, registry: UploadRegistry, options: TransferOptions
) -> None:
    name = f"{registry.address}/me/mine"
    add_tiny(store, name, tiny)
    with anyio.fail_after(SECONDS):
        async with aclosing(push(store, name, options, Access(insecure=True))) as progress:
            await anext(progress)
            await anext(progress)
    assert registry.manifests == {}
    store.delete(name)
    assert list((store.root / "blobs").glob("sha256-*")) == []


async def test_a_push_that_cannot_be_says_so_before_it_begins(
    store: Store, tiny: Path, options: TransferOptions
) -> None:
    add_tiny(store, "127.0.0.1:1/me/mine", tiny)
    with pytest.raises(ModelNotFound, match="model 'me/mine' not found"):
        await pushed(store, "me/mine", options)
    with pytest.raises(RegistryError, match="insecure protocol http"):
        await pushed(store, "http://127.0.0.1:1/me/mine", options, insecure=False)
    with pytest.raises(BadRequest, match="names the protocol 'ftp'"):
        await pushed(store, "ftp://127.0.0.1:1/me/mine", options)
    with pytest.raises(RegistryError, match="cannot be reached"):
        await pushed(store, "127.0.0.1:1/me/mine", options)


class CuttingLine:
    """A line to another address that is cut each time so many bytes have gone there, as often as it says."""

    def __init__(self, address: str, cuts: list[int]) -> None:
        host, _, port = address.partition(":")
        self._there = (host, int(port))
        self.cuts = cuts
        self.sent = 0
        """Bytes that were to go there."""
        self.address = ""

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server:
            yield

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(*self._there)
        back = asyncio.create_task(self._pass_on(there_reader, writer))
        try:
            with suppress(ConnectionError):
                await self._forth(reader, there_writer)
        finally:
            # Whatever ends it, the end of the test too: a connection that nobody closes is a warning later.
            for end in (there_writer, writer):
                end.transport.abort()
            back.cancel()
        with suppress(asyncio.CancelledError, ConnectionError):
            await back

    async def _forth(self, reader: asyncio.StreamReader, there: asyncio.StreamWriter) -> None:
        while data := await reader.read(16_384):
            self.sent += len(data)
            if self.cuts and self.sent >= self.cuts[0]:
                self.cuts.pop(0)
                return
            there.write(data)
            await there.drain()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(16_384):
            writer.write(data)
            await writer.drain()


async def test_a_line_to_a_real_registry_that_is_cut_ends_in_the_right_blob(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunk = 1 << 20
    monkeypatch.setattr(uploads, "CHUNK", chunk)
    monkeypatch.setattr(uploads, "PIECE", 65_536)
    path = write_tiny_gguf(tmp_path / "big.gguf", extra={"filler": os.urandom(2 * chunk).hex()})
    options = TransferOptions(streams=1, patience=Patience(first=0.05), key=None)
    with docker_registry(tmp_path / "registry") as address:
        line = CuttingLine(address, [chunk // 2, 3 * chunk, 4 * chunk])
        async with line.open():
            name = f"{line.address}/me/big"
            size = store.link_file(name, path).size
            assert never_back(await pushed(store, name, options))
        # It forgets an upload whose chunk broke off, so that the blob goes again from its start.
        assert line.cuts == []
        assert line.sent > size
        pulled_name = f"{address}/me/big"
        pulls = Pulls(store, default_sources(options))
        async for _ in pulls.pull(pulled_name, Access(insecure=True)):
            pass
    assert store.manifest(pulled_name).layers[0].digest == store.manifest(name).layers[0].digest
