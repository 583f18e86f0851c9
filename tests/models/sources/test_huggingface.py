from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader
from support.fault_registry import Answer, FaultRegistry, Memory, cut, fault_registry, status
from support.registries import Waits, goes_forward, publish, pull
from support.split_gguf import write_split_gguf
from support.tiny_gguf import write_tiny_gguf

from agentkit_server.errors import AgentkitError
from agentkit_server.models.digest import Digest
from agentkit_server.models.names import ModelName
from agentkit_server.models.registry.options import Access, Patience, TransferOptions
from agentkit_server.models.sources.hub_files import choose, projector_of, read_repository
from agentkit_server.models.sources.huggingface import HuggingFace
from agentkit_server.models.store import Store

pytestmark = pytest.mark.anyio

ID = "ann/tiny-GGUF"
REVISION = "0123456789abcdef"


def described(files: Mapping[str, bytes | int]) -> bytes:
    """What the hub says about a repository with these files, given by content or size."""
    siblings = [
        {
            "rfilename": path,
            "lfs": {
                "sha256": (Digest.of(each) if isinstance(each, bytes) else Digest.of(path.encode())).hex,
                "size": len(each) if isinstance(each, bytes) else each,
            },
        }
        for path, each in files.items()
    ]
    siblings.append({"rfilename": "README.md"})
    return json.dumps({"sha": REVISION, "siblings": siblings, "cardData": {"license": "mit"}}).encode()


def upload(hub: Memory, files: Mapping[str, bytes]) -> None:
    hub.contents[f"/api/models/{ID}"] = described(files)
    for path, content in files.items():
        hub.contents[f"/{ID}/resolve/{REVISION}/{path}"] = content


@pytest.fixture
async def hub() -> AsyncGenerator[FaultRegistry]:
    async with fault_registry(Memory()) as server:
        yield server


@pytest.fixture
def options(hub: FaultRegistry) -> TransferOptions:
    patience = Patience(tries=3, sleep=Waits().sleep)
    return TransferOptions(patience=patience, key=None, hf_endpoint=f"http://{hub.host}", part_bytes=500)


@pytest.fixture
def files(hub: FaultRegistry, tmp_path: Path) -> dict[str, bytes]:
    """A repository with a model in one file, the same in three shards, and a projector."""
    shards = write_split_gguf(tmp_path / "tiny-Q4_K_M.gguf", shards=True)
    contents = {f"Q4_K_M/{path.name}": path.read_bytes() for path in shards}
    contents["tiny-Q8_0.gguf"] = write_tiny_gguf(tmp_path / "whole.gguf").read_bytes()
    contents["mmproj-tiny-F16.gguf"] = write_tiny_gguf(tmp_path / "p.gguf", architecture="clip").read_bytes()
    assert isinstance(hub.upstream, Memory)
    upload(hub.upstream, contents)
    return contents


async def test_what_the_hub_serves_by_the_registry_protocol_comes_that_way(
    hub: FaultRegistry, store: Store, options: TransferOptions, tmp_path: Path
) -> None:
    model = write_tiny_gguf(tmp_path / "tiny.gguf").read_bytes()
    assert isinstance(hub.upstream, Memory)
    publish(hub.upstream, {"model": model, "template": b"{{ .Prompt }}"}, ID)
    await pull(store, f"hf.co/{ID}", options, Access())
    stored = store.resolve(f"hf.co/{ID}")
    assert (stored.path.read_bytes(), stored.go_template) == (model, "{{ .Prompt }}")


async def test_shards_are_fetched_and_become_one_file(
    hub: FaultRegistry, store: Store, options: TransferOptions, files: dict[str, bytes], tmp_path: Path
) -> None:
    lines = await pull(store, f"hf.co/{ID}:q4_k_m", options, Access())
    assert goes_forward(lines)
    assert "merging shards" in [line.status for line in lines]
    model = store.resolve(f"hf.co/{ID}:q4_k_m")
    (whole,) = write_split_gguf(tmp_path / "one.gguf", shards=False)
    for tensor, wanted in zip(GGUFReader(model.path).tensors, GGUFReader(whole).tensors, strict=True):
        assert np.array_equal(tensor.data, wanted.data)
    assert [path.read_bytes() for path in model.projectors] == [files["mmproj-tiny-F16.gguf"]]
    assert model.license == ("mit",)
    # The shards have done their part; what is left is the model, projector, config and license.
    assert len(list((store.root / "blobs").glob("sha256-*"))) == 4


