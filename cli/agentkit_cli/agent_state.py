"""The file of `--save`: a run and the options of its agent, so that another process can go on with it.

Whoever can write this file says which Python files and commands `agent resume` runs: only its owner can read
or write it, and nobody resumes a file of a stranger.
"""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, ValidationError

from agentkit import Run
from agentkit_cli.agent_setup import Setup
from agentkit_cli.errors import CommandError


class State(BaseModel):
    """What the file holds, as JSON."""

    agent: Setup
    run: Run


def save(path: Path, setup: Setup, run: Run) -> None:
    """Writes the file, whole or not at all.

    Raises:
        CommandError: it cannot be written.
    """
    text = State(agent=setup, run=run).model_dump_json(indent=2, exclude_defaults=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with open(
            os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
        ) as file:
            file.write(f"{text}\n")
        temporary.replace(path)
    except OSError as error:
        raise CommandError(f"the run cannot be kept in {str(path)!r}: {error}") from error


def load(path: Path) -> State:
    """Reads the file.

    Raises:
        CommandError: it cannot be read, or holds something else.
    """
    hint = "give a file that `agentkit agent run --save FILE` has written"
    try:
        return State.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CommandError(f"{str(path)!r} cannot be read: {error.strerror}", hint=hint) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise CommandError(
            f"{str(path)!r} holds no run: {place + ': ' if place else ''}{first['msg']}", hint=hint
        ) from error
