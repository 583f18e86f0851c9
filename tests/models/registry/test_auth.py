"""Logging in: what is sent to whom, and what is not."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_ssh_public_key,
)
from support.fault_registry import Answer, Asked, Fault, FaultRegistry, Memory, fault_registry, status
from support.registries import REPOSITORY, pull

from agentkit_server.errors import AgentkitError, BadRequest, RegistryError
from agentkit_server.models.registry.challenge import Challenge
from agentkit_server.models.registry.exchange import Exchange
from agentkit_server.models.registry.options import Access, TransferOptions
from agentkit_server.models.registry.origin import Origin
from agentkit_server.models.store import Store
from agentkit_server.settings import Settings

pytestmark = pytest.mark.anyio

LOGIN = "Basic " + base64.b64encode(b"ann:secret").decode()


class Guarded:
    """A registry that lets in who has a token, and hands them out at /token."""

    def __init__(self, inner: Memory) -> None:
        self.inner = inner
        self.host = ""
        self.tokens = 0
        self.valid = ""
        self.refused: set[str] = set()
        """Authorization headers that /token does not take, "" for none at all."""
        self.asked: list[Asked] = []

    async def answer(self, asked: Asked) -> Answer:
        if asked.target.startswith("/token"):
            return self._token(asked)
        if asked.headers.get("authorization") == f"Bearer {self.valid}":
            return await self.inner.answer(asked)
        realm = (
            f'Bearer realm="http://{self.host}/token?a=b",service="here",scope="repository:library/tiny:pull"'
        )
        return Answer(401, {"www-authenticate": realm}, b'{"errors":[{"message":"come in"}]}')

    def _token(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        authorization = asked.headers.get("authorization", "")
        if authorization in self.refused or ("signed" in self.refused and ":" in authorization):
            return Answer(401, body=b"no")
        self.tokens += 1
        self.valid = f"token-{self.tokens}"
        return Answer(200, body=b'{"token":"%s"}' % self.valid.encode())


@pytest.fixture
def guarded(memory: Memory) -> Guarded:
    return Guarded(memory)


def reference(registry: FaultRegistry) -> str:
    return f"http://{registry.host}/{REPOSITORY}"


def query(asked: Asked) -> Mapping[str, list[str]]:
    return parse_qs(urlsplit(asked.target).query)


def write_key(path: Path) -> Path:
    key = Ed25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    return path


async def test_one_token_serves_every_connection_of_a_pull(
    guarded: Guarded, store: Store, options: TransferOptions
) -> None:
    async with fault_registry(guarded) as registry:
        guarded.host = registry.host
        await pull(store, reference(registry), options)
        assert guarded.tokens == 1
        (asked,) = guarded.asked
    assert query(asked) == {"a": ["b"], "service": ["here"], "scope": ["repository:library/tiny:pull"]}
    assert "authorization" not in asked.headers


async def test_a_token_that_runs_out_is_replaced(
    guarded: Guarded, store: Store, options: TransferOptions
) -> None:
    async with fault_registry(guarded) as registry:
        guarded.host = registry.host

        def expire(asked: Asked, answer: Answer) -> Answer:
            guarded.valid = "another"
            return answer

        registry.on("/manifests/", expire, 2)
        await pull(store, reference(registry), options)
    assert guarded.tokens == 2


async def test_the_key_of_the_person_signs_the_request_for_a_token(
    guarded: Guarded, store: Store, options: TransferOptions, tmp_path: Path
) -> None:
    async with fault_registry(guarded) as registry:
        guarded.host = registry.host
        await pull(store, reference(registry), replace(options, key=write_key(tmp_path / "key")))
        (asked,) = guarded.asked
        public, _, signature = asked.headers["authorization"].partition(":")
        url = f"http://{registry.host}{asked.target}"
    empty = base64.b64encode(hashlib.sha256(b"").hexdigest().encode()).decode()
    key = load_ssh_public_key(f"ssh-ed25519 {public}".encode())
    assert isinstance(key, Ed25519PublicKey)
    key.verify(base64.b64decode(signature), f"GET,{url},{empty}".encode())
    assert query(asked)["ts"][0].isdecimal()
    assert len(query(asked)["nonce"][0]) >= 20


async def test_a_registry_that_knows_no_keys_is_asked_without_one(
    guarded: Guarded, store: Store, options: TransferOptions, tmp_path: Path
) -> None:
    guarded.refused = {"signed"}
    async with fault_registry(guarded) as registry:
        guarded.host = registry.host
        await pull(store, reference(registry), replace(options, key=write_key(tmp_path / "key")))
    assert ["authorization" in asked.headers for asked in guarded.asked] == [True, False]


async def test_a_key_that_cannot_be_used_is_said_and_left_out(
    guarded: Guarded,
    store: Store,
    options: TransferOptions,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "key"
    other = generate_private_key(65537, 2048)
    path.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    async with fault_registry(guarded) as registry:
        guarded.host = registry.host
        await pull(store, reference(registry), replace(options, key=path))
    assert "cannot sign requests to registries (it is of another type)" in caplog.text
    assert "authorization" not in guarded.asked[0].headers


async def test_a_login_of_the_settings_is_sent_over_http_only_where_they_say_http(
    guarded: Guarded, store: Store, options: TransferOptions
) -> None:
    async with fault_registry(guarded) as registry:
        guarded.host = registry.host
        await pull(store, reference(registry), replace(options, auth={registry.host: "ann:secret"}))
        assert "authorization" not in guarded.asked[-1].headers
        guarded.valid = "another"
        secret = replace(options, auth={f"http://{registry.host}": "ann:secret"})
        await pull(store, reference(registry), secret)
        assert guarded.asked[-1].headers["authorization"] == LOGIN


async def test_a_login_of_the_request_is_used(
    guarded: Guarded, store: Store, options: TransferOptions
) -> None:
    async with fault_registry(guarded) as registry:
        guarded.host = registry.host
        await pull(store, reference(registry), options, Access(True, "ann", "secret"))
    assert [asked.headers["authorization"] for asked in guarded.asked] == [LOGIN]


async def test_a_wrong_login_is_not_tried_without_it(
    guarded: Guarded, store: Store, options: TransferOptions
) -> None:
    guarded.refused = {LOGIN}
    async with fault_registry(guarded) as registry:
        guarded.host = registry.host
        with pytest.raises(RegistryError, match=r"logging in to .* answered 401; no; it needs a login"):
            await pull(store, reference(registry), options, Access(True, "ann", "secret"))
    assert len(guarded.asked) == 1


async def test_a_basic_challenge_is_answered_with_the_login(
    memory: Memory, store: Store, options: TransferOptions
) -> None:
    def guard(asked: Asked, answer: Answer) -> Answer:
        if asked.headers.get("authorization") == LOGIN:
            return answer
        return Answer(401, {"www-authenticate": 'Basic realm="here"'})

    async with fault_registry(memory) as registry:
        registry.on("", guard)
        await pull(store, reference(registry), options, Access(True, "ann", "secret"))
        with pytest.raises(RegistryError, match="it needs a login"):
            await pull(Store(store.root / "other"), reference(registry), options)


async def test_a_token_of_the_settings_is_sent_at_once_and_not_behind_a_redirect(
    memory: Memory, store: Store, options: TransferOptions
) -> None:
    async with fault_registry(memory) as hub, fault_registry(memory) as storage:
        elsewhere = f"http://{storage.host}"
        hub.on("/blobs/", lambda asked, _: Answer(307, {"location": elsewhere + asked.target}))
        await pull(store, reference(hub), replace(options, auth={f"http://{hub.host}": "token"}))
        assert {asked.headers.get("authorization") for asked in hub.asked} == {"Bearer token"}
        assert {asked.headers.get("authorization") for asked in storage.asked} == {None}
        assert storage.ranges("/blobs/")


@pytest.mark.parametrize(
    ("challenge", "message"),
    [
        ('Bearer realm="https://evil.example/token"', "logins at another host, 'evil.example'"),
        ('Bearer realm="http://localhost/token"', "logins at another host, 'localhost'"),
        ('Bearer realm="ftp://x/token"', "which is no https URL"),
        ("Bearer realm=", "which is no https URL"),
        ('Bearer realm="https://[::"', "which is no https URL"),
        ("Negotiate", "it needs a login"),
        ("", "it needs a login"),
    ],
)
async def test_a_challenge_that_leads_elsewhere_is_refused(
    memory: Memory, store: Store, options: TransferOptions, challenge: str, message: str
) -> None:
    async with fault_registry(memory) as registry:
        registry.on("", status(401, {"www-authenticate": challenge}))
        with pytest.raises(RegistryError, match=message):
            await pull(store, reference(registry), options)


async def test_another_realm_is_asked_where_the_settings_allow_it(
    guarded: Guarded, memory: Memory, store: Store, options: TransferOptions
) -> None:
    async with fault_registry(guarded) as door, fault_registry(guarded) as registry:
        guarded.host = door.host
        allowed = replace(options, realms={registry.host: door.host})
        await pull(store, reference(registry), allowed)
        assert [asked.target[:6] for asked in door.asked] == ["/token"]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (status(200, {}, b"no json"), "gave no token"),
        (status(200, {}, b'{"token":"a\\nb"}'), "gave no token"),
        (status(200, {}, b"{}"), "gave no token"),
        (status(200, {}, b"x" * 70_000), "longer than the 65536 bytes"),
        (status(307, {"location": "https://evil.example/"}), "answered 307"),
        (status(500), "answered 500"),
    ],
)
async def test_a_token_that_cannot_be_used_is_an_error(
    guarded: Guarded, store: Store, options: TransferOptions, answer: Fault, message: str
) -> None:
    async with fault_registry(guarded) as registry:
        guarded.host = registry.host
        registry.on("/token", answer)
        with pytest.raises(AgentkitError, match=message):
            await pull(store, reference(registry), options)


@pytest.mark.parametrize("location", ["http://hub.example/x", "http://other.example/x", "ftp://hub.example/"])
async def test_https_never_leads_to_anything_less(location: str, options: TransferOptions) -> None:
    async with Exchange(Origin("https", "hub.example"), options, Access()) as exchange:
        base = exchange.follow(exchange._url("/v2/"), "/v2/x")  # pyright: ignore[reportPrivateUsage]
        assert str(base) == "https://hub.example/v2/x"
        with pytest.raises(RegistryError, match="not https; it was not followed"):
            exchange.follow(base, location)


def test_challenges_are_read_as_they_come() -> None:
    read = Challenge.parse('bearer realm="https://a/b?c=d,e", service=plain , scope="x y"')
    assert read == Challenge("bearer", "https://a/b?c=d,e", "plain", "x y")
    assert Challenge.parse(f'Bearer {"a" * 5000}, realm="x"') == Challenge("bearer", "x")
    assert Challenge.parse(r'Basic realm="a \"b\""') == Challenge("basic", 'a "b"')


def test_settings_name_hosts_and_keep_their_secrets() -> None:
    settings = Settings(
        registry_auth=["Hub.example=tok=en==", "http://localhost:5000=a:b"],
        registry_realms=["hub.example=auth.example"],
        hf_token="hf_x",
    )
    options = TransferOptions.of(settings)
    assert options.auth == {
        "hf.co": "hf_x",
        "huggingface.co": "hf_x",
        "hub.example": "tok=en==",
        "http://localhost:5000": "a:b",
    }
    assert options.realms == {"hub.example": "auth.example"}
    assert "hf_x" not in repr(settings) + repr(options)
    with pytest.raises(
        BadRequest, match="AGENTKIT_REGISTRY_AUTH has an entry that is not HOST=TOKEN"
    ) as raised:
        TransferOptions.of(Settings(registry_auth=["secret"]))
    assert "secret" not in str(raised.value)
    with pytest.raises(BadRequest, match="HF_ENDPOINT is 'nonsense'"):
        TransferOptions.of(Settings(hf_endpoint="nonsense"))
