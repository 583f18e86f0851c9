"""A runner that replays a script: no model, no child process, the same behaviour every time.

Give it to a server in place of the real launcher to test an application without weights. Its tokens are
UTF-8 bytes (ids 0 to 255) followed by the control strings of `ScriptedModel` (256 and up), so
tokenising is reversible; counts, stop strings, limits, prefix reuse and errors are those of a real runner.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from typing import Any, Protocol

import msgspec

from agentkit_server.engine.constraint import Constraint
from agentkit_server.engine.types import (
    AdapterFile,
    Delta,
    Embedded,
    Finished,
    Generate,
    LoadSpec,
    ModelFacts,
    Stats,
)
from agentkit_server.errors import AgentkitError, BadRequest, LoadFailed, PromptTooLong, RunnerDied
from agentkit_server.runner.protocol import OnProgress
from agentkit_server.runner.script import Completion, ScriptedModel, ScriptLeftGrammar, common

__all__ = ["Gate", "Script", "ScriptLeftGrammar", "Scripted", "ScriptedLauncher", "ScriptedModel"]

Script = str | Sequence[str] | Callable[[str], str | Sequence[str]]
"""What is answered. A text comes as one Delta per token, a list of pieces as one Delta per piece; a
callable gets the text of the prompt and returns either (`lambda _: next(replies)` scripts a dialogue)."""


class Gate(Protocol):
    """Something to wait for: an `asyncio.Event` or an `anyio.Event`."""

    def is_set(self) -> bool: ...

    def wait(self) -> Coroutine[Any, Any, object]: ...


class Scripted:
    """A Runner that replays `script`, and the switches to make it misbehave.

    Set `hold` to a Gate to make every generation wait for it once `hold_after` tokens went out (0: before
    the first), `die_after` to die once that many went out; call `die()` to die now. Both count the tokens
    of all requests. `requests` is what it was asked.
    """

    def __init__(self, script: Script, spec: LoadSpec, model: ScriptedModel | None = None) -> None:
        self.script = script
        self.model = model or ScriptedModel()
        self.hold: Gate | None = None
        self.hold_after = 0
        self.die_after: int | None = None
        self.requests: list[Generate] = []
        self.cancelled: list[int] = []
        """Ids of requests whose stream was closed before its end."""
        self.closed_politely = False
        self._spec = spec
        self._facts = self.model.facts(spec)
        self._gone = asyncio.Event()
        self._cause = ""
        self._past: list[tuple[int, list[int]]] = []
        """Adapters and tokens of what was computed."""
        self.adapters: dict[int, list[AdapterFile]] = {}
        """The sets that are loaded."""
        self.refuse_adapters = ""
        """Why those that come do not fit, "" = they do."""
        self.pins: set[str] = set()
        """What requests have pinned, from their end on."""
        self._pinning: dict[int, str] = {}
        self._running = 0
        self._emitted = 0
        self._computed = 0
        self._reused = 0

    @property
    def facts(self) -> ModelFacts:
        return self._facts

    @property
    def spec(self) -> LoadSpec:
        return self._spec

    @property
    def alive(self) -> bool:
        return not self._gone.is_set()

    @property
    def pid(self) -> int | None:
        return None

    def die(self, cause: str = "the script ended it") -> None:
        """End as a killed child does: every call and every open stream raises RunnerDied."""
        self._cause = self._cause or cause
        self._gone.set()

    async def generate(self, request: Generate) -> AsyncGenerator[Delta | Finished]:
        """Replay the script once for each completion, in turn.

        Raises BadRequest for an empty prompt, PromptTooLong, InvalidGrammar, RunnerDied; ScriptLeftGrammar
        when the script says what the request's grammar does not allow.
        """
        self._check_alive()
        if not request.prompt:
            raise BadRequest("the prompt has no tokens; send at least one", param="prompt")
        if len(request.prompt) > self._spec.n_ctx:
            raise PromptTooLong(len(request.prompt), self._spec.n_ctx)
        request = msgspec.structs.replace(request, id=len(self.requests) + 1)
        self.requests.append(request)
        constraint = self.model.constraint(request.grammar) if request.grammar else None
        open_ones = [self._completion(request, index, constraint) for index in range(request.n)]
        self._running += 1
        self._pinning[request.id] = request.pin
        try:
            while open_ones:
                await self._pause(request.deadline_ns)
                for completion in list(open_ones):
                    messages = await self._step(completion)
                    if completion.reason is not None:
                        # Before it is told: whoever hears of the end may leave at once.
                        open_ones.remove(completion)
                        self._past.append((request.adapters, request.prompt + completion.tokens))
                    for message in messages:
                        yield message
        finally:
            self._running -= 1
            if pin := self._pinning.pop(request.id):
                self.pins.add(pin)
            if open_ones and self.alive:
                self.cancelled.append(request.id)

    async def tokenize(self, text: str, *, add_special: bool = True, parse_special: bool = True) -> list[int]:
        self._check_alive()
        begin = [self.model.id(self.model.bos)] if add_special and self.model.add_bos else []
        return begin + self.model.encode(text, special=parse_special)

    async def detokenize(self, tokens: list[int], *, special: bool = True) -> str:
        """Raises BadRequest for an id outside the vocabulary."""
        self._check_alive()
        for token in tokens:
            if not 0 <= token < self.model.n_vocab:
                raise BadRequest(
                    f"token id {token!r} is outside the vocabulary; use 0 to {self.model.n_vocab - 1}"
                )
        return self.model.decode(tokens, special=special)

    async def embed(self, inputs: list[list[int]], *, adapters: int = 0) -> Embedded:
        """Vectors that depend on tokens and adapters. Raises PromptTooLong when an input does not fit."""
        self._check_alive()
        for tokens in inputs:
            if len(tokens) > self._spec.n_ctx:
                raise PromptTooLong(len(tokens), self._spec.n_ctx)
        mark = [-adapters] if adapters else []
        vectors = [self._vector(mark + tokens) for tokens in inputs]
        return Embedded(id=0, vectors=vectors, prompt_tokens=sum(map(len, inputs)))

    async def stats(self) -> Stats:
        self._check_alive()
        cached = sum(len(tokens) for _, tokens in self._past)
        return Stats(
            id=0,
            cells_total=self._spec.n_cells,
            cells_used=min(cached, self._spec.n_cells),
            cells_cached=min(cached, self._spec.n_cells),
            sequences_running=self._running,
            sequences_waiting=0,
            sequences_cached=len(self._past),
            parked_bytes=0,
            pins=len(self.pins),
            decode_steps=self._emitted,
            tokens_computed=self._computed,
            tokens_reused=self._reused,
            preemptions=0,
            rss_bytes=0,
            adapters=len({file.path for files in self.adapters.values() for file in files}),
        )

    async def drop_cache(self) -> Stats:
        self._past.clear()
        return await self.stats()

    async def unpin(self, pin: str) -> Stats:
        self.pins.discard(pin)
        self._pinning = {one: "" if name == pin else name for one, name in self._pinning.items()}
        return await self.stats()

    async def load_adapters(self, number: int, files: list[AdapterFile]) -> Stats:
        """Raises LoadFailed with what `refuse_adapters` says."""
        self._check_alive()
        if self.refuse_adapters:
            raise LoadFailed(self.refuse_adapters)
        self.adapters.setdefault(number, files)
        return await self.stats()

    async def drop_adapters(self, number: int) -> Stats:
        self._check_alive()
        self.adapters.pop(number, None)
        self._past = [past for past in self._past if past[0] != number]
        return await self.stats()

    async def wait_closed(self) -> None:
        await self._gone.wait()

    async def close(self) -> None:
        self.closed_politely = self.closed_politely or self.alive
        self.die("it was closed")

    def _completion(self, request: Generate, index: int, constraint: Constraint | None) -> Completion:
        # The last prompt token is always computed: its logits choose the first new token.
        same = (tokens for adapters, tokens in self._past if adapters == request.adapters)
        longest = max((common(tokens, request.prompt) for tokens in same), default=0)
        cached = min(longest, len(request.prompt) - 1)
        if index == 0:
            self._reused += cached
            self._computed += len(request.prompt) - cached
        room = self._spec.n_ctx - len(request.prompt)
        own = constraint and constraint.copy(ignore_ends=request.ignore_eos)
        return Completion(self.model, request, index, self._steps(request), room, cached, own)

    def _steps(self, request: Generate) -> Iterator[list[int]]:
        script = self.script
        answer = script(self.model.decode(request.prompt)) if callable(script) else script
        if isinstance(answer, str):
            return iter([[token] for token in self.model.encode(answer)])
        return iter([self.model.encode(piece) for piece in answer if piece])

    async def _step(self, completion: Completion) -> list[Delta | Finished]:
        await asyncio.sleep(0)
        if self.die_after is not None and self._emitted >= self.die_after:
            self.die(f"the script ended it after {self.die_after} tokens")
        self._check_alive()
        if _passed(completion.request.deadline_ns):
            completion.reason = "deadline"
            return [completion.finished()]
        delta = completion.advance()
        self._emitted += len(delta.tokens)
        self._computed += len(delta.tokens)
        spoken = delta.text or delta.tokens or delta.marks
        messages: list[Delta | Finished] = [delta] if spoken else []
        if completion.reason is not None:
            messages.append(completion.finished())
        return messages

    def _vector(self, tokens: list[int]) -> list[float]:
        seed = b",".join(str(token).encode() for token in tokens)
        length = 1 if self.model.pooling == "rank" else self.model.n_embd
        digests = (hashlib.sha256(seed + b"#%d" % i).digest()[0] for i in range(length))
        return [(byte - 127.5) / 127.5 for byte in digests]

    async def _pause(self, deadline_ns: int) -> None:
        if self.hold is None or self.hold.is_set() or self._emitted < self.hold_after:
            return
        waits = [asyncio.ensure_future(self.hold.wait()), asyncio.ensure_future(self._gone.wait())]
        try:
            left = (deadline_ns - time.monotonic_ns()) / 1e9 if deadline_ns else None
            await asyncio.wait(waits, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _check_alive(self) -> None:
        if not self.alive:
            raise RunnerDied(
                f"model runner has unexpectedly stopped: {self._cause}; the next request loads it again"
            )


class ScriptedLauncher:
    """A Launcher of Scripted runners, and the switches to make loads slow or fail.

    `launches` lists the spec of every load begun, `runners` those that were loaded. `scripts` gives the
    script of single models by path. `hold`, `hold_after` and `die_after` are handed to every runner
    started from then on.
    """

    def __init__(
        self,
        script: Script = "",
        model: ScriptedModel | None = None,
        *,
        scripts: dict[str, Script] | None = None,
    ) -> None:
        self.script = script
        self.model = model or ScriptedModel()
        self.scripts = scripts or {}
        self.gate: Gate | None = None
        """Every load waits for this after reporting progress 0."""
        self.gates: dict[str, Gate] = {}
        """The same for single models, by path."""
        self.hold: Gate | None = None
        self.hold_after = 0
        self.die_after: int | None = None
        self.launches: list[LoadSpec] = []
        self.abandoned: list[LoadSpec] = []
        """Loads that were cancelled before they ended."""
        self.runners: list[Scripted] = []
        self._failures: list[AgentkitError] = []
        self._begun = asyncio.Condition()

    @property
    def requests(self) -> list[Generate]:
        """Everything the runners were asked to generate, runner by runner."""
        return [request for runner in self.runners for request in runner.requests]

    def fail(self, error: str | AgentkitError, times: int = 1) -> None:
        """Make the next `times` loads end in `error` (a text means LoadFailed)."""
        self._failures += [LoadFailed(error) if isinstance(error, str) else error] * times

    async def wait_launches(self, count: int) -> None:
        """Returns once `count` loads in all have begun."""
        async with self._begun:
            await self._begun.wait_for(lambda: len(self.launches) >= count)

    async def launch(self, spec: LoadSpec, on_progress: OnProgress | None = None) -> Scripted:
        """Raises what `fail` was given."""
        async with self._begun:
            self.launches.append(spec)
            self._begun.notify_all()
        failure = self._failures.pop(0) if self._failures else None
        if on_progress is not None:
            on_progress(0.0)
        try:
            for gate in (self.gate, self.gates.get(spec.path)):
                if gate is not None:
                    await gate.wait()
        except asyncio.CancelledError:
            self.abandoned.append(spec)
            raise
        if failure is not None:
            raise failure
        if on_progress is not None:
            on_progress(1.0)
        runner = Scripted(self.scripts.get(spec.path, self.script), spec, self.model)
        runner.hold, runner.hold_after, runner.die_after = self.hold, self.hold_after, self.die_after
        self.runners.append(runner)
        return runner


def _passed(deadline_ns: int) -> bool:
    return 0 < deadline_ns <= time.monotonic_ns()
