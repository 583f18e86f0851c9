"""`agentkit version` and `agentkit --version`."""

from __future__ import annotations

from importlib.metadata import version as installed

import typer

from agentkit_cli.arguments import JsonOption
from agentkit_cli.output import say, say_json
from agentkit_cli.server import connected


def version(json: JsonOption = False) -> None:
    """Print the versions of this program and of the server."""
    from agentkit import ConnectionError

    server = None
    with connected() as client:
        try:
            server = client.version().version
        except ConnectionError:
            # No server is an answer here, not a failure.
            server = None
    if json:
        say_json({"client": installed("agentkit"), "server": server})
    else:
        say(f"agentkit {installed('agentkit')}")
        say(f"server   {server or 'not running'}")


def print_version(asked: bool) -> None:
    """Callback of `--version`: this program's version only, without asking a server."""
    if asked:
        say(f"agentkit {installed('agentkit')}")
        raise typer.Exit
