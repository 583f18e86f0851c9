"""`export` and `import`, on a real server with the scripted engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.scripted_server import Replies, scripted_app
from support.scripted_server import serving as serving_app

from agentkit import Client
from agentkit_server.models.store import Store

SYSTEM = 'Say "ho"\nand nothing else.'


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """The store of the running server, which the command is told of too."""
    folder = tmp_path / "models"
    app, _ = scripted_app(folder, Replies())
    with serving_app(app) as url:
        monkeypatch.setenv("AGENTKIT_HOST", url)
        monkeypatch.setenv("AGENTKIT_MODELS", str(folder))
        yield Store(folder)


def test_what_is_exported_is_imported_as_the_same_model(command, store: Store, tmp_path: Path) -> None:
    with Client() as client:
        client.create(
            "rich",
            from_="tiny",
            system=SYSTEM,
            template="{{ .System }}{{ .Prompt }}",
            license="MIT",
            parameters={"temperature": 0.5, "stop": ["a", "b"]},
            messages=[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}],
        )
    folder = tmp_path / "out folder"
    result = command("export", "rich", str(folder))
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"exported 'rich' to {str(folder)!r}: model.gguf, Modelfile (2.1 KB)\n"
    before = store.resolve("rich")
    for name in ("rich", "tiny"):
        store.delete(name)
    assert command("import", str(folder)).exit_code == 0
    after = store.resolve("out-folder")
    assert command("import", str(folder), "me/again:v1").exit_code == 0
    assert store.resolve("me/again:v1").digest == after.digest
    assert after.weights == before.weights
    for fact in ("system", "go_template", "parameters", "messages", "license", "capabilities"):
        assert getattr(after, fact) == getattr(before, fact), fact
    assert Path(after.path).parent == store.root / "blobs"


def test_json_names_the_files(command, store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert json.loads(command("export", "tiny", str(folder), "--json").stdout) == {
        "exported": {"model": "tiny", "folder": str(folder), "files": ["model.gguf", "Modelfile"]}
    }
    assert json.loads(command("import", str(folder), "x", "--json").stdout) == {"created": "x"}


def test_nothing_is_overwritten_without_force(command, store: Store, tmp_path: Path) -> None:
    (tmp_path / "Modelfile").write_text("mine")
    refused = command("export", "tiny", str(tmp_path))
    assert refused.exit_code == 1
    assert "has 'Modelfile' already; give another folder, or replace them with --force" in refused.stderr
    assert (tmp_path / "Modelfile").read_text() == "mine"
    assert command("export", "tiny", str(tmp_path), "--force", "--link").exit_code == 0
    assert (tmp_path / "model.gguf").samefile(store.resolve("tiny").path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("export", "absent", "out"), ["Error: model 'absent' not found", "hint: the store is "]),
        (("import", "nowhere"), ["Error: no folder at 'nowhere'", "hint: give one that"]),
        (("import", "."), ["Error: cannot read the Modelfile 'Modelfile'"]),
    ],
)
def test_what_is_not_there_is_told(
    command, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments, said: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    result = command(*arguments)
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert [line.startswith(start) for line, start in zip(lines, said, strict=False)] == [True] * len(said)
    assert not (tmp_path / "out").exists()


def test_a_setting_that_cannot_be_read_is_told(
    command, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTKIT_NUM_PARALLEL", "many")
    result = command("export", "tiny", str(tmp_path / "out"))
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: AGENTKIT_NUM_PARALLEL cannot be 'many': ")


def test_a_server_elsewhere_is_no_place_to_export_from(
    command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTKIT_HOST", "http://192.0.2.1:11434")
    result = command("export", "tiny", str(tmp_path / "out"))
    assert result.exit_code == 1
    assert "the server at http://192.0.2.1:11434 is on another machine" in result.stderr
    assert "agentkit push" in result.stderr
