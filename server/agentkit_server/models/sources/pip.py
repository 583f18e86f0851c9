"""Downloads one wheel with the person's own pip: its configuration, index, proxy and credentials apply."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio.abc import ByteReceiveStream

from agentkit_server.errors import PullFailed

_PACKAGE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", re.ASCII)
_VERSION = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.!+_-]*[A-Za-z0-9])?", re.ASCII)
_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")
_DOWNLOADING = re.compile(r"\s*Downloading (\S+)")
_LAST_LINES = 6
_LONGEST_LINE = 1 << 16


@dataclass(frozen=True)
class Package:
    """A package, and its version where one is asked for. Safe on pip's command line."""

    name: str
    """In the canonical form: lower case, words joined by single dashes."""
    version: str | None = None

    @classmethod
    def parse(cls, text: str) -> Package:
        """Read `NAME` or `NAME==VERSION`. Raises PullFailed."""
        name, pinned, version = text.partition("==")
        if not _PACKAGE.fullmatch(name) or (pinned and not _VERSION.fullmatch(version)):
            raise PullFailed(f"{text!r} is not a package: write pypi:NAME or pypi:NAME==VERSION")
        return cls(re.sub(r"[-_.]+", "-", name).lower(), version or None)

    def __str__(self) -> str:
        return self.name if self.version is None else f"{self.name}=={self.version}"


async def download_wheel(package: Package, folder: Path) -> AsyncGenerator[tuple[int, int]]:
    """Put the wheel of `package`, without its dependencies, into `folder`.

    Yields (bytes done, bytes in all) while it downloads; the second is 0 when the index does not say.
    pip is killed when the generator is closed or cancelled. Raises PullFailed with pip's last words.
    """
    said: deque[str] = deque(maxlen=_LAST_LINES)
    arguments = ["download", "--no-deps", "--only-binary", ":all:", "--progress-bar", "raw", "--no-input"]
    arguments += ["--disable-pip-version-check", "--dest", os.fspath(folder), "--", str(package)]
    process = await anyio.open_process(
        # -P: a folder called pip where the server was started must not become the program.
        [sys.executable, "-P", "-m", "pip", *arguments],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        # pip unpacks its download under TMPDIR first, which may be a small file system.
        env=os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), os.fspath(folder)),
    )
    async with process:
        try:
            assert process.stdout is not None
            metadata = False
            async for line in _lines(process.stdout):
                if (progress := _PROGRESS.fullmatch(line)) is not None:
                    if not metadata:
                        yield int(progress[1]), int(progress[2])
                    continue
                if (started := _DOWNLOADING.match(line)) is not None:
                    # A small file that pip reads first; its progress is not the model's.
                    metadata = started[1].endswith(".metadata")
                said.append(line.strip())
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            raise
        status = await process.wait()
    if status != 0:
        raise PullFailed(_explain(package, status, [line for line in said if line]))


def _explain(package: Package, status: int, said: list[str]) -> str:
    errors = [line for line in said if line.startswith("ERROR")] or said
    return (
        f"pip could not download {str(package)!r} (exit status {status}): {' '.join(errors)}; check the "
        f"name, and that 'pip download --no-deps {package}' works here: its index and proxy are pip's own"
    )


async def _lines(stream: ByteReceiveStream) -> AsyncIterator[str]:
    rest = b""
    async for chunk in stream:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", errors="replace").rstrip("\r")
        rest = rest[-_LONGEST_LINE:]
    if rest:
        yield rest.decode("utf-8", errors="replace")
