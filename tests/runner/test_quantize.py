"""A process for each file that is quantised."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import aclosing, suppress
from pathlib import Path

import anyio
import anyio.lowlevel
import msgspec
import psutil
import pytest
from support.smollm2_f16 import f16_path

from agentkit_server.engine.quantize_job import FILE_TYPES, AtTensor, QuantizeJob
from agentkit_server.errors import QuantizeFailed
from agentkit_server.runner import quantize as quantize_module
from agentkit_server.runner.quantize import quantize

pytestmark = pytest.mark.anyio


@pytest.fixture
def long_job(tmp_path: Path) -> QuantizeJob:
    """Takes seconds, and is broken off at its first tensor."""
    return QuantizeJob(
        source=str(f16_path()), target=str(tmp_path / "out.gguf"), file_type=FILE_TYPES["Q4_K_M"]
    )


def child() -> psutil.Process:
    for process in psutil.Process().children(recursive=True):
        # Others end meanwhile.
        with suppress(psutil.Error):
            if "agentkit_server.runner.quantize_child" in process.cmdline():
                return process
    raise AssertionError("nothing is being quantised")


async def test_a_process_that_is_killed_is_an_error_that_says_so(long_job: QuantizeJob) -> None:
    with anyio.fail_after(60), pytest.raises(QuantizeFailed, match="killed by SIGKILL"):
        async with aclosing(quantize(long_job)) as tensors:
            await anext(tensors)
            child().kill()
            async for _ in tensors:
                pass


async def test_who_goes_away_ends_the_process(long_job: QuantizeJob) -> None:
    with anyio.fail_after(60):
        async with aclosing(quantize(long_job)) as tensors:
            first = await anext(tensors)
            running = child()
        assert not running.is_running()
    assert (first.number, first.count) == (1, 272)


async def test_who_goes_away_before_everything_is_read_is_not_held_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a model with very many tensors more is written than asyncio reads ahead."""
    line, written = msgspec.json.encode(AtTensor("x" * 60, 1, 1)) + b"\n", tmp_path / "written"
    program = f"import os; os.write(1, {line!r} * 1800); open({str(written)!r}, 'w')"

    async def spawn(job: QuantizeJob) -> Process:
        command = (sys.executable, "-c", program)
        return await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=PIPE)

    async def leave() -> None:
        async with aclosing(quantize(QuantizeJob(source="", target="", file_type=0))) as tensors:
            await anext(tensors)
            while not written.exists():
                await anyio.lowlevel.checkpoint()

    monkeypatch.setattr(quantize_module, "_spawn", spawn)
    # Not anyio's: no scope of its reaches what ends the process.
    await asyncio.wait_for(leave(), 60)
