"""A scripted server for the CLI's tests, and ways to run commands against it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from scripted_native import Script, application, serving
from typer.testing import CliRunner, Result

from agentkit_cli.app import app

Command = Callable[..., Result]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the machine reaches a test, and the home folder is empty."""
    for name in list(os.environ):
        if name.startswith(("AGENTKIT_", "OLLAMA_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def script() -> Script:
    """What the server of this test answers."""
    return Script()


@pytest.fixture
def server(script: Script, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URL of a running scripted server, which AGENTKIT_HOST names."""
    with serving(application(script)) as url:
        monkeypatch.setenv("AGENTKIT_HOST", url)
        yield url


@pytest.fixture
def command() -> Command:
    """Runs the command line with some arguments, in process."""

    def run(*arguments: str, input: str | None = None) -> Result:
        return CliRunner().invoke(app, list(arguments), input=input)

    return run
