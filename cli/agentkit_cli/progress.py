"""What is shown on stderr while something takes time: a spinner, a bar for a load, and one bar for each blob
of a download.

Off a terminal, downloads become plain lines, each said once, and the others are not shown.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from agentkit_cli.output import note

_ASK_SECONDS = 0.2
_LEAVE_SECONDS = 1.0

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from agentkit import Client, ProgressResponse


@contextmanager
def spinner(text: str) -> Generator[None, None, None]:
    """Shows `text` with a spinner while the block runs; on anything but a terminal, shows nothing."""
    if not sys.stderr.isatty():
        yield
        return
    with _console().status(text):
        yield


@contextmanager
def waiting(client: Client, model: str) -> Generator[None, None, None]:
    """A bar until the block ends: how far the load of `model` is while it is being loaded, else one without
    measure. Shows nothing off a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    ended = threading.Event()
    with _load_bar() as bars:
        # A daemon, for a server that has stopped answering must not hold up Ctrl-C.
        watcher = threading.Thread(target=_watch, args=(client, model, bars, ended), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join(_LEAVE_SECONDS)


def _watch(client: Client, model: str, bars: Progress, ended: threading.Event) -> None:
    from agentkit import AgentkitError

    other = bars.add_task("waiting for the model", total=None)
    load = bars.add_task(f"loading {model}", total=1.0, visible=False)
    while not ended.wait(_ASK_SECONDS):
        try:
            done = _loading(client, model)
        except AgentkitError:
            # The request that is waited for meets the same trouble, and tells it.
            return
        bars.update(other, visible=done is None)
        bars.update(load, visible=done is not None, completed=done)


def _loading(client: Client, model: str) -> float | None:
    names = (model.lower(), f"{model.lower()}:latest")
    rows = (row for row in client.ps().models if (row.name or "").lower() in names)
    return next((row.loading for row in rows), None)


@contextmanager
def bar(text: str) -> Generator[Callable[[int, int], None], None, None]:
    """One bar; yields what is to be called with (bytes done, bytes in all). Shows nothing off a terminal."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    with _bars() as bars:
        task = bars.add_task(text, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def pull(client: Client, model: str, *, insecure: bool = False) -> str:
    """Downloads `model` and shows how far it is; returns the name that it is stored under. Leaving by an
    exception cancels the download."""
    name = model

    def steps() -> Generator[ProgressResponse, None, None]:
        nonlocal name
        with closing(client.pull(model, insecure=insecure, stream=True)) as lines:
            for line in lines:
                name = line.model or name
                yield line

    follow(steps())
    return name


def follow(work: Generator[ProgressResponse, None, None]) -> None:
    """Shows how far `work` is until it ends. Leaving by an exception cancels it."""
    with closing(work) as steps:
        if sys.stderr.isatty():
            _draw(steps)
        else:
            _write(steps)


@contextmanager
def uploads() -> Generator[Callable[[str], Callable[[str, int, int], None]], None, None]:
    """One bar for each file that is read or sent. What is yielded gives, for a file's name, what is to be
    called with ("hashing" or "uploading", bytes done, bytes in all)."""
    if not sys.stderr.isatty():
        yield _written_upload
        return
    with _bars() as bars:
        yield lambda name: _drawn_upload(bars, name)


def _written_upload(name: str) -> Callable[[str, int, int], None]:
    said: set[str] = set()

    def told(doing: str, done: int, total: int) -> None:
        if doing not in said:
            said.add(doing)
            note(f"{doing} {name}")

    return told


def _drawn_upload(bars: Progress, name: str) -> Callable[[str, int, int], None]:
    tasks: dict[str, TaskID] = {}

    def told(doing: str, done: int, total: int) -> None:
        if doing not in tasks:
            tasks[doing] = bars.add_task(f"{doing} {name}", total=total)
        bars.update(tasks[doing], completed=done)

    return told


def _write(steps: Iterable[ProgressResponse]) -> None:
    # Blobs that go at the same time take turns.
    said: set[str] = set()
    for step in steps:
        if step.status and step.status not in said:
            said.add(step.status)
            note(step.status)


def _draw(steps: Iterable[ProgressResponse]) -> None:
    with _bars() as bars:
        tasks: dict[str, TaskID] = {}
        for step in steps:
            status = step.status or ""
            if step.total is None:
                if status not in tasks:
                    bars.console.print(status, markup=False, highlight=False)
            else:
                key = step.digest or status
                if key not in tasks:
                    tasks[key] = bars.add_task(status, total=step.total)
                bars.update(tasks[key], total=step.total, completed=step.completed or 0)


def _load_bar() -> Progress:
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
    return Progress(*columns, console=_console(), transient=True)


def _bars() -> Progress:
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=_console(),
    )


def _console() -> Console:
    from rich.console import Console

    return Console(stderr=True)