async def test_a_model_of_shards_that_is_there_is_not_fetched_again(
    hub: FaultRegistry, store: Store, options: TransferOptions, files: dict[str, bytes]
) -> None:
    await pull(store, f"hf.co/{ID}", options, Access())
    before = len(hub.asked)
    await pull(store, f"huggingface.co/{ID}", options, Access())
    assert not [asked for asked in hub.asked[before:] if "/resolve/" in asked.target]
    assert store.resolve(f"huggingface.co/{ID}").path == store.resolve(f"hf.co/{ID}").path


async def test_the_token_goes_to_the_hub_and_not_to_its_storage(
    hub: FaultRegistry, store: Store, options: TransferOptions, files: dict[str, bytes]
) -> None:
    assert isinstance(hub.upstream, Memory)
    async with fault_registry(hub.upstream) as storage:
        elsewhere = f"http://{storage.host}"
        hub.on("/resolve/", lambda asked, _: Answer(302, {"location": elsewhere + asked.target}))
        storage.on("/resolve/", cut(300), 3)
        secret = replace(options, auth={f"http://{hub.host}": "hf_token"})
        await pull(store, f"hf.co/{ID}:Q8_0", secret, Access())
        assert {asked.headers.get("authorization") for asked in hub.asked} == {"Bearer hf_token"}
        assert {asked.headers.get("authorization") for asked in storage.asked} == {None}
    assert store.resolve(f"hf.co/{ID}:Q8_0").path.read_bytes() == files["tiny-Q8_0.gguf"]


@pytest.mark.parametrize(
    ("number", "body", "message"),
    [
        (401, b'{"error":"Invalid username or password."}', "answered 401; Invalid username.*HF_TOKEN"),
        (403, b'{"error":"Access to this model is restricted"}', "answered 403; Access to this model"),
        (
            404,
            b'{"error":"Repository not found"}',
            "asking for 'ann/tiny-GGUF': .* answered 404; Repository not",
        ),
    ],
)
async def test_a_repository_that_is_not_for_everybody_says_why(
    hub: FaultRegistry, store: Store, options: TransferOptions, number: int, body: bytes, message: str
) -> None:
    hub.on("", status(number, {}, body))
    with pytest.raises(AgentkitError, match=message):
        await pull(store, f"hf.co/{ID}", options, Access())


async def test_shards_that_are_not_of_one_model_are_no_model(
    hub: FaultRegistry, store: Store, options: TransferOptions, files: dict[str, bytes]
) -> None:
    first, second = [path for path in files if "-of-" in path][:2]
    assert isinstance(hub.upstream, Memory)
    upload(hub.upstream, {**files, second: files[first]})
    with pytest.raises(AgentkitError, match=r"the shards of .* are no model: .* says that it is shard"):
        await pull(store, f"hf.co/{ID}", options, Access())
    assert store.list() == []


async def test_http_is_not_spoken_to_the_hub_unless_that_is_allowed(
    store: Store, options: TransferOptions
) -> None:
    with pytest.raises(AgentkitError, match="insecure protocol http"):
        await pull(store, f"http://hf.co/{ID}", options, Access())


MANY = {
    "m-Q2_K.gguf": 1_000_000_000,
    "m-UD-Q4_K_XL.gguf": 2_500_000_000,
    "m.iq4_xs.gguf": 2_000_000_000,
    "BF16/m-BF16-00001-of-00002.gguf": 4_000_000_000,
    "BF16/m-BF16-00002-of-00002.gguf": 4_000_000_000,
    "Q5_K_M/model.gguf": 3_000_000_000,
    "half-Q6_K-00001-of-00002.gguf": 5,
    "imatrix_unsloth.gguf": 5,
    "mmproj-BF16.gguf": 6,
    "mmproj-F16.gguf": 7,
}


