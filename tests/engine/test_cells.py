from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit_server.engine.cells import Cells


def test_a_shared_cell_is_free_only_after_its_last_holder_lets_go() -> None:
    cells = Cells(10)
    ids = cells.take(4)
    cells.share(ids[:2])
    cells.release(ids)
    assert cells.used == 2
    cells.release(ids[:2])
    assert cells.free == 10


def test_more_cells_than_are_free_cannot_be_taken() -> None:
    cells = Cells(3)
    cells.take(2)
    with pytest.raises(ValueError, match="2 cells asked for and 1 free"):
        cells.take(2)


@given(st.lists(st.integers(0, 30), max_size=40))
def test_whatever_is_taken_shared_and_released_the_count_is_that_of_the_holders(steps: list[int]) -> None:
    cells = Cells(64)
    holders: list[list[int]] = []
    for step in steps:
        if step % 3 == 0 and cells.free >= step:
            holders.append(cells.take(step).tolist())
        elif step % 3 == 1 and holders:
            source = holders[step % len(holders)]
            part = source[: step % (len(source) + 1)]
            cells.share(np.array(part, np.int32))
            holders.append(part)
        elif holders:
            cells.release(np.array(holders.pop(step % len(holders)), np.int32))
        assert cells.used == len({cell for held in holders for cell in held})
