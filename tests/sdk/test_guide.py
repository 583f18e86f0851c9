from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from scripted_native import Script, application, serving

GUIDE = Path(__file__).parent.parent.parent / "docs" / "guides" / "python-client.md"
SNIPPETS = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_the_snippets_of_the_guide_run(snippet: str) -> None:
    script = Script()
    script.models["smollm2:latest"] = "a" * 64
    with serving(application(script)) as url:
        environment = {**os.environ, "AGENTKIT_HOST": url}
        run = subprocess.run([sys.executable, "-c", snippet], env=environment, capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout
