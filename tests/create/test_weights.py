"""Weights on their way into the store: merged, converted, quantised."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt
import pytest
from support.split_gguf import write_split_gguf
from support.tiny_gguf import write_tiny_gguf
from support.tiny_hf import draw, weights, write_folder, write_json, write_safetensors
from support.tiny_llama import write_tiny_llama

from agentkit_server.create.quantization import file_type, quantization
from agentkit_server.engine.importance import InvalidImportance, read_importance
from agentkit_server.engine.quantize import quantize
from agentkit_server.engine.quantize_job import (
    FILE_TYPES,
    NotQuantized,
    Quantized,
    QuantizeJob,
    QuantizeReply,
)
from agentkit_server.errors import BadRequest, QuantizeFailed
from agentkit_server.models.gguf import read_gguf
from agentkit_server.models.sources.source import PullProgress
from agentkit_server.models.store import Store
from tests.create.conftest import Make, Upload

pytestmark = pytest.mark.anyio

Blobs = Callable[[], set[str]]
QUERY = "blk.0.attn_q.weight"


def _old_matrix(
    entries: dict[str, npt.NDArray[np.float32]], calls: int = 1, text: str = "some text"
) -> bytes:
    """As llama-imatrix wrote it before there were GGUF matrices."""
    content = struct.pack("<i", len(entries))
    for name, values in entries.items():
        content += struct.pack("<i", len(name)) + name.encode()
        content += struct.pack("<ii", calls, len(values)) + values.tobytes()
    return content + struct.pack("<ii", 7, len(text.encode())) + text.encode()


@pytest.fixture
def llama(upload: Upload, tmp_path: Path) -> str:
    """Digest of an F32 model that llama.cpp can quantise."""
    return upload(write_tiny_llama(tmp_path / "llama.gguf"))


def progress_of(lines: list[PullProgress], status: str) -> list[int]:
    done = [line.completed for line in lines if line.status == status and line.completed is not None]
    assert done, status
    return done


async def test_shards_become_one_file_whatever_order_they_come_in(
    store: Store, make: Make, upload: Upload, tmp_path: Path
) -> None:
    shards = write_split_gguf(tmp_path / "x.gguf", shards=True)
    files = {path.name: upload(path) for path in reversed(shards)}
    lines = await make("mine", files=files)
    progress_of(lines, "merging shards")
    whole = read_gguf(write_split_gguf(tmp_path / "whole.gguf", shards=False)[0])
    merged = store.resolve("mine")
    assert set(merged.gguf.tensors) == set(whole.tensors)
    assert not any(key.startswith("split.") for key in merged.gguf.metadata)
    assert len(store.manifest("mine").of_kind("model")) == 1
    with pytest.raises(BadRequest, match="invalid split GGUF: shard 2 of 3 is missing"):
        await make("mine", files={name: files[name] for name in (shards[0].name, shards[2].name)})


async def test_a_safetensors_folder_becomes_a_model(
    store: Store, make: Make, upload: Upload, tmp_path: Path
) -> None:
    (tmp_path / "hf").mkdir()
    written = write_folder(tmp_path / "hf", "Qwen3ForCausalLM")
    files = {f"hf/{name}": upload(path) for name, path in written.items()}
    lines = await make("mine", files=files, system="Hi.")
    progress_of(lines, "converting model")
    mine = store.resolve("mine")
    assert (mine.details.family, mine.details.quantization_level, mine.system) == ("qwen3", "F16", "Hi.")
    with pytest.raises(BadRequest, match="both give a model"):
        await make("other", base="tiny", files=files)
    outside = {"other/model.safetensors": upload(b"others"), "other/README.md": upload(b"Hi.")}
    with pytest.raises(BadRequest, match=r"^'other/model.safetensors' is not in the folder of config.json"):
        await make("other", files={**files, **outside})


async def test_the_license_of_a_folder_stays_with_the_model_unless_another_is_given(
    store: Store, make: Make, upload: Upload, tmp_path: Path
) -> None:
    (tmp_path / "hf").mkdir()
    written = write_folder(tmp_path / "hf", "Qwen3ForCausalLM")
    files = {name: upload(path) for name, path in written.items()} | {"LICENSE": upload(b"All of it.")}
    await make("theirs", files=files)
    await make("ours", files=files, license="MIT")
    assert (store.resolve("theirs").license, store.resolve("ours").license) == (("All of it.",), ("MIT",))


async def test_folders_with_adapters_become_adapters_with_their_scales(
    store: Store, make: Make, upload: Upload, tmp_path: Path
) -> None:
    (tmp_path / "hf").mkdir()
    await make(
        "base", files={n: upload(p) for n, p in write_folder(tmp_path / "hf", "Qwen3ForCausalLM").items()}
    )
    # The first is the longer one, whose progress the second would go behind.
    folders = {"b": _adapter(tmp_path / "b", rank=4), "a": _adapter(tmp_path / "a", rank=1)}
    files = {f"{name}/{path.name}": upload(path) for name, paths in folders.items() for path in paths}
    lines = await make("mine", base="base", adapters=files, adapter_scales={"a": 0.5})
    for number in (1, 2):
        progress_of(lines, f"converting adapter {number} of 2")
    assert [adapter.scale for adapter in store.resolve("mine").adapters] == [1.0, 0.5]
    with pytest.raises(BadRequest, match="'a' and 'c' are the same adapter: give it once, with its scale"):
        again = {f"c/{path.name}": upload(path) for path in folders["a"]}
        await make("mine", base="base", adapters={**files, **again})


def _adapter(folder: Path, rank: int) -> list[Path]:
    """Of one matrix of a tiny Qwen3."""
    folder.mkdir()
    module = "model.layers.0.self_attn.q_proj"
    rows, columns = weights("Qwen3ForCausalLM")[f"{module}.weight"].shape
    pair = {"lora_A": draw("A", rank, columns), "lora_B": draw("B", rows, rank)}
    tensors = {f"base_model.model.{module}.{name}.weight": values for name, values in pair.items()}
    write_safetensors(folder / "adapter_model.safetensors", tensors)
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "bias": "none"}
    write_json(folder / "adapter_config.json", config)
    return sorted(folder.iterdir())


async def test_a_quantised_model_says_its_type_and_is_smaller(
    store: Store, make: Make, llama: str, blobs: Blobs
) -> None:
    await make("f32", files={"llama.gguf": llama})
    lines = await make("q8", base="f32", quantize="q8_0")
    status = "quantizing F32 model to Q8_0"
    done = progress_of(lines, status)
    assert done[-1] == next(line.total for line in lines if line.status == status)
    f32, q8 = store.resolve("f32"), store.resolve("q8")
    assert q8.details.quantization_level == "Q8_0"
    assert q8.size < f32.size / 2
    (layer,) = store.manifest("q8").of_kind("model")
    assert (layer.origin, layer.size) == (None, q8.path.stat().st_size)
    assert '"file_type":"Q8_0"' in store.blob_path(store.manifest("q8").config.digest).read_text()
    assert not any("partial" in name for name in blobs())


async def test_a_type_that_the_model_has_already_changes_nothing(
    store: Store, make: Make, llama: str, blobs: Blobs
) -> None:
    await make("q4", files={"llama.gguf": llama}, quantize="Q4_0")
    before = blobs()
    lines = await make("same", base="q4", quantize="q4_0")
    assert not any(line.status.startswith("quantizing") for line in lines)
    assert store.resolve("same").path == store.resolve("q4").path
    assert len(blobs() - before) <= 1
    with pytest.raises(BadRequest, match="only supported for F16, BF16 and F32 models: this model is Q4_0"):
        await make("q8", base="q4", quantize="q8_0")
    assert len(blobs() - before) <= 1


async def test_shards_are_quantised_without_a_detour(
    store: Store, make: Make, upload: Upload, tmp_path: Path
) -> None:
    whole = write_tiny_llama(tmp_path / "whole.gguf")
    files = {path.name: upload(path) for path in _split(whole, tmp_path / "part.gguf")}
    lines = await make("mine", files=files, quantize="q8_0")
    assert not any(line.status == "merging shards" for line in lines)
    quantised, before = store.resolve("mine").gguf, read_gguf(whole)
    assert quantised.quantization == "Q8_0"
    assert {(t.name, t.shape) for t in quantised.tensors} == {(t.name, t.shape) for t in before.tensors}


def test_llama_cpp_knows_every_type_by_its_number(tmp_path: Path) -> None:
    source = write_tiny_llama(tmp_path / "llama.gguf")
    said: dict[str, QuantizeReply] = {}
    for name, number in FILE_TYPES.items():
        target = tmp_path / "out.gguf"
        replies: list[QuantizeReply] = []
        quantize(QuantizeJob(source=str(source), target=str(target), file_type=number), replies.append)
        said[name] = replies[-1]
        if replies[-1] == Quantized():
            assert read_gguf(target).quantization == file_type(name)
    refused = {name: reply for name, reply in said.items() if reply != Quantized()}
    # It has no other type for rows that are not a multiple of 128.
    assert refused == {"Q1_0": NotQuantized("no tensor type fallback is defined for type q1_0")}


def test_names_of_types_are_read_in_any_case() -> None:
    assert [quantization(text, "quantize") for text in ("q4_K_M", "Q4_k", " iq2_xxs", "")] == [
        "Q4_K_M",
        "Q4_K_M",
        "IQ2_XXS",
        "",
    ]


async def test_an_importance_matrix_changes_the_result_and_is_named_in_it(
    store: Store, make: Make, upload: Upload, llama: str, tmp_path: Path
) -> None:
    await make("plain", files={"llama.gguf": llama}, quantize="q4_0")
    columns = np.linspace(0, 50, 32, dtype=np.float32)
    matrix = upload(_old_matrix({QUERY: columns, "other": columns}, text="é" * 100))
    await make("weighed", files={"llama.gguf": llama}, quantize="q4_0", imatrix=matrix)
    plain, weighed = (_tensor(store.resolve(name).path, QUERY) for name in ("plain", "weighed"))
    assert plain != weighed
    metadata = store.resolve("weighed").gguf.metadata
    assert metadata["quantize.imatrix.file"] == matrix
    # llama.cpp has room for 127 bytes, and an é has two.
    assert metadata["quantize.imatrix.dataset"] == "é" * 63
    assert metadata["quantize.imatrix.entries_count"] == 2


@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        (b"hello world", "neither GGUF"),
        (
            _old_matrix({"other": np.ones(32, np.float32)}),
            "none of its entries is for a tensor of this model",
        ),
        # Longer than a line from the child may be.
        (_old_matrix({"\x01" * 60_000: np.full(32, np.inf, np.float32)}), "the values of"),
    ],
    ids=["no matrix", "of another model", "hostile name"],
)
async def test_what_is_no_importance_matrix_of_the_model_is_refused(
    make: Make, upload: Upload, llama: str, matrix: bytes, said: str
) -> None:
    with pytest.raises(BadRequest, match=rf"could not be quantised: imatrix: .*{said}") as raised:
        await make("mine", files={"llama.gguf": llama}, quantize="q4_0", imatrix=upload(matrix))
    assert raised.value.param == "imatrix"


def test_both_formats_of_importance_matrices_mean_the_same(tmp_path: Path) -> None:
    values = np.array([1, 2, 3, 4], np.float32)
    old, new = tmp_path / "old.dat", tmp_path / "new.gguf"
    old.write_bytes(_old_matrix({"a.weight": values * 2}, calls=2))
    writer = gguf.GGUFWriter(new, "", use_temp_file=False)
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", ["some text"])
    writer.add_uint32("imatrix.chunk_count", 7)
    # Two experts, of which the second was never asked.
    writer.add_tensor("a.weight.in_sum2", np.array([[3, 6, 9, 12], [0, 0, 0, 0]], np.float32))
    writer.add_tensor("a.weight.counts", np.array([[3], [0]], np.float32))
    _write(writer)
    before, after = read_importance(old), read_importance(new)
    assert (before.dataset, before.chunks) == (after.dataset, after.chunks) == ("some text", 7)
    assert before.entries["a.weight"].tolist() == [1, 2, 3, 4]
    assert after.entries["a.weight"].tolist() == [1, 2, 3, 4, 1, 1, 1, 1]


def test_an_importance_matrix_with_a_field_of_another_type_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "matrix.gguf"
    writer = gguf.GGUFWriter(path, "", use_temp_file=False)
    writer.add_array("imatrix.chunk_count", [7])
    writer.add_tensor("a.weight.in_sum2", np.ones((1, 4), np.float32))
    writer.add_tensor("a.weight.counts", np.ones((1, 1), np.float32))
    _write(writer)
    with pytest.raises(InvalidImportance, match="is damaged"):
        read_importance(path)


WHOLE_MATRIX = _old_matrix({"a.weight": np.ones(32, np.float32)})
BAD_MATRICES = {
    **{f"cut at {cut}": WHOLE_MATRIX[:cut] for cut in (0, 1, 5, 20, 40, 100)},
    "GGUF cut short": b"GGUF",
    "GGUF that states too much": b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1 << 60) + bytes(64),
    "not finite": _old_matrix({"a.weight": np.full(32, np.inf, np.float32)}),
    "no entries": struct.pack("<i", 0),
    "more values than there are": struct.pack("<ii", 1, 1) + b"a" + struct.pack("<ii", 1, 1 << 30),
}


@pytest.mark.parametrize("content", BAD_MATRICES.values(), ids=BAD_MATRICES.keys())
def test_a_damaged_importance_matrix_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "matrix"
    path.write_bytes(content)
    with pytest.raises(InvalidImportance):
        read_importance(path)


async def test_a_model_that_llama_cpp_does_not_know_fails_with_its_words(
    store: Store, make: Make, upload: Upload, tmp_path: Path, blobs: Blobs
) -> None:
    # Its words are longer than a line from the child may be.
    digest = upload(write_tiny_gguf(tmp_path / "odd.gguf", architecture="nonesuch" + "\x01" * 60_000))
    before = blobs()
    with pytest.raises(QuantizeFailed, match="unknown model architecture: 'nonesuch"):
        await make("mine", files={"odd.gguf": digest}, quantize="q8_0")
    assert blobs() == before
    assert not store.has("mine")


def _tensor(path: Path, name: str) -> bytes:
    return next(tensor.data.tobytes() for tensor in gguf.GGUFReader(path).tensors if tensor.name == name)


def _split(whole: Path, target: Path) -> list[Path]:
    """The same model in shards of a few tensors."""
    reader = gguf.GGUFReader(whole)
    writer = gguf.GGUFWriter(target, "llama", split_max_tensors=8)
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name != "general.architecture":
            kind, *element = field.types
            writer.add_key_value(name, field.contents(), kind, element[0] if element else None)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, np.array(tensor.data))
    _write(writer)
    return sorted(target.parent.glob(f"{target.stem}-*.gguf"))


def _write(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
