from __future__ import annotations

import asyncio
import gzip
import shutil
import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from agentkit._errors import FetchRefused, WebError
from agentkit.web import Fetcher, FetchPolicy

from .conftest import Site, redirect, response

pytestmark = pytest.mark.anyio


async def test_a_page_is_read_with_its_address_after_redirects(site: Site) -> None:
    site.answers = {"/a": redirect("/b?c=d#e"), "/b?c=d": response(b"# Hello\n\nText", "text/markdown")}
    page = await site.fetch("/a")
    assert (page.url, page.title, page.content) == (site.url("/b?c=d"), "Hello", "# Hello\n\nText")


async def test_markdown_is_asked_for_first_and_only_gzip(site: Site) -> None:
    site.answers["/"] = response(b"text")
    await site.fetch()
    _, headers = site.requests[0]
    assert headers["accept"].startswith("text/markdown,")
    assert headers["accept-encoding"] == "gzip, identity"
    assert "cookie" not in headers


async def test_loopback_is_refused_unless_it_is_allowed(site: Site) -> None:
    site.answers["/"] = response(b"text")
    site.names["localhost"] = ["::1", "127.0.0.1"]
    for host in ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"):
        with pytest.raises(FetchRefused, match="loopback"):
            await site.fetcher(allow_local=False).fetch(site.url(host=host))
    assert site.requests == []
    await site.fetcher(allow_local=False, allow_hosts=[f"127.0.0.1:{site.port}"]).fetch(site.url())
    assert len(site.requests) == 1


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1"])
async def test_the_odd_ways_to_write_an_address_are_refused_once_resolved(site: Site, host: str) -> None:
    site.answers["/"] = response(b"text")
    with pytest.raises((FetchRefused, WebError)):
        await Fetcher().fetch(site.url(host=host))
    assert site.requests == []


async def test_a_name_is_looked_up_once_and_the_checked_address_is_connected_to(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second answer of the name server, which would be the attacker's, is never asked for."""
    site.answers["/"] = response(b"text")
    answers = [["127.0.0.1"], ["169.254.169.254"]]
    asked: list[object] = []

    async def rebinding(host: str, port: int) -> list[str]:
        return answers.pop(0)

    lookup = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *a, **k: asked.append(host) or lookup(host, *a, **k)
    )
    await Fetcher(FetchPolicy(allow_local=True), resolver=rebinding).fetch(site.url(host="pages.test"))
    assert answers == [["169.254.169.254"]]
    assert site.hosts() == [f"pages.test:{site.port}"]
    assert "pages.test" not in asked


async def test_an_address_that_takes_no_connection_is_followed_by_the_next(site: Site) -> None:
    site.answers["/"] = response(b"text")
    site.names["pages.test"] = ["127.0.0.2", "127.0.0.1"]
    assert (await site.fetch(host="pages.test")).content == "text"


async def test_one_private_address_of_a_name_refuses_all(site: Site) -> None:
    site.names["pages.test"] = ["8.8.8.8", "10.0.0.1"]
    with pytest.raises(FetchRefused, match="private"):
        await site.fetcher(allow_local=False).fetch(site.url(host="pages.test"))


async def test_a_name_that_is_not_there_is_an_error(site: Site) -> None:
    with pytest.raises(WebError, match=r"'gone\.test' cannot be found"):
        await site.fetch(host="gone.test")


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://metadata.test/",
        "http://0.0.0.0/",
        "file:///etc/passwd",
        "http://user:secret@127.0.0.1/",
        "http://127.0.0.1:11434/api/tags",
        "//[bad/",
        "",
    ],
)
async def test_every_redirect_is_checked_like_the_first_address(site: Site, location: str) -> None:
    site.names["metadata.test"] = ["169.254.169.254"]
    site.answers["/"] = redirect(location)
    with pytest.raises(FetchRefused):
        await site.fetch()
    assert len(site.requests) == 1


