"""Every fault of a registry ends in the right blob or in a clear error, and never in half a model."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from dataclasses import replace
from pathlib import Path

import pytest
from support.docker_registry import docker_registry
from support.fault_registry import (
    Fault,
    FaultRegistry,
    Memory,
    NoRanges,
    Proxied,
    Upstream,
    cut,
    endless,
    fault_registry,
    longer_than_it_is,
    stall,
    status,
    wrong_bytes,
)
from support.registries import REPOSITORY, SYSTEM, Waits, goes_forward, publish, pull, push, visible

from agentkit_server.errors import AgentkitError
from agentkit_server.models.digest import Digest
from agentkit_server.models.registry.options import TransferOptions
from agentkit_server.models.store import Store

pytestmark = pytest.mark.anyio

BLOBS = "/blobs/"
MANIFESTS = "/manifests/"


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    with docker_registry(tmp_path_factory.mktemp("registry")) as host:
        yield host


@pytest.fixture(params=["docker", "memory"])
async def upstream(request: pytest.FixtureRequest, model: bytes) -> AsyncGenerator[Upstream]:
    """A real registry, and one in memory where that is not installed; both with `library/tiny:latest`."""
    if request.param == "memory":
        memory = Memory()
        publish(memory, {"model": model, "system": SYSTEM})
        yield memory
        return
    host = request.getfixturevalue("docker")
    await push(host, {"model": model, "system": SYSTEM})
    async with Proxied(host) as proxied:
        yield proxied


@pytest.fixture
async def registry(upstream: Upstream) -> AsyncGenerator[FaultRegistry]:
    async with fault_registry(upstream) as server:
        yield server


def reference(registry: FaultRegistry) -> str:
    return f"http://{registry.host}/{REPOSITORY}"


RECOVERABLE: dict[str, tuple[str, Fault, int | None]] = {
    "no fault": (BLOBS, lambda _, answer: answer, 0),
    "each connection is cut after 90 kB": (BLOBS, cut(90_000), 20),
    "connections are cut before the first byte": (BLOBS, cut(0), 2),
    "the manifest is cut": (MANIFESTS, cut(10), 1),
    "the manifest is a 500": (MANIFESTS, status(500), 2),
    "blobs are a 503 at first": (BLOBS, status(503), 2),
    "blobs are too many requests": (BLOBS, status(429, {"retry-after": "7"}), 2),
    "a connection stalls": (BLOBS, stall(1000), 1),
    "wrong bytes once": (BLOBS, wrong_bytes, 1),
    "bodies without an end": (BLOBS, endless, None),
}


@pytest.mark.parametrize("fault", RECOVERABLE)
async def test_what_can_be_overcome_ends_in_the_right_model(
    registry: FaultRegistry, store: Store, options: TransferOptions, model: bytes, fault: str
) -> None:
    path, change, times = RECOVERABLE[fault]
    registry.on(path, change, times)
    if "stalls" in fault:
        # A busy machine may make others stall as well.
        patience = replace(options.patience, tries=50)
        options = replace(options, stall_seconds=0.5, patience=patience)
    lines = await pull(store, reference(registry), options)
    assert goes_forward(lines)
    statuses = [line.status for line in lines]
    assert statuses[0] == "pulling manifest"
    assert statuses[-2:] == ["writing manifest", "success"]
    assert "verifying sha256 digest" in statuses
    stored = store.resolve(reference(registry))
    assert stored.path.read_bytes() == model
    assert stored.system == SYSTEM.decode()
    assert not list(stored.path.parent.glob("sha256-*.part*"))


FATAL: dict[str, tuple[str, Fault, str]] = {
    "no such model": (MANIFESTS, status(404), "pull model manifest: file does not exist: .*check the name"),
    "a login is needed": (MANIFESTS, status(401), "answered 401.*it needs a login.*AGENTKIT_REGISTRY_AUTH"),
    "forbidden": (MANIFESTS, status(403), "answered 403.*not allowed"),
    "too new": (MANIFESTS, status(412, {}, b"update!"), "answered 412; update!; .*newer programs"),
    "always busy": (MANIFESTS, status(429), "answered 429.*too many requests"),
    "busy for hours": (MANIFESTS, status(429, {"retry-after": "7200"}), "asks to wait 7200 seconds"),
    "always broken": (MANIFESTS, status(500), "answered 500; oops; try again later"),
    "a web page": (MANIFESTS, status(200, {"content-type": "text/html"}, b"<html>"), "web page"),
    "garbage": (MANIFESTS, status(200, {}, b"\x00garbage"), "cannot be used: the manifest is not readable"),
    "a list of manifests": (MANIFESTS, status(200, {}, b'{"manifests":[]}'), "missing required field"),
    "an endless manifest": (MANIFESTS, endless, "the manifest is longer than the 4194304 bytes"),
    "no such blob": (BLOBS, status(404), "pulling [0-9a-f]{12}: .*answered 404"),
    "blobs are forbidden": (BLOBS, status(403), "pulling [0-9a-f]{12}: .*answered 403"),
    "blobs are always broken": (BLOBS, status(500), "given up after 3 tries.*next pull goes on"),
    "each connection is cut": (BLOBS, cut(0), "connection to .* broke.*given up after 3 tries"),
    "each connection stalls": (BLOBS, stall(0), "not a byte for 0.1 seconds; given up after 3 tries"),
    "always wrong bytes": (BLOBS, wrong_bytes, 'digest mismatch, expected ".*", got ".*", 2 times'),
    "another length": (BLOBS, longer_than_it_is, "manifest and file do not belong together"),
    "a redirect loop": (
        BLOBS,
        lambda asked, _: status(307, {"location": asked.target})(asked, _),
        "redirects more than 5 times",
    ),
    "a redirect to nowhere": (BLOBS, status(307), "redirects in a way it must not"),
    "a redirect to http elsewhere": (
        BLOBS,
        status(307, {"location": "http://localhost/x"}),
        "'http://localhost/x', which is not https; it was not followed",
    ),
    "a redirect to a file": (BLOBS, status(302, {"location": "file:///etc/passwd"}), "not https"),
    "a redirect to nonsense": (BLOBS, status(302, {"location": "https://[::"}), "Invalid URL"),
    "a partial answer of other bytes": (
        BLOBS,
        lambda asked, answer: replace(answer, status=206, headers={"content-range": "bytes 7-9/1500000"}),
        "do not belong together",
    ),
}


@pytest.mark.parametrize("upstream", ["memory"], indirect=True)
@pytest.mark.parametrize("fault", FATAL)
async def test_what_cannot_be_overcome_is_a_clear_error_and_leaves_nothing_to_see(
    registry: FaultRegistry, store: Store, options: TransferOptions, fault: str
) -> None:
    path, change, message = FATAL[fault]
    registry.on(path, change)
    if "stalls" in fault:
        options = replace(options, stall_seconds=0.1)
    with pytest.raises(AgentkitError, match=message):
        await pull(store, reference(registry), options)
    assert visible(store) == []
    assert store.list() == []


def layer(**fields: object) -> bytes:
    import msgspec

    digest = "sha256:" + "0" * 64
    model = {"mediaType": "application/vnd.ollama.image.model", "digest": digest, "size": 5} | fields
    config = {**model, "digest": "sha256:" + "1" * 64, "size": 1}
    return msgspec.json.encode({"schemaVersion": 2, "config": config, "layers": [model]})


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (layer(digest="sha256:../../../etc/passwd"), "invalid digest format"),
        (layer(digest="sha512:" + "0" * 128), "invalid digest format"),
        (layer(mediaType="\x1b[2J"), "its media type .* is none"),
        (layer(digest=""), "a layer without a digest"),
        (layer(digest="sha256:" + "1" * 64), "two sizes to one blob"),
        (b'{"x":' + b"[" * 8000, "the manifest is not readable"),
        (layer(size=-1), "a layer of -1 bytes"),
        (layer(size=1 << 60), "more than"),
        (layer(size=1 << 70), "cannot be used"),
        (layer(size="5"), "cannot be used"),
        (layer(mediaType="application/vnd.ollama.image.tensor"), "no GGUF file"),
        (layer(mediaType="application/vnd.ollama.image.license", size=1 << 40), "'license' layer has"),
        (layer(size=1 << 49), "make room and pull again"),
    ],
)
@pytest.mark.parametrize("upstream", ["memory"], indirect=True)
async def test_a_hostile_manifest_is_refused_before_anything_is_fetched(
    registry: FaultRegistry, store: Store, options: TransferOptions, manifest: bytes, message: str
) -> None:
    registry.on(MANIFESTS, status(200, {}, manifest))
    with pytest.raises(AgentkitError, match=message):
        await pull(store, reference(registry), options)
    assert visible(store) == []
    assert not [asked for asked in registry.asked if BLOBS in asked.target]


async def test_a_manifest_with_a_path_of_this_machine_is_stored_without_it(
    memory: Memory, store: Store, options: TransferOptions, model: bytes, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.gguf"
    secret.write_bytes(model)
    path = f"/v2/{REPOSITORY}/manifests/latest"
    fields = b'"agentkit.path":"%s","agentkit.modified":1,"mediaType":' % str(secret).encode()
    memory.contents[path] = memory.contents[path].replace(b'"mediaType":', fields)
    async with fault_registry(memory) as registry:
        await pull(store, reference(registry), options)
        assert store.resolve(reference(registry)).path == store.blob_path(str(Digest.of(model)))


async def test_a_server_without_ranges_is_read_in_one_piece(
    memory: Memory, store: Store, options: TransferOptions, model: bytes
) -> None:
    async with fault_registry(NoRanges(memory)) as registry:
        registry.on(Digest.of(model).hex, cut(900_000), 2)
        lines = await pull(store, reference(registry), options)
        assert goes_forward(lines)
        assert store.resolve(reference(registry)).path.read_bytes() == model


async def test_a_model_that_is_no_gguf_does_not_replace_one_that_is(
    memory: Memory, store: Store, options: TransferOptions, model: bytes
) -> None:
    async with fault_registry(memory) as registry:
        await pull(store, reference(registry), options)
        publish(memory, {"model": b"this is no model" * 100})
        with pytest.raises(AgentkitError, match="the model that was pulled is unusable"):
            await pull(store, reference(registry), options)
        assert store.resolve(reference(registry)).path.read_bytes() == model


async def test_a_registry_that_says_how_long_to_wait_is_waited_for(
    memory: Memory, store: Store, options: TransferOptions, waits: Waits
) -> None:
    async with fault_registry(memory) as registry:
        registry.on(MANIFESTS, status(503, {"retry-after": "11"}), 1)
        registry.on(BLOBS, status(500), 2)
        await pull(store, reference(registry), replace(options, streams=1))
    assert waits.seconds == [11.0, 1.0, 2.0]


async def test_a_hostile_realm_hears_nothing(memory: Memory, store: Store, options: TransferOptions) -> None:
    async with fault_registry(Memory()) as thief, fault_registry(memory) as registry:
        realm = f'Bearer realm="http://{thief.host}/token",service="x",scope="repository:a/b:pull"'
        registry.on(MANIFESTS, status(401, {"www-authenticate": realm}))
        secret = replace(options, auth={f"http://{registry.host}": "user:password"})
        with pytest.raises(AgentkitError, match=r"wants logins at another host.*nothing was sent there"):
            await pull(store, reference(registry), secret)
        assert thief.asked == []
