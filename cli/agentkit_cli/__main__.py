"""`python -m agentkit_cli`, which is also how a private server is started."""

from __future__ import annotations

from agentkit_cli.main import main

if __name__ == "__main__":
    main()
