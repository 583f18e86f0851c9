"""`push` and `pull`, with a real server on the scripted engine and a real registry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.docker_registry import docker_registry
from support.scripted_server import Replies, scripted_app
from support.scripted_server import serving as serving_app


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Its address; AGENTKIT_HOST names a server with `tiny`."""
    app, _ = scripted_app(tmp_path / "models", Replies())
    with docker_registry(tmp_path / "registry") as address, serving_app(app) as url:
        monkeypatch.setenv("AGENTKIT_HOST", url)
        yield address


def test_a_model_is_pushed_and_pulled_back_with_a_line_for_each_step(command, registry: str) -> None:
    name = f"{registry}/me/tiny"
    assert command("cp", "tiny", name).exit_code == 0
    pushed = command("push", name, "--insecure")
    assert (pushed.exit_code, pushed.stdout) == (0, "")
    lines = pushed.stderr.splitlines()
    assert (lines[0], lines[-2:]) == ("retrieving manifest", ["pushing manifest", "success"])
    assert all(line.startswith("pushing ") for line in lines[1:-1])
    assert json.loads(command("push", name, "--insecure", "--json").stdout) == {"pushed": name}
    assert command("rm", name).exit_code == 0
    assert command("pull", name, "--insecure").exit_code == 0
    assert f"{name}:latest" in command("list").stdout


def test_a_push_that_cannot_be_is_an_error(command, registry: str) -> None:
    absent = command("push", "absent")
    assert (absent.exit_code, absent.stderr.splitlines()[0]) == (1, "Error: model 'absent' not found")
    command("cp", "tiny", f"{registry}/me/tiny")
    refused = command("push", f"http://{registry}/me/tiny")
    assert refused.exit_code == 1
    assert "insecure protocol http" in refused.stderr
    assert "--insecure" in refused.stderr
