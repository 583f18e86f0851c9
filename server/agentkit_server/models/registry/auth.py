"""Logging in to a registry: credentials that the person has, and tokens that a challenge leads to.

A token is asked for only at the registry's own host and port, or at the one that AGENTKIT_REGISTRY_REALMS
names for it: whoever else a challenge names could be collecting credentials. It is https unless the registry
is spoken to over http.
"""

from __future__ import annotations

import base64
import logging
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import msgspec
from anyio import Lock, to_thread

from agentkit_server.errors import RegistryError
from agentkit_server.models.registry.bodies import read_bounded, refusal
from agentkit_server.models.registry.challenge import Challenge
from agentkit_server.models.registry.options import Access, TransferOptions
from agentkit_server.models.registry.origin import Origin, read_url

if TYPE_CHECKING:
    from agentkit_server.models.registry.signing import SigningKey

_log = logging.getLogger(__name__)

MAX_TOKEN_BYTES = 64 << 10


class _Token(msgspec.Struct):
    token: str | None = None
    access_token: str | None = None


class Credentials:
    """What is known about logging in to one registry. Belongs to one event loop."""

    def __init__(self, origin: Origin, options: TransferOptions, access: Access) -> None:
        self._origin = origin
        self._options = options
        self._lock = Lock()
        self._headers: dict[str, str] = {}
        """Scope -> Authorization header."""
        secret = options.auth.get(origin.credentials_key, "")
        if access.username:
            secret = f"{access.username}:{access.password}"
        self._login = secret if ":" in secret else ""
        self._fixed = f"Bearer {secret}" if secret and not self._login else None

    def header(self, scope: str) -> str | None:
        """The Authorization header for requests of this scope, as far as it is known."""
        return self._fixed or self._headers.get(scope)

    async def answer(
        self, http: httpx.AsyncClient, challenge: Challenge, scope: str, failed: str | None
    ) -> bool:
        """Try to satisfy the challenge of a request that had the header `failed`; whether there is now
        another one. Raises RegistryError."""
        async with self._lock:
            if self.header(scope) != failed:
                return True
            if self._fixed or not challenge.scheme:
                return False
            if challenge.scheme == "basic":
                header = _basic(self._login) if self._login else failed
            else:
                header = f"Bearer {await self._token(http, challenge, scope)}"
            if header is None or header == failed:
                return False
            self._headers[scope] = header
            return True

    # --- tokens -----------------------------------------------------------------------------------

    async def _token(self, http: httpx.AsyncClient, challenge: Challenge, scope: str) -> str:
        realm = self._realm(challenge)
        given = [("service", challenge.service)] if challenge.service else []
        given += [("scope", each) for each in (challenge.scope or scope).split()]
        url = _with(realm, given)
        if self._login:
            return await self._ask(http, url, _basic(self._login))
        key = await to_thread.run_sync(self._key)
        if key is not None:
            signed = _with(url, [("ts", str(int(time.time()))), ("nonce", secrets.token_urlsafe(16))])
            try:
                return await self._ask(http, signed, key.authorization("GET", str(signed)))
            except RegistryError as error:
                # A registry that knows no such keys may still let everybody in.
                if error.transient:
                    raise
                _log.debug("%s does not take a signed request: %s", realm.host, error.message)
        return await self._ask(http, url, None)

    def _realm(self, challenge: Challenge) -> httpx.URL:
        host = self._origin.host
        try:
            realm = read_url(challenge.realm)
        except httpx.InvalidURL:
            realm = httpx.URL()
        if realm.scheme != "https" and not (realm.scheme == "http" and self._origin.scheme == "http"):
            raise RegistryError(
                f"the registry {host!r} wants logins at {challenge.realm!r:.200}, which is no https URL; "
                f"nothing was sent there"
            )
        if not self._origin.owns(realm) and not self._allowed(realm):
            where = realm.netloc.decode("ascii", errors="replace")
            raise RegistryError(
                f"the registry {host!r} wants logins at another host, {where!r:.200}, and nothing was sent "
                f"there; if it belongs to the registry, set AGENTKIT_REGISTRY_REALMS={host}={where:.200}"
            )
        # httpx would make a login of a URL's `user:password@`.
        return realm.copy_with(userinfo=b"", fragment=None)

    def _allowed(self, realm: httpx.URL) -> bool:
        return self._options.realms.get(self._origin.host.lower()) == realm.netloc.decode("ascii").lower()

    async def _ask(self, http: httpx.AsyncClient, url: httpx.URL, authorization: str | None) -> str:
        headers = {} if authorization is None else {"Authorization": authorization}
        async with _asked(http, url, headers) as response:
            if response.status_code != 200:
                raise await refusal(response, f"logging in to {self._origin.host!r}")
            content = await read_bounded(response, MAX_TOKEN_BYTES, "the token of the registry")
        try:
            answer = msgspec.json.decode(content, type=_Token)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            answer = _Token()
        token = answer.token or answer.access_token
        if not token or not token.isascii() or not token.isprintable():
            raise RegistryError(f"logging in to {self._origin.host!r} gave no token that could be used")
        return token

    def _key(self) -> SigningKey | None:
        if self._options.key is None:
            return None
        # Only here: it brings in all of cryptography, which most servers never need.
        from agentkit_server.models.registry.signing import SigningKey

        try:
            return SigningKey.read(self._options.key)
        except RegistryError as error:
            _log.warning("%s", error.message)
            return None


@asynccontextmanager
async def _asked(
    http: httpx.AsyncClient, url: httpx.URL, headers: dict[str, str]
) -> AsyncGenerator[httpx.Response]:
    try:
        async with http.stream("GET", url, headers=headers) as response:
            yield response
    except (httpx.HTTPError, UnicodeError) as error:
        raise RegistryError(
            f"logging in at {url.host!r} failed: {error!r}; check the network and the proxy", transient=True
        ) from None


def _with(url: httpx.URL, given: list[tuple[str, str]]) -> httpx.URL:
    return url.copy_with(params=[*url.params.multi_items(), *given])


def _basic(login: str) -> str:
    return f"Basic {base64.b64encode(login.encode()).decode('ascii')}"
