"""`python -m agentkit_server`: the server alone, told everything by its settings."""

from __future__ import annotations

import sys

from agentkit_server.errors import AgentkitError
from agentkit_server.serve import serve
from agentkit_server.settings import Settings

if __name__ == "__main__":
    try:
        serve(Settings())  # pyright: ignore[reportCallIssue]
    except AgentkitError as error:
        sys.exit(f"error: {error.message}")
