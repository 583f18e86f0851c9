"""`just fuzz`: schemathesis over /openapi.json of the server on the scripted engine, with every check.

Sends what the document allows and what it forbids, and fails for a 500, a status or body that the document
does not have, bad data that is let through, and a key that is not asked for.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.described_server import MODELS, described_app
from support.scripted_server import serving

from agentkit_server.models.names import ModelName
from agentkit_server.models.store import Store

TESTS = Path(__file__).resolve().parents[1]
KEY = "sk-fuzz-0123456789"
NOWHERE = "http://127.0.0.1:9"
OFFLINE = {"http_proxy": NOWHERE, "https_proxy": NOWHERE, "no_proxy": "127.0.0.1,localhost"}
"""A made-up model name must not be asked for at a real registry."""
CONFIG = Path(__file__).with_name("schemathesis.toml")


class Lasting(Store):
    """A store that keeps the models that the examples name, whoever deletes them."""

    def delete(self, name: str | ModelName) -> None:
        if str(name).partition(":")[0] not in MODELS:
            super().delete(name)


def fuzz(*options: str) -> subprocess.CompletedProcess[str]:
    """Run schemathesis with `options` against a fresh server."""
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, OFFLINE):
        app = described_app(Path(folder), KEY, store=Lasting)
        with serving(app) as url:
            command = [sys.executable, "-m", "schemathesis.cli", f"--config-file={CONFIG}", "run", *options]
            return subprocess.run(
                [*command, f"{url}/openapi.json", f"--header=Authorization: Bearer {KEY}"],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(TESTS)},
                text=True,
                check=False,
                capture_output=True,
            )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=120, help="how long (default: 120)")
    parser.add_argument("options", nargs="*", help="options of `schemathesis run`, behind --")
    chosen = parser.parse_args(arguments)
    done = fuzz(f"--max-time={chosen.seconds}", *chosen.options)
    print(done.stdout, done.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
