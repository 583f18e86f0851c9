"""`agentkit serve`: runs the server in the foreground.

The hidden `--private` is how a command starts a server of its own: the server tells its URL in one line on
stdout, and ends when its stdin closes.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Annotated

import typer

from agentkit_cli.errors import CommandError, bad_setting
from agentkit_cli.server import READY

_GRACE_SECONDS = 8


def serve(
    host: Annotated[
        str | None,
        typer.Option(help="Address to listen on, HOST[:PORT]; default AGENTKIT_HOST or 127.0.0.1:11434"),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen on another address than loopback without API keys")
    ] = False,
    private: Annotated[bool, typer.Option("--private", hidden=True)] = False,
) -> None:
    """Run the server until Ctrl-C. Everything else is set by AGENTKIT_… variables."""
    try:
        from pydantic import ValidationError

        from agentkit_server.errors import AgentkitError
        from agentkit_server.serve import serve as run_server
        from agentkit_server.settings import Settings
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("agentkit"):
            raise
        raise CommandError(
            f"the server needs the package {error.name!r}", hint="pip install 'agentkit[server]'"
        ) from error
    ready = None
    try:
        settings = Settings()  # pyright: ignore[reportCallIssue]
        if private:
            host, ready = "127.0.0.1:0", _told_on_stdout()
            threading.Thread(target=_end_with_stdin, name="parent", daemon=True).start()
        run_server(
            settings.model_copy(update={"host": host}) if host else settings, insecure=insecure, ready=ready
        )
    except ValidationError as error:
        raise bad_setting(error) from error
    except AgentkitError as error:
        raise CommandError(error.message) from error


def _told_on_stdout() -> Callable[[str], None]:
    channel = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    # Whatever else the server prints must neither fill nor confuse the pipe that the ready line goes through.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def tell(url: str) -> None:
        with channel:
            channel.write(f"{READY}{url}\n")

    return tell


def _end_with_stdin() -> None:
    # Not `sys.stdin`: a daemon thread inside its lock is fatal to an interpreter that ends by itself.
    while os.read(sys.stdin.fileno(), 1 << 12):
        continue
    # A server that is stuck must end too: nobody is left to stop it.
    timer = threading.Timer(_GRACE_SECONDS, os._exit, (1,))
    timer.daemon = True
    timer.start()
    os.kill(os.getpid(), signal.SIGTERM)
