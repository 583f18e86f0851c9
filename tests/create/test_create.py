from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from support.lora import write_lora
from support.tiny_gguf import write_tiny_gguf
from support.tiny_llama import random_pair, write_tiny_llama

from agentkit_server.create import making
from agentkit_server.create.changes import MAX_TEXT
from agentkit_server.create.create import create
from agentkit_server.create.request import CreateRequest, checked
from agentkit_server.errors import BadRequest, InvalidGGUF, NotFound, PullFailed, StoreError
from agentkit_server.models.digest import Digest
from agentkit_server.models.names import ModelName
from agentkit_server.models.pull import Pulls
from agentkit_server.models.sources.source import PullProgress
from agentkit_server.models.store import Store
from tests.create.conftest import Make, Upload

pytestmark = pytest.mark.anyio

Blobs = Callable[[], set[str]]
PROJECTOR = {"clip.has_vision_encoder": True}


def config(store: Store, name: str) -> dict[str, Any]:
    return json.loads(store.blob_path(store.manifest(name).config.digest).read_bytes())


async def test_a_model_from_another_has_its_weights_and_its_own_texts(store: Store, make: Make) -> None:
    lines = await make(
        "mario",
        base="tiny",
        system="You are Mario.",
        template="{{ .Prompt }}",
        license=["MIT", "Apache-2.0"],
        parameters={"temperature": 1, "stop": "<end>", "use_mmap": False, "seed": None},
        messages=[{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Me."}],
    )
    assert lines[-2:] == [PullProgress("writing manifest"), PullProgress("success")]
    base, mario = store.resolve("tiny"), store.resolve("mario")
    assert mario.path == base.path
    assert (mario.system, mario.go_template) == ("You are Mario.", "{{ .Prompt }}")
    assert mario.license == ("MIT", "Apache-2.0")
    assert mario.parameters == {"temperature": 1.0, "stop": ["<end>"], "use_mmap": False}
    assert [message["content"] for message in mario.messages] == ["Who?", "Me."]
    (layer,) = store.manifest("mario").of_kind("model")
    assert (layer.origin, layer.digest) == ("tiny:latest", store.manifest("tiny").layers[0].digest)


async def test_what_a_model_is_not_given_it_has_from_its_base(store: Store, make: Make) -> None:
    await make(
        "first",
        base="tiny",
        system="One.",
        template="{{ .Prompt }}!",
        license="MIT",
        parameters={"top_k": 3, "stop": ["a"]},
        messages=[{"role": "user", "content": "Hi"}],
    )
    await make("second", base="first", parameters={"stop": ["b"], "top_p": 0.5}, license=["MIT", "Other"])
    await make("third", base="second", system="Three.", messages=[{"role": "user", "content": "Bye"}])
    third = store.resolve("third")
    assert (third.system, third.go_template) == ("Three.", "{{ .Prompt }}!")
    assert third.parameters == {"top_k": 3, "stop": ["b"], "top_p": 0.5}
    assert third.license == ("MIT", "Other")
    assert third.messages == ({"role": "user", "content": "Bye"},)
    kinds = sorted(layer.kind for layer in store.manifest("third").layers)
    assert kinds == ["license", "license", "messages", "model", "params", "system", "template"]


async def test_a_base_that_is_not_there_is_pulled_first(store: Store, make: Make) -> None:
    lines = await make("mine", base="upstream", system="Hello.", quantize="q8_0")
    assert lines[:2] == [PullProgress("pulling manifest"), PullProgress("pulling it", total=4, completed=2)]
    assert [line.status for line in lines].count("success") == 1
    assert any(line.status == "quantizing F16 model to Q8_0" for line in lines)
    assert store.has("upstream")
    assert store.resolve("mine").system == "Hello."
    with pytest.raises(PullFailed, match="file does not exist"):
        await make("other", base="nowhere")
    assert not store.has("other")


async def test_a_model_can_be_made_from_itself(store: Store, make: Make) -> None:
    await make("tiny", base="tiny", system="One.")
    await make("Tiny", base="tiny", parameters={"top_k": 1})
    tiny = store.resolve("tiny")
    assert (tiny.system, tiny.parameters) == ("One.", {"top_k": 1})
    assert len(store.list()) == 1
    assert store.manifest("tiny").layers[0].origin is None


async def test_a_pull_of_what_a_base_came_from_does_not_find_the_model_made_of_it(
    store: Store, make: Make, tmp_path: Path
) -> None:
    base = store.manifest("tiny")
    layer = msgspec.structs.replace(base.layers[0], source="pypi:tiny==1")
    store.write_manifest(ModelName.parse("tiny"), msgspec.structs.replace(base, layers=(layer,)))
    await make("mine", base="tiny", system="Mine.")
    store.delete("tiny")
    assert store.find_source("pypi:tiny") is None


async def test_an_uploaded_file_is_the_model_as_it_is(
    store: Store, make: Make, upload: Upload, tmp_path: Path, blobs: Blobs
) -> None:
    digest = upload(write_tiny_gguf(tmp_path / "model.gguf", name="other"))
    before = blobs()
    lines = await make("mine", files={"some/model.gguf": digest})
    assert [line.status for line in lines] == [
        "parsing GGUF",
        f"using existing layer {digest}",
        "writing manifest",
        "success",
    ]
    mine = store.resolve("mine")
    assert mine.path == store.blob_path(digest)
    assert mine.details.quantization_level == "F16"
    assert len(blobs() - before) == 1, "the config alone"
    assert config(store, "mine") == {
        "model_format": "gguf",
        "model_family": "llama",
        "model_families": ["llama"],
        "model_type": mine.details.parameter_size,
        "file_type": "F16",
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [digest]},
    }


async def test_a_projector_comes_beside_a_model_or_on_top_of_one(
    store: Store, make: Make, upload: Upload, tmp_path: Path
) -> None:
    model = upload(write_tiny_gguf(tmp_path / "model.gguf"))
    projector = upload(write_tiny_gguf(tmp_path / "mmproj.gguf", architecture="clip", extra=PROJECTOR))
    await make("both", files={"model.gguf": model, "mmproj.gguf": projector})
    await make("onto", base="tiny", files={"mmproj.gguf": projector})
    for name in ("both", "onto"):
        resolved = store.resolve(name)
        assert resolved.projectors == (store.blob_path(projector),)
        assert "vision" in resolved.capabilities
        assert config(store, name)["model_families"] == ["llama", "clip"]
    await make("again", base="onto", system="See.", files={"a.gguf": projector, "b.gguf": projector})
    assert store.resolve("again").projectors == (store.blob_path(projector),)


@pytest.fixture
def loras(store: Store, upload: Upload, tmp_path: Path) -> tuple[str, str]:
    """Digests of two adapters for `llama`, which is in the store."""
    store.link_file("llama", write_tiny_llama(tmp_path / "llama.gguf"))
    one, two = (
        write_lora(tmp_path / f"{seed}.gguf", {"blk.0.attn_q.weight": random_pair(32, 32, seed)}, 1)
        for seed in (1, 2)
    )
    return upload(one), upload(two)


async def test_adapters_have_scales_and_are_those_of_the_base_too(
    store: Store, make: Make, loras: tuple[str, str]
) -> None:
    one, two = loras
    await make("first", base="llama", adapters={"one.gguf": one}, adapter_scales={"one.gguf": 0.5})
    await make("second", base="first", adapters={"a/two.gguf": two})
    await make("third", base="second", adapters={"one.gguf": one}, adapter_scales={"one.gguf": 2})
    found = {name: store.resolve(name).adapters for name in ("first", "second", "third")}
    assert [adapter.scale for adapter in found["first"]] == [0.5]
    assert [(adapter.path, adapter.scale) for adapter in found["second"]] == [
        (store.blob_path(one), 0.5),
        (store.blob_path(two), 1.0),
    ]
    assert [adapter.scale for adapter in found["third"]] == [2.0, 1.0]
    with pytest.raises(BadRequest, match=r"'a.gguf' and 'b.gguf' are the same adapter: give it once"):
        await make("fourth", base="llama", adapters={"a.gguf": one, "b.gguf": one})


async def test_an_adapter_that_does_not_fit_is_refused_by_name(
    store: Store, make: Make, loras: tuple[str, str], upload: Upload, tmp_path: Path, blobs: Blobs
) -> None:
    store.link_file("other", write_tiny_gguf(tmp_path / "other.gguf", architecture="qwen2"))
    before = blobs()
    with pytest.raises(InvalidGGUF, match=r"the adapter 'a.gguf' cannot be applied: .*'llama'.*'qwen2'"):
        await make("mine", base="other", adapters={"a.gguf": loras[0]}, license="New.")
    assert blobs() == before


async def test_a_draft_model_is_kept_with_a_note(
    store: Store, make: Make, upload: Upload, tmp_path: Path
) -> None:
    draft = upload(write_tiny_gguf(tmp_path / "draft.gguf", name="draft"))
    lines = await make("mine", base="tiny", draft_files={"draft.gguf": draft})
    assert any("does not generate with it yet" in line.status for line in lines)
    await make("next", base="mine", system="Hi.")
    for name in ("mine", "next"):
        assert [layer.digest for layer in store.manifest(name).of_kind("draft")] == [draft]
        assert config(store, name)["draft"] == {"model_format": "gguf", "architecture": "llama"}


async def test_the_config_keeps_what_other_programs_read_in_it(store: Store, make: Make) -> None:
    await make(
        "first",
        base="tiny",
        renderer="qwen3-coder",
        parser="qwen3",
        requires="0.14.0",
        info={"model_family": "mine", "context_length": 99, "capabilities": ["tools"], "base_name": None},
    )
    await make("second", base="first", parser="other", capabilities=["thinking"])
    stated = config(store, "second")
    expected = {"renderer": "qwen3-coder", "parser": "other", "requires": "0.14.0", "context_length": 99}
    assert expected.items() <= stated.items()
    assert (stated["model_family"], stated["model_families"]) == ("mine", ["mine"])
    details = store.resolve("second").details
    assert (details.family, details.context_length, details.parent_model) == ("mine", 99, "first:latest")
    assert "tools" in store.resolve("first").capabilities
    assert "thinking" in store.resolve("second").capabilities


REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({}, BadRequest, "neither 'from' or 'files' was specified"),
    ({"files": {}}, BadRequest, "no files provided to convert"),
    ({"base": "tiny", "draft_quantize": "q8_0"}, BadRequest, "--draft-quantize requires a DRAFT model"),
    (
        {"base": "tiny", "remote_host": "x", "draft_files": {"a": "b"}},
        BadRequest,
        "DRAFT cannot be used with",
    ),
    ({"base": "tiny", "remote_host": "ollama.com"}, BadRequest, "cannot run remote models"),
    (
        {"base": "tiny", "quantize": "q9"},
        BadRequest,
        "unsupported quantization type Q9 - supported types are F32,",
    ),
    ({"base": "tiny", "quantize": "iq1_s"}, BadRequest, "IQ1_S needs an importance matrix"),
    (
        {"base": "tiny", "draft_files": {"a": "b"}, "draft_quantize": "iq1_s"},
        BadRequest,
        "IQ1_S needs an importance matrix, and draft models",
    ),
    ({"base": "tiny", "imatrix": f"sha256:{'0' * 64}"}, BadRequest, "an imatrix is for quantising"),
    (
        {"base": "tiny", "parameters": {"temprature": 1}},
        BadRequest,
        "unknown parameter 'temprature': did you mean",
    ),
    ({"base": "tiny", "parameters": {"top_k": "x"}}, BadRequest, '"top_k" must be of type integer'),
    (
        {"base": "tiny", "messages": [{"role": "tool", "content": "x"}]},
        BadRequest,
        "message role must be one of",
    ),
    ({"base": "tiny", "messages": [{"role": "user", "content": 1}]}, BadRequest, "must be a string"),
    ({"base": "tiny", "messages": [{"role": "user", "images": ["x"]}]}, BadRequest, "leave out 'images'"),
    ({"base": "tiny", "license": 3}, BadRequest, "license must be a string or a list of strings"),
    ({"base": "tiny", "license": ["a", 3]}, BadRequest, "license must be a string or a list of strings"),
    ({"base": "tiny", "license": "x" * (MAX_TEXT + 1)}, BadRequest, "license has 1048577 characters, more"),
    ({"base": "tiny", "license": [*map(str, range(65))]}, BadRequest, "license has 65 texts, more than 64"),
    ({"base": "tiny", "system": "x" * (MAX_TEXT + 1)}, BadRequest, "system has 1048577 characters, more"),
    (
        {"base": "tiny", "messages": [{"role": "user", "content": "x" * (MAX_TEXT // 2 + 1)}] * 2},
        BadRequest,
        "messages has 1048578 characters, more",
    ),
    ({"base": "tiny", "messages": [{"role": "user"}] * 10_001}, BadRequest, "there are 10001 messages, more"),
    (
        {"base": "tiny", "parameters": {"use_mlock": {"a": 1}}},
        BadRequest,
        'option "use_mlock" must be a boolean or a number',
    ),
    ({"base": "tiny", "template": "{% if x %}a{% endif %}"}, BadRequest, "the template is a Jinja one"),
    ({"base": "tiny", "requires": "soon"}, BadRequest, "requires must be a version"),
    ({"base": "tiny", "info": {"colour": 1}}, BadRequest, "unknown field 'colour' of info"),
    ({"base": "tiny", "info": {"context_length": -1}}, BadRequest, "a whole number from 0 to 2147483647"),
    ({"base": "tiny", "info": {"capabilities": "x"}}, BadRequest, "info.capabilities must be a list"),
    ({"base": "tiny", "capabilities": ["fly"]}, BadRequest, "unknown capability: 'fly'"),
    ({"base": "tiny", "adapter_scales": {"x": 1}}, BadRequest, "adapter_scales names 'x'"),
    ({"files": {"a.gguf": "sha256:zz"}}, BadRequest, "invalid digest format"),
    ({"files": {"a.gguf": f"sha256:{'0' * 64}"}}, NotFound, 'blob "sha256:0000'),
]


@pytest.mark.parametrize(("words", "error", "text"), REFUSED, ids=[text for *_, text in REFUSED])
async def test_what_cannot_be_carried_out_is_refused_before_anything_is_done(
    make: Make, blobs: Blobs, words: dict[str, Any], error: type[Exception], text: str
) -> None:
    before = blobs()
    with pytest.raises(error) as raised:
        await make("mine", **words)
    assert text in str(raised.value)
    assert blobs() == before


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "..", "", "a\0b", "a\\b", "C:x", "a\nb"])
async def test_names_of_files_are_relative(make: Make, upload: Upload, name: str) -> None:
    with pytest.raises(BadRequest, match="file path must be relative"):
        await make("mine", files={name: upload(b"x")})


async def test_files_that_make_no_model_are_refused_by_name(
    make: Make, upload: Upload, tmp_path: Path
) -> None:
    model = upload(write_tiny_gguf(tmp_path / "model.gguf"))
    other = upload(write_tiny_gguf(tmp_path / "other.gguf", name="other"))
    adapter = upload(write_tiny_gguf(tmp_path / "lora.gguf", extra={"general.type": "adapter"}))
    projector = upload(write_tiny_gguf(tmp_path / "mmproj.gguf", architecture="clip"))
    text, cut = upload(b"{}"), upload(b"GGUF and no more")
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"files": {"a.txt": text}}, BadRequest, "unknown type: 'a.txt'"),
        (
            {"files": {"m.gguf": model, "a.txt": text}},
            BadRequest,
            "supplied file was not in GGUF format: 'a.txt'",
        ),
        (
            {"files": {"a.gguf": model, "b.gguf": other}},
            BadRequest,
            "more than one model: 'a.gguf', 'b.gguf'",
        ),
        ({"files": {"a.gguf": adapter}}, BadRequest, "is a LoRA adapter"),
        ({"files": {"a.gguf": projector}}, BadRequest, "there is no model, only a projector"),
        ({"files": {"a.gguf": cut}}, InvalidGGUF, "'a.gguf' is not a usable GGUF file"),
        ({"base": "tiny", "files": {"a.gguf": model}}, BadRequest, "'from' and 'files' both give a model"),
        ({"base": "tiny", "adapters": {"a.gguf": model}}, BadRequest, "is a model, and no adapter"),
        ({"base": "tiny", "adapters": {"a.txt": text}}, BadRequest, "unknown type: 'a.txt'"),
        ({"base": "tiny", "draft_files": {"a": projector}}, BadRequest, "there is no model"),
    ]
    for words, error, expected in cases:
        with pytest.raises(error) as raised:
            await make("mine", **words)
        assert expected in str(raised.value)


