"""Two processes create a model of one name again and again: competing_creates.py STORE TIMES."""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from pathlib import Path

from agentkit_server.create.create import create
from agentkit_server.create.request import CreateRequest, checked
from agentkit_server.models.pull import Pulls
from agentkit_server.models.store import Store


async def creates(root: Path, who: str, times: int) -> None:
    store = Store(root)
    pulls = Pulls(store)
    for number in range(times):
        request = CreateRequest(model="same", base="tiny", system=f"{who} {number}", license=f"of {who}")
        async for _ in create(store, pulls, checked(request, store)):
            pass


def child(root: Path, who: str, times: int) -> int:
    """Forked rather than started: what is imported here takes longer than all the work."""
    number = os.fork()
    if number == 0:
        try:
            asyncio.run(creates(root, who, times))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return number


if __name__ == "__main__":
    children = [child(Path(sys.argv[1]), who, int(sys.argv[2])) for who in ("one", "two")]
    sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(each, 0)[1]) for each in children))
