"""Answers and references made to break things: each is an error in words, never one of Python's."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace
from support.fault_registry import Memory, fault_registry, status
from support.registries import CONFIG, REPOSITORY, manifest_of, publish, pull

from agentkit_server.errors import BadRequest, RegistryError
from agentkit_server.models.manifest import encode
from agentkit_server.models.names import ModelName
from agentkit_server.models.registry import exchange
from agentkit_server.models.registry.bodies import retry_after
from agentkit_server.models.registry.client import RegistryClient, Upload
from agentkit_server.models.registry.options import TransferOptions
from agentkit_server.models.registry.origin import Origin, read_url
from agentkit_server.models.registry.received import received
from agentkit_server.models.resolution import MAX_TEXT_BYTES
from agentkit_server.models.store import Store
from agentkit_server.settings import Settings

pytestmark = pytest.mark.anyio

DEEP = b"[" * 8000


@pytest.mark.parametrize("host", ["localhost:port", "localhost:65536", "localhost:0", "xn--a", "a:1:2"])
async def test_a_host_that_cannot_be_is_a_bad_request(
    store: Store, options: TransferOptions, host: str
) -> None:
    with pytest.raises(BadRequest, match=f"'{host}' is no host that can be reached .*give HOST or HOST:PORT"):
        await pull(store, f"{host}/me/tiny", options)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("https://xn--a/", "broke .*Codepoint"),
        ("https://127.0.0.1:99999/", "which is no URL"),
        ("https:///x", "broke"),
    ],
)
async def test_redirects_and_realms_that_are_no_address_are_refused(
    memory: Memory, store: Store, options: TransferOptions, target: str, message: str
) -> None:
    async with fault_registry(memory) as registry:
        name = f"http://{registry.host}/{REPOSITORY}"
        registry.on("", status(307, {"location": target}))
        with pytest.raises(RegistryError, match=message):
            await pull(store, name, options)
        registry.faults.clear()
        registry.on("", status(401, {"www-authenticate": f'Bearer realm="{target}"'}))
        with pytest.raises(RegistryError, match="nothing was sent there"):
            await pull(store, name, options)


async def test_an_error_nested_too_deep_is_told_as_it_stands(
    memory: Memory, store: Store, options: TransferOptions
) -> None:
    async with fault_registry(memory) as registry:
        registry.on("", status(500, {}, DEEP))
        with pytest.raises(RegistryError, match=r"answered 500; \[\[\["):
            await pull(store, f"http://{registry.host}/{REPOSITORY}", options)


async def test_a_count_that_is_no_count_means_nothing_was_sent(options: TransferOptions) -> None:
    async with fault_registry(Memory()) as registry:
        registry.on("", status(204, {"location": "/v2/next", "range": "0-" + "9" * 5000}))
        name = ModelName.parse(f"http://{registry.host}/{REPOSITORY}")
        async with RegistryClient(Origin("http", registry.host), options) as client:
            upload = Upload(read_url(f"http://{registry.host}/v2/upload"))
            assert (await client.uploaded(name, upload))[1] == 0


def test_a_time_out_of_all_bounds_is_no_time() -> None:
    answer = exchange.httpx.Response(503, headers={"retry-after": f"Mon, 01 Jan 2020 00:00:00 +{'9' * 15}"})
    assert retry_after(answer) is None


def test_a_manifest_of_ours_comes_back_byte_for_byte() -> None:
    sent = encode(manifest_of({"model": b"m", "system": b"s"}))
    assert encode(received(sent, "hub")) == sent
    foreign = json.loads(sent)
    foreign["layers"][1] |= {"agentkit.scale": 1.0, "agentkit.path": "/etc/passwd", "from": "/etc/passwd"}
    assert encode(received(json.dumps(foreign).encode(), "hub")) == sent


async def test_layers_nested_too_deep_do_not_hide_the_other_models(
    memory: Memory, model: bytes, store: Store, options: TransferOptions
) -> None:
    publish(memory, {"model": model, "params": b'{"a":' + DEEP}, "library/deep")
    async with fault_registry(memory) as registry:
        for repository in (REPOSITORY, "library/deep"):
            await pull(store, f"http://{registry.host}/{repository}", options)
        found = {each.name.model: each.parameters for each in store.list()}
    assert found == {"tiny": {}, "deep": {}}


def test_one_text_may_not_stand_for_gigabytes() -> None:
    manifest = manifest_of({"model": b"m", "license": b"l"})
    text = replace(manifest.layers[1], size=MAX_TEXT_BYTES)
    copies = replace(manifest, layers=(manifest.layers[0], *[text] * 5))
    with pytest.raises(
        RegistryError, match=f"its texts have {5 * MAX_TEXT_BYTES + len(CONFIG)} bytes together, more"
    ):
        received(encode(copies), "hub")


def test_a_blob_may_stand_in_a_manifest_twice() -> None:
    sent = encode(manifest_of({"model": b"m", "system": b"m"}))
    assert len(received(sent, "hub").layers) == 2


@pytest.mark.parametrize("secret", ["tok\nen", "tök", "ann:pass\rword"])
def test_a_secret_that_no_header_can_carry_is_refused_and_not_shown(secret: str) -> None:
    for settings in (Settings(registry_auth=[f"hub.example={secret}"]), Settings(hf_token=secret)):
        with pytest.raises(BadRequest, match="characters that no header can carry") as raised:
            TransferOptions.of(settings)
        assert secret not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "value"), [("ALL_PROXY", "socks5://ann:secret@h:1"), ("HTTP_PROXY", "ftp://ann:secret@h:1")]
)
async def test_a_proxy_that_is_none_is_said_without_its_password(
    store: Store, options: TransferOptions, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(RegistryError, match="the proxy of the settings cannot be used") as raised:
        await pull(store, "http://hub.example/me/tiny", options)
    assert "secret" not in raised.value.message


async def test_certificates_that_are_not_there_are_said(
    store: Store, options: TransferOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    monkeypatch.setattr(exchange, "certificates", exchange.certificates.__wrapped__)
    with pytest.raises(RegistryError, match="check SSL_CERT_FILE"):
        await pull(store, "http://hub.example/me/tiny", options)