@pytest.mark.parametrize(
    ("tag", "paths"),
    [
        ("Q2_K", ["m-Q2_K.gguf"]),
        ("q2_k", ["m-Q2_K.gguf"]),
        ("IQ4_XS", ["m.iq4_xs.gguf"]),
        ("UD-Q4_K_XL", ["m-UD-Q4_K_XL.gguf"]),
        ("bf16", ["BF16/m-BF16-00001-of-00002.gguf", "BF16/m-BF16-00002-of-00002.gguf"]),
        ("Q5_K_M", ["Q5_K_M/model.gguf"]),
        ("m-Q2_K", ["m-Q2_K.gguf"]),
    ],
)
def test_a_tag_is_a_quantisation_or_a_file(tag: str, paths: list[str]) -> None:
    chosen = choose(read_repository(described(MANY), ID), tag, ID)
    assert [file.path for file in chosen.files] == paths


def test_without_a_tag_the_usual_quantisation_is_taken_or_the_only_one() -> None:
    usual = read_repository(described({**MANY, "m-q4_k_m.gguf": 1}), ID)
    assert choose(usual, "latest", ID).stem == "m-q4_k_m"
    only = read_repository(described({"ggml-model.gguf": 1}), ID)
    assert choose(only, "latest", ID).label == "ggml-model"


def test_the_choice_is_listed_where_none_is_obvious() -> None:
    listed = r"Q2_K \(1.0 GB\), IQ4_XS \(2.0 GB\), UD-Q4_K_XL \(2.5 GB\), Q5_K_M \(3.0 GB\), BF16 \(8.0 GB\)$"
    repository = read_repository(described(MANY), ID)
    with pytest.raises(AgentkitError, match=f"has no Q4_K_M, which is taken .*{listed}"):
        choose(repository, "latest", f"hf.co/{ID}")
    with pytest.raises(AgentkitError, match=f"has no 'Q3_K'; say which: hf.co/{ID}:TAG with one of {listed}"):
        choose(repository, "Q3_K", f"hf.co/{ID}")
    twice = read_repository(described({"a-Q4_0.gguf": 10**9, "b-Q4_0.gguf": 2 * 10**9}), ID)
    with pytest.raises(AgentkitError, match=r"has 2 models for 'Q4_0'.*a-Q4_0 \(1.0 GB\), b-Q4_0 \(2.0 GB\)"):
        choose(twice, "Q4_0", ID)


def test_the_best_projector_goes_along() -> None:
    projector = projector_of(read_repository(described(MANY), ID))
    assert projector is not None
    assert projector.path == "mmproj-F16.gguf"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no", "cannot be read"),
        (b'{"sha":"../..","siblings":[]}', "cannot be read"),
        (b'{"sha":"abcdef","siblings":[{"rfilename":"x.gguf","lfs":{"sha256":"../x","size":1}}]}', "digest"),
        (
            b'{"sha":"abcdef","siblings":[{"rfilename":"x.gguf","lfs":{"sha256":"0","size":-1}}]}',
            "cannot be read",
        ),
        (described({"model.safetensors": 5}), "has no GGUF file"),
        (described({"a\x1b[2J.gguf": 5, "../x.gguf": 5, "a//x.gguf": 5}), "has no GGUF file"),
        (described({"_Q1" * 200_000 + "!.gguf": 5}), "has no GGUF file"),
        (b'{"sha":"abcdef","siblings":[],"cardData":' + b"[" * 8000, "cannot be read"),
        (b'{"sha":"abcdef","siblings":[{"rfilename":"x.gguf"}]}', "has no GGUF file"),
    ],
)
def test_a_repository_that_makes_no_sense_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(AgentkitError, match=message):
        read_repository(content, ID)


@pytest.mark.parametrize(
    ("reference", "ours"),
    [
        ("hf.co/a/b", True),
        ("HF.co/a/b:x", True),
        ("https://huggingface.co/a/b", True),
        ("a/b", False),
        ("", False),
    ],
)
def test_references_of_the_hub_are_known(reference: str, ours: bool) -> None:
    source = HuggingFace()
    assert source.matches(reference) is ours
    if ours:
        assert source.name(reference) == ModelName.parse(reference)
