"""Sessions: what is kept of runs, by whom they are shared, and how they go on elsewhere."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from agentkit._agent import Agent
from agentkit._errors import AgentkitError, ConnectionError, RequestError
from agentkit._events import ToolResult, TurnEnded
from agentkit._run import Run
from agentkit._session import MemorySessions, SessionStore
from agentkit._sqlite import SQLiteSessions
from agentkit._tool import tool
from agentkit._types import Message
from agentkit.testing import ScriptedModel, broken, calls

pytestmark = pytest.mark.anyio
CALL = calls(("weather", {"city": "Oslo"}))


@tool
def weather(city: str) -> str:
    """What it is like there."""
    return f"rain in {city}"


@tool(name="weather", requires_approval=True)
def approved_weather(city: str) -> str:
    """What it is like there, once a person has agreed."""
    return f"rain in {city}"


@pytest.fixture(params=["sqlite", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> SessionStore:
    return SQLiteSessions(tmp_path / "agents.db") if request.param == "sqlite" else MemorySessions()


def agent(*steps: object, **options: object) -> tuple[Agent[str], ScriptedModel]:
    model = ScriptedModel(steps)  # type: ignore[arg-type]
    return Agent("any", backend=model, **{"tools": [weather], **options}), model  # type: ignore[arg-type]


def roles(messages: list[Message]) -> list[str]:
    return [message.role for message in messages]


async def test_a_question_in_a_session_follows_what_was_said_before(store: SessionStore) -> None:
    asked, model = agent("Ada.", "36.", instructions="Be brief.")
    session = store.open("chat")
    await asked.run("Who?", session=session)
    result = await asked.run("How old?", session=session)
    assert [m.content for m in model.requests[1].messages] == ["Be brief.", "Who?", "Ada.", "How old?"]
    assert session.messages == result.messages
    assert [run.status for run in session.runs()] == ["done", "done"]
    # Unchanged, so that the server's prefix is.
    assert model.requests[1].messages[:2] == model.requests[0].messages


async def test_an_agent_with_other_instructions_says_its_own(store: SessionStore) -> None:
    session = store.open()
    for instructions in ("One.", "Two."):
        asked, model = agent("Yes.", instructions=instructions)
        await asked.run("?", session=session)
    assert [m.content for m in model.requests[0].messages] == ["Two.", "?", "Yes.", "?"]


async def test_every_step_is_kept_before_it_is_told(store: SessionStore) -> None:
    asked, _ = agent(CALL, "Rain.")
    session = store.open()
    kept: list[tuple[str, list[str], int]] = []
    async with asked.run_stream("Weather?", session=session) as stream:
        async for event in stream:
            if isinstance(event, TurnEnded | ToolResult):
                [run] = session.runs()
                kept.append((event.kind, roles(run.messages), len(run.open_calls)))
    assert kept == [
        ("turn_ended", ["user", "assistant"], 1),
        ("tool_result", ["user", "assistant", "tool"], 0),
        ("turn_ended", ["user", "assistant", "tool", "assistant"], 0),
    ]


async def test_a_run_that_was_left_in_its_calls_is_gone_on_with(store: SessionStore) -> None:
    asked, _ = agent(CALL)
    async with asked.run_stream("Weather?", session=store.open("chat")) as stream:
        async for event in stream:
            if isinstance(event, TurnEnded):
                break
    session = store.open("chat")
    pending = session.pending_run()
    assert pending is not None and len(pending.open_calls) == 1
    again, _ = agent("Rain.")
    result = await again.run(session=session)
    assert result.run.id == pending.id
    assert [m.content for m in result.messages] == ["Weather?", "", "rain in Oslo", "Rain."]
    assert session.pending_run() is None


async def test_a_call_that_was_started_is_not_run_again(store: SessionStore) -> None:
    ran: list[str] = []

    @tool(sequential=True)
    def step(name: str) -> str:
        """A step."""
        ran.append(name)
        return name

    asked, _ = agent(calls(("step", {"name": "a"}), ("step", {"name": "b"})), "Done.", tools=[step])
    session = store.open()
    kept: list[Run] = []
    async with asked.run_stream("Go.", session=session) as stream:
        async for event in stream:
            if isinstance(event, ToolResult):
                # As if the process ended here.
                kept += session.runs()
    assert [result.content for result in kept[0].results.values()][:1] == ["a"]
    session.save(kept[0])
    again, _ = agent("Done.", tools=[step])
    result = await again.run(session=session)
    assert result.output == "Done."
    assert ran == ["a", "b"]
    told = [message.content for message in result.messages if message.role == "tool"]
    assert told[0] == "a"
    assert "not known whether it had an effect" in (told[1] or "")


async def test_a_prompt_that_met_a_broken_connection_is_not_kept(store: SessionStore) -> None:
    asked, _ = agent("Hello.", broken("Hel", after=1), "Yes.")
    session = store.open()
    await asked.run("Hi.", session=session)
    with pytest.raises(ConnectionError):
        await asked.run("Sure?", session=session)
    assert [m.content for m in session.messages] == ["Hi.", "Hello."]
    await asked.run("Sure?", session=session)
    assert [m.content for m in session.messages] == ["Hi.", "Hello.", "Sure?", "Yes."]


async def test_a_paused_run_waits_in_its_session(store: SessionStore) -> None:
    asked, _ = agent(CALL, "Rain.", tools=[approved_weather])
    session = store.open()
    assert (await asked.run("Weather?", session=session)).paused
    with pytest.raises(RequestError, match="waits for 1 tool calls; go on with it without a prompt"):
        await asked.run("Hello?", session=session)
    run = session.pending_run()
    assert run is not None
    run.approve_all()
    assert (await asked.run(run=run, session=session)).output == "Rain."


async def test_a_session_without_anything_pending_needs_a_prompt(store: SessionStore) -> None:
    asked, _ = agent()
    with pytest.raises(RequestError, match="nothing is pending in the session; give a prompt"):
        await asked.run(session=store.open())
    with pytest.raises(RequestError, match="a session has its own history"):
        await asked.run("?", session=store.open(), history=[{"role": "user", "content": "x"}])


async def test_a_fork_goes_on_by_itself(store: SessionStore) -> None:
    asked, model = agent("One.", "Two.", "Three.", instructions="Count.")
    session = store.open("main")
    await asked.run("a", session=session)
    fork = session.fork("branch")
    await asked.run("b", session=session)
    await asked.run("c", session=fork)
    assert [m.content for m in fork.messages] == ["Count.", "a", "One.", "c", "Three."]
    assert [m.content for m in session.messages] == ["Count.", "a", "One.", "b", "Two."]
    assert model.requests[1].messages[:3] == model.requests[2].messages[:3]
    assert {info.id: (info.parent, info.runs) for info in store.list()} == {
        "main": (None, 2),
        "branch": ("main", 1),
    }
    with pytest.raises(RequestError, match="there is a session 'branch' already"):
        session.fork("branch")


async def test_a_run_that_is_pending_is_pending_in_a_fork_too(store: SessionStore) -> None:
    approved = [approved_weather]
    asked, _ = agent(CALL, "One.", "Two.", tools=approved)
    session = store.open()
    await asked.run("Weather?", session=session)
    fork = session.fork()
    outputs: list[str] = []
    for one in (session, fork):
        run = one.pending_run()
        assert run is not None
        run.approve_all()
        outputs.append((await asked.run(run=run, session=one)).output)
    assert outputs == ["One.", "Two."]
    assert fork.runs()[0].parent == session.runs()[0].id


async def test_what_a_fork_shares_is_there_once_and_stays_when_the_other_goes(tmp_path: Path) -> None:
    store = SQLiteSessions(tmp_path / "agents.db")
    asked, _ = agent("One.", "Two.", "Three.")
    session = store.open()
    await asked.run("a", session=session)
    fork = session.fork()
    await asked.run("b", session=session)
    await asked.run("c", session=fork)

    def rows() -> int:
        with sqlite3.connect(store.path) as db:
            count = db.execute("SELECT count(*) FROM messages").fetchone()[0]
        db.close()
        return count

    assert rows() == 2 + 2 + 2
    session.delete()
    assert rows() == 2 + 2
    assert [m.content for m in fork.messages] == ["a", "One.", "c", "Three."]
    fork.delete()
    assert rows() == 0


def test_an_unknown_or_deleted_session_is_an_error_that_names_it(store: SessionStore) -> None:
    session = store.open("gone")
    assert store.delete("gone") is True
    assert store.delete("gone") is False
    for use in (lambda: session.messages, session.runs, session.pending_run, lambda: session.save(Run())):
        with pytest.raises(RequestError, match="there is no session 'gone'"):
            use()


def test_what_is_changed_outside_is_not_changed_in_the_store(store: SessionStore) -> None:
    session = store.open()
    run = Run(messages=[Message(role="user", content="a")])
    session.save(run)
    run.messages[0].content = "b"
    session.messages[0].content = "c"
    session.runs()[0].messages[0].content = "d"
    assert session.messages[0].content == "a"


@pytest.mark.parametrize("content", [b"no database, but a text" * 100, b"SQLite format 3\0" + b"\0" * 100])
def test_a_file_that_holds_something_else_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(AgentkitError, match=r"notes\.txt' cannot be used: .*; give the path of a file"):
        SQLiteSessions(path).open()
    assert path.read_bytes() == content


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE notes (text)")
    db.close()
    with pytest.raises(AgentkitError, match="is a database of another program"):
        SQLiteSessions(path).list()


def test_a_file_of_a_later_version_is_refused(tmp_path: Path) -> None:
    store = SQLiteSessions(tmp_path / "agents.db")
    store.open()
    db = sqlite3.connect(store.path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(AgentkitError, match="have version 99, and this agentkit knows 1; update agentkit"):
        store.list()


def test_a_folder_that_is_not_there_is_an_error_with_the_path(tmp_path: Path) -> None:
    with pytest.raises(AgentkitError, match=r"none/agents\.db' cannot be used"):
        SQLiteSessions(tmp_path / "none" / "agents.db").open()


def test_a_session_that_is_none_is_as_if_left_out() -> None:
    asked, _ = agent("Hi.")
    assert asked.run_sync("?", session=None, record=None).output == "Hi."


def test_memory_of_sqlite_is_refused() -> None:
    with pytest.raises(RequestError, match=r"':memory:' is no file; use MemorySessions\(\)"):
        SQLiteSessions(":memory:")


PROGRAM = """
import sys
from agentkit._agent import Agent
from agentkit._sqlite import SQLiteSessions
from agentkit._tool import tool
from agentkit.testing import ScriptedModel, calls

