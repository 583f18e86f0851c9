from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import anyio
import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from support.turns import Turns, calls, says

from agentkit._agent import Agent
from agentkit._backends import Server
from agentkit._errors import ResponseError, ToolError
from agentkit._tool import tool

pytestmark = pytest.mark.anyio

PROVIDER = TracerProvider()
EXPORTER = InMemorySpanExporter()
PROVIDER.add_span_processor(SimpleSpanProcessor(EXPORTER))


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """What is exported. The provider is that of this test alone: a process has one, set once."""
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: PROVIDER)
    EXPORTER.clear()
    yield EXPORTER


@tool
def weather(city: str) -> str:
    """The weather."""
    with PROVIDER.get_tracer("inside").start_as_current_span("inside"):
        return f"sunny in {city}"


@tool
def broken() -> str:
    """Fails."""
    raise ToolError("secret reason")


def by_name(spans: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in spans.get_finished_spans()}


def parent(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def id_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.span_id


async def test_a_run_of_two_turns_is_a_tree_of_spans(spans: InMemorySpanExporter) -> None:
    backend = Turns(calls(("weather", {"city": "Oslo"}), ("broken", {})), says("sunny"))
    with PROVIDER.get_tracer("outside").start_as_current_span("outside"):
        result = await Agent("m", tools=[weather, broken], backend=backend, options={"seed": 7}).run(
            "weather?"
        )

    names = [span.name for span in spans.get_finished_spans()]
    assert sorted(names) == sorted(
        [
            "inside",
            "execute_tool weather",
            "execute_tool broken",
            "chat m",
            "chat m",
            "invoke_agent m",
            "outside",
        ]
    )
    found = by_name(spans)
    root = found["invoke_agent m"]
    assert parent(root) == id_of(found["outside"])
    children = [span.name for span in spans.get_finished_spans() if parent(span) == id_of(root)]
    assert sorted(children) == ["chat m", "chat m", "execute_tool broken", "execute_tool weather"]
    assert parent(found["inside"]) == id_of(found["execute_tool weather"])

    run_id = result.run.id
    assert dict(root.attributes or {}) == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "agentkit",
        "gen_ai.request.model": "m",
        "gen_ai.conversation.id": run_id,
        "agentkit.run_id": run_id,
        "agentkit.run_status": "done",
        "gen_ai.usage.input_tokens": 20,
        "gen_ai.usage.output_tokens": 6,
        "gen_ai.usage.cache_read.input_tokens": 8,
        "gen_ai.usage.reasoning.output_tokens": 0,
    }
    [first, second] = [dict(s.attributes or {}) for s in spans.get_finished_spans() if s.name == "chat m"]
    assert first == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "agentkit",
        "gen_ai.request.model": "m",
        "gen_ai.request.seed": 7,
        "gen_ai.output.type": "text",
        "gen_ai.conversation.id": run_id,
        "agentkit.run_id": run_id,
        "gen_ai.response.finish_reasons": ("tool_calls",),
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "gen_ai.usage.reasoning.output_tokens": 0,
    }
    assert second["gen_ai.response.finish_reasons"] == ("stop",)
    assert dict(found["execute_tool weather"].attributes or {}) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.provider.name": "agentkit",
        "gen_ai.tool.name": "weather",
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": "c0",
        "gen_ai.conversation.id": run_id,
        "agentkit.run_id": run_id,
        "agentkit.tool.outcome": "returned",
    }


async def test_what_was_said_is_in_no_span_unless_it_is_asked_for(
    spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def told(**options: Any) -> str:
        spans.clear()
        backend = Turns(calls(("weather", {"city": "Oslo"}), ("broken", {})), says("done, Oslo"))
        await Agent("m", tools=[weather, broken], backend=backend, **options).run("Oslo?")
        return "".join(span.to_json() for span in spans.get_finished_spans())

    quiet = await told()
    assert "Oslo" not in quiet
    assert "secret" not in quiet
    assert "sunny in Oslo" in await told(trace_content=True)
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
    assert "secret" in await told()
    assert "Oslo" not in await told(trace_content=False)


async def test_content_has_the_form_of_the_conventions(spans: InMemorySpanExporter) -> None:
    backend = Turns(calls(("weather", {"city": "Oslo"})), says("sunny"))
    await Agent("m", tools=[weather], backend=backend, trace_content=True).run("weather?")
    last = [span for span in spans.get_finished_spans() if span.name == "chat m"][-1].attributes or {}
    call = {"type": "tool_call", "id": "c0", "name": "weather", "arguments": {"city": "Oslo"}}
    answer = {"type": "tool_call_response", "id": "c0", "response": "sunny in Oslo"}
    assert json.loads(str(last["gen_ai.input.messages"])) == [
        {"role": "user", "parts": [{"type": "text", "content": "weather?"}]},
        {"role": "assistant", "parts": [call]},
        {"role": "tool", "parts": [answer]},
    ]
    assert json.loads(str(last["gen_ai.output.messages"])) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "sunny"}], "finish_reason": "stop"}
    ]