async def test_a_redirect_to_loopback_from_an_allowed_host_is_refused(site: Site) -> None:
    site.names["pages.test"] = ["127.0.0.1"]
    site.answers["/"] = redirect(site.url("/inside"))
    with pytest.raises(FetchRefused, match="loopback"):
        await site.fetcher(allow_local=False, allow_hosts=["pages.test"]).fetch(site.url(host="pages.test"))


async def test_ten_redirects_are_followed_and_no_more(site: Site) -> None:
    site.answers = {f"/{n}": redirect(f"/{n + 1}") for n in range(11)}
    site.answers["/11"] = response(b"text")
    assert (await site.fetch("/1")).content == "text"
    with pytest.raises(WebError, match="more than 10"):
        await site.fetch("/0")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_every_kind_of_redirect_is_one(site: Site, status: int) -> None:
    site.answers = {"/": redirect("/b", status), "/b": response(b"text")}
    assert (await site.fetch()).content == "text"


async def test_given_headers_stay_within_their_origin(site: Site) -> None:
    site.names = {"one.test": ["127.0.0.1"], "two.test": ["127.0.0.1"]}
    site.answers = {
        "/": redirect("/same"),
        "/same": redirect(site.url("/other", "two.test")),
        "/other": redirect(site.url("/back", "one.test")),
        "/back": response(b"text"),
    }
    await site.fetch(host="one.test", headers={"Authorization": "Bearer secret", "Host": "forged.test"})
    assert ["authorization" in headers for _, headers in site.requests] == [True, True, False, False]
    assert [host.split(":")[0] for host in site.hosts()] == ["one.test", "one.test", "two.test", "one.test"]
    assert site.lookups == ["one.test", "one.test", "two.test", "one.test"]


async def test_no_cookie_is_carried_from_one_answer_to_the_next(site: Site) -> None:
    site.answers = {
        "/": response(status=302, location="/b", set_cookie="id=1; Path=/"),
        "/b": response(b"text", set_cookie="id=2"),
    }
    fetcher = site.fetcher()
    await fetcher.fetch(site.url())
    await fetcher.fetch(site.url())
    assert all("cookie" not in headers for _, headers in site.requests)


