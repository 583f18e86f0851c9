"""One distribution with three import packages, of which the SDK stays light."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

HEAVY = ["agentkit_server", "agentkit_cli", "fastapi", "uvicorn", "llama_cpp", "numpy", "typer", "zmq"]


def test_the_wheel_carries_the_three_packages_and_nothing_else(root: Path, tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=root, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("agentkit-*-py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"agentkit", "agentkit_server", "agentkit_cli"}
    assert "agentkit_server/py.typed" in names
    assert "agentkit/py.typed" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_importing_the_sdk_loads_neither_server_nor_command_line() -> None:
    program = "import sys, agentkit; print(' '.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(HEAVY) & set(loaded.stdout.split()) == set()


def test_the_sdk_alone_depends_on_four_libraries(pyproject: dict[str, Any]) -> None:
    names = {line.split(">")[0] for line in pyproject["project"]["dependencies"]}
    assert names == {"httpx", "pydantic", "jsonschema", "griffelib"}


def test_ci_runs_the_second_command_of_the_readme(root: Path) -> None:
    readme = (root / "README.md").read_text()
    assert 'scripts/install && .venv/bin/agentkit run smollm2 "Why is the sky blue?"' in readme
    assert "\nscripts/test\n" in readme
    assert "exec scripts/test\n" in (root / ".ci" / "run").read_text()
    for script in ("scripts/install", "scripts/test", "scripts/check", "scripts/lock", ".ci/run"):
        assert (root / script).stat().st_mode & 0o111 == 0o111, f"{script} is not executable"
