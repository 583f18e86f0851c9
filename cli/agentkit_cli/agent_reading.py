"""Reads what `agentkit agent` is given: each value becomes what an agent takes, or wrong usage.

Every function raises typer.BadParameter.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from agentkit_cli.errors import CommandError
from agentkit_cli.format import read_format
from agentkit_cli.options import parse_option

if TYPE_CHECKING:
    from agentkit_cli.agent_setup import Approval


def read_prompt(words: list[str] | None) -> str:
    """The task, and below it what is piped in."""
    if words == ["-"]:
        parts = [sys.stdin.read()]
    else:
        parts = [" ".join(words or ()), "" if sys.stdin.isatty() else sys.stdin.read()]
    text = "\n\n".join(part.strip() for part in parts if part.strip())
    if not text:
        raise typer.BadParameter("there is none; give it as an argument or on stdin", param_hint="TASK")
    return text


def read_schema(text: str | None) -> dict[str, Any] | None:
    """The JSON Schema of the output; `json` is any object."""
    if text is None:
        return None
    try:
        given = read_format(text)
    except CommandError as error:
        raise _wrong(error, "--output") from None
    return {"type": "object"} if isinstance(given, str) else given


def read_instructions(text: str | None) -> str | None:
    """The text itself, or that of the file behind `@`."""
    if text is None or not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(
            f"{text[1:]!r} cannot be read: {error}", param_hint="--instructions"
        ) from None


def read_settings(given: Sequence[str]) -> dict[str, Any]:
    """Values by name; a name that comes again adds to it where it takes several."""
    values: dict[str, list[str]] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise typer.BadParameter(f"{text!r} is no NAME=VALUE", param_hint="--option")
        values[name.strip()] = [*(values.get(name, []) if name == "stop" else []), value]
    try:
        return {name: parse_option(name, several) for name, several in values.items()}
    except CommandError as error:
        raise _wrong(error, "--option") from None


def read_approval(*, yes: bool, ask: bool) -> Approval:
    """Which calls need approval."""
    if yes and ask:
        raise typer.BadParameter("give one of --yes and --ask", param_hint="--ask")
    return "none" if yes else "all" if ask else "declared"


def _wrong(error: CommandError, option: str) -> typer.BadParameter:
    return typer.BadParameter("; ".join(filter(None, (error.message, error.hint))), param_hint=option)
