"""OpenTelemetry spans of runs, after the conventions for generative AI: `invoke_agent`, in it `chat` for each
turn and `execute_tool` for each call.

Nothing is imported and nothing done unless the program has set up a tracer provider. What was said, the
arguments and the results are in no span, unless that is asked for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from agentkit._result import result_text
from agentkit._run import Run, call_id
from agentkit._usage import Usage
from agentkit._version import __version__

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

    from agentkit._events import PendingCall, ToolResult
    from agentkit._tool import Tool
    from agentkit._turn import TurnDone, TurnRequest
    from agentkit._types import Message

_CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_ASKED_FOR = frozenset({"true", "1", "span_only", "span_and_event"})
_OPTIONS = {
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "seed": "gen_ai.request.seed",
    "num_predict": "gen_ai.request.max_tokens",
}


class Mark:
    """One span, or none. Leaving it by an exception notes that, and ends it.

    `current`: what happens inside has it as its parent. Not for the body of an asynchronous generator, which
    would change the parent of whoever reads it.
    """

    def __init__(self, span: Span | None = None, *, content: bool = False, current: bool = False) -> None:
        self._span = span
        self._content = content
        self._current = current
        self._token: Any = None

    def __enter__(self) -> Self:
        if self._span is not None and self._current:
            from opentelemetry.context import attach

            self._token = attach(_context(self._span))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self._token is not None:
            from opentelemetry.context import detach

            detach(self._token)
        if error is not None:
            self.failed(error)
        self.end()

    def set(self, attributes: Mapping[str, Any]) -> None:
        """Attributes; those that are None are left out."""
        if self._span is not None:
            self._span.set_attributes(
                {name: value for name, value in attributes.items() if value is not None}
            )

    def failed(self, error: BaseException) -> None:
        """The span ended in `error`. Its message may quote what was said, so it counts as content."""
        if isinstance(error, Exception):
            self._error(type(error).__qualname__, error)
        else:
            self.set({"error.type": "cancelled"})

    def end(self) -> None:
        """No more of it; a second time does nothing."""
        if self._span is not None and self._span.is_recording():
            self._span.end()

    def headers(self) -> dict[str, str]:
        """What tells another process of this span: `traceparent` and, if there is any, more."""
        found: dict[str, str] = {}
        if self._span is not None:
            from opentelemetry.propagate import inject

            inject(found, context=_context(self._span))
        return found

    def answered(self, done: TurnDone, message: Message) -> None:
        """What the model has answered in a turn."""
        self.set({"gen_ai.response.finish_reasons": [done.reason], **_used(done.usage)})
        if self._content:
            said = {**_message(message), "finish_reason": done.reason}
            self.set({"gen_ai.output.messages": _json([said])})

    def returned(self, result: ToolResult) -> None:
        """What a call of a tool has come to."""
        self.set({"agentkit.tool.outcome": result.outcome})
        if self._content:
            self.set({"gen_ai.tool.call.result": result.content})
        if result.outcome != "returned":
            self._error(result.outcome, None)

    def _error(self, kind: str, error: Exception | None) -> None:
        if self._span is None:
            return
        from opentelemetry.trace import StatusCode

        self.set({"error.type": kind})
        self._span.set_status(StatusCode.ERROR, str(error) if error and self._content else None)
        if error is not None and self._content:
            self._span.record_exception(error)


class Trace:
    """The spans of one run. `Trace()` has none."""

    def __init__(
        self, tracer: Tracer | None = None, run: Run | None = None, *, content: bool = False
    ) -> None:
        self._tracer = tracer
        self._content = content
        self._run = run
        self._before = Usage() if run is None else run.usage
        self._root: Span | None = None
        self.mark = Mark()
        if tracer is not None and run is not None:
            self._root = tracer.start_span(
                f"invoke_agent {run.model}", attributes=self._common("invoke_agent", run.model)
            )
            self.mark = Mark(self._root, content=content)
            self.mark.set({"agentkit.parent_run_id": run.parent})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        run = self._run
        if run is not None and self._root is not None:
            used = {name: _count(run.usage, name) - _count(self._before, name) for name in _COUNTS}
            self.mark.set({"agentkit.run_status": run.status, **_used(Usage(**used))})
        self.mark.__exit__(kind, error, trace)

    def failed(self, error: BaseException) -> None:
        """The run ended in `error`. One that is merely left, once it has ended, has not failed."""
        if isinstance(error, Exception) or (self._run is not None and self._run.status == "failed"):
            self.mark.failed(error)

    def chat(self, request: TurnRequest) -> Mark:
        """The span of a turn."""
        if self._tracer is None or self._root is None:
            return Mark()
        from opentelemetry.trace import SpanKind

        span = self._tracer.start_span(
            f"chat {request.model}",
            context=_context(self._root),
            kind=SpanKind.CLIENT,
            attributes=self._common("chat", request.model),
        )
        mark = Mark(span, content=self._content)
        mark.set({_OPTIONS[name]: request.options[name] for name in _OPTIONS if name in request.options})
        mark.set(
            {"gen_ai.request.max_tokens": request.max_tokens, "gen_ai.output.type": _output_type(request)}
        )
        if self._content:
            mark.set({"gen_ai.input.messages": _json([_message(one) for one in request.messages])})
        return mark

    def tool(self, call: PendingCall, tool: Tool) -> Mark:
        """The span of a call; what the tool does is inside of it."""
        if self._tracer is None or self._root is None:
            return Mark()
        attributes = {
            **self._common("execute_tool", None),
            "gen_ai.tool.name": call.name,
            "gen_ai.tool.call.id": call.call_id,
            "gen_ai.tool.type": "function",
        }
        if self._content:
            attributes["gen_ai.tool.description"] = tool.description
            attributes["gen_ai.tool.call.arguments"] = _json(call.arguments)
        span = self._tracer.start_span(
            f"execute_tool {call.name}", context=_context(self._root), attributes=attributes
        )
        return Mark(span, content=self._content, current=True)

    def _common(self, operation: str, model: str | None) -> dict[str, str]:
        run_id = self._run.id if self._run is not None else ""
        known = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": "agentkit",
            "gen_ai.conversation.id": run_id,
            "agentkit.run_id": run_id,
        }
        return {**known, "gen_ai.request.model": model} if model else known


def traced(run: Run, content: bool | None) -> Trace:
    """The spans of a run from now on, if anybody collects them. `content`: with what was said; None = as the
    environment says."""
    tracer = _tracer()
    if tracer is None:
        return Trace()
    asked = os.environ.get(_CONTENT, "").strip().lower() in _ASKED_FOR
    return Trace(tracer, run, content=asked if content is None else content)


def _tracer() -> Tracer | None:
    # A program that has set up a provider has imported this.
    api = sys.modules.get("opentelemetry.trace")
    if api is None:
        return None
    provider = api.get_tracer_provider()
    if isinstance(provider, api.ProxyTracerProvider | api.NoOpTracerProvider):
        return None
    return provider.get_tracer("agentkit", __version__)


def _context(span: Span) -> Context:
    from opentelemetry.trace import set_span_in_context

    return set_span_in_context(span)


_COUNTS = {
    "prompt_tokens": "gen_ai.usage.input_tokens",
    "completion_tokens": "gen_ai.usage.output_tokens",
    "cached_tokens": "gen_ai.usage.cache_read.input_tokens",
    "thinking_tokens": "gen_ai.usage.reasoning.output_tokens",
}


def _used(usage: Usage) -> dict[str, int]:
    return {attribute: _count(usage, name) for name, attribute in _COUNTS.items()}


def _count(usage: Usage, name: str) -> int:
    return getattr(usage, name)


def _output_type(request: TurnRequest) -> str:
    return "json" if request.demand is not None and request.demand.kind == "json_schema" else "text"


def _message(message: Message) -> dict[str, Any]:
    """A message in the conventions' form."""
    parts: list[dict[str, Any]] = []
    if message.thinking:
        parts.append({"type": "reasoning", "content": message.thinking})
    if message.role == "tool":
        parts.append(
            {"type": "tool_call_response", "id": message.tool_call_id, "response": message.content or ""}
        )
    elif message.content:
        parts.append({"type": "text", "content": message.content})
    parts += [
        {
            "type": "tool_call",
            "id": call_id(call),
            "name": call.function.name,
            "arguments": dict(call.function.arguments),
        }
        for call in message.tool_calls or ()
    ]
    return {"role": message.role, "parts": parts}


def _json(value: Sequence[Any] | Mapping[str, Any]) -> str:
    return result_text(value)
