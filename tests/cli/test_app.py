from __future__ import annotations

import json
import subprocess
import sys

import pytest

from agentkit_cli import completion, models
from agentkit_cli.main import main

HEAVY = ("agentkit", "agentkit_server", "httpx", "llama_cpp", "numpy", "prompt_toolkit", "pydantic")


def test_help_imports_neither_the_sdk_nor_the_server() -> None:
    program = (
        "import sys\n"
        "from agentkit_cli.app import app\n"
        "try:\n    app(['--help'])\n"
        "except SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert output.startswith("Usage: ")
    assert output.splitlines()[-1] == "[]"


def test_no_server_is_an_error_that_says_how_to_start_one(command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTKIT_HOST", "127.0.0.1:1")
    result = command("list")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "Error: no server answers at http://127.0.0.1:1",
        "hint: start one with `agentkit serve`, or set AGENTKIT_HOST",
    ]


@pytest.mark.parametrize("arguments", [("nonsense",), ("show",), ("run", "m", "--dimensions", "0")])
def test_wrong_usage_exits_with_2(command, arguments: tuple[str, ...]) -> None:
    result = command(*arguments)
    assert result.exit_code == 2
    assert "Error: " in result.stderr


def test_an_interrupt_exits_with_130(command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(models, "connected", interrupted)
    assert command("list").exit_code == 130


@pytest.mark.usefixtures("server")
def test_a_wrong_key_names_the_setting(command, script) -> None:
    script.api_key = "secret"
    result = command("list")
    assert result.stderr.splitlines() == [
        "Error: invalid API key",
        "hint: set AGENTKIT_API_KEY to a key that the server accepts",
    ]


@pytest.mark.usefixtures("server")
def test_version_tells_both_ends(command) -> None:
    assert json.loads(command("version", "--json").stdout)["server"] == "9.9.9"
    assert command("--version").stdout.startswith("agentkit ")


def test_version_without_a_server_is_no_error(command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTKIT_HOST", "127.0.0.1:1")
    result = command("version")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1] == "server   not running"


@pytest.mark.usefixtures("server")
def test_the_shell_completes_model_names() -> None:
    assert completion.model_names("ti") == ["tiny:latest"]
    assert completion.loaded_names("x") == []


def test_completion_is_empty_without_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTKIT_HOST", "127.0.0.1:1")
    assert completion.model_names("") == []


def test_a_missing_library_is_told_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "agentkit_cli.app")
    monkeypatch.setitem(sys.modules, "typer", None)
    with pytest.raises(SystemExit) as exit:
        main()
    assert exit.value.code == 1
    assert "pip install 'agentkit[cli]'" in capsys.readouterr().err


def test_serve_without_the_server_extra_says_what_to_install(
    command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "agentkit_server.settings", raising=False)
    monkeypatch.delitem(sys.modules, "agentkit_server.serve", raising=False)
    monkeypatch.setitem(sys.modules, "pydantic_settings", None)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = command("serve")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[1] == "hint: pip install 'agentkit[server]'"
