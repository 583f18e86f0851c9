"""The page about the Modelfile says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agentkit_server.models.modelfile import parse, render
from agentkit_server.models.modelfile.parameters import DEPRECATED, KINDS
from agentkit_server.models.modelfile.reading import _READERS

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "reference" / "modelfile.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```modelfile\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN = [
    pytest.param(block, id=f"{path.name}:{number}")
    for path in sorted((ROOT / "docs").rglob("*.md"))
    for number, block in enumerate(BLOCK.findall(path.read_text(encoding="utf-8")), start=1)
]


@pytest.mark.parametrize("text", SHOWN)
def test_every_modelfile_that_is_shown_is_one(text: str) -> None:
    modelfile = parse(text)
    assert modelfile.warnings == ()
    assert parse(render(modelfile)) == modelfile


def test_the_page_has_every_command_and_parameter() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    commands = {row.lower() for row in rows if row.isupper()}
    assert commands == _READERS.keys()
    assert {row for row in rows if row in KINDS} == KINDS.keys()
    assert all(f"`{name}`" in PAGE for name in DEPRECATED)
