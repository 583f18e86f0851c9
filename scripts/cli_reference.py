"""Prints docs/reference/cli.md: a preface, then the command line's own help.

python scripts/cli_reference.py > docs/reference/cli.md
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

# The width and the absence of colour make the help the same on every machine.
os.environ.update(COLUMNS="100", NO_COLOR="1", _TYPER_FORCE_DISABLE_TERMINAL="1")

import typer
from typer.testing import CliRunner

from agentkit_cli.app import app

PREFACE = Path(__file__).with_suffix(".md")


def reference() -> str:
    """The whole page."""
    sections = [_section(*command) for command in _commands(app)]
    return "\n".join([PREFACE.read_text(encoding="utf-8"), *sections])


def _commands(group: typer.Typer, *name: str) -> Iterator[tuple[str, ...]]:
    """The names of `group` and of all commands in it that are not hidden."""
    yield name
    for command in group.registered_commands:
        if not command.hidden:
            yield (*name, str(command.name))
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        yield from _commands(inner.typer_instance, *name, str(inner.name))


def _section(*command: str) -> str:
    result = CliRunner().invoke(app, [*command, "--help"], prog_name="agentkit")
    title = " ".join(("agentkit", *command))
    return f"## {title}\n\n```text\n{result.stdout.strip()}\n```\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
