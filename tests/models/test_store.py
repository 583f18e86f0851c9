from __future__ import annotations

import hashlib
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.stores import OllamaFolder, add_tiny
from support.tiny_gguf import write_tiny_gguf

from agentkit_server.errors import InvalidGGUF, InvalidModelName, ModelNotFound, StoreError
from agentkit_server.models.manifest import Layer, layer_type
from agentkit_server.models.names import ModelName
from agentkit_server.models.store import Store, default_root


def names(store: Store) -> set[str]:
    return {model.name.short for model in store.list()}


def blobs(store: Store) -> set[str]:
    return {path.name for path in (store.root / "blobs").glob("sha256-*")}


def test_a_folder_of_ollama_works_as_it_is(tmp_path: Path, tiny: Path) -> None:
    folder = OllamaFolder(tmp_path / "ollama")
    layers = {
        "model": tiny.read_bytes(),
        "template": b"{{ .System }} {{ .Tools }} {{ .Prompt }}",
        "system": b"Be brief.",
        "params": b'{"stop": ["<|im_end|>", "x"], "temperature": 0.5}',
        "messages": b'[{"role": "user", "content": "hi"}]',
        "license": b"MIT",
    }
    manifest = folder.model("registry.ollama.ai/library/llava/7b", layers)
    model = Store(folder.root).resolve("llava:7b")
    assert model.path.read_bytes() == tiny.read_bytes()
    assert model.digest == hashlib.sha256(manifest.read_bytes()).hexdigest()
    assert model.modified_at.timestamp() == pytest.approx(manifest.stat().st_mtime)
    assert (model.system, model.license) == ("Be brief.", ("MIT",))
    assert model.go_template == "{{ .System }} {{ .Tools }} {{ .Prompt }}"
    assert model.parameters == {"stop": ["<|im_end|>", "x"], "temperature": 0.5}
    assert model.messages == ({"role": "user", "content": "hi"},)
    assert model.details.families == ("llama", "clip")
    assert model.capabilities == ("completion", "tools", "vision")
    assert model.size == sum(path.stat().st_size for path in (folder.root / "blobs").glob("sha256-*"))


