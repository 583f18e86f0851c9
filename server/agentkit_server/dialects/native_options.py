"""The fields that generate and chat share, read into the words of a Turn."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, cast

from agentkit_server.dialects._shared import shown
from agentkit_server.dialects.native_types import RunBody
from agentkit_server.errors import BadRequest, NotBuiltYet
from agentkit_server.turn.options import Options, read_options
from agentkit_server.turn.types import ResponseFormat, ThinkLevel

log = logging.getLogger(__name__)

_THINK_LEVELS: dict[str, ThinkLevel] = {"high": "high", "medium": "medium", "low": "low", "max": "max"}


def run_options(body: RunBody) -> Options:
    """The options of `body`. Raises BadRequest for bad values, NotBuiltYet for `_debug_render_only`."""
    if body.debug_render_only:
        raise NotBuiltYet(
            "_debug_render_only is not built yet in this version; leave it out", param="_debug_render_only"
        )
    return warned_options(body.options)


def read_think(body: RunBody) -> bool | ThinkLevel | None:
    """What `body` says of thinking. Raises BadRequest for a word that is no level."""
    if not isinstance(body.think, str):
        return body.think
    if body.think not in _THINK_LEVELS:
        raise BadRequest(
            f'invalid think value: "{body.think[:80]}" '
            f'(must be "high", "medium", "low", "max", true, or false)',
            param="think",
        )
    return _THINK_LEVELS[body.think]


def read_format(body: RunBody) -> ResponseFormat | None:
    """What `body` demands of the answer: `"json"`, a JSON Schema, or "" for any text. Raises BadRequest."""
    match body.format:
        case "":
            return None
        case "json":
            return ResponseFormat(kind="json_object", compact=body.compact)
        case dict():
            schema = cast("dict[str, Any]", body.format)
            return ResponseFormat(kind="json_schema", value=schema, compact=body.compact)
        case _:
            raise BadRequest(
                f'invalid format: {shown(body.format)}; expected "json" or a valid JSON Schema object',
                param="format",
            )


def warned_options(given: Mapping[str, Any]) -> Options:
    """The options, with a warning in the log for names that have no effect. Raises BadRequest."""
    options = read_options(given)
    for name in options.unknown:
        log.warning("invalid option provided: %s", shown(name))
    for name in options.retired:
        log.warning("option without effect: %s", name)
    return options


def refuse_images(images: list[str]) -> None:
    """Raises NotBuiltYet when there are any."""
    if images:
        raise NotBuiltYet("images are not built yet in this version; leave them out", param="images")
