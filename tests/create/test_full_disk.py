"""A store on a disk that is full."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import pytest
from support.tiny_llama import write_tiny_llama

from agentkit_server.create.create import create
from agentkit_server.create.request import CreateRequest, checked
from agentkit_server.errors import StoreError
from agentkit_server.models.pull import Pulls
from agentkit_server.models.store import Store
from tests.models.test_full_disk import disk, files, fill

pytestmark = pytest.mark.anyio
__all__ = ["disk"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"quantize": "q8_0"}, "the disk of the model store has 0 bytes left; make room"),
        ({"system": "Be brief. " * 1000}, "No space left on device"),
    ],
    ids=["weights", "texts"],
)
async def test_a_full_disk_is_said_to_be_one_and_nothing_is_left(
    disk: Path,
    tmp_path: Path,
    words: dict[str, Any],
    said: str,
) -> None:
    store = Store(disk / "models")
    store.link_file("base", write_tiny_llama(tmp_path / "base.gguf"))
    recipe = checked(CreateRequest(model="mine", base="base", **words), store)
    before = files(store)
    fill(disk)
    with anyio.fail_after(60), pytest.raises(StoreError, match=said):
        async with aclosing(create(store, Pulls(store), recipe)) as lines:
            async for _ in lines:
                pass
    assert files(store) == before
