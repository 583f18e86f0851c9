from __future__ import annotations

import hashlib
import os
from collections.abc import Generator
from pathlib import Path

import pytest
from support.stores import OllamaFolder, add_tiny, drained
from support.tiny_gguf import write_tiny_gguf

from agentkit_server.errors import BadRequest, ModelNotFound, StoreError
from agentkit_server.models import export
from agentkit_server.models.export import Exported, Wish, export_steps
from agentkit_server.models.modelfile import AdapterLine, MessageLine, Modelfile, parse
from agentkit_server.models.store import Store


def exported(store: Store, name: str, folder: Path, **wish: bool) -> Exported:
    return drained(export_steps(store, name, folder, Wish(**wish)))[1]


def read(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def rich(tmp_path: Path, tiny: Path) -> Store:
    """A model with everything that Ollama's manifests may hold, `rich`."""
    folder = OllamaFolder(tmp_path / "ollama")
    layers = {
        "model": tiny.read_bytes(),
        "projector": b"GGUF projector",
        "adapter": b"GGUF adapter",
        "template": b"{{ .System }}\n{{ .Prompt }}",
        "system": b'Be "brief".\n',
        "params": b'{"stop": ["<|im_end|>", "x"], "temperature": 0.5}',
        "messages": b'[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]',
        "license": b"MIT\nAll of it.",
    }
    folder.model("registry.ollama.ai/library/rich/latest", layers)
    return Store(folder.root)


def test_a_model_becomes_a_plain_gguf_and_a_modelfile(rich: Store, tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "out"
    seen, told = drained(export_steps(rich, "RICH", folder))
    names = ("model.gguf", "projector.gguf", "adapter.gguf", "Modelfile")
    assert told == Exported(folder, names, tiny.stat().st_size + 14 + 12)
    assert seen == sorted(seen)
    assert seen[-1] == (told.size, told.size)
    files = read(folder)
    assert set(files) == set(names)
    assert files["model.gguf"] == tiny.read_bytes()
    assert files["projector.gguf"] == b"GGUF projector"
    assert parse(files["Modelfile"]) == Modelfile(
        from_=("./model.gguf", "./projector.gguf"),
        adapters=(AdapterLine("./adapter.gguf"),),
        template="{{ .System }}\n{{ .Prompt }}",
        system='Be "brief".\n',
        parameters={"stop": ["<|im_end|>", "x"], "temperature": 0.5},
        messages=(MessageLine("user", "hi"), MessageLine("assistant", "ho")),
        license=("MIT\nAll of it.",),
        renderer="x",
    )
    assert b"Exported from rich:latest" in files["Modelfile"]


@pytest.mark.parametrize("link", [False, True])
def test_the_files_are_the_persons_own(rich: Store, tmp_path: Path, link: bool) -> None:
    blob = rich.resolve("rich").path
    exported(rich, "rich", tmp_path / "out", link=link)
    file = tmp_path / "out" / "model.gguf"
    assert not file.is_symlink()
    assert os.path.samefile(file, blob) is link
    rich.delete("rich")
    assert hashlib.sha256(file.read_bytes()).hexdigest() == blob.name.removeprefix("sha256-")


def test_shards_keep_their_order_under_names_that_llama_cpp_knows(store: Store, tmp_path: Path) -> None:
    shards = [write_tiny_gguf(tmp_path / f"m-0000{number}-of-00002.gguf") for number in (1, 2)]
    store.link_file("big", shards[0])
    told = exported(store, "big", tmp_path / "out")
    assert told.files == ("model-00001-of-00002.gguf", "model-00002-of-00002.gguf", "Modelfile")
    assert Store(tmp_path / "other").link_file("x", tmp_path / "out" / told.files[0]).size


def test_what_is_there_is_replaced_only_by_force_and_other_files_stay(
    store: Store, tiny: Path, tmp_path: Path
) -> None:
    add_tiny(store, "a", tiny)
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "notes").write_bytes(b"mine")
    (folder / "model.gguf").write_bytes(b"mine too")
    (folder / "Modelfile").symlink_to(tmp_path / "nowhere")
    with pytest.raises(BadRequest, match=r"has 'model.gguf', 'Modelfile' already; .* --force"):
        exported(store, "a", folder)
    assert (folder / "model.gguf").read_bytes() == b"mine too"
    exported(store, "a", folder, force=True)
    files = read(folder)
    assert files["model.gguf"] == tiny.read_bytes()
    assert files["notes"] == b"mine"
    assert parse(files["Modelfile"]).from_ == ("./model.gguf",)
    assert not (tmp_path / "nowhere").exists()


def test_an_export_that_fails_or_is_left_leaves_nothing(
    rich: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    steps = export_steps(rich, "rich", folder)
    next(steps)
    steps.close()
    assert not folder.exists()

    def full(source: Path, target: Path) -> Generator[int]:
        if source.stat().st_size < 100:
            raise OSError(28, "No space left on device")
        yield from copied(source, target)

    def no_clone(source: Path, target: Path) -> None:
        raise OSError

    copied = export._copied
    monkeypatch.setattr(export, "_copied", full)
    monkeypatch.setattr(export, "_clone", no_clone)
    with pytest.raises(StoreError, match=r"the export to .*out' failed: .*No space left on device"):
        exported(rich, "rich", folder)
    assert not folder.exists()


def test_a_folder_that_cannot_be_one_and_a_model_that_is_not_there_are_told(
    store: Store, tiny: Path, tmp_path: Path
) -> None:
    add_tiny(store, "a", tiny)
    with pytest.raises(StoreError, match="the export to"):
        exported(store, "a", tiny)
    with pytest.raises(ModelNotFound):
        exported(store, "b", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_linked_model_that_is_exported_over_its_own_file_stays_usable(store: Store, tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "model.gguf")
    store.link_file("a", path)
    exported(store, "a", tmp_path, force=True)
    assert store.resolve("a").path == path