@tool(requires_approval=True)
def weather(city: str) -> str:
    "What it is like there."
    return f"rain in {city}"

def agent(*steps):
    return Agent("any", tools=[weather], backend=ScriptedModel(steps))

session = SQLiteSessions(sys.argv[1]).open("chat")
"""


def program(path: Path, code: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-c", PROGRAM + code, str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_processes_write_into_one_file_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "agents.db"
    code = "for n in range(15): agent(f'answer {n}').run_sync(f'question {n}', session=session)\n"
    running = [program(path, code) for _ in range(2)]
    for one in running:
        said, _ = one.communicate(timeout=120)
        assert one.returncode == 0, said
    session = SQLiteSessions(path).open("chat")
    assert len(session.runs()) == 30
    assert all(run.status == "done" and roles(run.messages)[-1] == "assistant" for run in session.runs())


def test_a_run_paused_in_one_process_ends_in_another_as_if_it_had_never_paused(tmp_path: Path) -> None:
    path = tmp_path / "agents.db"
    ask = "assert agent(calls(('weather', {'city': 'Oslo'}))).run_sync('Weather?', session=session).paused\n"
    resume = (
        "run = session.pending_run(); run.approve_all()\n"
        "assert agent('Rain.').run_sync(run=run, session=session).output == 'Rain.'\n"
    )
    for code in (ask, resume):
        one = program(path, code)
        said, _ = one.communicate(timeout=120)
        assert one.returncode == 0, said
    straight, _ = agent(CALL, "Rain.")
    expected = straight.run_sync("Weather?").run
    [run] = SQLiteSessions(path).open("chat").runs()
    assert run.messages == expected.messages
    assert (run.status, run.usage) == ("done", expected.usage)
