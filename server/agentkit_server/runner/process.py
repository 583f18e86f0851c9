"""The real runner: a child process per loaded model, msgpack frames over ZeroMQ ipc sockets in a
private folder. The parent sees a death at once and fails only that model's requests."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections import deque
from collections.abc import AsyncGenerator
from typing import TypeVar

import msgspec
import zmq

from agentkit_server.engine.types import (
    AdapterFile,
    Cancel,
    Command,
    Delta,
    Detokenize,
    Detokenized,
    DropAdapters,
    DropCache,
    Embed,
    Embedded,
    Failed,
    Finished,
    Generate,
    GetStats,
    LoadAdapters,
    Loaded,
    LoadError,
    LoadProgress,
    LoadSpec,
    ModelFacts,
    Query,
    Reply,
    Shutdown,
    Stats,
    Tokenize,
    Tokenized,
    Unpin,
)
from agentkit_server.errors import (
    AgentkitError,
    BadRequest,
    InvalidGrammar,
    LoadFailed,
    MissingCapability,
    PromptTooLong,
    RunnerCrashed,
    RunnerDied,
)
from agentkit_server.runner.pipe import command_address, reply_address
from agentkit_server.runner.protocol import OnProgress

log = logging.getLogger("agentkit.runner")

POLITE_SECONDS = 5.0
LONGEST_LINE = 1000
SECRETS = frozenset({"AGENTKIT_API_KEYS", "AGENTKIT_REGISTRY_AUTH", "HF_TOKEN"})
"""Variables, set in whatever case, that a child, which reads untrusted files, has no business with."""
T = TypeVar("T", Tokenized, Detokenized, Embedded, Stats)

_encoder = msgspec.msgpack.Encoder()
_replies = msgspec.msgpack.Decoder(list[Reply])
_zeromq: zmq.Context[zmq.Socket[bytes]] = zmq.Context()


class Inbox:
    """Replies for one request, in order; a failure ends them."""

    def __init__(self) -> None:
        self._items: deque[Reply | AgentkitError] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def put(self, item: Reply | AgentkitError) -> None:
        self._items.append(item)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def get(self) -> Reply:
        """Raises what was put when that is an error."""
        while not self._items:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        item = self._items.popleft()
        if isinstance(item, AgentkitError):
            raise item
        return item


class Process:
    """A runner.protocol.Runner in a child process. Made by ProcessLauncher."""

    def __init__(self, spec: LoadSpec, child: asyncio.subprocess.Process, folder: str) -> None:
        self._spec = spec
        self._child = child
        self.folder = folder
        self._facts: ModelFacts | None = None
        self._ids = itertools.count(1)
        self._inboxes: dict[int, Inbox] = {}
        self._lines: deque[str] = deque(maxlen=8)
        self._closing = False
        self._ended = asyncio.Event()
        self.loading = Inbox()
        self._commands = _zeromq.socket(zmq.PUSH)
        self._commands.setsockopt(zmq.SNDHWM, 0)
        self._commands.setsockopt(zmq.LINGER, 0)
        self._replies = _zeromq.socket(zmq.PULL)
        self._replies.setsockopt(zmq.RCVHWM, 0)
        self._replies.bind(reply_address(folder))
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._replies.fileno(), self._on_readable)
        self._reading = asyncio.create_task(self._read_log())
        self._watching = asyncio.create_task(self._watch())

    @property
    def facts(self) -> ModelFacts:
        if self._facts is None:
            raise RunnerDied("the model is not loaded yet: wait for the launch to finish")
        return self._facts

    @property
    def spec(self) -> LoadSpec:
        return self._spec

    @property
    def alive(self) -> bool:
        return not self._ended.is_set() and not self._closing

    @property
    def pid(self) -> int | None:
        return self._child.pid

    def loaded(self, facts: ModelFacts) -> None:
        """The child is ready: its command socket is bound now."""
        self._facts = facts
        # What was said while it loaded explains no later death.
        self._lines.clear()
        self._commands.connect(command_address(self.folder))

    async def tell_spec(self) -> None:
        """What the child waits for first. A child that is already gone is noticed by its death."""
        assert self._child.stdin is not None
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._child.stdin.write(msgspec.json.encode(self._spec) + b"\n")
            await self._child.stdin.drain()

    # Requests

    async def generate(self, request: Generate) -> AsyncGenerator[Delta | Finished]:
        if len(request.prompt) >= self.spec.n_ctx:
            raise PromptTooLong(len(request.prompt), self.spec.n_ctx)
        request_id, inbox = self._open()
        unfinished = request.n
        try:
            self._send(msgspec.structs.replace(request, id=request_id))
            while unfinished:
                reply = await inbox.get()
                if isinstance(reply, Failed):
                    unfinished = 0
                    raise _as_error(reply)
                if isinstance(reply, Finished):
                    unfinished -= 1
                if isinstance(reply, Delta | Finished):
                    yield reply
        finally:
            del self._inboxes[request_id]
            if unfinished and self.alive:
                self._send(Cancel(request_id))

    async def tokenize(self, text: str, *, add_special: bool = True, parse_special: bool = True) -> list[int]:
        request_id, inbox = self._open()
        command = Tokenize(id=request_id, text=text, add_special=add_special, parse_special=parse_special)
        return (await self._ask(command, inbox, Tokenized)).tokens

    async def detokenize(self, tokens: list[int], *, special: bool = True) -> str:
        request_id, inbox = self._open()
        command = Detokenize(id=request_id, tokens=tokens, special=special)
        return (await self._ask(command, inbox, Detokenized)).text

    async def embed(self, inputs: list[list[int]], *, adapters: int = 0) -> Embedded:
        longest = max(map(len, inputs), default=0)
        if longest > self.spec.n_ctx:
            raise PromptTooLong(longest, self.spec.n_ctx)
        request_id, inbox = self._open()
        return await self._ask(Embed(id=request_id, inputs=inputs, adapters=adapters), inbox, Embedded)

    async def stats(self) -> Stats:
        request_id, inbox = self._open()
        return await self._ask(GetStats(request_id), inbox, Stats)

    async def drop_cache(self) -> Stats:
        request_id, inbox = self._open()
        return await self._ask(DropCache(request_id), inbox, Stats)

    async def unpin(self, pin: str) -> Stats:
        request_id, inbox = self._open()
        return await self._ask(Unpin(request_id, pin), inbox, Stats)

    async def load_adapters(self, number: int, files: list[AdapterFile]) -> Stats:
        request_id, inbox = self._open()
        return await self._ask(LoadAdapters(request_id, number, files), inbox, Stats)

    async def drop_adapters(self, number: int) -> Stats:
        request_id, inbox = self._open()
        return await self._ask(DropAdapters(request_id, number), inbox, Stats)

    def _open(self) -> tuple[int, Inbox]:
        if not self.alive:
            raise self._death()
        request_id, inbox = next(self._ids), Inbox()
        self._inboxes[request_id] = inbox
        return request_id, inbox

    async def _ask(self, command: Tokenize | Detokenize | Embed | Query, inbox: Inbox, kind: type[T]) -> T:
        answered = False
        try:
            self._send(command)
            reply = await inbox.get()
            answered = True
        finally:
            del self._inboxes[command.id]
            if not answered and self.alive:
                self._send(Cancel(command.id))
        if isinstance(reply, Failed):
            raise _as_error(reply)
        if not isinstance(reply, kind):
            raise RunnerDied(
                f"the model runner answered {type(reply).__name__} where {kind.__name__} was due"
            )
        return reply

    def _send(self, command: Command) -> None:
        self._commands.send(_encoder.encode(command), zmq.NOBLOCK)

    # Replies

    def _on_readable(self) -> None:
        """ZeroMQ's descriptor tells of changes only once: read until nothing is left."""
        while True:
            try:
                frame = self._replies.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            for reply in _replies.decode(frame):
                self._deliver(reply)

    def _deliver(self, reply: Reply) -> None:
        if isinstance(reply, LoadProgress | Loaded | LoadError):
            self.loading.put(reply)
            return
        inbox = self._inboxes.get(reply.id)
        # A cancelled request's last replies arrive when nobody waits for them any more.
        if inbox is not None:
            inbox.put(reply)

    # The child's life

    async def _read_log(self) -> None:
        assert self._child.stderr is not None
        while True:
            try:
                raw = await self._child.stderr.readline()
            except ValueError:
                # Longer than the stream's limit, as a hostile file can make llama.cpp's: it is dropped.
                continue
            if not raw:
                return
            line = raw.decode("utf-8", "replace").rstrip()[:LONGEST_LINE]
            self._lines.append(line)
            log.debug("runner %s: %s", self._child.pid, line)

    async def _watch(self) -> None:
        await self._child.wait()
        try:
            await self._reading
            self._on_readable()
        finally:
            self._ended.set()
            death = self._death()
            self.loading.put(death)
            for inbox in self._inboxes.values():
                inbox.put(death)
            if not self._closing:
                log.error("%s", death.message)
            self._loop.remove_reader(self._replies.fileno())
            self._replies.close(linger=0)
            self._commands.close(linger=0)
            shutil.rmtree(self.folder, ignore_errors=True)

    def _death(self) -> RunnerDied:
        if self._closing:
            return RunnerDied("model runner was unloaded while this request was running: send it again")
        return RunnerDied(
            f"model runner has unexpectedly stopped ({self.how_it_ended()}); "
            f"the next request loads the model again"
        )

    @property
    def signal(self) -> int:
        """Number of the signal that ended the child, 0 for none."""
        code = self._child.returncode
        return -code if code is not None and code < 0 else 0

    def how_it_ended(self) -> str:
        how = ending(self._child.returncode)
        said = "; ".join(line for line in self._lines if line.strip())
        return f"{how}: {said}" if said else how

    async def wait_closed(self) -> None:
        await self._ended.wait()

    async def close(self) -> None:
        if not self._closing and not self._ended.is_set():
            self._closing = True
            if self._facts is None:
                self._kill()
            else:
                self._send(Shutdown())
        try:
            async with asyncio.timeout(POLITE_SECONDS):
                await asyncio.shield(self._watching)
        except TimeoutError:
            self._kill()
            await self._watching

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._child.kill()


