from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.tiny_gguf import write_tiny_gguf

from agentkit_server.errors import InvalidGGUF
from agentkit_server.models.gguf import read_gguf
from agentkit_server.models.model import GGUFInfo


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_tiny_gguf(tmp_path_factory.mktemp("fuzz") / "m.gguf", pooling="rank").read_bytes()


def reads_or_refuses(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        info = read_gguf(path)
    except InvalidGGUF as error:
        assert str(path) in str(error)
    else:
        assert isinstance(info, GGUFInfo)
        assert sum(len(value) for value in info.metadata.values() if hasattr(value, "__len__")) <= len(
            content
        )


quick = settings(
    max_examples=200,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@quick
@given(data=st.data())
def test_a_file_with_changed_bytes_is_read_or_refused_and_nothing_else(
    data: st.DataObject, original: bytes, tmp_path: Path
) -> None:
    content = bytearray(original)
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, 1700))
        patch = data.draw(st.binary(min_size=1, max_size=8) | st.just(b"\xff" * 8) | st.just(bytes(8)))
        content[position : position + len(patch)] = patch
    reads_or_refuses(tmp_path / "m.gguf", bytes(content))


@quick
@given(data=st.data())
def test_a_file_with_bytes_put_in_or_taken_out_is_read_or_refused(
    data: st.DataObject, original: bytes, tmp_path: Path
) -> None:
    start = data.draw(st.integers(0, len(original)))
    end = data.draw(st.integers(start, len(original)))
    reads_or_refuses(tmp_path / "m.gguf", original[:start] + data.draw(st.binary()) + original[end:])


@quick
@given(content=st.binary(max_size=300))
def test_noise_behind_the_magic_is_read_or_refused(content: bytes, tmp_path: Path) -> None:
    reads_or_refuses(tmp_path / "m.gguf", b"GGUF\x03\x00\x00\x00" + content)
