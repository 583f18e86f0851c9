"""What a model takes, and what a machine and its cgroups leave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from support.residency import make_gguf, make_model

from agentkit_server.engine.types import CacheType, FlashAttention, LoadSpec
from agentkit_server.machine import cores, probe
from agentkit_server.models.model import Adapter
from agentkit_server.residency.memory import (
    GIB,
    MIB,
    adapter_sizes,
    estimate,
    kv_bytes,
    recurrent_bytes,
    size,
    weights_bytes,
)

SPEC = LoadSpec(path="a.gguf", n_ctx=4096, n_cells=16384)


@pytest.mark.parametrize(("cache_type", "factor"), [("f16", 2.0), ("q8_0", 34 / 32), ("q4_0", 18 / 32)])
def test_cells_take_keys_and_values_of_every_block(cache_type: CacheType, factor: float) -> None:
    assert kv_bytes(make_gguf(), 1000, cache_type) == 30 * 3 * (64 + 64) * 1000 * factor


def test_blocks_without_attention_take_no_cells() -> None:
    assert kv_bytes(make_gguf(head_count_kv=(0, 2, 0, 2)), 10, "f16") == 4 * 128 * 10 * 2


def test_recurrent_blocks_take_a_state_for_each_sequence() -> None:
    metadata = {
        "mamba.ssm.inner_size": 100,
        "mamba.ssm.state_size": 16,
        "mamba.ssm.conv_kernel": 4,
    }
    gguf = make_gguf(architecture="mamba", metadata=metadata, head_count_kv=(0,) * 4, block_count=4)
    assert recurrent_bytes(gguf, 8) == 4 * 4 * 8 * (3 * 100 + 100 * 16)
    assert recurrent_bytes(make_gguf(), 8) == 0


def test_the_parts_add_up_and_an_error_can_show_them() -> None:
    parts = estimate(make_model(), SPEC)
    assert parts.total == parts.weights + parts.kv + parts.compute + parts.output + parts.process
    assert parts.weights == 100 * MIB
    assert parts.output == 64 * 49152 * 4
    for name in ("weights 100 MiB", "kv 360 MiB", "compute", "output"):
        assert name in str(parts)


@pytest.mark.parametrize(
    ("n_cells", "flash_attention", "measured"),
    [(4096, "auto", 98.25), (4096, "off", 99.38), (16384, "off", 326.38), (131072, "auto", 141.51)],
)
def test_the_compute_buffer_is_what_llama_cpp_reserves(
    n_cells: int, flash_attention: FlashAttention, measured: float
) -> None:
    """Measured (MiB) on SmolLM2-135M, whose shape the test model has, with batches of 512."""
    spec = LoadSpec(path="a.gguf", n_ctx=n_cells, n_cells=n_cells, flash_attention=flash_attention)
    assert estimate(make_model(), spec).compute / MIB == pytest.approx(measured, rel=0.03)


def test_an_estimate_grows_with_the_batch() -> None:
    wide = LoadSpec(path="a.gguf", n_ctx=4096, n_cells=16384, n_batch=2048)
    assert estimate(make_model(), wide).total > estimate(make_model(), SPEC).total


def test_adapters_and_projectors_count(tmp_path: Path) -> None:
    (tmp_path / "lora").write_bytes(b"x" * 5)
    (tmp_path / "eyes").write_bytes(b"x" * 7)
    lora = tmp_path / "lora"
    adapters = (Adapter(lora), Adapter(lora, 0.5), Adapter(tmp_path / "gone"))
    model = replace(make_model(file_size=10), adapters=adapters, projectors=(tmp_path / "eyes",))
    assert (weights_bytes(model), adapter_sizes(model)) == (17, {lora: 5})
    assert estimate(model, SPEC).total == estimate(make_model(file_size=10), SPEC).total + 12


def test_a_feed_forward_of_another_width_in_each_block_counts_with_the_widest() -> None:
    one = make_model(metadata={"llama.feed_forward_length": 500_000})
    many = make_model(metadata={"llama.feed_forward_length": [1, 500_000, 2]})
    assert estimate(one, SPEC) == estimate(many, SPEC)
    assert estimate(one, SPEC).compute > estimate(make_model(), SPEC).compute


def test_sizes_read_well() -> None:
    assert (size(3 * GIB // 2), size(12 * MIB)) == ("1.5 GiB", "12 MiB")


# --- what is free -----------------------------------------------------------------------------------


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], None]:
    def put(path: str, text: str) -> None:
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    return put


def test_without_cgroups_the_system_decides(tmp_path: Path) -> None:
    memory = probe(tmp_path)
    assert memory.capacity == psutil.virtual_memory().total
    assert 0 < memory.available <= memory.capacity


def test_a_limit_of_cgroup_2_counts_less_what_is_used_and_cannot_be_reclaimed(
    tmp_path: Path, write: Callable[[str, str], None]
) -> None:
    write("proc/self/cgroup", "0::/box/inner\n")
    write("sys/fs/cgroup/box/inner/memory.max", "max\n")
    write("sys/fs/cgroup/box/inner/memory.current", "1000\n")
    write("sys/fs/cgroup/box/memory.max", "100000\n")
    write("sys/fs/cgroup/box/memory.current", "30000\n")
    write("sys/fs/cgroup/box/memory.stat", "anon 1\ninactive_file 10000\n")
    assert (probe(tmp_path).available, probe(tmp_path).capacity) == (80000, 100000)


def test_a_limit_of_cgroup_1_counts(tmp_path: Path, write: Callable[[str, str], None]) -> None:
    write("proc/self/cgroup", "5:cpuset:/\n4:cpu,memory:/box\n")
    write("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "50000\n")
    write("sys/fs/cgroup/memory/box/memory.usage_in_bytes", "20000\n")
    write("sys/fs/cgroup/memory/box/memory.stat", "total_inactive_file 5000\n")
    write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    write("sys/fs/cgroup/memory/memory.usage_in_bytes", "99\n")
    assert (probe(tmp_path).available, probe(tmp_path).capacity) == (35000, 50000)


def test_inside_a_container_the_mount_itself_is_our_group(
    tmp_path: Path, write: Callable[[str, str], None]
) -> None:
    write("proc/self/cgroup", "0::/path/of/the/host\n")
    write("sys/fs/cgroup/memory.max", "70000\n")
    write("sys/fs/cgroup/memory.current", "90000\n")
    assert (probe(tmp_path).available, probe(tmp_path).capacity) == (0, 70000)


def test_cores_are_no_more_than_the_processor_quota_of_the_container(
    tmp_path: Path, write: Callable[[str, str], None]
) -> None:
    everything = cores(tmp_path)
    write("sys/fs/cgroup/cpu.max", "150000 100000\n")
    assert cores(tmp_path) == 1
    write("sys/fs/cgroup/cpu.max", "max 100000\n")
    assert cores(tmp_path) == everything
