from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader
from support.split_gguf import write_split_gguf

from agentkit_server.errors import InvalidGGUF
from agentkit_server.models.gguf import read_gguf
from agentkit_server.models.shards import merge_shards


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    """Three shards, under names that say nothing."""
    paths = write_split_gguf(tmp_path / "model.gguf", shards=True)
    assert len(paths) == 3
    return [path.rename(tmp_path / f"blob-{number}") for number, path in enumerate(paths)]


def merged(shards: list[Path], into: Path) -> list[tuple[int, int]]:
    with into.open("wb") as file:
        return list(merge_shards(shards, file))


def test_merged_shards_hold_what_the_whole_file_holds(shards: list[Path], tmp_path: Path) -> None:
    (whole,) = write_split_gguf(tmp_path / "whole.gguf", shards=False)
    progress = merged(shards, tmp_path / "merged.gguf")
    assert progress[-1][0] == progress[-1][1]
    one, other = GGUFReader(whole), GGUFReader(tmp_path / "merged.gguf")
    for tensor, wanted in zip(other.tensors, one.tensors, strict=True):
        assert (tensor.name, tensor.tensor_type) == (wanted.name, wanted.tensor_type)
        assert np.array_equal(tensor.data, wanted.data)
    kept = {
        key: field for key, field in one.fields.items() if key not in ("GGUF.tensor_count", "GGUF.kv_count")
    }
    for key, field in kept.items():
        assert [bytes(part) for part in other.fields[key].parts] == [bytes(part) for part in field.parts]
    assert not [key for key in other.fields if key.startswith("split.")]
    assert read_gguf(tmp_path / "merged.gguf").architecture == "llama"


@pytest.mark.parametrize("order", [(0, 1), (1, 0, 2), (0, 1, 1), (0, 1, 2, 2)])
def test_shards_that_do_not_make_a_model_are_refused(shards: list[Path], order: tuple[int, ...]) -> None:
    with pytest.raises(InvalidGGUF, match="says that it is shard"):
        list(merge_shards([shards[number] for number in order], io.BytesIO()))


def test_a_shard_that_is_cut_short_is_refused_before_anything_is_written(shards: list[Path]) -> None:
    shards[2].write_bytes(shards[2].read_bytes()[:-40])
    target = io.BytesIO()
    with pytest.raises(InvalidGGUF, match="cut short"):
        list(merge_shards(shards, target))
    assert target.getvalue() == b""


def test_shards_that_would_be_mostly_filling_are_refused(shards: list[Path]) -> None:
    key = b"general.alignment"
    wide = struct.pack("<Q", len(key)) + key + struct.pack("<II", 4, 1 << 17)
    head = shards[0].read_bytes()
    count = struct.unpack_from("<Q", head, 16)[0]
    shards[0].write_bytes(head[:16] + struct.pack("<Q", count + 1) + wide + head[24:] + bytes(1 << 18))
    target = io.BytesIO()
    with pytest.raises(InvalidGGUF, match=r"aligned to \[32, 131072\] bytes; only one number up to 65536"):
        list(merge_shards(shards, target))
    assert target.getvalue() == b""
