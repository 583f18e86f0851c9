from __future__ import annotations

import struct
from pathlib import Path

import pytest
from gguf import GGUFEndian, GGUFReader, GGUFWriter
from support.smollm2 import models_folder
from support.tiny_gguf import VOCAB, write_tiny_gguf

from agentkit_server.errors import InvalidGGUF
from agentkit_server.models import gguf_header
from agentkit_server.models.gguf import read_gguf
from agentkit_server.models.store import Store

SHARED = Path(__file__).parents[3] / "shared" / "models"


def header(tensors: int = 0, keys: int = 0, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys)


def string(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def key(name: str, kind: int, value: bytes) -> bytes:
    return string(name) + struct.pack("<I", kind) + value


ARCHITECTURE = key("general.architecture", 8, string("llama"))


def tensor(name: str, shape: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    dimensions = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return string(name) + dimensions + struct.pack("<IQ", kind, offset)


def test_a_model_file_gives_its_facts(tiny: Path) -> None:
    info = read_gguf(tiny)
    assert (info.architecture, info.quantization, info.context_length) == ("llama", "F16", 2048)
    assert (info.block_count, info.head_count, info.head_count_kv) == (2, 4, (2, 2))
    assert (info.embedding_length, info.key_length, info.value_length) == (32, 8, 8)
    assert (info.vocab_size, info.pooling, info.file_size) == (8, None, tiny.stat().st_size)
    assert info.parameter_count == 8 * 32 + 32 + 2 * 32
    assert info.tensors[2].shape == (32, 2)
    assert info.chat_template is not None
    assert info.metadata["tokenizer.ggml.tokens"] == list(VOCAB)


def test_pooling_makes_an_embedding_model(tmp_path: Path) -> None:
    assert read_gguf(write_tiny_gguf(tmp_path / "m.gguf", pooling="mean")).pooling == "mean"


def test_a_big_endian_file_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "big.gguf"
    writer = GGUFWriter(path, "llama", endianess=GGUFEndian.BIG)
    writer.add_context_length(77)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert read_gguf(path).context_length == 77


def test_heads_may_differ_from_block_to_block(tmp_path: Path) -> None:
    extra = {"x.attention.head_count": [8, 4], "x.attention.head_count_kv": [2, 0], "x.block_count": 2}
    path = tmp_path / "m.gguf"
    writer = GGUFWriter(path, "x")
    for name, value in extra.items():
        writer.add_array(name, value) if isinstance(value, list) else writer.add_uint32(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    info = read_gguf(path)
    assert (info.head_count, info.head_count_kv) == (8, (2, 0))


def test_a_long_vocabulary_stays_in_the_file_and_reads_as_written(tmp_path: Path) -> None:
    vocab = [f"token {number}" for number in range(5000)]
    info = read_gguf(write_tiny_gguf(tmp_path / "m.gguf", vocab=vocab))
    tokens = info.metadata["tokenizer.ggml.tokens"]
    assert isinstance(tokens, gguf_header.LongArray)
    assert (len(tokens), tokens[4999], tokens[1:3]) == (5000, "token 4999", ["token 1", "token 2"])
    assert list(tokens) == vocab
    assert (tokens[-1], tokens[::2500], tokens[9:3]) == ("token 4999", ["token 0", "token 2500"], [])
    with pytest.raises(IndexError):
        tokens[5000]
    types = info.metadata["tokenizer.ggml.token_type"]
    assert (types[17], types[4998:]) == (1, [1, 1])
    assert info.vocab_size == 5000


def test_a_long_vocabulary_whose_file_was_cut_since_is_an_error(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "m.gguf", vocab=["token"] * 5000)
    tokens = read_gguf(path).metadata["tokenizer.ggml.tokens"]
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InvalidGGUF, match="cut short"):
        list(tokens)


def test_tokens_that_are_no_text_do_not_stop_the_reader(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(header(keys=2) + ARCHITECTURE + string("t") + struct.pack("<IQ", 8, 2) + b"\xff\xfe")
    assert read_gguf(path).metadata["t"] == "��"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with b''"),
        (b"GGML" + bytes(20), "begins with b'GGML'"),
        (b"GGUF", "cut short inside its header"),
        (header(version=1), "GGUF version 1"),
        (header(version=4), "GGUF version 4"),
        (header(), "no general.architecture"),
        (header(tensors=1 << 40), "1099511627776 tensors"),
        (header(keys=(1 << 64) - 1), "18446744073709551615 keys"),
        (header(keys=1) + struct.pack("<Q", 1 << 62), "string of 4611686018427387904 bytes"),
        (header(keys=1) + string("k") + struct.pack("<IQ", 8, 1 << 50), "string of 1125899906842624 bytes"),
        (header(keys=1) + key("k", 13, b""), "unknown type 13"),
        (header(keys=1) + key("k", 9, struct.pack("<IQ", 9, 1)), "array of arrays"),
        (header(keys=1) + key("k", 9, struct.pack("<IQ", 0, 1 << 63)), "array of 9223372036854775808 values"),
        (header(keys=1) + key("k", 9, struct.pack("<IQ", 8, 1 << 20)), "cut short inside its header"),
        (header(keys=1) + key("k", 9, struct.pack("<IQ", 10, 1 << 20)), "cut short inside its header"),
        (header(keys=2) + ARCHITECTURE * 2, "key 'general.architecture' twice"),
        (header(keys=1) + key("general.architecture", 4, bytes(4)), "where a string belongs"),
        (header(keys=2) + ARCHITECTURE + key("llama.block_count", 8, string("2")), "a whole number"),
        (header(keys=2) + ARCHITECTURE + key("llama.block_count", 5, struct.pack("<i", -1)), "whole number"),
        (header(keys=2) + ARCHITECTURE + key("llama.pooling_type", 4, struct.pack("<I", 9)), "whole number"),
        (header(keys=1) + key("general.alignment", 4, struct.pack("<I", 3)), "not a power of two"),
        (header(1, 1) + ARCHITECTURE + tensor("t", (1, 1, 1, 1, 1)), "5 dimensions"),
        (header(1, 1) + ARCHITECTURE + tensor("t", (1 << 63, 1 << 63)), "impossible for F32"),
        (header(1, 1) + ARCHITECTURE + tensor("t", (33,), kind=8), "impossible for Q8_0"),
        (header(1, 1) + ARCHITECTURE + tensor("t", (4,), kind=5), "type 5"),
        (header(1, 1) + ARCHITECTURE + tensor("t", (4,), offset=1), "no multiple of the alignment 32"),
        (header(1, 1) + ARCHITECTURE + tensor("t", (1 << 30,)), "cut short, with"),
        (header(2, 1) + ARCHITECTURE + tensor("t", (0,)) * 2, "tensor 't' twice"),
    ],
)
def test_a_hostile_file_is_refused_and_the_message_says_why(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    with pytest.raises(InvalidGGUF) as caught:
        read_gguf(path)
    assert message in str(caught.value)
    assert repr(str(path)) in str(caught.value)


def test_a_file_cut_in_half_says_both_sizes(tiny: Path) -> None:
    whole = tiny.read_bytes()
    padding = 28  # behind the 68 bytes of the last tensor; nobody reads it
    tiny.write_bytes(whole[:-padding])
    assert read_gguf(tiny).file_size == len(whole) - padding
    half = len(whole) - padding - 40
    tiny.write_bytes(whole[:half])
    with pytest.raises(InvalidGGUF, match=f"{half} bytes where its header describes {half + 40};"):
        read_gguf(tiny)


def test_every_cut_inside_the_header_is_refused(tiny: Path) -> None:
    whole = tiny.read_bytes()
    for length in range(0, 1400, 7):
        tiny.write_bytes(whole[:length])
        with pytest.raises(InvalidGGUF):
            read_gguf(tiny)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.gguf", tmp_path):
        with pytest.raises(InvalidGGUF, match="is not a file"):
            read_gguf(path)


def test_a_split_model_is_read_through_its_first_shard(tmp_path: Path) -> None:
    for number in (1, 2):
        write_tiny_gguf(tmp_path / f"m-0000{number}-of-00002.gguf")
    info = read_gguf(tmp_path / "m-00001-of-00002.gguf")
    one = read_gguf(write_tiny_gguf(tmp_path / "m.gguf"))
    assert info.file_size == 2 * one.file_size
    assert info.parameter_count == 2 * one.parameter_count
    assert len(info.tensors) == 2 * len(one.tensors)


def test_a_later_shard_and_a_missing_one_are_named(tmp_path: Path) -> None:
    write_tiny_gguf(tmp_path / "m-00002-of-00002.gguf")
    with pytest.raises(InvalidGGUF, match=r"give the first, 'm-00001-of-00002\.gguf'"):
        read_gguf(tmp_path / "m-00002-of-00002.gguf")
    write_tiny_gguf(tmp_path / "m-00001-of-00003.gguf")
    with pytest.raises(InvalidGGUF, match=r"m-00002-of-00003.gguf' is missing; all 3"):
        read_gguf(tmp_path / "m-00001-of-00003.gguf")


@pytest.mark.parametrize("name", ["minimind2-small-q8.gguf", "bert-mini-crossencoder-f16.gguf"])
def test_real_files_read_as_the_gguf_package_reads_them(name: str) -> None:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path} is absent")
    info, reference = read_gguf(path), GGUFReader(path)
    for field, value in info.metadata.items():
        expected = reference.fields[field].contents()
        assert (list(value) if isinstance(value, gguf_header.LongArray) else value) == expected, field
    assert [(each.name, each.type, each.shape) for each in info.tensors] == [
        (each.name, each.tensor_type.name, tuple(each.shape.tolist())) for each in reference.tensors
    ]


def test_smollm2_has_the_facts_its_authors_publish() -> None:
    info = Store(models_folder()).resolve("smollm2").gguf
    assert (info.parameter_count, info.quantization, info.context_length) == (134_515_008, "Q4_1", 8192)
    assert (info.vocab_size, info.block_count, info.head_count_kv) == (49152, 30, (3,) * 30)
    assert (info.pooling, len(info.metadata["tokenizer.ggml.merges"])) == (None, 48900)
