"""The command line with a scripted server in the place of the real one: what tests start as a private server.

Its stderr and the readers that it inherits tell a test when it has ended.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from scripted_native import Script, application, serving

from agentkit_cli.main import main


def serve(settings: Any, *, insecure: bool = False, ready: Callable[[str], None] | None = None) -> None:
    """Serves the script until SIGTERM, as the real server does."""
    if "fail" in os.environ.get("SCRIPTED_START", ""):
        print("loading\nError: the model store cannot be read", file=sys.stderr)
        raise SystemExit(1)
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    assert settings.host == "127.0.0.1:0"
    with serving(application(Script(api_key=settings.api_keys[0]))) as url:
        assert ready is not None
        print("this line must not reach the command that waits for the server")
        ready(url)
        ended.wait()


stub = ModuleType("agentkit_server.serve")
stub.serve = serve  # type: ignore[attr-defined]
sys.modules[stub.__name__] = stub
main()
