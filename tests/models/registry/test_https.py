"""A registry with https, as registries are: what it may lead to, and whose certificates count."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Generator
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from anyio import create_task_group, fail_after
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from support.fault_registry import Answer, FaultRegistry, Memory, fault_registry, status
from support.registries import REPOSITORY, pull

from agentkit_server.errors import RegistryError
from agentkit_server.models.names import ModelName
from agentkit_server.models.registry.client import RegistryClient
from agentkit_server.models.registry.exchange import certificates
from agentkit_server.models.registry.options import Access, TransferOptions
from agentkit_server.models.registry.origin import Origin
from agentkit_server.models.store import Store

pytestmark = pytest.mark.anyio

SECURE = Access()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate of 127.0.0.1, signed by itself."""
    key = generate_private_key(SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "registry")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    path = tmp_path_factory.mktemp("https") / "registry.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + built.public_bytes(Encoding.PEM))
    return path


@pytest.fixture
async def registry(memory: Memory, certificate: Path) -> AsyncGenerator[FaultRegistry]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    async with fault_registry(memory, tls=context) as server:
        yield server


@pytest.fixture
def known(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """The certificate is one that counts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    certificates.cache_clear()
    yield
    certificates.cache_clear()


@pytest.mark.usefixtures("known")
async def test_a_certificate_of_ssl_cert_file_counts_and_a_token_is_sent(
    registry: FaultRegistry, store: Store, options: TransferOptions
) -> None:
    secret = replace(options, auth={registry.host: "token"})
    await pull(store, f"{registry.host}/{REPOSITORY}", secret, SECURE)
    assert store.has(f"{registry.host}/{REPOSITORY}")
    assert {asked.headers["authorization"] for asked in registry.asked} == {"Bearer token"}


async def test_another_certificate_does_not_and_nothing_is_sent(
    registry: FaultRegistry, store: Store, options: TransferOptions
) -> None:
    secret = replace(options, auth={registry.host: "token"})
    with pytest.raises(RegistryError, match=r"cannot be spoken to over https .*CERTIFICATE_VERIFY_FAILED"):
        await pull(store, f"{registry.host}/{REPOSITORY}", secret, SECURE)
    assert registry.asked == []


@pytest.mark.usefixtures("known")
async def test_https_does_not_lead_to_http_even_on_the_same_host(
    registry: FaultRegistry, memory: Memory, store: Store, options: TransferOptions
) -> None:
    async with fault_registry(memory) as plain:
        location = f"http://{plain.host}"
        registry.on("/blobs/", lambda asked, _: Answer(307, {"location": location + asked.target}))
        with pytest.raises(RegistryError, match="which is not https; it was not followed"):
            await pull(store, f"{registry.host}/{REPOSITORY}", options, Access(insecure=False))
        # That http is allowed for names that say http changes nothing for one that says https.
        with pytest.raises(RegistryError, match="which is not https; it was not followed"):
            await pull(store, f"https://{registry.host}/{REPOSITORY}", options, Access(insecure=True))
        assert plain.asked == []


@pytest.mark.usefixtures("known")
async def test_a_realm_with_http_is_refused_by_a_registry_with_https(
    registry: FaultRegistry, store: Store, options: TransferOptions
) -> None:
    challenge = f'Bearer realm="http://{registry.host}/token"'
    registry.on("", status(401, {"www-authenticate": challenge}))
    with pytest.raises(RegistryError, match="which is no https URL; nothing was sent there"):
        await pull(store, f"{registry.host}/{REPOSITORY}", options, Access(False, "ann", "secret"))


async def test_a_registry_without_https_is_named_as_one(
    memory: Memory, store: Store, options: TransferOptions
) -> None:
    async with fault_registry(memory) as plain:
        with pytest.raises(RegistryError, match=r"cannot be spoken to over https .* --insecure"):
            await pull(store, f"{plain.host}/{REPOSITORY}", options, SECURE)


async def test_a_handshake_that_is_cancelled_leaves_no_connection(options: TransferOptions) -> None:
    begun, left = asyncio.Event(), asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        begun.set()
        with suppress(ConnectionError):
            await reader.read()
        left.set()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with closing(server), fail_after(10):
        async with RegistryClient(Origin("https", host), options) as client, create_task_group() as group:
            group.start_soon(client.manifest, ModelName.parse(f"{host}/{REPOSITORY}"))
            await begun.wait()
            group.cancel_scope.cancel()
        await left.wait()
