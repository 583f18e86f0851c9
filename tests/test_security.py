"""The security floor, driven through HTTP with nothing behind it but two routes."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from agentkit_server import hosts
from agentkit_server.errors import AgentkitError, BindRefused
from agentkit_server.hosts import check_bind, parse_bind
from agentkit_server.keys import Keys
from agentkit_server.security import install
from agentkit_server.settings import Settings

pytestmark = pytest.mark.anyio

KEY = "sk-local-0123456789"
PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "x-stainless-os"}


def floor(**settings: object) -> FastAPI:
    app = FastAPI()

    @app.exception_handler(AgentkitError)
    def show(request: Request, error: AgentkitError) -> JSONResponse:
        shape = "openai" if request.url.path.startswith("/v1/") else "native"
        return JSONResponse({"shape": shape, "error": error.message, "code": error.code}, error.status)

    @app.api_route("/{path:path}", methods=["GET", "HEAD", "POST", "DELETE"])
    async def size(request: Request) -> dict[str, int]:
        return {"size": len(await request.body())}

    install(
        app, Settings.model_validate({"host": "127.0.0.1:11434", "origins": [], "api_keys": [], **settings})
    )
    return app


def client(app: FastAPI, **headers: str) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost:11434", headers=headers)


# --- where the server may bind ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("", "127.0.0.1", 11434),
        ("127.0.0.1", "127.0.0.1", 11434),
        ("0.0.0.0:8080", "0.0.0.0", 8080),
        (":8080", "127.0.0.1", 8080),
        ("LOCALHOST:1", "localhost", 1),
        ("::1", "::1", 11434),
        ("[::1]:8080", "::1", 8080),
        ("[::]", "::", 11434),
        ("http://example.org", "example.org", 80),
        ("https://example.org/path", "example.org", 443),
        ("http://example.org:11434/", "example.org", 11434),
    ],
)
def test_a_bind_address_is_read_in_every_form_that_ollama_accepts(text: str, host: str, port: int) -> None:
    bind = parse_bind(text)
    assert (bind.host, bind.port) == (host, port)


@pytest.mark.parametrize("text", ["127.0.0.1:99999", "a b", "host:port", "[::1", "1:2:3:x"])
def test_an_unreadable_bind_address_is_refused_with_its_value(text: str) -> None:
    with pytest.raises(BindRefused, match="write for example"):
        parse_bind(text)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.9.9.9:80", "[::1]:11434", "::ffff:127.0.0.1", "localhost"]
)
def test_loopback_needs_neither_keys_nor_a_flag(host: str) -> None:
    assert check_bind(host, has_keys=False, insecure=False) is None


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "[::]:11434", "192.168.1.4", "models.example.org", "localhost.evil"]
)
def test_any_other_address_needs_keys_or_the_insecure_flag(host: str) -> None:
    with pytest.raises(BindRefused, match="AGENTKIT_API_KEYS"):
        check_bind(host, has_keys=False, insecure=False)
    assert check_bind(host, has_keys=True, insecure=False) is None
    warning = check_bind(host, has_keys=False, insecure=True)
    assert warning is not None
    assert "WITHOUT API KEYS" in warning


# --- Host -------------------------------------------------------------------------------------------

GOOD_HOSTS = [
    "localhost",
    "LocalHost:11434",
    "localhost.",
    "127.0.0.1:11434",
    "127.4.4.4",
    "[::1]:11434",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "0.0.0.0:11434",
    "192.168.1.20",
    "10.1.2.3:80",
    "[fe80::1%eth0]:11434",
    "app.localhost:3000",
    "nas.LOCAL",
    "host.docker.internal:11434",
]
BAD_HOSTS = [
    "evil.example",
    "evil.example:11434",
    "localhost.evil.example",
    "notlocalhost",
    "xlocal",
    "8.8.8.8",
    "[2001:4860:4860::8888]",
    "localhost:80@evil.example",
    "evil.example/localhost",
    "localhost evil.example",
    "[::1",
    "[::1].evil.example",
    "2130706433",
]


@pytest.mark.parametrize("host", GOOD_HOSTS)
async def test_on_loopback_a_local_host_name_is_served(host: str) -> None:
    async with client(floor(), host=host) as http:
        assert (await http.get("/api/tags")).status_code == 200


@pytest.mark.parametrize("host", BAD_HOSTS)
async def test_on_loopback_a_foreign_host_name_is_forbidden(host: str) -> None:
    async with client(floor(), host=host) as http:
        answer = await http.get("/")
    assert answer.status_code == 403
    assert host in answer.json()["error"]


async def test_the_name_and_the_interfaces_of_this_machine_are_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hosts.socket, "gethostname", lambda: "Workstation")
    monkeypatch.setattr(hosts, "_interface_addresses", lambda: {hosts._address("8.8.4.4")})
    for host in ("workstation:11434", "8.8.4.4"):
        async with client(floor(), host=host) as http:
            assert (await http.get("/")).status_code == 200


async def test_a_request_without_a_host_is_served() -> None:
    assert await status_of(floor(), headers=[]) == 200


async def test_every_host_header_has_to_be_local() -> None:
    headers = [(b"host", b"localhost"), (b"host", b"evil.example")]
    assert await status_of(floor(), headers=headers) == 403


async def test_off_loopback_any_host_name_is_served() -> None:
    async with client(floor(host="0.0.0.0", api_keys=[KEY]), host="models.example.org") as http:
        assert (await http.get("/")).status_code == 200


async def test_websockets_are_closed_before_they_reach_a_route() -> None:
    sent: list[str] = []

    async def send(message: dict[str, object]) -> None:
        sent.append(str(message["type"]))

    await floor()({"type": "websocket", "path": "/", "headers": []}, never, send)  # pyright: ignore
    assert sent == ["websocket.close"]


# --- Origin -----------------------------------------------------------------------------------------

GOOD_ORIGINS = [
    "http://localhost",
    "https://localhost:5173",
    "HTTP://LOCALHOST:3000",
    "http://127.0.0.1:8080",
    "http://0.0.0.0:1",
    "http://[::1]:3000",
    "app://obsidian.md",
    "file://",
    "tauri://localhost",
    "vscode-webview://abc",
]
BAD_ORIGINS = [
    "https://evil.example",
    "null",
    "http://localhost.evil.example",
    "http://evil.example:11434",
    "http://localhost@evil.example",
    "ftp://localhost",
    "chrome-extension://abcdef",
    "localhost",
    "http://192.168.1.4",
]


@pytest.mark.parametrize("origin", GOOD_ORIGINS)
async def test_local_pages_and_desktop_apps_may_call(origin: str) -> None:
    async with client(floor(), origin=origin) as http:
        answer = await http.post("/api/chat", content=b"{}")
        preflight = await http.options("/api/chat", headers=PREFLIGHT)
    assert (answer.status_code, preflight.status_code) == (200, 204)
    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers["vary"].lower() == "origin"
    assert preflight.headers["access-control-allow-headers"] == "x-stainless-os"
    assert "DELETE" in preflight.headers["access-control-allow-methods"]
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("origin", BAD_ORIGINS)
async def test_other_pages_are_forbidden_and_reach_no_route(origin: str) -> None:
    async with client(floor(), origin=origin) as http:
        for answer in (
            await http.post("/api/chat", content=b"{}"),
            await http.delete("/api/delete"),
            await http.options("/api/chat", headers=PREFLIGHT),
        ):
            assert answer.status_code == 403
            assert "AGENTKIT_ORIGINS" in answer.json()["error"]
            assert "access-control-allow-origin" not in answer.headers


async def test_a_caller_without_an_origin_is_no_browser_page_and_is_served() -> None:
    async with client(floor()) as http:
        answer = await http.post("/api/chat", content=b"{}")
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("allowed", "origin", "status"),
    [
        ("https://chat.example.org", "https://chat.example.org", 200),
        ("https://chat.example.org/", "https://CHAT.example.org", 200),
        ("https://chat.example.org", "https://chat.example.org.evil.example", 403),
        ("https://chat.example.org", "http://chat.example.org", 403),
        ("https://chat.example.org", "https://chatXexample.org", 403),
        ("https://*.example.org", "https://a.example.org", 200),
        ("https://*.example.org", "https://example.org", 403),
        ("http://lab:*", "http://lab:9000", 200),
        ("chrome-extension://*", "chrome-extension://abcdef", 200),
        ("null", "null", 200),
        ("*", "https://anything.example", 200),
    ],
)
async def test_the_origins_setting_adds_origins(allowed: str, origin: str, status: int) -> None:
    async with client(floor(origins=[allowed]), origin=origin) as http:
        assert (await http.post("/api/chat")).status_code == status


def test_an_allowed_origin_without_a_scheme_is_refused_at_start() -> None:
    with pytest.raises(BindRefused, match="no scheme"):
        floor(origins=["chat.example.org"])


async def test_a_page_of_the_server_itself_may_call_unless_its_name_can_be_rebound() -> None:
    app = floor(host="0.0.0.0")
    async with client(app, host="192.168.1.4:11434", origin="http://192.168.1.4:11434") as http:
        assert (await http.post("/api/chat")).status_code == 200
    async with client(app, host="192.168.1.4:11434", origin="http://192.168.1.4:9999") as http:
        assert (await http.post("/api/chat")).status_code == 403
    async with client(app, host="evil.example", origin="http://evil.example") as http:
        assert (await http.post("/api/chat")).status_code == 403


async def test_a_listed_page_is_told_that_it_may_reach_a_private_network() -> None:
    headers = {**PREFLIGHT, "access-control-request-private-network": "true"}
    async with client(floor(), origin="http://localhost") as http:
        answer = await http.options("/api/chat", headers=headers)
    assert answer.headers["access-control-allow-private-network"] == "true"


# --- keys -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer  {KEY} "},
        {"x-api-key": KEY},
        {"x-api-key": KEY, "authorization": "Bearer something-else"},
    ],
)
@pytest.mark.parametrize("known", [KEY, "sha256:" + hashlib.sha256(KEY.encode()).hexdigest().upper()])
async def test_a_known_key_opens_every_route(headers: dict[str, str], known: str) -> None:
    async with client(floor(api_keys=["another-key", known]), **headers) as http:
        for path in ("/api/tags", "/v1/models"):
            assert (await http.get(path)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Basic {KEY}"},
        {"authorization": KEY},
        {"authorization": "Bearer "},
        {"x-api-key": KEY + "x"},
        {"x-api-key": ""},
        {"x-api-key": "sha256:" + hashlib.sha256(KEY.encode()).hexdigest()},
    ],
)
async def test_without_a_known_key_every_route_but_the_root_is_closed(headers: dict[str, str]) -> None:
    async with client(floor(api_keys=[KEY]), **headers) as http:
        native, openai = await http.get("/api/tags"), await http.get("/v1/models")
        root, head, posted = await http.get("/"), await http.head("/"), await http.post("/")
    assert (native.status_code, openai.status_code, posted.status_code) == (401, 401, 401)
    assert (root.status_code, head.status_code) == (200, 200)
    assert (native.json()["shape"], openai.json()["shape"]) == ("native", "openai")
    assert native.json()["code"] == "invalid_api_key"
    assert native.headers["www-authenticate"] == "Bearer"


async def test_a_key_outside_ascii_is_refused_like_any_other() -> None:
    headers = [(b"host", b"localhost"), (b"x-api-key", "schlüssel".encode())]
    assert await status_of(floor(api_keys=[KEY]), headers=headers) == 401
    assert await status_of(floor(api_keys=["schlüssel"]), headers=headers) == 200


async def test_a_preflight_needs_no_key_and_a_refusal_can_be_read_by_the_page() -> None:
    async with client(floor(api_keys=[KEY]), origin="http://localhost:3000") as http:
        assert (await http.options("/v1/models", headers=PREFLIGHT)).status_code == 204
        refused = await http.get("/v1/models")
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "http://localhost:3000"


async def test_nothing_prints_or_keeps_a_key(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    settings = Settings.model_validate({"host": "127.0.0.1", "api_keys": [KEY]})
    app = FastAPI()
    install(app, settings)
    async with client(app, authorization="Bearer wrong-key-98765") as http:
        answer = await http.get("/api/tags")
    assert answer.json()["error"].startswith("the API key is not known to this server")
    assert settings.api_keys == ["sha256:" + hashlib.sha256(KEY.encode()).hexdigest()]
    assert KEY not in repr(settings) + repr(Keys([KEY])) + caplog.text
    assert "wrong-key" not in answer.text + caplog.text


def test_a_malformed_hash_is_refused_without_being_shown() -> None:
    with pytest.raises(BindRefused, match="64 hexadecimal digits") as refused:
        Keys(["sha256:my-secret"])
    assert "my-secret" not in str(refused.value)


# --- body size --------------------------------------------------------------------------------------


async def chunks(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield bytes(1024)


async def test_a_body_up_to_the_limit_is_served() -> None:
    async with client(floor(max_body_bytes=2048)) as http:
        assert (await http.post("/api/chat", content=bytes(2048))).json() == {"size": 2048}
        assert (await http.post("/api/chat", content=chunks(2))).json() == {"size": 2048}


async def test_a_larger_body_is_refused_by_its_stated_or_its_counted_length() -> None:
    async with client(floor(max_body_bytes=2048)) as http:
        stated = await http.post("/v1/chat/completions", content=bytes(2049))
        counted = await http.post("/api/chat", content=chunks(3))
    assert (stated.status_code, counted.status_code) == (413, 413)
    assert "larger than 2048 bytes" in counted.json()["error"]
    assert stated.json()["shape"] == "openai"


async def test_a_length_that_is_no_number_is_a_bad_request() -> None:
    headers = [(b"host", b"localhost"), (b"content-length", b"-1")]
    assert await status_of(floor(), headers=headers) == 400


async def test_blob_uploads_have_no_such_limit() -> None:
    async with client(floor(max_body_bytes=2048)) as http:
        answer = await http.post("/api/blobs/sha256:00", content=chunks(3))
    assert answer.json() == {"size": 3072}


async def never() -> dict[str, object]:
    raise AssertionError("nothing is to be read")


async def status_of(app: FastAPI, headers: list[tuple[bytes, bytes]]) -> int:
    """Drives the app below any HTTP library, which would add or repair headers."""
    statuses: list[int] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(int(str(message["status"])))

    scope: dict[str, object] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.0",
        "method": "GET",
        "scheme": "http",
        "path": "/api/tags",
        "raw_path": b"/api/tags",
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 11434),
    }
    await app(scope, receive, send)  # pyright: ignore
    return statuses[0]