async def test_failures_are_noted_where_they_happen(spans: InMemorySpanExporter) -> None:
    backend = Turns(calls(("broken", {})), [ResponseError("secret trouble", 500)])
    with pytest.raises(ResponseError):
        await Agent("m", tools=[broken], backend=backend).run("go")
    found = by_name(spans)
    for name, kind in {
        "execute_tool broken": "failed",
        "chat m": "ResponseError",
        "invoke_agent m": "ResponseError",
    }.items():
        assert (found[name].attributes or {})["error.type"] == kind
        assert found[name].status.status_code is StatusCode.ERROR
    assert (found["invoke_agent m"].attributes or {})["agentkit.run_status"] == "failed"
    assert "secret" not in "".join(span.to_json() for span in spans.get_finished_spans())


async def test_spans_of_a_run_that_is_cancelled_end(spans: InMemorySpanExporter) -> None:
    backend = Turns(None)
    run = asyncio.create_task(Agent("m", backend=backend).run("go"))
    with anyio.fail_after(30):
        await backend.waiting.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
    found = by_name(spans)
    assert set(found) == {"chat m", "invoke_agent m"}
    assert {(span.attributes or {})["error.type"] for span in found.values()} == {"cancelled"}


async def test_spans_of_a_tool_that_is_cancelled_end(spans: InMemorySpanExporter) -> None:
    begun = asyncio.Event()

    @tool
    async def slow() -> None:
        """Never ends."""
        begun.set()
        await asyncio.Event().wait()

    run = asyncio.create_task(Agent("m", tools=[slow], backend=Turns(calls(("slow", {})))).run("go"))
    with anyio.fail_after(30):
        await begun.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
    assert (by_name(spans)["execute_tool slow"].attributes or {})["error.type"] == "cancelled"


async def test_a_run_that_is_left_early_ends_its_spans_and_one_that_is_never_read_too(
    spans: InMemorySpanExporter,
) -> None:
    agent = Agent("m", backend=Turns(says("a"), says("b"), says("c")))
    async with agent.run_stream("go"):
        pass
    assert set(by_name(spans)) == {"invoke_agent m"}
    spans.clear()
    async with agent.run_stream("go") as stream:
        async for event in stream:
            if event.kind == "text_delta":
                break
    assert set(by_name(spans)) == {"chat m", "invoke_agent m"}
    spans.clear()
    async with agent.run_stream("go") as stream:
        async for event in stream:
            if event.kind == "run_ended":
                break
    assert "error.type" not in (by_name(spans)["invoke_agent m"].attributes or {})


async def test_the_server_is_told_which_span_a_turn_is(spans: InMemorySpanExporter) -> None:
    seen: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            seen.append(request.headers.get("traceparent"))
        chunk = {"choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}]}
        return httpx.Response(200, text=f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n")

    backend = Server(transport=httpx.MockTransport(answer))
    await Agent("m", backend=backend).run("hi")
    chat = by_name(spans)["chat m"].context
    assert chat is not None
    assert [str(one)[:-3] for one in seen] == [f"00-{chat.trace_id:032x}-{chat.span_id:016x}"]


async def test_without_a_provider_nothing_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "get_tracer_provider", trace.ProxyTracerProvider)
    EXPORTER.clear()
    backend = Turns(calls(("weather", {"city": "Oslo"})), says("done"))
    await Agent("m", tools=[weather], backend=backend).run("go")
    assert [span.name for span in EXPORTER.get_finished_spans()] == ["inside"]
    assert backend.requests[0].trace == {}


def test_a_run_imports_nothing_of_opentelemetry_by_itself() -> None:
    program = """
import asyncio, sys
from support.turns import Turns, says
from agentkit._agent import Agent
assert Agent("m", backend=Turns(says("hi"))).run_sync("hi").output == "hi"
found = [name for name in sys.modules if name.partition(".")[0] in ("opentelemetry", "mcp")]
sys.exit(str(found) if found else 0)
"""
    path = {"PYTHONPATH": "tests"}
    subprocess.run([sys.executable, "-c", program], check=True, env=path)
