"""`verify`, on a real server with the scripted engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.scripted_server import Replies, scripted_app
from support.scripted_server import serving as serving_app

from agentkit import AsyncClient, Client


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    app, _ = scripted_app(tmp_path / "models", Replies())
    with serving_app(app) as url:
        monkeypatch.setenv("AGENTKIT_HOST", url)
        yield tmp_path / "models"


def break_tiny(folder: Path) -> Path:
    with (folder / "tiny.gguf").open("ab") as file:
        file.write(b"x")
    return folder / "tiny.gguf"


def test_a_store_without_damage_is_said_to_be_well(command, folder: Path) -> None:
    result = command("verify")
    assert result.exit_code == 0
    assert result.stdout.startswith("3 models, ")
    assert result.stdout.endswith(": all well\n")
    assert command("verify", "tiny").stdout.startswith("1 model, ")


def test_damage_is_told_with_a_remedy_and_exit_code_1(command, folder: Path) -> None:
    path = break_tiny(folder)
    result = command("verify", "tiny", "thinker")
    assert result.exit_code == 1
    first, second, _ = result.stdout.splitlines()
    assert first == f"damaged: {path} of tiny:latest"
    assert second.startswith("    the file has changed since it was linked; put the file back as it was, or")
    assert result.stdout.endswith(": 1 problem\n")


def test_json_has_the_fields_of_the_api(command, folder: Path) -> None:
    path = break_tiny(folder)
    result = command("verify", "--json")
    assert result.exit_code == 1
    answer = json.loads(result.stdout)
    assert (answer["status"], answer["problems"][0]["path"]) == ("damaged", str(path))


def test_an_unknown_model_is_an_error(command, folder: Path) -> None:
    result = command("verify", "absent")
    assert result.exit_code == 1
    assert "Error: model 'absent' not found" in result.stderr


@pytest.mark.anyio
async def test_both_clients_verify_with_and_without_a_stream(folder: Path) -> None:
    with Client() as client:
        assert client.verify(["tiny"]).problems == []
        *steps, last = client.verify(stream=True)
        assert steps and last["status"] == "verified"
    async with AsyncClient() as client:
        assert (await client.verify()).models == 3
        lines = [line async for line in await client.verify(["tiny"], stream=True)]
        assert lines[-1].done