_ERRORS: dict[str, type[AgentkitError]] = {
    kind.code: kind for kind in (BadRequest, MissingCapability, InvalidGrammar, LoadFailed)
}


def _as_error(reply: Failed) -> AgentkitError:
    return _ERRORS.get(reply.code, AgentkitError)(reply.message)


class ProcessLauncher:
    """Starts a child process for each launch."""

    async def launch(self, spec: LoadSpec, on_progress: OnProgress | None = None) -> Process:
        """Raises RunnerCrashed when the child dies by a signal while it loads, else LoadFailed."""
        folder = tempfile.mkdtemp(prefix="agentkit-")
        try:
            process = Process(spec, await spawn_child("agentkit_server.runner.child", folder), folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        try:
            await process.tell_spec()
            await _wait_loaded(process, on_progress)
        except BaseException:
            await process.close()
            raise
        return process


async def spawn_child(
    module: str, argument: str, *, stdout: int = asyncio.subprocess.DEVNULL
) -> asyncio.subprocess.Process:
    """A child that runs llama.cpp, with what it needs of the server's environment."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        # The folder that the server was started in must not lend its files as modules.
        "-P",
        "-m",
        module,
        argument,
        stdin=asyncio.subprocess.PIPE,
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
        env=_environment(),
    )


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name.upper() not in SECRETS}
    # ggml would run a debugger on the dying process and delay its death.
    return {**kept, "GGML_NO_BACKTRACE": "1"}


def ending(code: int | None) -> str:
    """How a child ended whose return code is `code`."""
    if code is None or code >= 0:
        return f"exit code {code}"
    names = {number.value: number.name for number in signal.Signals}
    return f"killed by {names.get(-code, f'signal {-code}')}"


async def _wait_loaded(process: Process, on_progress: OnProgress | None) -> None:
    while True:
        try:
            reply = await process.loading.get()
        except RunnerDied:
            message = f"the model could not be loaded: its runner ended ({process.how_it_ended()})"
            if process.signal:
                raise RunnerCrashed(message, signal=process.signal) from None
            raise LoadFailed(message) from None
        match reply:
            case LoadProgress():
                if on_progress is not None:
                    on_progress(reply.fraction)
            case Loaded():
                process.loaded(reply.facts)
                return
            case LoadError():
                raise LoadFailed(f"the model could not be loaded: {reply.message}")
            case _:
                raise LoadFailed(f"the model runner sent {type(reply).__name__} before it was loaded")
