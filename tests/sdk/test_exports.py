from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import agentkit


def told_to_type_checkers() -> dict[str, str]:
    """Name to module, of the imports that only type checkers read."""
    tree = ast.parse(Path(agentkit.__file__).read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    ours = [node for node in imports if (node.module or "").startswith("agentkit.")]
    return {alias.name: str(node.module).partition(".")[2] for node in ours for alias in node.names}


def test_what_is_public_is_exactly_what_all_names() -> None:
    assert agentkit.__all__ == sorted(agentkit.__all__)
    assert set(agentkit.__all__) == told_to_type_checkers().keys()
    assert set(agentkit.__all__) <= set(dir(agentkit))


def test_every_public_name_comes_from_where_type_checkers_are_told() -> None:
    for name, module in told_to_type_checkers().items():
        home = importlib.import_module(f"agentkit.{module}")
        assert getattr(agentkit, name) is getattr(home, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = agentkit.nothing


def test_both_clients_have_the_same_methods_with_the_same_parameters() -> None:
    def methods(client: type) -> dict[str, list[str]]:
        members = inspect.getmembers(client, inspect.isfunction)
        return {
            name: list(inspect.signature(member).parameters) for name, member in members if name[0] != "_"
        }

    assert methods(agentkit.Client) == methods(agentkit.AsyncClient)


def test_importing_the_sdk_reads_no_setting_and_imports_no_server() -> None:
    heavy = ("agentkit_server", "agentkit_cli", "llama_cpp", "numpy", "jsonschema", "griffe", "fastapi")
    program = f"import sys, agentkit; print([name for name in {heavy} if name in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={"AGENTKIT_HOST": "ftp://not-a-host"},
        check=True,
    )
    assert run.stdout == "[]\n"
