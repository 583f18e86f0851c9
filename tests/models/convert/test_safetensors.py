"""Safetensors are read with bounds: a file that is damaged or hostile is refused, and memory stays small."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import tiny_hf
from support.conversion import converted, finished

from agentkit_server.errors import ConversionError
from agentkit_server.models.convert import safetensors
from agentkit_server.models.convert.convert import convert, is_safetensors
from agentkit_server.models.convert.safetensors import checkpoint


def write(path: Path, header: Any, data: bytes = b"", *, length: int | None = None) -> Path:
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(head) if length is None else length).to_bytes(8, "little") + head + data)
    return path


def tensor(begin: int, end: int, shape: Any = (2,), dtype: Any = "F32", **more: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end], **more}


HOSTILE: dict[str, tuple[Any, bytes, int | None, str]] = {
    "empty": (b"", b"", None, "is no JSON"),
    "longer than the file": ({}, b"", 99, "cut short: it has 10 bytes and states a header of 99"),
    "absurd length": ({}, b"", 2**63, "states a header of 9223372036854775808"),
    "no object": ([1], b"", None, "is no JSON object"),
    "no JSON": (b"{,}", b"", None, "is no JSON"),
    "nested without end": (b"[" * 100_000, b"", None, "is no JSON"),
    "no UTF-8": (b'{"\xff": 1}', b"", None, "is no UTF-8"),
    "an endless number": (b'{"a": ' + b"9" * 9000 + b"}", b"", None, "is no JSON"),
    "a key twice": (b'{"a": 1, "a": 1}', b"", None, "a key twice"),
    "a tensor that is none": ({"a": 3}, b"", None, "3 where a JSON object belongs"),
    "no type": ({"a": tensor(0, 8, dtype=None)}, bytes(8), None, "has the type None"),
    "unknown type": (
        {"a": tensor(0, 8, dtype="Q4")},
        bytes(8),
        None,
        "has the type 'Q4', which is not known",
    ),
    "type of another kind": ({"a": tensor(0, 8, dtype=7)}, bytes(8), None, "dtype is 7 where a string"),
    "negative shape": ({"a": tensor(0, 8, [-2])}, bytes(8), None, "which is impossible"),
    "shape of texts": ({"a": tensor(0, 8, ["2"])}, bytes(8), None, "which is impossible"),
    "shape of truths": ({"a": tensor(0, 8, [True, 2])}, bytes(8), None, "which is impossible"),
    "huge shape": ({"a": tensor(0, 8, [2**31, 2**31])}, bytes(8), None, "which is impossible"),
    "too many dimensions": ({"a": tensor(0, 8, [1] * 9)}, bytes(8), None, "which is impossible"),
    "shape and data differ": ({"a": tensor(0, 8, [3])}, bytes(8), None, "8 bytes of data where"),
    "backwards": ({"a": tensor(8, 0)}, bytes(8), None, "-8 bytes of data where"),
    "negative offset": ({"a": tensor(-8, 0)}, bytes(8), None, "two numbers are expected"),
    "one offset": ({"a": {**tensor(0, 8), "data_offsets": [0]}}, bytes(8), None, "two numbers are expected"),
    "overlap": ({"a": tensor(0, 8), "b": tensor(4, 12)}, bytes(12), None, "begins at 4 where 8 is expected"),
    "same place": ({"a": tensor(0, 8), "b": tensor(0, 8)}, bytes(8), None, "begins at 0 where 8 is expected"),
    "gap": ({"a": tensor(0, 8), "b": tensor(12, 20)}, bytes(20), None, "begins at 12 where 8 is expected"),
    "out of the file": ({"a": tensor(0, 8)}, bytes(7), None, "fetch it again"),
    "data that nobody owns": ({"a": tensor(0, 8)}, bytes(9), None, "fetch it again"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_damaged_file_is_refused(name: str, tmp_path: Path) -> None:
    header, data, length, why = HOSTILE[name]
    path = write(tmp_path / "model.safetensors", header, data, length=length)
    with pytest.raises(ConversionError, match=why):
        checkpoint({"model.safetensors": path})


def test_a_header_beyond_the_bound_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write((17 << 20).to_bytes(8, "little"))
        file.truncate(18 << 20)
    with pytest.raises(ConversionError, match="at most 16777216 are read"):
        checkpoint({"model.safetensors": path})


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 2200), byte=st.integers(0, 255))
def test_a_changed_byte_gives_an_error_or_a_model(place: int, byte: int, tmp_path: Path) -> None:
    if not (tmp_path / "config.json").exists():
        tiny_hf.write_folder(tmp_path, "Qwen3ForCausalLM")
    files = tiny_hf.files_of(tmp_path)
    whole = bytearray(files["model.safetensors"].read_bytes())
    whole[place] = byte
    (tmp_path / "changed").write_bytes(whole)
    try:
        converted({**files, "model.safetensors": tmp_path / "changed"}, tmp_path / "model.gguf")
    except ConversionError as error:
        assert error.message


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConversionError, match="is not a file"):
        checkpoint({"model.safetensors": tmp_path / "pipe"})
    with pytest.raises(ConversionError, match="found none"):
        checkpoint({"config.json": tmp_path})
    with pytest.raises(ConversionError, match=r"found 'a.safetensors', 'b.safetensors'"):
        checkpoint({"a.safetensors": tmp_path, "b.safetensors": tmp_path})


def sharded(folder: Path) -> dict[str, Path]:
    """A tiny model in two files, with their index."""
    tiny_hf.write_folder(folder, "LlamaForCausalLM")
    (folder / "model.safetensors").unlink()
    every = tiny_hf.weights("LlamaForCausalLM")
    places: dict[str, str] = {}
    for number in (1, 2):
        name = f"model-0000{number}-of-00002.safetensors"
        part = {key: values for place, (key, values) in enumerate(every.items()) if place % 2 + 1 == number}
        tiny_hf.write_safetensors(folder / name, part)
        places |= dict.fromkeys(part, name)
    tiny_hf.write_json(folder / safetensors.INDEX, {"weight_map": places})
    return tiny_hf.files_of(folder)


def test_shards_give_the_same_file_as_one(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one = tiny_hf.write_folder(tmp_path / "one", "LlamaForCausalLM")
    converted(one, tmp_path / "one.gguf")
    converted(sharded(tmp_path / "two"), tmp_path / "two.gguf")
    assert (tmp_path / "one.gguf").read_bytes() == (tmp_path / "two.gguf").read_bytes()


def test_an_index_may_only_name_what_is_there(tmp_path: Path) -> None:
    files = sharded(tmp_path)
    second = "model-00002-of-00002.safetensors"
    with pytest.raises(ConversionError, match=f"names '{second}', which is not in the folder"):
        checkpoint({name: path for name, path in files.items() if name != second})
    with pytest.raises(ConversionError, match="is both in"):
        checkpoint({**files, second: files["model-00001-of-00002.safetensors"]})
    index = json.loads(files[safetensors.INDEX].read_text())
    index["weight_map"]["more"] = second
    tiny_hf.write_json(files[safetensors.INDEX], index)
    with pytest.raises(ConversionError, match="says that 'more' is in"):
        checkpoint(files)
    tiny_hf.write_json(files[safetensors.INDEX], {"weight_map": {"a": "../../etc/passwd"}})
    with pytest.raises(ConversionError, match=r"names '../../etc/passwd', which is not in the folder"):
        checkpoint(files)


def test_a_folder_is_known_by_its_files() -> None:
    assert is_safetensors({"config.json": Path(), "model.safetensors": Path()})
    assert not is_safetensors({"model.gguf": Path()})


def test_a_model_is_read_and_written_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = tiny_hf.write_folder(tmp_path, "LlamaForCausalLM", intermediate_size=1 << 15)
    monkeypatch.setattr(safetensors, "PIECE", 1 << 14)
    largest = 32 * (1 << 15) * 4
    written: list[int] = []

    class Counting:
        def write(self, data: bytes, /) -> None:
            written.append(len(data))

    tracemalloc.start()
    try:
        done, told = finished(convert(files, Counting()))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert done.size == sum(written) and max(written) <= 4 << 14
    # Six matrices of 4 MB each, of which a fiftieth is in memory at any time.
    assert peak < largest // 4
    assert told[-1][0] == told[-1][1] and told == sorted(told)
    assert len({total for _, total in told}) == 1


def test_a_step_can_be_the_last(tmp_path: Path) -> None:
    steps = convert(tiny_hf.write_folder(tmp_path, "LlamaForCausalLM"), tmp_path / "model.gguf")
    next(steps)
    # Nothing stays open: pytest makes a warning of a file that does an error.
    steps.close()


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F32"])
def test_numbers_stay_what_they_are(dtype: str, tmp_path: Path) -> None:
    files = tiny_hf.write_folder(tmp_path, "MistralForCausalLM", dtype)
    converted(files, tmp_path / "model.gguf")
    found = tensors(tmp_path / "model.gguf")
    given = tiny_hf.weights("MistralForCausalLM")
    assert found["output_norm.weight"][0] == "F32"
    norm = given["model.norm.weight"].view(np.uint32)
    norm = (norm & 0xFFFF0000 if dtype == "BF16" else norm).astype(np.uint32).view(np.float32)
    assert np.array_equal(values(found["output_norm.weight"]), norm)
    kind = "F16" if dtype == "F32" else dtype
    for name, source in (
        ("token_embd", "model.embed_tokens"),
        ("blk.1.ffn_up", "model.layers.1.mlp.up_proj"),
    ):
        assert found[f"{name}.weight"][0] == kind
        assert np.array_equal(values(found[f"{name}.weight"]), given[f"{source}.weight"].reshape(-1))


def test_every_bit_of_bf16_is_kept(tmp_path: Path) -> None:
    files = tiny_hf.write_folder(tmp_path, "Qwen3ForCausalLM", "BF16")
    every = tiny_hf.weights("Qwen3ForCausalLM")
    bits = np.random.default_rng(1).integers(0, 1 << 16, every["lm_head.weight"].shape, np.uint32)
    every["lm_head.weight"] = (bits << 16).view(np.float32)
    tiny_hf.write_safetensors(tmp_path / "model.safetensors", every, "BF16")
    converted(files, tmp_path / "model.gguf")
    assert tensors(tmp_path / "model.gguf")["output.weight"][1] == bits.astype("<u2").tobytes()


def test_a_number_that_f16_has_not_keeps_its_matrix_in_f32(tmp_path: Path) -> None:
    files = tiny_hf.write_folder(tmp_path, "Qwen3ForCausalLM")
    every = tiny_hf.weights("Qwen3ForCausalLM")
    every["lm_head.weight"][3, 4] = 70000.0
    tiny_hf.write_safetensors(tmp_path / "model.safetensors", every)
    converted(files, tmp_path / "model.gguf")
    found = tensors(tmp_path / "model.gguf")
    assert (found["output.weight"][0], found["token_embd.weight"][0]) == ("F32", "F16")
    assert values(found["output.weight"]).max() == 70000.0


@pytest.mark.parametrize(("dtype", "why"), [("F8_E4M3", "as they were before"), ("F64", "F32, F16 and BF16")])
def test_other_types_are_refused_by_name(dtype: str, why: str, tmp_path: Path) -> None:
    files = tiny_hf.write_folder(tmp_path, "Qwen3ForCausalLM", "F16")
    path = files["model.safetensors"]
    size = int.from_bytes(path.read_bytes()[:8], "little")
    header = json.loads(path.read_bytes()[8 : 8 + size])
    width = {"F8_E4M3": 1, "F64": 8}[dtype]
    place = 0
    for name, entry in header.items():
        if name != "__metadata__":
            end = place + int(np.prod(entry["shape"])) * width
            entry |= {"dtype": dtype, "data_offsets": [place, end]}
            place = end
    write(path, header, bytes(place))
    with pytest.raises(
        ConversionError, match=f"has the type {dtype}; F32, F16 and BF16 can be imported.*{why}|{why}"
    ):
        converted(files, tmp_path / "model.gguf")


def tensors(path: Path) -> dict[str, tuple[str, bytes]]:
    """Type and bytes of every tensor of a GGUF, as the gguf package reads them."""
    from gguf import GGUFReader

    return {t.name: (t.tensor_type.name, t.data.tobytes()) for t in GGUFReader(path).tensors}


def values(tensor: tuple[str, bytes]) -> np.ndarray[Any, np.dtype[np.float32]]:
    kind, data = tensor
    if kind == "BF16":
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(data, {"F16": "<f2", "F32": "<f4"}[kind]).astype(np.float32)