async def test_proxies_of_the_environment_are_not_used(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    site.answers["/"] = response(b"text")
    assert (await site.fetch()).content == "text"


@pytest.mark.parametrize("status", [204, 304, 404, 500])
async def test_an_answer_without_a_page_is_an_error_with_its_status(site: Site, status: int) -> None:
    site.answers["/"] = response(b"", "" if status == 204 else "text/plain", status=status)
    with pytest.raises(WebError, match=str(status) if status != 204 else "type"):
        await site.fetch()


@pytest.mark.parametrize(
    "kind", ["image/png", "application/pdf", "application/octet-stream", "video/mp4", ""]
)
async def test_what_is_not_text_is_not_read(site: Site, kind: str) -> None:
    site.answers["/"] = response(b"\x00" * 10, kind)
    with pytest.raises(WebError, match="only text"):
        await site.fetch()


async def test_a_body_that_says_it_is_too_large_is_not_read(site: Site) -> None:
    site.answers["/"] = response(b"a" * 1001)
    with pytest.raises(WebError, match="larger than 1000 bytes"):
        await site.fetcher(max_bytes=1000).fetch(site.url())
    assert (await site.fetcher(max_bytes=1001).fetch(site.url())).total == 1001


async def test_an_endless_body_is_read_to_the_limit_only(site: Site) -> None:
    closed = asyncio.Event()

    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n")
        try:
            while True:
                writer.write(b"a" * 1000)
                await writer.drain()
        except ConnectionError:
            closed.set()

    site.answers["/"] = endless
    with pytest.raises(WebError, match="larger than 100000 bytes"):
        await site.fetcher(max_bytes=100_000).fetch(site.url())
    async with asyncio.timeout(10):
        await closed.wait()


async def test_a_small_body_that_decompresses_to_a_large_one_is_stopped(site: Site) -> None:
    bomb = gzip.compress(b"a" * 50_000_000)
    assert len(bomb) < 100_000
    site.answers["/"] = response(bomb, content_encoding="gzip")
    with pytest.raises(WebError, match="larger than 100000 bytes"):
        await site.fetcher(max_bytes=100_000).fetch(site.url())


async def test_gzip_is_read_and_what_only_says_so_is_an_error(site: Site) -> None:
    whole = gzip.compress(b"text " * 100)
    site.answers = {
        "/whole": response(whole, content_encoding="gzip"),
        "/broken": response(b"text", content_encoding="gzip"),
        "/half": response(whole[:-10], content_encoding="gzip"),
    }
    assert (await site.fetch("/whole")).content == "text " * 100
    for path in ("/broken", "/half"):
        with pytest.raises(WebError, match="gzip"):
            await site.fetch(path)


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip"])
async def test_no_other_encoding_is_decoded(site: Site, encoding: str) -> None:
    site.answers["/"] = response(b"text", content_encoding=encoding)
    with pytest.raises(WebError, match="encoded as"):
        await site.fetch()


@pytest.mark.parametrize("slow", ["head", "body", "name"])
async def test_the_deadline_covers_everything_together(site: Site, slow: str) -> None:
    async def never(writer: asyncio.StreamWriter) -> None:
        if slow == "body":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\na")
            await writer.drain()
        await asyncio.Event().wait()

    async def resolver(host: str, port: int) -> list[str]:
        await asyncio.Event().wait() if slow == "name" else None
        return ["127.0.0.1"]

    site.answers["/"] = never
    fetcher = Fetcher(FetchPolicy(allow_local=True, deadline=0.05), resolver=resolver)
    with pytest.raises(WebError, match=r"longer than 0\.05 s"):
        await fetcher.fetch(site.url(host="pages.test"))


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"not http\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 10\r\n\r\nshort",
    ],
)
async def test_a_broken_answer_is_an_error(site: Site, answer: bytes) -> None:
    site.answers["/"] = answer
    with pytest.raises(WebError, match="cannot be read"):
        await site.fetch()


async def test_nobody_listening_is_an_error(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(WebError, match="cannot be read"):
        await site.fetcher().fetch(f"http://127.0.0.1:{port}/")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Certificate and key for `pages.test`, made for this run."""
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("needs openssl to make a certificate")
    folder = tmp_path_factory.mktemp("certificate")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    made = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    name = ["-subj", "/CN=pages.test", "-addext", "subjectAltName=DNS:pages.test"]
    files = ["-out", str(certificate), "-keyout", str(key)]
    subprocess.run([openssl, *made, *name, *files], check=True, capture_output=True)
    return certificate, key


async def test_over_tls_the_host_is_named_and_its_certificate_is_checked(
    site: Site, certificate: tuple[Path, Path]
) -> None:
    """The connection goes to a number, and the handshake still speaks of the name."""
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(*certificate)
    named: list[str | None] = []
    served.sni_callback = lambda _socket, name, _context: named.append(name)
    site.names = {"pages.test": ["127.0.0.1"], "other.test": ["127.0.0.1"]}
    site.answers["/"] = response(b"text")
    trusted = ssl.create_default_context(cafile=str(certificate[0]))
    server = await asyncio.start_server(site.handle, "127.0.0.1", 0, ssl=served)
    async with server:
        port = server.sockets[0].getsockname()[1]
        fetcher = site.fetcher(ssl_context=trusted)
        assert (await fetcher.fetch(f"https://pages.test:{port}/")).content == "text"
        for host in ("other.test", "127.0.0.1"):
            with pytest.raises(WebError, match="certificate verify failed"):
                await fetcher.fetch(f"https://{host}:{port}/")
        with pytest.raises(WebError, match="certificate verify failed"):
            await site.fetcher().fetch(f"https://pages.test:{port}/")
    assert named[:2] == ["pages.test", "other.test"]
