"""The server as a process: it tells where it listens, and stops cleanly when told to."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from support.tiny_gguf import write_tiny_gguf

from agentkit_server.errors import BindRefused
from agentkit_server.models.store import Store
from agentkit_server.runner.scripted import ScriptedLauncher
from agentkit_server.serve import serve
from agentkit_server.settings import Settings

PROGRAM = """
import asyncio, sys
from pathlib import Path
from agentkit_server.runner.scripted import ScriptedLauncher
from agentkit_server.serve import serve
from agentkit_server.settings import Settings

class Never:
    def is_set(self): return False
    async def wait(self): await asyncio.get_running_loop().create_future()

launcher = ScriptedLauncher("Hello!")
launcher.hold, launcher.hold_after = Never(), 2
settings = Settings(host="127.0.0.1:0", models=Path(sys.argv[1]))
serve(settings, launcher=launcher, ready=lambda url: print(url, flush=True))
"""


@contextmanager
def server(root: Path) -> Generator[tuple[subprocess.Popen[str], str]]:
    """A server whose answers stop for ever after two tokens, and its URL."""
    command = [sys.executable, "-c", PROGRAM, str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_running_streams_with_an_error_and_the_server_with_exit_code_0(
    tmp_path: Path, signum: signal.Signals
) -> None:
    root = tmp_path / "models"
    Store(root).link_file("tiny", write_tiny_gguf(tmp_path / "tiny.gguf"))
    body = {"model": "tiny", "prompt": "hi"}
    with server(root) as (process, url), httpx.Client(base_url=url, timeout=20) as http:
        with http.stream("POST", "/api/generate", json=body) as response:
            lines = response.iter_lines()
            assert json.loads(next(lines))["response"] == "H"
            process.send_signal(signum)
            last = json.loads([*lines][-1])
        said, complaints = process.communicate(timeout=20)
    assert "shutting down" in last["error"]
    assert process.returncode == 0
    assert said == ""
    assert f"listening on {url}, models in {root}" in complaints
    assert "Traceback" not in complaints


def test_a_port_that_is_taken_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = Settings(host=f"127.0.0.1:{port}", models=tmp_path)
        with pytest.raises(BindRefused, match=f"AGENTKIT_HOST=127.0.0.1:{port + 1}"):
            serve(settings, launcher=ScriptedLauncher())


def test_an_open_address_without_keys_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BindRefused, match="without API keys"):
        serve(Settings(host="0.0.0.0:0", models=tmp_path), launcher=ScriptedLauncher())
