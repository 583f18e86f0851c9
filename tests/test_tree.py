"""The measures of CONTRIBUTING.md, held by a test: sizes, names, and nothing in the tree that names a
machine or a package index."""

from __future__ import annotations

import ast
import re
import shutil
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("agentkit/", "server/", "cli/")
# In two halves, so that this file does not find itself.
INDEX_HOSTS = re.compile("|".join(["pypi" + r"\.org", "python" + r"hosted\.", "index" + "-url ?="]))
MACHINE_PATHS = re.compile(r"(?<![\w.])(/wo" + "rk|/ro" + "ot|/Us" + "ers)/")
UNFINISHED = re.compile(r"\b(TO" + "DO|FIX" + "ME|X" + r"XX)\b")


@pytest.fixture(scope="module")
def tree() -> dict[str, str]:
    """Path to text of every file that git tracks or would track."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = [line for line in listed.splitlines() if (ROOT / line).is_file()]
    return {path: (ROOT / path).read_text(errors="replace") for path in paths}


@pytest.fixture(scope="module")
def python(tree: dict[str, str]) -> dict[str, str]:
    return {path: text for path, text in tree.items() if path.endswith(".py")}


def functions(python: dict[str, str]) -> Iterator[tuple[str, int]]:
    """Name and lines of every function, without its docstring."""
    for path, text in python.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                body = node.end_lineno - node.lineno + 1
                yield f"{path}:{node.lineno} {node.name}", body - (ast.get_docstring(node) or "").count("\n")


def test_no_file_names_a_package_index(tree: dict[str, str]) -> None:
    assert [path for path, text in tree.items() if INDEX_HOSTS.search(text)] == []


def test_no_file_names_a_folder_of_one_machine(tree: dict[str, str]) -> None:
    assert [path for path, text in tree.items() if MACHINE_PATHS.search(text)] == []


def test_nothing_is_left_for_later(tree: dict[str, str]) -> None:
    assert [path for path, text in tree.items() if UNFINISHED.search(text)] == []


def test_no_python_file_is_over_600_lines(python: dict[str, str]) -> None:
    assert [path for path, text in python.items() if text.count("\n") > 600] == []


def test_no_function_is_over_80_lines(python: dict[str, str]) -> None:
    assert [name for name, lines in functions(python) if lines > 80] == []


def test_files_and_functions_are_small_in_the_middle(python: dict[str, str]) -> None:
    ours = {path: text for path, text in python.items() if path.startswith(PACKAGES)}
    assert statistics.median(text.count("\n") for text in ours.values()) <= 200
    assert statistics.median(lines for _, lines in functions(ours)) <= 10


def test_modules_and_classes_are_named_after_what_they_are(python: dict[str, str]) -> None:
    vague = re.compile(r"(Manager|Helper|Util|: manager|: helper|: util)s?$")
    names = [f"{path}: {Path(path).stem}" for path in python]
    for path, text in python.items():
        classes = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef))
        names += [f"{path}: {node.name}" for node in classes]
    assert [name for name in names if vague.search(name)] == []


def test_every_module_of_the_packages_says_what_it_is(python: dict[str, str]) -> None:
    silent = [
        path
        for path, text in python.items()
        if path.startswith(PACKAGES) and text.strip() and not ast.get_docstring(ast.parse(text))
    ]
    assert silent == []