def test_what_this_store_writes_has_the_layout_of_ollama(store: Store, tiny: Path) -> None:
    add_tiny(store, "me/mine:v1", tiny)
    file = store.root / "manifests/registry.ollama.ai/me/mine/v1"
    manifest = json.loads(file.read_bytes())
    assert manifest["schemaVersion"] == 2
    assert manifest["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    digest = hashlib.sha256(tiny.read_bytes()).hexdigest()
    assert manifest["layers"] == [
        {
            "mediaType": "application/vnd.ollama.image.model",
            "digest": f"sha256:{digest}",
            "size": tiny.stat().st_size,
        }
    ]
    config = json.loads(store.blob_path(manifest["config"]["digest"]).read_bytes())
    assert config["model_format"] == "gguf"
    assert config["model_family"] == "llama"
    assert config["rootfs"] == {"type": "layers", "diff_ids": [f"sha256:{digest}"]}
    assert file.stat().st_mode & 0o777 == 0o644


def test_names_are_found_whatever_their_case(store: Store, tiny: Path) -> None:
    add_tiny(store, "Me/Mine:V1", tiny)
    assert store.resolve("me/mine:v1").name.short == "Me/Mine:V1"
    assert store.resolve(ModelName.parse("ME/MINE:V1")).name.short == "Me/Mine:V1"
    add_tiny(store, "ME/mine:v1", tiny)
    assert names(store) == {"Me/Mine:V1"}


def test_an_unknown_model_is_not_found_with_its_name_as_given(store: Store) -> None:
    with pytest.raises(ModelNotFound, match=r"^model 'Nope' not found$"):
        store.resolve("Nope")
    with pytest.raises(ModelNotFound, match=r"^model 'Nope' not found$"):
        store.delete("Nope")
    with pytest.raises(ModelNotFound, match=r'^model "Nope" not found$'):
        store.copy("Nope", "x")
    with pytest.raises(InvalidModelName):
        store.resolve("../../etc/passwd")


def test_models_are_listed_newest_first(store: Store, tiny: Path) -> None:
    for age, name in enumerate(("new", "middle", "old")):
        add_tiny(store, name, tiny)
        file = store.root / "manifests/registry.ollama.ai/library" / name / "latest"
        os.utime(file, (1_700_000_000 - age, 1_700_000_000 - age))
    assert [model.name.short for model in store.list()] == ["new:latest", "middle:latest", "old:latest"]


def test_a_copy_shares_blobs_and_outlives_its_source(store: Store, tiny: Path) -> None:
    add_tiny(store, "a", tiny)
    before = blobs(store)
    store.copy("A", "b/c:d")
    assert store.resolve("a").digest == store.resolve("b/c:d").digest
    store.delete("a")
    assert names(store) == {"b/c:d"}
    assert blobs(store) == before
    assert store.resolve("b/c:d").path.read_bytes() == tiny.read_bytes()


def test_copying_a_model_onto_itself_changes_nothing(store: Store, tiny: Path) -> None:
    add_tiny(store, "a", tiny)
    store.copy("a", "A:latest")
    assert names(store) == {"a:latest"}
    assert store.resolve("a").path.exists()


def test_deleting_the_last_name_drops_the_blobs_and_the_empty_folders(store: Store, tiny: Path) -> None:
    add_tiny(store, "h.example/n/a:t", tiny)
    store.delete("h.example/n/a:t")
    assert (store.list(), blobs(store)) == ([], set())
    assert list((store.root / "manifests").iterdir()) == []


def test_replacing_a_model_drops_what_falls_out_of_use(store: Store, tmp_path: Path) -> None:
    add_tiny(store, "a", write_tiny_gguf(tmp_path / "one.gguf", name="one"))
    add_tiny(store, "a", write_tiny_gguf(tmp_path / "two.gguf", name="two"))
    assert store.resolve("a").gguf.metadata["general.name"] == "two"
    assert len(blobs(store)) == 2


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"config": 3}', b"\xff\xfe", b"null", b"x" * (5 << 20)]
)
def test_a_damaged_manifest_is_left_out_and_says_so_and_can_be_deleted(
    store: Store, tiny: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    add_tiny(store, "good", tiny)
    add_tiny(store, "bad", tiny)
    (store.root / "manifests/registry.ollama.ai/library/bad/latest").write_bytes(content)
    assert names(store) == names(store) == {"good:latest"}
    assert len([record for record in caplog.records if "bad:latest" in record.message]) == 1
    with pytest.raises(StoreError, match=r"'bad:latest' is damaged; pull the model again, or delete it"):
        store.resolve("bad")
    store.delete("bad")
    with pytest.raises(ModelNotFound):
        store.resolve("bad")
    assert store.resolve("good").path.exists()


def test_a_digest_that_is_a_path_is_refused(store: Store, tiny: Path) -> None:
    add_tiny(store, "a", tiny)
    file = store.root / "manifests/registry.ollama.ai/library/a/latest"
    manifest = json.loads(file.read_bytes())
    manifest["layers"][0]["digest"] = "sha256:../../../../etc/passwd"
    file.write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match="invalid digest format"):
        store.resolve("a")
    store.delete("a")


def test_a_missing_or_short_blob_is_named(store: Store, tiny: Path) -> None:
    add_tiny(store, "a", tiny)
    path = store.resolve("a").path
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(
        StoreError, match=r"'a:latest' lacks the blob 'sha256:.*' of 2112 bytes; pull it again"
    ):
        store.resolve("a")
    path.unlink()
    with pytest.raises(StoreError, match="lacks the blob"):
        store.resolve("a")
    assert (store.list(), store.has("a")) == ([], False)


def test_a_model_without_a_gguf_says_what_it_is(tmp_path: Path) -> None:
    folder = OllamaFolder(tmp_path / "ollama")
    file = folder.model("registry.ollama.ai/library/cloudy/latest", {})
    manifest = json.loads(file.read_bytes())
    file.write_text(json.dumps(manifest | {"layers": None}))
    store = Store(folder.root)
    with pytest.raises(StoreError, match="safetensors or remote"):
        store.resolve("cloudy")
    assert store.prune() == 0


def test_files_that_are_no_manifests_are_passed_over(store: Store, tiny: Path) -> None:
    add_tiny(store, "a", tiny)
    folder = store.root / "manifests/registry.ollama.ai/library/a"
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "not a tag").write_bytes(b"x")
    (store.root / "manifests/stray").write_bytes(b"x")
    assert names(store) == {"a:latest"}


def test_an_unreadable_layer_of_text_costs_only_itself(tmp_path: Path, tiny: Path) -> None:
    folder = OllamaFolder(tmp_path / "ollama")
    folder.model("registry.ollama.ai/library/a/latest", {"model": tiny.read_bytes(), "params": b"{oops"})
    assert Store(folder.root).resolve("a").parameters == {}


