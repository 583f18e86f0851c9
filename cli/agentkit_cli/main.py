"""Entry point of the `agentkit` command. Says what to install when a library is missing."""

from __future__ import annotations

import sys


def main() -> None:
    """Runs the command line; exit codes are 0, 1 for an error, 2 for wrong usage, 130 for Ctrl-C."""
    try:
        from agentkit_cli.app import app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in {"agentkit", "agentkit_cli"}:
            raise
        print(f"Error: the command line needs the package {error.name!r}", file=sys.stderr)
        print("hint: pip install 'agentkit[cli]'", file=sys.stderr)
        raise SystemExit(1) from error
    app(prog_name="agentkit")
