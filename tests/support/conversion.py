"""Conversion in tests: run to its end, and what llama.cpp computes with the result."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from agentkit_server.engine.llama import Batch, Context
from agentkit_server.engine.types import LoadSpec
from agentkit_server.models.convert.convert import Converted, convert

R = TypeVar("R")


def finished(steps: Generator[tuple[int, int], None, R]) -> tuple[R, list[tuple[int, int]]]:
    """What a conversion returns, and the progress that it told."""
    told: list[tuple[int, int]] = []
    while True:
        try:
            told.append(next(steps))
        except StopIteration as end:
            return end.value, told


def converted(files: Mapping[str, Path], target: Path) -> Converted:
    return finished(convert(files, target))[0]


def loaded(path: Path, *, n_ctx: int = 32, embedding: bool = False, **settings: Any) -> Context:
    spec = LoadSpec(
        path=str(path), n_ctx=n_ctx, n_cells=n_ctx, n_batch=n_ctx, n_seq_max=4, n_threads=1,
        embedding=embedding, **settings,
    )  # fmt: skip
    return Context(spec, lambda _: None)


def logits(context: Context, tokens: list[int], positions: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """The logits at some positions of a prompt."""
    rows: list[Any] = []
    batch = Batch(len(tokens))
    done = 0
    for position in positions:
        batch.clear()
        batch.add(tokens[done:position], done, 0, output=False)
        row = batch.add([tokens[position]], position, 0, output=True)
        assert context.decode(batch) == 0
        rows.append(np.array(context.logits(row)))
        done = position + 1
    return np.array(rows)
