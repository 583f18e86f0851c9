from __future__ import annotations

import gzip
import importlib.util
import subprocess
import sys

import pytest
from html_to_markdown.exceptions import ConversionError
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit._errors import DefinitionError, WebError
from agentkit.web import Fetcher
from agentkit.web._body import Body
from agentkit.web._extract import page

from .conftest import Site, response

URL = "https://pages.test/docs/guide.html"
GUIDE = """<html><head><title>
  Install &amp; run</title><style>p {color: red}</style><script>track()</script></head><body>
<nav><a href="/home">Home</a><a href="/docs/">Docs</a></nav>
<main><h1>Install</h1>
<p>Fetch the package as <a href="packages.html#top">described</a>, then run the <b>installer</b> that is in
it, and wait until it says that it has finished. It needs no rights of an administrator.</p>
<h2>By hand</h2>
<pre><code>def install(path):
    return path &lt; 3
</code></pre>
<ul><li>first<ul><li>nested</li></ul></li><li>second</li></ul>
<table><tr><th>system</th><th>supported</th></tr><tr><td>Linux</td><td>yes</td></tr></table></main>
<footer>Imprint and privacy</footer></body></html>"""
INDEX = "<html><title>Index</title><body>{}</body></html>"


def test_the_main_part_keeps_its_structure_and_loses_the_chrome() -> None:
    found = page(URL, Body("text/html", GUIDE))
    assert found.title == "Install & run"
    for kept in (
        "# Install",
        "## By hand",
        "**installer**",
        "    return path < 3",
        "  - nested",
        "| Linux | yes |",
    ):
        assert kept in found.content
    for lost in ("Home", "Imprint", "track", "color"):
        assert lost not in found.content


def test_links_are_absolute_in_the_text_and_beside_it() -> None:
    found = page(URL, Body("text/html", GUIDE))
    assert "[described](https://pages.test/docs/packages.html#top)" in found.content
    assert found.links == (
        "https://pages.test/home",
        "https://pages.test/docs/",
        "https://pages.test/docs/packages.html",
    )


def test_a_page_without_a_main_part_is_taken_whole() -> None:
    items = "".join(f"<li><a href='/{n}'>Item number {n}</a></li>" for n in range(12))
    found = page(URL, Body("text/html", INDEX.format(f"<ul>{items}</ul>")))
    assert "[Item number 11](https://pages.test/11)" in found.content
    assert len(found.links) == 12


def test_a_page_of_very_many_elements_is_taken_whole() -> None:
    body = "<nav>menu</nav>" + "<p>a</p>" * 21_000
    assert page(URL, Body("text/html", INDEX.format(body))).content.count("\na\n") > 20_000


@pytest.mark.parametrize("base", ["", "<base href='http://[bad'>"])
def test_only_links_that_can_be_fetched_are_listed(base: str) -> None:
    links = "".join(
        f"<a href='{href}'>x</a>" for href in ("a", "a#b", "javascript:x()", "mailto:a@b.c", "http://[")
    )
    assert page("https://pages.test/", Body("text/html", INDEX.format(base + links))).links == (
        "https://pages.test/a",
    )


@pytest.mark.parametrize(
    ("media_type", "text", "title"),
    [
        ("text/markdown", "# Title\n\n[a](b)", "Title"),
        ("text/plain", "#!/bin/sh\necho", ""),
        ("application/json", '{"a": 1}', ""),
    ],
)
def test_what_is_text_already_stays_as_it_is(media_type: str, text: str, title: str) -> None:
    found = page(URL, Body(media_type, text))
    assert (found.content, found.title) == (text, title)


@settings(deadline=None, max_examples=50)
@given(
    st.text()
    | st.lists(st.sampled_from(["<p>", "<a href=", "<base href='//['>", "</", "<!--", "a", "\0"])).map(
        "".join
    )
)
def test_no_markup_is_too_broken_to_be_read(text: str) -> None:
    found = page(URL, Body("text/html", text))
    assert found.total == len(found.content)


def test_nesting_without_end_is_survived() -> None:
    assert page(URL, Body("text/html", "<div>" * 100_000 + "deep")).url == URL


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/plain; charset=iso-8859-1", "Grüße".encode("latin-1")),
        ("text/plain", "Grüße".encode()),
        ("text/plain; charset=utf-16", "Grüße".encode("utf-16")),
        ("text/plain; charset=no-such", "Grüße".encode()),
        ("text/plain; charset=base64", "Grüße".encode()),
        ("text/plain; charset=punycode", "Grüße".encode()),
        ("text/plain", "Grüße".encode("utf-8-sig")),
        ("text/html", "<meta charset='iso-8859-1'><p>Grüße</p>".encode("latin-1")),
        (
            "application/xhtml+xml",
            "<?xml version='1.0' encoding='iso-8859-1'?><p>Grüße</p>".encode("latin-1"),
        ),
    ],
)
async def test_the_declared_charset_counts_and_utf_8_otherwise(
    site: Site, content_type: str, body: bytes
) -> None:
    site.answers["/"] = response(gzip.compress(body), content_type, content_encoding="gzip")
    assert (await site.fetch()).content == "Grüße"


def test_without_the_extra_a_fetcher_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "agentkit.web._extract.find_spec", lambda name: None if name == "trafilatura" else found(name)
    )
    with pytest.raises(DefinitionError, match=r"trafilatura; run `pip install agentkit\[web\]`"):
        Fetcher()


def test_importing_the_web_imports_neither_library() -> None:
    program = "import sys; from agentkit.web import Fetcher; Fetcher()"
    program += "; print({'trafilatura', 'lxml'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"


def test_a_page_that_the_converter_gives_up_on_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def convert(html: str, options: object) -> None:
        raise ConversionError("scripted")

    monkeypatch.setattr("html_to_markdown.convert", convert)
    with pytest.raises(WebError, match="scripted"):
        page(URL, Body("text/html", INDEX.format("short")))


def test_a_declaration_that_is_none_is_survived() -> None:
    text = "<?xml version='1.0' encoding='>'?><p>text</p>"
    assert "text" in page(URL, Body("application/xhtml+xml", text)).content
