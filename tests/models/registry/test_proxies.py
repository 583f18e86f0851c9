"""Proxies are those of the usual variables."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.fault_registry import Answer, Asked, Memory, fault_registry, status
from support.registries import REPOSITORY, pull

from agentkit_server.errors import RegistryError
from agentkit_server.models.registry.options import TransferOptions
from agentkit_server.models.store import Store

pytestmark = pytest.mark.anyio

HOST = "registry.invalid"


class Forward:
    """A proxy: it is asked for whole URLs."""

    def __init__(self, inner: Memory) -> None:
        self._inner = inner

    async def answer(self, asked: Asked) -> Answer:
        return await self._inner.answer(replace(asked, target=asked.target.removeprefix(f"http://{HOST}")))


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


async def test_a_pull_goes_through_the_proxy(
    memory: Memory, store: Store, options: TransferOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fault_registry(Forward(memory)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.host}")
        await pull(store, f"http://{HOST}/{REPOSITORY}", options)
        assert all(asked.target.startswith(f"http://{HOST}/v2/") for asked in proxy.asked)
    assert store.has(f"{HOST}/{REPOSITORY}")


async def test_hosts_of_no_proxy_are_reached_directly(
    memory: Memory, store: Store, options: TransferOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fault_registry(Memory()) as proxy, fault_registry(memory) as registry:
        monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.host}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        await pull(store, f"http://{registry.host}/{REPOSITORY}", options)
        assert proxy.asked == []


async def test_a_proxy_that_wants_a_login_says_so(
    memory: Memory, store: Store, options: TransferOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fault_registry(memory) as proxy:
        proxy.on("", status(407))
        monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.host}")
        with pytest.raises(RegistryError, match=r"answered 407.*the proxy wants a login"):
            await pull(store, f"http://{HOST}/{REPOSITORY}", options)


async def test_a_host_that_is_not_there_is_said_at_once(store: Store, options: TransferOptions) -> None:
    with pytest.raises(RegistryError, match=r"pull model manifest: '127.0.0.1' cannot be reached .*check"):
        await pull(store, f"http://127.0.0.1:9/{REPOSITORY}", options)
