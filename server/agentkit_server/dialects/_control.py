"""Context control by HTTP header, for clients that cannot add fields to a body: `X-Agentkit-Num-Ctx` and its
sisters become the extension fields of the same names before a dialect reads the body, whichever it is."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from starlette.datastructures import Headers

from agentkit_server.errors import BadRequest, UnsupportedParameter

PREFIX = "x-agentkit-"
MOST_TOKENS = 2**31 - 1
MOST_SECONDS = 1e9
LONGEST_RUN_ID = 200
_SHOWN = 100
"""Characters of a header in an error."""


class _Header(NamedTuple):
    field: str
    read: Callable[[str], Any]
    """None = it cannot be read."""
    wanted: str


def with_headers(body: dict[str, Any], headers: Headers, *, native: bool = False) -> dict[str, Any]:
    """`body` with what `headers` say of context, in the fields that stand for the same. `native`: `num_ctx`
    is one of the `options`.

    Raises BadRequest for a value that cannot be read and for a header that comes twice or contradicts the
    body, UnsupportedParameter for one with the prefix that is not known.
    """
    for name in sorted({name for name in headers if name.startswith(PREFIX)}):
        header = HEADERS.get(name)
        if header is None:
            raise _unknown(name)
        value = _value(name, header, headers.getlist(name))
        if native and header.field == "num_ctx":
            body = _with_option(body, header.field, value, name)
        else:
            body = _with_field(body, header.field, value, name)
    return body


def _value(name: str, header: _Header, given: list[str]) -> Any:
    if len(given) > 1:
        raise BadRequest(f"the header {name} is there {len(given)} times; send it once", param=name)
    value = header.read(given[0].strip())
    if value is None:
        raise BadRequest(
            f"the header {name} is {given[0][:_SHOWN]!r}; it must be {header.wanted}", param=name
        )
    return value


def _with_field(body: dict[str, Any], field: str, value: Any, name: str) -> dict[str, Any]:
    said = body.get(field)
    if said is not None and said != value:
        raise BadRequest(
            f"the header {name} says {value!r}, and {field} in the body {repr(said)[:_SHOWN]}; "
            f"send one of them",
            param=field,
        )
    return {**body, field: value}


def _with_option(body: dict[str, Any], field: str, value: Any, name: str) -> dict[str, Any]:
    options: Any = body.get("options") or {}
    if not isinstance(options, dict):
        # The dialect refuses these options in its own words.
        return body
    return {**body, "options": _with_field(cast("dict[str, Any]", options), field, value, name)}


def _unknown(name: str) -> UnsupportedParameter:
    name = name[:_SHOWN]
    close = difflib.get_close_matches(name, HEADERS, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(HEADERS)}"
    return UnsupportedParameter(f"unknown header {name!r}: {hint}", param=name)


def _tokens(text: str) -> int | None:
    number = _number(text)
    return number if isinstance(number, int) and 1 <= number <= MOST_TOKENS else None


def _switch(text: str) -> bool | None:
    return {"true": True, "false": False}.get(text.lower())


def _seconds(text: str) -> float | None:
    number = _number(text)
    return number if number is not None and 0 < number <= MOST_SECONDS else None


def _keep_alive(text: str) -> str | float | None:
    """A number is one in the body, too; a duration is read where the body's are."""
    number = _number(text)
    return number if number is not None else text or None


def _run_id(text: str) -> str | None:
    return text if 0 < len(text) <= LONGEST_RUN_ID else None


def _number(text: str) -> int | float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    if not math.isfinite(number) or "_" in text:
        return None
    return int(number) if number.is_integer() else number


HEADERS = {
    "x-agentkit-num-ctx": _Header("num_ctx", _tokens, f"a number of tokens from 1 to {MOST_TOKENS}"),
    "x-agentkit-keep-alive": _Header(
        "keep_alive", _keep_alive, "a number of seconds or a duration such as '5m', negative = for ever"
    ),
    "x-agentkit-truncate": _Header("truncate", _switch, "true or false"),
    "x-agentkit-max-seconds": _Header(
        "max_seconds", _seconds, f"a number of seconds above 0 and up to {MOST_SECONDS:g}"
    ),
    "x-agentkit-run-id": _Header("run_id", _run_id, f"a text of 1 to {LONGEST_RUN_ID} characters"),
}
"""By name. Each stands for the body's field of that name."""
