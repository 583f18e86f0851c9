"""Agents: a model, instructions, tools and an output type, and runs of them.

agent = Agent("smollm2", instructions="Be brief.", tools=[weather], output_type=Report)
print(agent.run_sync("What is it like in Oslo?").output)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, suppress
from dataclasses import dataclass, field, replace
from os import PathLike
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypedDict, TypeVar, Unpack, cast, overload, runtime_checkable

from agentkit._backends import Server
from agentkit._calls import Toolbox
from agentkit._context import RunContext
from agentkit._errors import AgentkitError, DefinitionError, RequestError
from agentkit._events import PendingCall, RunEnded, RunEvent, RunPaused
from agentkit._hooks import Hooks
from agentkit._keeping import Keeping, kept_in
from agentkit._loop import Flow, Loop, Plan
from agentkit._output import output_of
from agentkit._recording import Recording, facts_of
from agentkit._run import Run
from agentkit._session import Session
from agentkit._tool import Tool, as_tool
from agentkit._tracing import Trace, traced
from agentkit._turn import ModelBackend, ModelSession, ToolChoice, TurnRequest
from agentkit._types import Message
from agentkit._usage import Limits, Usage

T = TypeVar("T")
Instructions = str | Callable[[RunContext[Any]], str]
_FIRST_CHOICE: dict[Flow, ToolChoice] = {"single": "required", "parallel": "required", "loop": "auto"}


@runtime_checkable
class Toolset(Protocol):
    """Tools that have to be connected to, such as those of an MCP server."""

    def connect(self) -> AbstractAsyncContextManager[Sequence[Tool]]:
        """The tools, for as long as a run takes."""
        ...


AnyTool = Tool | Callable[..., Any] | Mapping[str, Any] | Toolset


class AgentOptions(TypedDict, total=False):
    """What an Agent takes beside model and output type."""

    instructions: Instructions
    """The system message, or a function of the run's context that gives it."""
    tools: Sequence[AnyTool]
    flow: Flow
    """single: one tool, one answer. parallel: all calls of one turn at once, then the answer. loop (default):
    until the model answers."""
    tool_choice: ToolChoice
    """Of the first turn. Default: `required` for single and parallel, `auto` for loop."""
    parallel_tool_calls: bool
    limits: Limits
    hooks: Hooks
    backend: ModelBackend
    """Who answers turns; default: the agentkit server that the environment names."""
    think: bool | str | None
    thinking_budget: int | None
    options: Mapping[str, Any]
    """Sampling and load-time options of every turn under their native names: `temperature`, `seed`,
    `num_ctx` …"""
    max_concurrency: int
    """Tool calls that run at the same time, at most; default 8."""
    output_retries: int
    """How often the model is asked again when its answer is not valid for the output type; default 2."""
    keep_prefix: bool
    """Let the server keep a finished run's prefix for a run that goes on from it; default False."""
    trace_content: bool
    """Spans hold messages, arguments and results too. Default: what
    OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT says, else False."""


class RunOptions(TypedDict, total=False):
    """What a run takes beside the prompt."""

    deps: Any
    """What tools get as `RunContext.deps`."""
    run: Run | None
    """A run to go on with. With a prompt, another question is asked in it; without one, its open tool calls
    are run, or its last message is answered."""
    history: Sequence[Message | Mapping[str, Any]]
    """Messages that go before the prompt."""
    limits: Limits
    """In place of the agent's."""
    session: Session | None
    """Where the history comes from, and where the run is saved: after each turn and tool result, at a pause,
    and at its end. Without a prompt, its pending run is gone on with."""
    record: str | PathLike[str] | None
    """A run file to write, for `agentkit.replay`; one that is there already is replaced."""


@dataclass(frozen=True)
class RunResult(Generic[T]):
    """How a run ended, or where it has paused."""

    output: T
    """None for a run that has paused."""
    run: Run
    pending: tuple[PendingCall, ...] = field(default=())
    """The calls that wait for approval."""
    reason: str = "stop"
    """`length` for a text that was cut off by `num_predict` or the context."""

    @property
    def paused(self) -> bool:
        """Does the run wait for approvals?"""
        return bool(self.pending)

    @property
    def messages(self) -> list[Message]:
        """The whole conversation, the system message included."""
        return self.run.messages

    @property
    def usage(self) -> Usage:
        """What the run has used."""
        return self.run.usage