async def test_a_create_that_fails_leaves_the_model_and_the_disk_as_they_were(
    store: Store, make: Make, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make("mine", base="tiny", system="Before.")
    before = blobs()
    full = OSError(28, "No space left on device")

    def fails(*_: Any) -> None:
        raise full

    monkeypatch.setattr(Store, "write_manifest", fails)
    with pytest.raises(StoreError, match="No space left on device"):
        await make("mine", base="mine", system="After.", license="New.")
    assert blobs() == before
    assert store.resolve("mine").system == "Before."


def unnamed(store: Store, blobs: Blobs) -> set[str]:
    """Blobs that no model names."""
    named = {blob.digest for model in store.list() for blob in store.manifest(model.name).blobs}
    return blobs() - {str(store.blob_path(digest).relative_to(store.root)) for digest in named}


@pytest.mark.parametrize(
    ("base", "status"), [("upstream", "pulling it"), ("tiny", "writing manifest")], ids=["pull", "last step"]
)
async def test_who_goes_away_leaves_nothing_behind(
    store: Store, pulls: Pulls, blobs: Blobs, base: str, status: str
) -> None:
    before = blobs()
    recipe = checked(CreateRequest(model="mine", base=base, system="Never.", license="None."), store)
    lines = create(store, pulls, recipe)
    with anyio.fail_after(30):
        async for line in lines:
            if line.status == status:
                break
        assert blobs() > before
        await lines.aclose()
        await pulls.close()
    # A pull that was whole by then stays.
    assert not unnamed(store, blobs)
    assert not store.has("mine")


async def test_what_falls_out_of_use_while_it_is_kept_for_a_create_goes_with_that(
    store: Store, make: Make, pulls: Pulls, blobs: Blobs
) -> None:
    await make("mine", base="tiny", system="One.", parameters={"top_k": 1})
    await make("mine", base="mine", system="Two.", parameters={"top_k": 2})
    assert not unnamed(store, blobs)
    with anyio.fail_after(30):
        async for line in create(
            store, pulls, checked(CreateRequest(model="next", base="mine", system="Three."), store)
        ):
            if line.status == "writing manifest":
                store.delete("mine")
                assert unnamed(store, blobs), "kept"
    assert store.resolve("next").parameters == {"top_k": 2}
    assert not unnamed(store, blobs)


async def test_a_store_that_keeps_what_it_replaces_keeps_it_in_a_create_too(
    store: Store, make: Make, blobs: Blobs
) -> None:
    store.tidy = False
    await make("mine", base="tiny", system="One.")
    before = blobs()
    await make("mine", base="mine", system="Two.")
    assert blobs() > before


async def test_an_upload_is_not_pruned_while_the_base_is_on_its_way(
    store: Store, pulls: Pulls, upload: Upload, tmp_path: Path
) -> None:
    projector = upload(write_tiny_gguf(tmp_path / "mmproj.gguf", architecture="clip", extra=PROJECTOR))
    os.utime(store.blob_path(projector), (0, 0))
    words = CreateRequest(model="mine", base="upstream", files={"mmproj.gguf": projector})
    with anyio.fail_after(30):
        async for line in create(store, pulls, checked(words, store)):
            if line.status == "pulling it":
                Store(store.root).prune()
    assert store.resolve("mine").projectors == (store.blob_path(projector),)


async def test_a_base_that_is_made_anew_meanwhile_is_taken_as_a_whole(
    store: Store, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make("base", base="tiny", system="Old.", parameters={"top_k": 1})
    await make("new", base="tiny", system="New.", parameters={"top_k": 2})
    read = Store.manifest_file

    def meanwhile(self: Store, name: str | ModelName) -> tuple[ModelName, bytes]:
        self.copy("new", "base")
        return read(self, name)

    monkeypatch.setattr(Store, "manifest_file", meanwhile)
    await make("mine", base="base", parameters={"top_p": 0.5})
    mine = store.resolve("mine")
    assert (mine.system, mine.parameters) == ("New.", {"top_k": 2, "top_p": 0.5})


async def test_a_model_of_too_many_parts_to_be_read_again_is_not_made(
    make: Make, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "MAX_MANIFEST_BYTES", 1500)
    before = blobs()
    with pytest.raises(BadRequest, match="would have 11 licences, adapters and other parts, and a manifest"):
        await make("mine", base="tiny", license=[*map(str, range(10))])
    assert blobs() == before


async def test_creates_of_one_name_wait_for_each_other(store: Store, pulls: Pulls) -> None:
    def making_of(system: str) -> Any:
        return create(store, pulls, checked(CreateRequest(model="mine", base="tiny", system=system), store))

    first, second = making_of("First."), making_of("Second.")
    with anyio.fail_after(30):
        await anext(first)
        assert (await anext(second)).status == "waiting for another create of mine:latest"
        async for _ in first:
            pass
        assert store.resolve("mine").system == "First."
        async for _ in second:
            pass
    assert store.resolve("mine").system == "Second."


async def test_a_text_that_two_models_share_is_there_once(store: Store, make: Make, blobs: Blobs) -> None:
    await make("one", base="tiny", system="Same.")
    before = blobs()
    await make("two", base="tiny", system="Same.")
    assert len(blobs() - before) <= 1, "the config at most"
    digest = str(Digest.of(b"Same."))
    for name in ("one", "two"):
        assert store.manifest(name).of_kind("system")[0].digest == digest
    store.delete("one")
    assert store.resolve("two").system == "Same."
