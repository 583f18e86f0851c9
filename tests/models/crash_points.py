"""Runs one scenario on a store again and again, each time in a child that dies at a later file operation.

Usage: crash_points.py GGUF FOLDER. Makes FOLDER/<n>, a store whose process died at its n-th operation, for
every n until the scenario gets through, and prints how many there are.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from agentkit_server.models.manifest import Layer, layer_type
from agentkit_server.models.names import ModelName
from agentkit_server.models.store import Store

EVENTS = frozenset({"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "shutil.rmtree"})
DIED = 9


def scenario(root: Path, gguf: Path) -> None:
    """Everything that changes a store."""
    store = Store(root)
    content = gguf.read_bytes()
    with store.blob_writer() as writer:
        writer.write(content[:1000])
        writer.write(content[1000:])
        digest = writer.commit()
    layer = Layer(media_type=layer_type("model"), digest=str(digest), size=len(content))
    info = store.link_file("linked", gguf).gguf
    store.add_model(ModelName.parse("a"), info, (layer,), "MIT")
    store.add_model(ModelName.parse("a"), info, (layer,), "Apache-2.0")
    store.copy("a", "b/c:d")
    store.delete("a")
    store.prune()


def die_at(number: int, root: Path) -> None:
    """End this process, as a power cut would, at its `number`-th file operation below `root`."""
    left = number

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event in EVENTS and str(arguments[0]).startswith(str(root)):
            left -= 1
            if left == 0:
                os._exit(DIED)

    sys.addaudithook(watch)


def main(gguf: Path, folder: Path) -> None:
    number = 0
    status = DIED
    while status == DIED:
        number += 1
        root = folder / str(number)
        child = os.fork()
        if child == 0:
            # The page cache outlives a process, so syncing could only make this slow.
            os.fsync = lambda _: None
            die_at(number, root)
            scenario(root, gguf)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status != 0:
        raise SystemExit(f"the scenario failed by itself with exit status {status}")
    print(number - 1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
