from __future__ import annotations

import inspect
import subprocess
import sys

import agentkit


def test_what_is_public_is_exactly_what_all_names() -> None:
    members = {name for name, value in vars(agentkit).items() if not inspect.ismodule(value)}
    public = {name for name in members if not name.startswith("_")}
    assert public - {"annotations"} == set(agentkit.__all__) - {"__version__"}
    assert agentkit.__all__ == sorted(agentkit.__all__)


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
