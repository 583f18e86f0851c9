"""Turns what a page is made of into Markdown, its title and its links.

trafilatura finds the part that a page is about. Where it finds little, as on an index or a login page, the
whole page is converted. Both come with the extra `web` and are imported by the first page that needs them.
"""

from __future__ import annotations

import logging
import re
from importlib.util import find_spec
from typing import Any

from agentkit._errors import DefinitionError, WebError
from agentkit.web._body import Body
from agentkit.web._page import Page

_SILENCE = logging.NullHandler()
_DECLARATION = re.compile(r"\A\s*<\?xml\b[^>]*\?>")
_LIBRARIES = ("trafilatura", "html_to_markdown")
_HTML = ("text/html", "application/xhtml+xml")
# Characters of a main part that is hardly the page: the whole page is taken when it has this many times more.
_LITTLE = 200
_TIMES_MORE = 2
# trafilatura takes 0.2 ms for each; the conversion of the whole page a hundredth of that.
_MOST_ELEMENTS = 20_000


def check_installed() -> None:
    """Raises `DefinitionError` unless the libraries of the extra `web` are there. Imports nothing."""
    if missing := [name for name in _LIBRARIES if find_spec(name) is None]:
        raise DefinitionError(
            f"reading web pages needs {' and '.join(missing)}", hint="run `pip install agentkit[web]`"
        )


def page(url: str, body: Body) -> Page:
    """The page at `url`. Takes up to seconds (the first time for imports), so it belongs into a thread."""
    if body.media_type not in _HTML:
        return Page(url, _first_heading(body.text), body.text)
    tree = _tree(body.text)
    if tree is None:
        return Page(url, "", body.text.strip())
    _make_links_absolute(tree, url)
    title = " ".join((tree.findtext(".//title") or "").split())
    return Page(url, title, _markdown(tree), _links(tree))


def _tree(text: str) -> Any:
    """An lxml tree, or None where there is nothing to parse."""
    from lxml.etree import ParserError  # pyright: ignore
    from lxml.html import document_fromstring  # pyright: ignore

    try:
        # libxml2 takes a NUL for the end of the page, and lxml refuses text that declares its encoding.
        plain = _DECLARATION.sub("", text.replace("\0", ""))
        return document_fromstring(plain)  # pyright: ignore[reportUnknownVariableType]  # lxml has no types
    except (ParserError, ValueError):
        return None


def _make_links_absolute(tree: Any, url: str) -> None:
    try:
        tree.make_links_absolute(url, handle_failures="discard")
    except ValueError:
        # The page has a `<base>` that is no URL.
        tree.make_links_absolute(url, handle_failures="discard", resolve_base_href=False)


def _markdown(tree: Any) -> str:
    from lxml.html import tostring  # pyright: ignore

    html = str(tostring(tree, encoding="unicode"))  # pyright: ignore[reportUnknownArgumentType]
    if sum(1 for _ in tree.iter()) > _MOST_ELEMENTS:
        return _whole(html)
    main = _main(html)
    if len(main) >= _LITTLE:
        return main
    whole = _whole(html)
    return whole if len(whole) >= _TIMES_MORE * len(main) else main


def _main(html: str) -> str:
    """What the page is about, without navigation and footer."""
    import trafilatura

    # What it has to say about a page with little text would go to stderr where nobody configured logging.
    logging.getLogger("trafilatura").addHandler(_SILENCE)
    main = trafilatura.extract(
        html,
        output_format="markdown",
        include_links=True,
        include_tables=True,
        include_formatting=True,
        include_comments=False,
        favor_recall=True,
    )
    return (main or "").strip()


def _whole(html: str) -> str:
    from html_to_markdown import ConversionOptions, convert
    from html_to_markdown.exceptions import ConversionError

    options = ConversionOptions(extract_metadata=False, skip_images=True)
    try:
        return (convert(html, options).content or "").strip()
    except ConversionError as error:
        raise WebError(f"the page cannot be converted: {error}") from error


def _links(tree: Any) -> tuple[str, ...]:
    found = (str(anchor.get("href")).partition("#")[0] for anchor in tree.iterfind(".//a[@href]"))
    return tuple(dict.fromkeys(link for link in found if link.startswith(("http://", "https://"))))


def _first_heading(text: str) -> str:
    first = text.lstrip().partition("\n")[0]
    return first.lstrip("# ").strip() if first.startswith("# ") else ""
