from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import pytest
from support.fault_registry import Answer, Asked, FaultRegistry, Memory, cut, fault_registry, status
from support.registries import Waits, goes_forward, pull, weights

from agentkit_server.errors import AgentkitError
from agentkit_server.models.registry.options import Access, Patience, TransferOptions
from agentkit_server.models.sources.url import (
    Address,
    _parts,  # pyright: ignore[reportPrivateUsage]
)
from agentkit_server.models.store import Store

pytestmark = pytest.mark.anyio

INSECURE = Access(insecure=True)


@pytest.fixture
def options() -> TransferOptions:
    return TransferOptions(patience=Patience(tries=3, sleep=Waits().sleep), key=None, part_bytes=20_000)


@pytest.fixture
def model(tmp_path: Path) -> bytes:
    return weights(tmp_path, 100_000)


@pytest.fixture
async def server(model: bytes) -> AsyncGenerator[FaultRegistry]:
    memory = Memory()
    memory.contents["/files/My%20Model-Q8_0.gguf"] = model
    memory.contents["/files/page.gguf"] = b"<html>" * 100
    async with fault_registry(memory) as registry:
        registry.on("", lambda _, answer: replace(answer, headers={**answer.headers, "etag": '"one"'}))
        yield registry


async def test_a_model_is_stored_under_the_name_of_its_file(
    server: FaultRegistry, store: Store, options: TransferOptions, model: bytes
) -> None:
    url = f"http://{server.host}/files/My%20Model-Q8_0.gguf?download=true"
    server.on("Q8_0", cut(10_000), 2)
    lines = await pull(store, url, options)
    assert goes_forward(lines)
    assert [line.status for line in lines][-2:] == ["writing manifest", "success"]
    assert store.resolve("My-Model-Q8_0").path.read_bytes() == model
    assert not list((store.root / "blobs").glob("sha256-*.part*"))


async def test_what_did_not_change_is_not_fetched_again(
    server: FaultRegistry, store: Store, options: TransferOptions
) -> None:
    url = f"http://{server.host}/files/My%20Model-Q8_0.gguf"
    await pull(store, url, options)
    before = len(server.asked)
    await pull(store, url, options)
    assert len(server.asked) == before + 1
    server.on("", lambda _, answer: replace(answer, headers={**answer.headers, "etag": '"two"'}))
    await pull(store, url, options)
    assert len(server.asked) > before + 2


async def test_a_file_that_changes_while_it_is_fetched_is_not_mixed(
    server: FaultRegistry, store: Store, options: TransferOptions
) -> None:
    def changed(asked: Asked, answer: Answer) -> Answer:
        if asked.headers.get("if-range", '"one"') == '"one"' and "bytes=0-0" not in asked.headers.values():
            return replace(answer, status=200)
        return answer

    server.on("Q8_0", changed)
    with pytest.raises(AgentkitError, match="whole file where a part was asked for"):
        await pull(store, f"http://{server.host}/files/My%20Model-Q8_0.gguf", options)
    assert all("if-range" in asked.headers for asked in server.asked[1:])
    assert store.list() == []


async def test_what_is_no_model_is_not_stored(
    server: FaultRegistry, store: Store, options: TransferOptions
) -> None:
    with pytest.raises(AgentkitError, match="what came is no model, so it was not stored"):
        await pull(store, f"http://{server.host}/files/page.gguf", options)
    assert not list((store.root / "blobs").glob("sha256-*"))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://{host}/none.gguf", "pulling none.gguf: .* answered 404"),
        ("http://{host}/x-00001-of-00002.gguf", "is one shard of a split model"),
    ],
)
async def test_an_address_without_a_model_says_so(
    server: FaultRegistry, store: Store, options: TransferOptions, url: str, message: str
) -> None:
    with pytest.raises(AgentkitError, match=message):
        await pull(store, url.format(host=server.host), options)


async def test_http_is_refused_unless_it_is_allowed(store: Store, options: TransferOptions) -> None:
    with pytest.raises(AgentkitError, match="insecure protocol http"):
        await pull(store, "http://127.0.0.1:9/x.gguf", options, Access())


async def test_a_server_that_hides_the_length_is_refused(
    server: FaultRegistry, store: Store, options: TransferOptions
) -> None:
    server.on("", lambda asked, answer: replace(status(200)(asked, answer), endless=True))
    with pytest.raises(AgentkitError, match="does not say how long the file is"):
        await pull(store, f"http://{server.host}/x.gguf", options)


@pytest.mark.parametrize(
    ("reference", "ours"),
    [
        ("https://h.example/a/b.gguf", True),
        ("HTTPS://h.example:8443/b.GGUF?x=y", True),
        ("https://user:secret@h.example/b.gguf", False),
        ("https://h.example/library/b", False),
        ("ftp://h.example/b.gguf", False),
        ("b.gguf", False),
        ("hf.co/a/b.gguf", False),
    ],
)
def test_only_urls_of_gguf_files_are_taken(reference: str, ours: bool) -> None:
    assert Address().matches(reference) is ours


async def test_a_mark_in_strange_letters_is_not_sent_back(
    server: FaultRegistry, store: Store, options: TransferOptions
) -> None:
    server.on("", lambda _, answer: replace(answer, headers={**answer.headers, "etag": '"\xe9"'}))
    await pull(store, f"http://{server.host}/files/My%20Model-Q8_0.gguf", options)
    assert not any("if-range" in asked.headers for asked in server.asked)


async def test_without_a_mark_nothing_of_an_earlier_pull_is_taken(
    server: FaultRegistry, store: Store, options: TransferOptions, model: bytes
) -> None:
    def unmarked(asked: Asked, answer: Answer) -> Answer:
        kept = {name: value for name, value in answer.headers.items() if name != "etag"}
        return replace(answer, headers=kept)

    url = f"http://{server.host}/files/My%20Model-Q8_0.gguf"
    server.on("", unmarked)
    server.on("Q8_0", cut(5_000))
    with pytest.raises(AgentkitError, match="given up"):
        await pull(store, url, options)
    server.faults.pop()
    asked = len(server.asked)
    await pull(store, url, options)
    assert sorted(server.ranges("Q8_0", asked))[0][0] == 0
    assert store.resolve("My-Model-Q8_0").path.read_bytes() == model


def test_the_short_name_of_the_hub_is_the_long_one() -> None:
    # A redirect from one to the other would lose the login.
    parts = _parts("https://hf.co/ann/tiny/blob/main/x.gguf?download=true")
    assert parts == ("https", "huggingface.co", "/ann/tiny/resolve/main/x.gguf", "?download=true")
