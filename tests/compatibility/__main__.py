"""Prints docs/reference/compatibility.md: `python -m tests.compatibility`."""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.compatibility.endpoints import asked, written

if __name__ == "__main__":
    logging.disable()
    with tempfile.TemporaryDirectory() as folder:
        sys.stdout.write(written(asyncio.run(asked(Path(folder)))))