def test_pruning_removes_only_old_blobs_that_nothing_names(store: Store, tiny: Path) -> None:
    add_tiny(store, "a", tiny)
    used = blobs(store)
    folder = store.root / "blobs"
    old, new = "sha256-" + "0" * 64, "sha256-" + "1" * 64
    for name in (old, f"{old}-partial-3", new, "README"):
        (folder / name).write_bytes(b"x")
    two_hours_ago = time.time() - 7200
    for path in folder.iterdir():
        if path.name != new:
            os.utime(path, (two_hours_ago, two_hours_ago))
    assert store.prune() == 2
    assert blobs(store) == used | {new}
    assert (folder / "README").exists()


def test_nothing_is_pruned_while_a_manifest_is_unreadable(store: Store, tiny: Path) -> None:
    add_tiny(store, "a", tiny)
    (store.root / "manifests/registry.ollama.ai/library/a/latest").write_bytes(b"{")
    for path in (store.root / "blobs").glob("sha256-*"):
        os.utime(path, (0, 0))
    before = blobs(store)
    assert (store.prune(), blobs(store)) == (0, before)


def test_a_manifest_without_its_blobs_is_not_written(store: Store, tiny: Path) -> None:
    add_tiny(store, "a", tiny)
    layer = Layer(media_type=layer_type("model"), digest="sha256:" + "0" * 64, size=1)
    with pytest.raises(StoreError, match="lacks the blob"):
        store.add_model(ModelName.parse("b"), store.resolve("a").gguf, (layer,))
    assert names(store) == {"a:latest"}


def test_an_unchanged_model_file_is_read_once(
    store: Store, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_tiny(store, "a", tiny)
    first = store.resolve("a").gguf
    assert store.resolve("a").gguf is first
    assert store.list()[0].gguf is first


def test_a_file_cannot_be_a_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="cannot be a model store"):
        Store(tmp_path / "file")


def test_the_default_store_is_that_of_ollama(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert default_root() == tmp_path / ".ollama" / "models"


def test_a_store_opens_where_nothing_may_be_written(store: Store, tiny: Path) -> None:
    add_tiny(store, "a", tiny)
    (store.root / "agentkit.lock").unlink()
    (store.root / "agentkit.lock").mkdir()
    reader = Store(store.root)
    assert names(reader) == {"a:latest"}
    with pytest.raises(StoreError, match="the model store failed"):
        reader.delete("a")


def test_threads_and_two_openings_of_one_store_do_not_lose_each_others_work(store: Store, tiny: Path) -> None:
    add_tiny(store, "a", tiny)
    stores = (store, Store(store.root))

    def work(number: int) -> None:
        mine = stores[number % 2]
        mine.copy("a", f"copy:{number}")
        mine.copy("a", f"gone:{number}")
        mine.delete(f"gone:{number}")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(32)))
    assert names(store) == {"a:latest", *(f"copy:{number}" for number in range(32))}
    assert len(blobs(store)) == 2


# --- linked files ---------------------------------------------------------------------------------


def test_a_linked_file_is_served_in_place(store: Store, tiny: Path) -> None:
    seen: list[tuple[int, int]] = []
    model = store.link_file("mine", tiny, lambda done, total: seen.append((done, total)))
    size = tiny.stat().st_size
    assert (model.path, model.name.short, seen) == (tiny, "mine:latest", [(size, size)])
    assert len(blobs(store)) == 1
    layer = json.loads((store.root / "manifests/registry.ollama.ai/library/mine/latest").read_bytes())[
        "layers"
    ][0]
    assert layer["digest"] == "sha256:" + hashlib.sha256(tiny.read_bytes()).hexdigest()
    store.delete("mine")
    assert tiny.exists()


def test_a_linked_file_that_changed_or_went_says_what_to_do(store: Store, tiny: Path) -> None:
    store.link_file("mine", tiny)
    os.utime(tiny, (1, 1))
    with pytest.raises(StoreError, match=r"has changed since it was linked; link the model again"):
        store.resolve("mine")
    tiny.unlink()
    with pytest.raises(StoreError, match="put it back, or link the model again"):
        store.resolve("mine")
    store.delete("mine")


def test_shards_are_linked_by_the_first_and_all_are_watched(store: Store, tmp_path: Path) -> None:
    first, second = (write_tiny_gguf(tmp_path / f"m-0000{number}-of-00002.gguf") for number in (1, 2))
    model = store.link_file("big", first)
    assert model.path == first
    assert model.size > first.stat().st_size + second.stat().st_size
    second.unlink()
    with pytest.raises(StoreError, match="00002-of-00002"):
        store.resolve("big")
    with pytest.raises(InvalidGGUF, match="is missing"):
        store.link_file("again", first)


def test_a_file_that_is_no_model_is_not_linked(store: Store, tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"hello")
    for path in (tmp_path / "x.gguf", tmp_path / "none.gguf"):
        with pytest.raises(InvalidGGUF):
            store.link_file("x", path)
    assert store.list() == []
