"""Debian's docker-registry on loopback, over an empty folder: the real thing to push to and pull from."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread, Timer

import pytest

PROGRAM = "docker-registry"
START_SECONDS = 30
_LISTENING = re.compile(rb"listening on (\S+?)[\"\s,]")
_CONFIG = """
version: 0.1
log: {{level: info, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:0"}}
"""


@contextmanager
def docker_registry(folder: Path) -> Generator[str]:
    """Yields its `host:port`; the test is skipped where the program is not installed. It keeps everything
    in `folder` and ends with the block."""
    program = shutil.which(PROGRAM)
    if program is None:
        pytest.skip(f"{PROGRAM} is not installed (it is a Debian package)")
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "config.yml"
    config.write_text(_CONFIG.format(folder=folder / "data"))
    process = subprocess.Popen(
        [program, "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        address = _address(process)
        assert process.stderr is not None
        # It goes on writing its log, and would wait for a reader.
        reader = Thread(target=process.stderr.read)
        reader.start()
        yield address
        process.kill()
        reader.join()
    finally:
        process.kill()
        process.communicate()


def _address(process: subprocess.Popen[bytes]) -> str:
    """What the program says it listens on, in its log."""
    assert process.stderr is not None
    said: list[bytes] = []
    too_late = Timer(START_SECONDS, process.kill)
    too_late.start()
    try:
        for line in process.stderr:
            said.append(line)
            if (match := _LISTENING.search(line)) is not None:
                return match[1].decode()
    finally:
        too_late.cancel()
    raise AssertionError(f"{PROGRAM} does not start: {b''.join(said).decode(errors='replace')}")
