from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agentkit import DefinitionError, Tool
from agentkit_cli.agent_setup import Setup
from agentkit_cli.agent_tools import absolute, load_tools
from agentkit_cli.errors import CommandError

PLAIN = """
from os.path import join
from typing import Annotated


def add(a: int, b: int) -> int:
    return a + b


def _hidden(a: int) -> int:
    return a


def join_paths(a: str) -> str:
    return join(a, "x")


class Greeter:
    "Greets."

    def __call__(self, name: str) -> str:
        return f"Hello {name}"


greet = Greeter()
LIMIT = 3
"""
Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(text: str) -> str:
        file = tmp_path / "tools.py"
        file.write_text(text)
        return str(file)

    return written


def names(text: str) -> list[str]:
    return [tool.name for tool in load_tools(text) if isinstance(tool, Tool)]


def test_without_names_the_public_functions_of_the_file_are_tools(write: Write) -> None:
    assert names(write(PLAIN)) == ["add", "join_paths"]


def test_decorated_functions_leave_out_the_others(write: Write) -> None:
    text = "from agentkit import tool\n\n@tool\ndef one(a: int) -> int:\n    return a\n\nalias = one\n"
    assert names(write(f"{text}\n\ndef two(a: int) -> int:\n    return a\n")) == ["one"]


def test_named_ones_may_be_private_and_any_callable(write: Write) -> None:
    assert names(f"{write(PLAIN)}:_hidden,greet, join") == ["_hidden", "Greeter", "join"]


def test_a_file_is_run_once_and_can_import_its_neighbours(write: Write, tmp_path: Path) -> None:
    (tmp_path / "a_neighbour.py").write_text("def near(a: int) -> int:\n    return a\n")
    file = write("from a_neighbour import near\nimport json\n\ndef far(a: int) -> int:\n    return near(a)\n")
    assert names(file) == ["far"]
    [first], [second] = load_tools(f"{file}:near"), load_tools(f"{file}:near")
    assert isinstance(first, Tool) and isinstance(second, Tool)
    assert first(3) == 3


@pytest.mark.parametrize(
    ("text", "name", "says"),
    [
        ("def f(a: int) -> int:\n    return a", ":g", "there is no 'g'"),
        ("LIMIT = 3", ":LIMIT", "is no function, but 'int'"),
        ("LIMIT = 3", "", "has no public function"),
        ("x = 1\n1 / 0", "", "cannot be loaded, line 2: ZeroDivisionError: division by zero"),
        ("def f(:", "", "cannot be loaded: SyntaxError"),
        ("raise SystemExit(3)", "", "cannot be loaded, line 1: SystemExit: 3"),
        ("import absent_library", "", "ModuleNotFoundError: No module named 'absent_library'"),
        ("def f(a: int):\n    yield a", ":f", "cannot be a tool: 'f' is a generator"),
    ],
)
def test_what_cannot_be_a_tool_is_told(write: Write, text: str, name: str, says: str) -> None:
    with pytest.raises(CommandError) as error:
        load_tools(f"{write(text)}{name}")
    assert says in error.value.message


def test_what_is_no_python_file_is_told(tmp_path: Path) -> None:
    file = tmp_path / "tools.txt"
    file.write_text("x")
    with pytest.raises(CommandError, match="is no Python file"):
        load_tools(str(file))


def test_a_path_is_kept_whole_with_its_names(
    write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = write(PLAIN)
    monkeypatch.chdir(tmp_path)
    assert absolute("tools.py:add,greet") == f"{file}:add,greet"
    assert absolute("tools.py") == file


def test_without_the_mcp_package_its_servers_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "mcp" else find(name))
    monkeypatch.delitem(sys.modules, "mcp", raising=False)
    with pytest.raises(DefinitionError) as error:
        Setup(model="m", mcp=["server"]).own_tools()
    assert error.value.hint == "install it: pip install 'agentkit[mcp]'"


def test_the_tools_of_the_web_are_search_and_fetch() -> None:
    tools = Setup(model="m", web=True).own_tools()
    assert [tool.name for tool in tools if isinstance(tool, Tool)] == ["web_search", "web_fetch"]
