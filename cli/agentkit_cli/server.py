"""Finds the server that commands speak to, or starts a private one.

A private server serves one command: it listens on a free loopback port with a key of its own, so several
`run`s never race for a port and none depends on another. It reads a pipe that the command holds and ends when
that pipe closes, so it does not even survive a `kill -9` of the command.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from agentkit_cli.environment import setting
from agentkit_cli.errors import CommandError
from agentkit_cli.output import note
from agentkit_cli.progress import spinner

if TYPE_CHECKING:
    from agentkit import Client

PRIVATE_COMMAND = (sys.executable, "-m", "agentkit_cli", "serve", "--private")
READY = "ready "
_GRACE_SECONDS = 10


@contextmanager
def connected(*, start: bool = False) -> Generator[Client, None, None]:
    """A client of the configured server.

    With `start`, a private server is started when no host is configured and the usual one does not answer.
    A host that was set by hand is never replaced.
    """
    with located(start=start) as (client, _):
        yield client


@contextmanager
def located(*, start: bool = False) -> Generator[tuple[Client, str | None], None, None]:
    """What `connected` gives, and the key of the private server where it has started one."""
    from agentkit import Client, ConnectionError

    # A person who waits at a terminal is told at once.
    with Client(retries=0) as client:
        if start and setting("HOST") is None:
            try:
                client.version()
            except ConnectionError:
                note(f"no server answers at {client.base_url}: starting one for this command")
                with private_server() as (url, key), Client(url, api_key=key) as private:
                    yield private, key
                return
        yield client, None


@contextmanager
def private_server() -> Generator[tuple[str, str], None, None]:
    """Starts a private server, yields its URL and key once it answers, and ends it.

    Raises:
        CommandError: the server ended before it was ready; the message carries its last words.
    """
    key = secrets.token_urlsafe(24)
    with tempfile.TemporaryFile() as log, _child(key, log) as child:
        try:
            with spinner("starting the server"):
                url = _ready_url(child, log)
            yield url, key
        finally:
            _end(child)


def _child(key: str, log: IO[bytes]) -> subprocess.Popen[bytes]:
    # A session of its own: Ctrl-C at the terminal is for the command, which must outlive the answer it stops.
    return subprocess.Popen(
        PRIVATE_COMMAND,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=None if setting("DEBUG") else log,
        env={**os.environ, "AGENTKIT_API_KEYS": key},
        start_new_session=True,
    )


def _ready_url(child: subprocess.Popen[bytes], log: IO[bytes]) -> str:
    assert child.stdout is not None
    line = child.stdout.readline().decode(errors="replace").strip()
    if line.startswith(READY):
        return line.removeprefix(READY)
    child.wait()
    log.seek(0)
    words = log.read().decode(errors="replace").strip().splitlines()
    said = [word.removeprefix("Error: ") for word in words if word.startswith("Error: ")]
    reason = said[-1] if said else words[-1] if words else f"exit code {child.returncode}"
    raise CommandError(
        f"the server ended before it was ready: {reason}", hint="see its whole log with `agentkit serve`"
    )


def _end(child: subprocess.Popen[bytes]) -> None:
    assert child.stdin is not None
    child.stdin.close()
    try:
        child.wait(timeout=_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
