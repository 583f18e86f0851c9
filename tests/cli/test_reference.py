from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_the_reference_page_is_what_the_program_says() -> None:
    script = str(ROOT / "scripts" / "cli_reference.py")
    said = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True).stdout
    page = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    assert said == page, "run: python scripts/cli_reference.py > docs/reference/cli.md"
