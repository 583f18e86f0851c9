from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from scripted_native import Script, application, serving

from agentkit import Client
from agentkit_cli import server as servers
from agentkit_cli.server import connected, private_server

MAIN = str(Path(__file__).with_name("private_main.py"))


@pytest.fixture(autouse=True)
def scripted_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "PRIVATE_COMMAND", (sys.executable, MAIN, "serve", "--private"))


@pytest.fixture
def nothing_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the usual address one where no server is, whatever else runs on this machine."""
    usual = Client

    def client(host: str = "127.0.0.1:1", **arguments: object) -> Client:
        return usual(host, **arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("agentkit.Client", client)


@pytest.mark.usefixtures("nothing_answers")
def test_run_starts_a_server_when_none_answers_and_says_so(command) -> None:
    result = command("run", "tiny", "hi")
    assert result.stdout == "The sky is blue.\n"
    assert result.stderr == "no server answers at http://127.0.0.1:1: starting one for this command\n"


@pytest.mark.usefixtures("nothing_answers")
def test_two_runs_at_once_have_servers_of_their_own() -> None:
    with connected(start=True) as first, connected(start=True) as second:
        assert first.base_url != second.base_url
        assert [client.version().version for client in (first, second)] == ["9.9.9", "9.9.9"]


def test_a_private_server_answers_only_its_own_command() -> None:
    from agentkit import ResponseError

    with private_server() as (url, _), Client(url) as stranger, pytest.raises(ResponseError, match="API key"):
        stranger.version()


def test_a_private_server_ends_with_its_command() -> None:
    from agentkit import ConnectionError

    with private_server() as (url, key), Client(url, api_key=key) as client:
        client.version()
    with Client(url) as late, pytest.raises(ConnectionError):
        late.version()


def test_a_server_that_cannot_start_is_an_error_with_its_last_words(
    command, monkeypatch: pytest.MonkeyPatch, nothing_answers: None
) -> None:
    monkeypatch.setenv("SCRIPTED_START", "fail")
    result = command("run", "tiny", "hi")
    assert result.exit_code == 1
    assert "Error: the server ended before it was ready: the model store cannot be read" in result.stderr


def test_a_host_that_was_set_is_never_replaced(command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTKIT_HOST", "127.0.0.1:1")
    result = command("run", "tiny", "hi")
    assert result.exit_code == 1
    assert "no server answers at http://127.0.0.1:1" in result.stderr
    assert "starting" not in result.stderr


def test_a_server_that_answers_is_used(command, monkeypatch: pytest.MonkeyPatch, script: Script) -> None:
    with serving(application(script)) as url:
        monkeypatch.setenv("OLLAMA_HOST", url)
        assert command("run", "tiny", "hi").stdout == "The sky is blue.\n"
    assert script.bodies("/api/generate")


def test_kill_9_of_the_command_leaves_no_server() -> None:
    program = (
        "import sys\n"
        "from agentkit_cli import server\n"
        f"server.PRIVATE_COMMAND = (sys.executable, {MAIN!r}, 'serve', '--private')\n"
        "with server.private_server():\n"
        "    print('serving', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    # The child server inherits this pipe's writing end through stderr: its end is the end of the file.
    reading, writing = os.pipe()
    environment = {**os.environ, "AGENTKIT_DEBUG": "1"}
    command = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=writing,
        env=environment,
    )
    os.close(writing)
    with command, open(reading, "rb") as alive:
        assert command.stdout is not None
        assert command.stdout.readline() == b"serving\n"
        command.send_signal(signal.SIGKILL)
        command.wait()
        assert b"Traceback" not in alive.read()
