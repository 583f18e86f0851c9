from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.chat_templates import ARCHIVE

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.skipif(not ARCHIVE.exists(), reason="the shared chat templates are absent")
def test_the_table_of_chat_templates_is_what_the_code_does(tmp_path: Path) -> None:
    page = ROOT / "docs" / "reference" / "chat-templates.md"
    script = ROOT / "scripts" / "chat_templates.py"
    code = f"import runpy, pathlib; page = runpy.run_path({str(script)!r})['page']; "
    code += f"print(page(pathlib.Path({str(ARCHIVE)!r})), end='')"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == page.read_text(), "run: python scripts/chat_templates.py ARCHIVE"
