"""constraints.txt: every dependency pinned with hashes, and nothing that ties it to a machine or an index."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LINE = re.compile(
    r"(# .*"
    r"|[a-z0-9][a-z0-9.-]*==[A-Za-z0-9.]+( ; [A-Za-z0-9_ '.<>=!()]+)? \\"
    r"|    --hash=sha256:[0-9a-f]{64}( \\)?)"
)


@pytest.fixture(scope="module")
def text(root: Path) -> str:
    return (root / "constraints.txt").read_text()


def pins(text: str) -> list[Requirement]:
    """Those that apply to the Python that runs the tests."""
    found = [Requirement(line.rstrip(" \\")) for line in text.splitlines() if re.match(r"[a-z0-9]", line)]
    return [pin for pin in found if pin.marker is None or pin.marker.evaluate()]


def wanted(pyproject: dict[str, Any]) -> list[Requirement]:
    project = pyproject["project"]
    lists = [
        project["dependencies"],
        *project["optional-dependencies"].values(),
        *pyproject["dependency-groups"].values(),
    ]
    requirements = [Requirement(line) for lines in lists for line in lines]
    return [requirement for requirement in requirements if requirement.name != "agentkit"]


def test_it_holds_names_versions_and_hashes_only(text: str) -> None:
    assert [line for line in text.splitlines() if not LINE.fullmatch(line)] == []


def test_every_dependency_of_pyproject_is_pinned_to_a_version_that_it_allows(
    text: str, pyproject: dict[str, Any]
) -> None:
    versions = {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in pins(text)}
    for requirement in wanted(pyproject):
        name = canonicalize_name(requirement.name)
        assert name in versions, f"{name} is not pinned; run scripts/lock"
        assert requirement.specifier.contains(versions[name]), f"{requirement} against {versions[name]}"


def test_no_package_is_pinned_twice(text: str) -> None:
    names = [pin.name for pin in pins(text)]
    assert sorted(names) == sorted(set(names))


def test_llama_cpp_is_a_section_of_its_own(text: str, installer: ModuleType) -> None:
    sections = installer.sections(text)
    assert list(sections) == ["run", "llama", "build", "dev"]
    assert [pin.name for pin in pins(sections["llama"])] == ["llama-cpp-python"]


def test_the_environment_that_runs_the_tests_is_the_pinned_one(text: str) -> None:
    for pin in pins(text):
        assert importlib.metadata.version(pin.name) in pin.specifier, f"{pin}; run scripts/install --dev"


def test_the_pinned_versions_agree_with_each_other() -> None:
    check = subprocess.run(
        [sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, check.stdout
