from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest
import uvicorn
from support import mcp_things
from support.turns import Turns, calls, says

from agentkit._agent import Agent
from agentkit._errors import (
    ConnectionError,
    DefinitionError,
    RequestError,
    TimeoutError,
    ToolArgumentsError,
    ToolError,
    ToolTimeout,
)
from agentkit._tool import Tool
from agentkit.mcp import McpServer, _names

pytestmark = pytest.mark.anyio

SUPPORT = Path(mcp_things.__file__).parent
THINGS = [sys.executable, str(SUPPORT / "mcp_things.py")]
OBJECT = {"type": "object", "properties": {}}


@pytest.fixture(autouse=True)
def nothing_is_left_running() -> Iterator[None]:
    before = set(psutil.Process().children(recursive=True))
    yield
    left = [one for one in psutil.Process().children(recursive=True) if one not in before]
    assert [one.cmdline() for one in left if one.status() != psutil.STATUS_ZOMBIE] == []


@pytest.fixture
async def hanging() -> AsyncIterator[asyncio.Event]:
    """Set once a server has said that it hangs."""
    event, loop = asyncio.Event(), asyncio.get_running_loop()

    class Listening(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "hanging on" in record.getMessage():
                loop.call_soon_threadsafe(event.set)

    log, handler = logging.getLogger("agentkit.mcp"), Listening()
    before = log.level
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    yield event
    log.removeHandler(handler)
    log.setLevel(before)


def raw(tmp_path: Path, *pages: Sequence[Any], **script: Any) -> McpServer:
    """A server that lists these pages, whatever they are."""
    path = tmp_path / "script.json"
    path.write_text(json.dumps({"tools": pages, **script}))
    return McpServer([sys.executable, str(SUPPORT / "mcp_raw.py"), str(path)], prefix="raw")


def offered(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "inputSchema": OBJECT, **fields}


def named(tools: Sequence[Tool]) -> dict[str, Tool]:
    return {tool.name: tool for tool in tools}


# Real servers


async def test_tools_of_a_server_over_stdio_are_used_like_local_ones(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "agentkit.mcp")
    async with McpServer(THINGS) as server:
        tools = named(server.tools)
        add = tools["mcp_things_add"]
        assert add.description == "Adds two numbers."
        assert add.parameters["properties"]["a"]["description"] == "One"
        assert await add.call({"a": 2, "b": 3}) == "5"
        with pytest.raises(ToolArgumentsError, match='a: must be of type "integer"'):
            await add.call({"a": "two"})
        process = psutil.Process(int(await tools["mcp_things_pid"].call({})))
    assert not process.is_running()
    assert capfd.readouterr() == ("", "")
    assert "mcp_things: adding" in caplog.messages


async def test_a_server_that_is_killed_in_a_call_is_a_typed_error_and_the_next_run_starts_it_again(
    hanging: asyncio.Event,
) -> None:
    async with McpServer(THINGS, prefix="t") as server:
        tools = named(server.tools)
        pid = int(await tools["t_pid"].call({}))
        call = asyncio.create_task(tools["t_hang"].call({}))
        with anyio.fail_after(30):
            await hanging.wait()
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(
                ConnectionError, match=r"'mcp_things' was lost .*'hang'.*stderr: .*hanging on"
            ):
                await call
            with pytest.raises(ConnectionError, match="has ended"):
                await tools["t_add"].call({"a": 1})
        async with server.connect() as again:
            assert await named(again)["t_add"].call({"a": 1}) == "2"
        assert not psutil.pid_exists(pid)


@asynccontextmanager
async def over_http(seen: list[bytes | None]) -> AsyncIterator[str]:
    """URL of a server on loopback; `seen` gets the `x-key` of each request."""
    app = mcp_things.made().streamable_http_app()

    async def noting(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            seen.append(dict(scope["headers"]).get(b"x-key"))
        await app(scope, receive, send)

    server = uvicorn.Server(uvicorn.Config(noting, log_config=None, lifespan="on", ws="none"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve([listener]))
        with anyio.fail_after(30):
            while not server.started:
                await anyio.lowlevel.checkpoint()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
        server.should_exit = True
        await serving


async def test_tools_of_a_server_over_http_are_used_with_the_headers_that_are_given() -> None:
    seen: list[bytes | None] = []
    async with over_http(seen) as url:
        backend = Turns(calls(("web_add", {"a": 2, "b": 2})), says("4"))
        server = McpServer(url=url, headers={"x-key": "k"}, prefix="web")
        result = await Agent("m", tools=[server], backend=backend).run("2 + 2?")
    assert result.output == "4"
    assert [message.content for message in result.messages if message.role == "tool"] == ["4"]
    assert set(seen) == {b"k"}


async def test_a_server_over_http_that_goes_away_is_a_typed_error() -> None:
    async with AsyncExitStack() as serving:
        url = await serving.enter_async_context(over_http([]))
        async with McpServer(url, prefix="web") as server:
            add = named(server.tools)["web_add"]
            assert await add.call({"a": 1}) == "2"
            await serving.aclose()
            with (
                anyio.fail_after(30),
                pytest.raises(ConnectionError, match="was lost during a call of 'add'"),
            ):
                await add.call({"a": 1})


async def test_a_run_that_is_cancelled_ends_the_servers_process(hanging: asyncio.Event) -> None:
    backend = Turns(calls(("t_hang", {})))
    agent = Agent("m", tools=[McpServer(THINGS, prefix="t")], backend=backend)
    run = asyncio.create_task(agent.run("wait"))
    with anyio.fail_after(60):
        await hanging.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run


# In memory


async def test_one_connection_serves_several_runs() -> None:
    async with McpServer(mcp_things.made()) as server:
        for _ in range(2):
            backend = Turns(calls(("things_add", {"a": 1}), ("things_add", {"a": 2})), says("done"))
            result = await Agent("m", tools=[server], backend=backend).run("add")
            told = [message.content for message in result.messages if message.role == "tool"]
            assert told == ["2", "3"]
            names = [tool["function"]["name"] for tool in backend.requests[0].tools]
            assert "things_add" in names
        with pytest.raises(RequestError, match="connected already"):
            await server.__aenter__()
    with pytest.raises(RequestError, match="inside of `async with"):
        _ = server.tools


async def test_a_connection_of_another_event_loop_is_left_alone() -> None:
    async with McpServer(mcp_things.made()) as server:
        backend = Turns(calls(("things_add", {"a": 1})), says("done"))
        agent = Agent("m", tools=[server], backend=backend)
        result = await asyncio.to_thread(agent.run_sync, "add")
    assert result.output == "done"


async def test_two_servers_with_the_same_tools_are_told_apart_by_their_prefixes() -> None:
    one, other = McpServer(mcp_things.made("one")), McpServer(mcp_things.made("other"))
    backend = Turns(calls(("one_add", {"a": 1}), ("other_add", {"a": 5})), says("done"))
    result = await Agent("m", tools=[one, other], backend=backend).run("add")
    assert [message.content for message in result.messages if message.role == "tool"] == ["2", "6"]
    twice = Agent("m", tools=[one, McpServer(mcp_things.made("one"))], backend=Turns())
    with pytest.raises(DefinitionError, match="two tools are named 'one_add'"):
        await twice.run("add")


async def test_filters_name_the_tools_as_the_server_does() -> None:
    async with McpServer(mcp_things.made(), tools=["add", "pid"], exclude=["pid"], prefix="") as server:
        assert [tool.name for tool in server.tools] == ["add"]
    with pytest.raises(DefinitionError, match="no tool 'sub'; it has: add, pid"):
        async with McpServer(mcp_things.made(), tools=["sub"]):
            pass


async def test_an_excluded_name_that_does_not_exist_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async with McpServer(mcp_things.made(), exclude=["delet"]):
        assert "things: exclude= names 'delet', and there is no such tool" in caplog.messages


async def test_approval_may_follow_what_the_server_says_of_reading() -> None:
    async with McpServer(mcp_things.made(), requires_approval="unless_read_only") as server:
        tools = named(server.tools)
        assert (tools["things_add"].requires_approval, tools["things_pid"].requires_approval) == (False, True)
    agent = Agent(
        "m",
        tools=[McpServer(mcp_things.made(), requires_approval=True)],
        backend=Turns(calls(("things_add", {"a": 1}))),
    )
    assert [call.name for call in (await agent.run("add")).pending] == ["things_add"]


async def test_results_become_what_a_model_can_read() -> None:
    async with McpServer(mcp_things.made(), max_result=1000) as server:
        tools = named(server.tools)
        assert await tools["things_place"].call({}) == {"name": "Oslo", "celsius": 4.5}
        assert (tools["things_place"].returns or {})["properties"].keys() == {"name", "celsius"}
        assert await tools["things_picture"].call({}) == "look:\n[image, image/png, 400 bytes: not shown]"
        assert await tools["things_link"].call({}) == "[resource notes: file:///notes.txt]"
        much = await tools["things_much"].call({})
        assert much == "x" * 1000 + "\n[cut: these are the first 1000 of 3000000 characters]"
        with pytest.raises(ToolError, match=r"^no such file: x$"):
            await tools["things_fail"].call({})


async def test_a_call_that_takes_too_long_is_told_to_the_model() -> None:
    async with McpServer(mcp_things.made(), timeout=0.05) as server:
        with pytest.raises(ToolTimeout, match=r"things_hang took longer than 0\.05 s"):
            await named(server.tools)["things_hang"].call({})
        assert await named(server.tools)["things_link"].call({})


# Servers that say anything


async def test_all_pages_are_read_and_pages_that_never_end_are_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with raw(tmp_path, [offered("a")], [offered("b")], [offered("c")]) as server:
        assert [tool.name for tool in server.tools] == ["raw_a", "raw_b", "raw_c"]
    async with raw(tmp_path, [offered("a")], forever=True, stuck=0) as server:
        assert [tool.name for tool in server.tools] == ["raw_a"]
    async with raw(tmp_path, [offered("a")], forever=True) as server:
        assert [tool.name for tool in server.tools] == ["raw_a"]
    many = [offered(f"t{at}") for at in range(400)]
    async with raw(tmp_path, many, [offered(f"u{at}") for at in range(400)]) as server:
        assert len(server.tools) == 512
    assert "mcp_raw: only the first 512 of its tools are used" in caplog.messages


async def test_tools_that_are_of_no_use_are_left_out_and_the_others_work(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = [
        "no tool",
        {"name": "without_schema"},
        {"name": "no_object", "inputSchema": {"type": "array"}},
        offered("bad_properties", inputSchema={"type": "object", "properties": {"a": "string"}}),
        offered("bad_type", inputSchema={"type": "object", "properties": {"a": {"type": "strnig"}}}),
        offered("huge", inputSchema={"type": "object", "properties": {}, "description": "x" * 70_000}),
        offered("good"),
        offered("good", description="again"),
        offered("bad result", outputSchema={"type": "object", "properties": {"a": {"type": "strnig"}}}),
        offered("talks", description="x" * 10_000),
        offered("n" * 300),
    ]
    async with raw(tmp_path, bad) as server:
        tools = named(server.tools)
    assert list(tools) == ["raw_good", *[name for name in tools if name != "raw_good"]]
    assert len(tools) == 4
    assert all(len(name) <= 64 for name in tools)
    assert tools["raw_good"].description == ""
    assert len(tools["raw_talks"].description) < 8_100
    assert [tool.returns for tool in tools.values()] == [None] * 4
    for name in ("without_schema", "no_object", "bad_properties", "bad_type", "huge"):
        assert any("left out" in line and name in line for line in caplog.messages), name


async def test_the_model_hears_of_a_server_that_dies_and_the_run_goes_on(tmp_path: Path) -> None:
    backend = Turns(calls(("raw_a", {})), says("sorry"))
    result = await Agent("m", tools=[raw(tmp_path, [offered("a")])], backend=backend).run("go")
    [told] = [message.content for message in result.messages if message.role == "tool"]
    assert told is not None
    assert told.startswith("error: ConnectionError: the MCP server 'mcp_raw' was lost during a call of 'a'")
    assert "giving up" in told
    assert result.output == "sorry"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import sys; sys.exit('bad day')", "Connection closed; the end of its stderr: bad day"),
        ("print('hello'); import sys; sys.exit()", "Connection closed"),
    ],
)
async def test_a_server_that_does_not_start_says_why(
    code: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    with pytest.raises(ConnectionError, match=said):
        async with McpServer([sys.executable, "-c", code], prefix="p"):
            pass


async def test_no_server_at_all_is_a_connection_error(unused_tcp_port_url: str) -> None:
    with pytest.raises(ConnectionError, match="cannot be connected to"):
        async with McpServer("/no/such/program"):
            pass
    with pytest.raises(ConnectionError, match="cannot be connected to"):
        async with McpServer(unused_tcp_port_url):
            pass


async def test_a_server_that_is_silent_is_given_up() -> None:
    with pytest.raises(TimeoutError, match=r"not ready in 0\.2 s"):
        async with McpServer([sys.executable, "-c", "import sys; sys.stdin.read()"], startup_timeout=0.2):
            pass


@pytest.fixture
def unused_tcp_port_url() -> str:
    """Where nobody listens: port 9 needs rights that no test has."""
    return "http://127.0.0.1:9/mcp"


# What the user says


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["uvx", "mcp-server-time"], "mcp-server-time"),
        (["npx", "-y", "@scope/server-files@1.2", "/tmp"], "server-files"),
        (["python3", "-m", "tools.weather"], "tools_weather"),
        (["uv", "run", "/srv/my server.py"], "my_server"),
        (["node", "build/index.js"], "index"),
        (["-"], "mcp"),
    ],
)
def test_a_servers_name_is_made_of_its_command(command: list[str], name: str) -> None:
    assert _names.of_command(command) == name


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://mcp.example.com/v1", "example"),
        ("https://docs.example.com/mcp", "docs"),
        ("http://localhost:8000/mcp", "localhost"),
        ("http://127.0.0.1:8000/mcp", "127_0_0_1"),
    ],
)
def test_a_servers_name_is_made_of_its_url(url: str, name: str) -> None:
    assert _names.of_url(url) == name


def test_tool_names_fit_and_stay_different() -> None:
    assert _names.tool_name("p", "a") == "p_a"
    names = {_names.tool_name("p", "a" * length) for length in range(60, 90)}
    assert len(names) == 30
    assert all(len(name) <= 64 for name in names)
    assert _names.tool_name("", "a.b") != _names.tool_name("", "a:b")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "0 are given"),
        ({"command": "x", "url": "http://x"}, "2 are given"),
        ({"url": "http://x", "env": {}}, "env= is for a server that is given by its command"),
        ({"command": "x", "headers": {}}, "headers= is for a server that is given by its url"),
        ({"command": "x 'y"}, "no command line"),
        ({"command": ""}, "is empty"),
        ({"command": "x", "tools": "add"}, "lists of names"),
        ({"command": "x", "requires_approval": "always"}, "unless_read_only"),
    ],
)
def test_what_contradicts_itself_is_refused(options: Any, said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        McpServer(**options)


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DefinitionError, match=r"pip install 'agentkit\[mcp\]'"):
        McpServer("x")
