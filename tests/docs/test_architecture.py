"""docs/architecture.md is only of use while the names in it are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
SERVER = ROOT / "server" / "agentkit_server"
QUOTED = sorted(set(re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", PAGE, flags=re.M | re.S))))
SOURCE = "\n".join(path.read_text() for part in ("server", "scripts") for path in (ROOT / part).rglob("*.py"))


@pytest.mark.parametrize("path", [name for name in QUOTED if name.endswith((".py", "/")) and name.islower()])
def test_every_file_that_it_names_exists(path: str) -> None:
    assert any(list(folder.glob(path)) for folder in (ROOT, ROOT / "server", SERVER))


@pytest.mark.parametrize("name", [name for name in QUOTED if re.fullmatch(r"\w+(\.\w+)*", name)])
def test_every_name_of_the_code_in_it_exists(name: str) -> None:
    last = name.rsplit(".", 1)[-1]
    known = re.search(rf"\b{re.escape(last)}\b", SOURCE) is not None
    assert known or (ROOT / name).exists()


@pytest.mark.parametrize("package", ["turn", "models", "residency", "runner", "engine", "dialects"])
def test_every_part_of_the_server_is_in_it(package: str) -> None:
    assert f"`{package}/" in PAGE or f"`{package}`" in PAGE
