"""Text for HTML, JavaScript and URLs, as Go's template package escapes it."""

from __future__ import annotations

import re
from urllib.parse import quote_plus

from agentkit_server.gotemplate.values import to_bytes, visible

_HTML = str.maketrans({"\0": "\ufffd", '"': "&#34;", "'": "&#39;", "&": "&amp;", "<": "&lt;", ">": "&gt;"})
_JS_SPECIAL = re.compile(r"""[\\'"<>&=\0-\x1f]|[^\0-\x7f]""")


def html(text: str) -> str:
    return text.translate(_HTML)


def javascript(text: str) -> str:
    return _JS_SPECIAL.sub(lambda match: _escaped(match.group()), visible(text))


def _escaped(char: str) -> str:
    if char in "\\'\"":
        return "\\" + char
    if ord(char) < 0x80:
        return f"\\u00{ord(char):02X}"
    return char if char.isprintable() else f"\\u{ord(char):04X}"


def url_query(text: str) -> str:
    return quote_plus(to_bytes(text), safe="")
