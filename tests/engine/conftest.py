"""The engine on the real smollm2, in this process, driven through its command queue."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from support.smollm2 import gguf_path

from agentkit_server.engine.grammars import Grammars
from agentkit_server.engine.llama import Context
from agentkit_server.engine.stepper import Stepper
from agentkit_server.engine.types import (
    Delta,
    DropCache,
    Embedded,
    Failed,
    Finished,
    Generate,
    GetStats,
    LoadSpec,
    Reply,
    Sampling,
    Shutdown,
    Stats,
)

TIMEOUT = 120.0
GREEDY = Sampling(temperature=0)


@dataclass
class Answer:
    """What came back for one completion."""

    deltas: list[Delta] = field(default_factory=list[Delta])
    finished: Finished | None = None

    @property
    def text(self) -> str:
        return "".join(d.text for d in self.deltas)

    @property
    def tokens(self) -> list[int]:
        return [t for d in self.deltas for t in d.tokens]

    @property
    def end(self) -> Finished:
        assert self.finished is not None
        return self.finished


class Engine:
    """A stepper in a thread; `submit` returns at once, `collect` waits for what was submitted."""

    def __init__(self, context: Context, grammars: Grammars | None = None) -> None:
        self.context = context
        self.grammars = grammars or Grammars(context.vocabulary)
        self.log: list[Reply] = []
        self._replies: SimpleQueue[Reply] = SimpleQueue()
        self._stepper = Stepper(context, self.grammars, self._emit)
        self._thread = threading.Thread(target=self._stepper.run)
        self._next_id = 0
        self._failed: dict[int, Failed] = {}
        self._answers: dict[tuple[int, int], Answer] = {}
        self.on_reply: Callable[[Reply], None] = lambda _: None

    def start(self) -> None:
        self._thread.start()

    def _emit(self, replies: list[Reply]) -> None:
        for reply in replies:
            self._replies.put(reply)

    def tokens(self, text: str) -> list[int]:
        return self.context.vocabulary.tokenize(text, add_special=True, parse_special=True)

    def submit(self, prompt: str | list[int], **options: Any) -> int:
        self._next_id += 1
        tokens = self.tokens(prompt) if isinstance(prompt, str) else prompt
        options.setdefault("sampling", GREEDY)
        self.send(Generate(id=self._next_id, prompt=tokens, **options))
        return self._next_id

    def send(self, command: Any) -> None:
        self._stepper.submit(command)

    def next_reply(self) -> Reply:
        reply = self._replies.get(timeout=TIMEOUT)
        self.log.append(reply)
        self.on_reply(reply)
        match reply:
            case Delta():
                self._answers.setdefault((reply.id, reply.index), Answer()).deltas.append(reply)
            case Finished():
                self._answers.setdefault((reply.id, reply.index), Answer()).finished = reply
            case Failed():
                self._failed[reply.id] = reply
            case _:
                pass
        return reply

    def collect(self, request_id: int, index: int = 0) -> Answer:
        key = (request_id, index)
        while key not in self._answers or self._answers[key].finished is None:
            assert request_id not in self._failed, self._failed.get(request_id)
            self.next_reply()
        return self._answers[key]

    def failure(self, request_id: int) -> Failed:
        while request_id not in self._failed:
            self.next_reply()
        return self._failed[request_id]

    def run(self, prompt: str | list[int], **options: Any) -> Answer:
        return self.collect(self.submit(prompt, **options))

    def ask(self, command: Any) -> Any:
        self.send(command)
        while True:
            reply = self.next_reply()
            if isinstance(reply, Stats | Embedded | Failed) and reply.id == command.id:
                return reply

    def stats(self) -> Stats:
        self._next_id += 1
        return self.ask(GetStats(self._next_id))

    def drop_cache(self) -> Stats:
        self._next_id += 1
        return self.ask(DropCache(self._next_id))

    def stop(self) -> None:
        self.drop_cache()
        self.send(Shutdown())
        self._thread.join(TIMEOUT)
        assert not self._thread.is_alive()


@pytest.fixture(scope="session")
def gguf() -> Path:
    return gguf_path()


def _context(gguf: Path, **changes: Any) -> Context:
    options: dict[str, Any] = {"path": str(gguf), "n_ctx": 1024, "n_cells": 4096, **changes}
    return Context(LoadSpec(**options), lambda _: None)


@pytest.fixture(scope="session")
def shared_context(gguf: Path) -> Iterator[Context]:
    context = _context(gguf)
    yield context
    context.free()


@pytest.fixture(scope="session")
def shared_grammars(shared_context: Context) -> Iterator[Grammars]:
    grammars = Grammars(shared_context.vocabulary)
    yield grammars
    assert grammars.close(TIMEOUT)


@pytest.fixture
def engine(shared_context: Context, shared_grammars: Grammars) -> Iterator[Engine]:
    """An empty engine with room for everything these tests do."""
    engine = Engine(shared_context, shared_grammars)
    engine.start()
    yield engine
    engine.stop()


@pytest.fixture
def make_engine(gguf: Path) -> Iterator[Callable[..., Engine]]:
    """An engine with a load spec of its own."""
    made: list[Engine] = []

    def make(**changes: Any) -> Engine:
        engine = Engine(_context(gguf, **changes))
        engine.start()
        made.append(engine)
        return engine

    yield make
    for engine in made:
        engine.stop()
        assert engine.grammars.close(TIMEOUT)
        engine.context.free()
