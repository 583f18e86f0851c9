"""Quantising from the server's side: a child process for each file, killed once nobody waits for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator

import msgspec
from anyio import CancelScope

from agentkit_server.engine.quantize_job import AtTensor, NotQuantized, Quantized, QuantizeJob, QuantizeReply
from agentkit_server.errors import BadRequest, QuantizeFailed
from agentkit_server.runner.process import LONGEST_LINE, ending, spawn_child

_replies = msgspec.json.Decoder(QuantizeReply)
_LAST_LINES = 4


async def quantize(job: QuantizeJob) -> AsyncGenerator[AtTensor]:
    """Write the file of `job`; yields each tensor before it is written. What an unfinished job leaves at
    `target` is the caller's to remove.

    Raises QuantizeFailed with llama.cpp's last words, BadRequest for an importance matrix that is none, or is
    needed.
    """
    child = await _spawn(job)
    said: deque[str] = deque(maxlen=_LAST_LINES)
    listening = asyncio.create_task(_listen(child, said))
    try:
        done = False
        assert child.stdout is not None
        async for line in child.stdout:
            reply: QuantizeReply = _replies.decode(line)
            match reply:
                case AtTensor():
                    yield reply
                case Quantized():
                    done = True
                case NotQuantized(message, importance):
                    raise _refused(message, importance=importance)
        await child.wait()
        await listening
        if not done:
            why = "; ".join([ending(child.returncode), *said])
            raise QuantizeFailed(f"the model could not be quantised: llama.cpp ended ({why})")
    finally:
        with CancelScope(shield=True):
            await _end(child, listening)


async def _spawn(job: QuantizeJob) -> asyncio.subprocess.Process:
    argument = msgspec.json.encode(job).decode()
    return await spawn_child(
        "agentkit_server.runner.quantize_child", argument, stdout=asyncio.subprocess.PIPE
    )


async def _listen(child: asyncio.subprocess.Process, said: deque[str]) -> None:
    assert child.stderr is not None
    while piece := await child.stderr.read(1 << 16):
        lines = piece.decode("utf-8", "replace").splitlines()
        said.extend(line.strip()[:LONGEST_LINE] for line in lines if line.strip())


async def _end(child: asyncio.subprocess.Process, listening: asyncio.Task[None]) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.kill()
    # A child has not ended for asyncio before its output has, of which it reads no more than a part ahead.
    assert child.stdout is not None
    while await child.stdout.read(1 << 16):
        continue
    await child.wait()
    await listening
    assert child.stdin is not None
    child.stdin.close()


def _refused(message: str, *, importance: bool) -> QuantizeFailed | BadRequest:
    if importance:
        return BadRequest(f"the model could not be quantised: imatrix: {message}", param="imatrix")
    return QuantizeFailed(f"the model could not be quantised: {message}")
