"""The fields that generate and chat share, read into the words of a Turn."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from agentkit_server.dialects.native_types import RunBody
from agentkit_server.errors import BadRequest, NotBuiltYet
from agentkit_server.turn.options import Options, read_options

log = logging.getLogger(__name__)

THINK_LEVELS = ("high", "medium", "low", "max")


def run_options(body: RunBody) -> Options:
    """The options of `body`, once the features it asks for are known to be there.

    Raises BadRequest for bad values, NotBuiltYet for `format`, `think` and `_debug_render_only`.
    """
    if isinstance(body.think, str) and body.think not in THINK_LEVELS:
        raise BadRequest(
            f'invalid think value: "{body.think}" (must be "high", "medium", "low", "max", true, or false)',
            param="think",
        )
    if body.think:
        raise NotBuiltYet("think is not built yet in this version; leave it out", param="think")
    if body.format != "":
        raise NotBuiltYet("format is not built yet in this version; leave it out", param="format")
    if body.debug_render_only:
        raise NotBuiltYet(
            "_debug_render_only is not built yet in this version; leave it out", param="_debug_render_only"
        )
    return warned_options(body.options)


def warned_options(given: Mapping[str, Any]) -> Options:
    """The options, with a warning in the log for names that have no effect. Raises BadRequest."""
    options = read_options(given)
    for name in options.unknown:
        log.warning("invalid option provided: %s", name[:80])
    for name in options.retired:
        log.warning("option without effect: %s", name)
    return options


def refuse_images(images: list[str]) -> None:
    """Raises NotBuiltYet when there are any."""
    if images:
        raise NotBuiltYet("images are not built yet in this version; leave them out", param="images")