class Agent(Generic[T]):
    """Runs of one model with the same instructions, tools and output type. Holds no state: runs do, and any
    number of them may be under way."""

    @overload
    def __init__(
        self: Agent[str], model: str, output_type: None = None, **options: Unpack[AgentOptions]
    ) -> None: ...
    @overload
    def __init__(self, model: str, output_type: type[T], **options: Unpack[AgentOptions]) -> None: ...
    @overload
    def __init__(self: Agent[Any], model: str, output_type: Any, **options: Unpack[AgentOptions]) -> None: ...
    def __init__(self, model: str, output_type: Any = None, **options: Unpack[AgentOptions]) -> None:
        """Raises DefinitionError for a function that cannot be a tool, two tools of one name, and a type that
        cannot be an output."""
        self.model = model
        self.output = output_of(output_type)
        self._options = options
        _known(options, AgentOptions, DefinitionError, "Agent")
        if options.get("max_concurrency", 1) < 1:
            raise DefinitionError("max_concurrency is the number of calls at the same time: 1 or more")
        given = list(options.get("tools", ()))
        self._toolsets = [one for one in given if isinstance(one, Toolset) and not isinstance(one, Tool)]
        others = [one for one in given if one not in self._toolsets]
        self.tools = tuple(
            as_tool(cast("Tool | Callable[..., Any] | Mapping[str, Any]", one)) for one in others
        )
        _by_name(self.tools)
        if options.get("flow", "loop") not in _FIRST_CHOICE:
            raise DefinitionError(f"no flow {options.get('flow')!r}; use one of {', '.join(_FIRST_CHOICE)}")

    async def run(self, prompt: str | None = None, /, **options: Unpack[RunOptions]) -> RunResult[T]:
        """Runs to the end, or to a pause.

        Raises LimitReached, OutputInvalid, ToolFailed (each carries the run so far), ResponseError,
        ConnectionError, TimeoutError, and what hooks raise.
        """
        async with self.run_stream(prompt, **options) as stream:
            async for _ in stream:
                pass
            return stream.result

    def run_sync(self, prompt: str | None = None, /, **options: Unpack[RunOptions]) -> RunResult[T]:
        """`run`, for programs without an event loop."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self.run(prompt, **options))
        raise RequestError("run_sync inside an event loop would block it; use `await agent.run(…)`")

    def run_stream(self, prompt: str | None = None, /, **options: Unpack[RunOptions]) -> RunStream[T]:
        """The events of a run: `async with agent.run_stream(…) as stream: async for event in stream: …`.
        Leaving the block early cancels the run, on the server too."""
        _known(options, RunOptions, RequestError, "run")
        if options.get("session") is not None:
            # It is read once the run begins, and not in the event loop.
            return RunStream(self, options.get("run") or Run(model=self.model), options, prompt)
        return RunStream(self, self.begun(prompt, options), options, prompt)

    def plan(self, tools: Sequence[Tool], limits: Limits | None) -> Plan:
        """What a run with `tools` is to do."""
        options = self._options
        flow: Flow = options.get("flow", "loop")
        named = _by_name(tools)
        return Plan(
            toolbox=Toolbox(
                tools=named,
                hooks=options.get("hooks", Hooks()),
                max_concurrency=options.get("max_concurrency", 8),
            ),
            output=self.output,
            limits=limits or options.get("limits", Limits()),
            flow=flow,
            tool_choice=options.get("tool_choice", _FIRST_CHOICE[flow]),
            output_retries=options.get("output_retries", 2),
            request=TurnRequest(
                model=self.model,
                messages=(),
                tools=[tool.definition() for tool in named.values()],
                parallel=options.get("parallel_tool_calls", True),
                demand=self.output.demand,
                think=options.get("think"),
                thinking_budget=options.get("thinking_budget"),
                options=options.get("options", {}),
            ),
        )

    @property
    def backend(self) -> ModelBackend:
        """Who answers turns."""
        return self._options.get("backend") or Server()

    @property
    def keeps_prefix(self) -> bool:
        """Does the server keep what a finished run has computed?"""
        return self._options.get("keep_prefix", False)

    @property
    def traces_content(self) -> bool | None:
        """Do spans say what was said? None = as the environment says."""
        return self._options.get("trace_content")

    @property
    def toolsets(self) -> Sequence[Toolset]:
        """What has to be connected to for a run."""
        return self._toolsets

    def begun(self, prompt: str | None, options: RunOptions) -> Run:
        """The run that these arguments of `run` mean, up to the prompt."""
        run = options.get("run") or Run(model=self.model)
        if not run.messages:
            run.messages += self._opening(run, options)
        elif options.get("history"):
            raise RequestError("a run that goes on has its own history; give one of run and history")
        if prompt is not None:
            if run.open_calls:
                raise RequestError(
                    f"run {run.id!r} waits for {len(run.open_calls)} tool calls; resume it without a prompt"
                )
            run.messages.append(Message(role="user", content=prompt))
        if not any(message.role != "system" for message in run.messages):
            raise RequestError("nothing to answer: give a prompt, a history or a run")
        return run

    def _opening(self, run: Run, options: RunOptions) -> list[Message]:
        given = self._options.get("instructions")
        if callable(given):
            given = given(RunContext(deps=options.get("deps"), run_id=run.id))
        history = [
            Message.model_validate(one if isinstance(one, Mapping) else one.model_dump(exclude_none=True))
            for one in options.get("history", ())
        ]
        if given and options.get("session") is not None and history and history[0].role == "system":
            # Those of the run before.
            del history[0]
        return [*([Message(role="system", content=given)] if given else []), *history]


class RunStream(Generic[T]):
    """A run under way: an asynchronous iterator of its events, inside of `async with`."""

    def __init__(self, agent: Agent[T], run: Run, options: RunOptions, prompt: str | None) -> None:
        self.run = run
        """The run's state, as far as it is."""
        self._agent = agent
        self._options = options
        self._prompt = prompt
        self._keeping = Keeping(options.get("session"))
        self._stack = AsyncExitStack()
        self._trace = Trace()
        self._events: AsyncGenerator[RunEvent] | None = None
        self._result: RunResult[T] | None = None

    @property
    def result(self) -> RunResult[T]:
        """How it ended. Raises RequestError while it has not."""
        if self._result is None:
            raise RequestError("the run has not ended; read its events to the end first")
        return self._result

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            tools = [*self._agent.tools]
            for toolset in self._agent.toolsets:
                tools += await stack.enter_async_context(toolset.connect())
            session = await stack.enter_async_context(self._agent.backend.connect())
            plan = self._agent.plan(tools, self._options.get("limits"))
            await self._read_session()
            self._trace = stack.enter_context(traced(self.run, self._agent.traces_content))
            plan = replace(plan, toolbox=replace(plan.toolbox, trace=self._trace))
            if (path := self._options.get("record")) is not None:
                facts = await facts_of(self._agent.backend, self._agent.model)
                recording = self._keeping.recording = Recording(path, self.run, plan, facts)
                stack.callback(recording.close)
                plan, session = recording.plan(plan), recording.session(session)
            loop = Loop(plan, self.run, self._options.get("deps"), session)
            self._events = await stack.enter_async_context(aclosing(self._told(loop, session)))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def __aiter__(self) -> AsyncIterator[RunEvent]:
        if self._events is None:
            raise RequestError("a run's events are read inside of `async with agent.run_stream(…) as stream`")
        return self._events

    async def _read_session(self) -> None:
        session, options = self._options.get("session"), self._options
        if session is None:
            return
        if options.get("history"):
            raise RequestError("a session has its own history; give one of session and history")
        kept = await kept_in(session)
        run = options.get("run") or kept.run(self._prompt)
        found: RunOptions = {**options}
        found["run"] = run
        found["history"] = [] if run is not None else kept.messages
        self.run = self._agent.begun(self._prompt, found)

    async def _told(self, loop: Loop, session: ModelSession) -> AsyncGenerator[RunEvent]:
        error: BaseException | None = None
        try:
            async with aclosing(loop.events()) as events:
                async for event in events:
                    await self._keeping.step(self.run, event)
                    if isinstance(event, RunEnded):
                        self._result = RunResult(event.output, self.run, reason=event.reason)
                    elif isinstance(event, RunPaused):
                        self._result = RunResult(cast("T", None), self.run, event.pending)
                    yield event
        except BaseException as failed:
            error = failed
            self._trace.failed(failed)
            raise
        finally:
            try:
                await self._keeping.end(self.run, error)
            finally:
                await self._release(session)

    async def _release(self, session: ModelSession) -> None:
        if self.run.status == "paused" or self._agent.keeps_prefix:
            return
        # A server that cannot be told lets go by itself.
        with suppress(AgentkitError):
            await session.release(self.run.id)


def _known(given: Mapping[str, Any], declared: type, error: type[AgentkitError], where: str) -> None:
    """Raises `error` for an option that there is not: one that is misspelt would protect nobody."""
    from difflib import get_close_matches

    names = list(declared.__annotations__)
    for name in given.keys() - set(names):
        close = get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"the options are {', '.join(names)}"
        raise error(f"{where} has no option {name!r}", hint=hint)


def _by_name(tools: Sequence[Tool]) -> dict[str, Tool]:
    named: dict[str, Tool] = {}
    for tool in tools:
        if tool.name in named:
            raise DefinitionError(f"two tools are named {tool.name!r}; give one of them another name=")
        named[tool.name] = tool
    return named
