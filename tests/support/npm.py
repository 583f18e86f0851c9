"""Packages from npm, installed once at pinned versions into the user's cache folder and kept there."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

# Read at import: tests replace HOME.
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "agentkit" / "npm"


class NotInstalled(Exception):
    """Why the packages are not there: no node, or npm's own last words."""


def installed(*packages: str) -> Path:
    """The folder whose `node_modules` holds `packages` ("name@version") and what they need.

    Raises NotInstalled. What is there is there whole: an installation that was broken off leaves nothing.
    """
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise NotInstalled("node and npm are not installed")
    folder = _CACHE / hashlib.sha256(" ".join(packages).encode()).hexdigest()[:16]
    if folder.exists():
        return folder
    _CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_CACHE, ignore_cleanup_errors=True) as begun:
        (Path(begun) / "package.json").write_text('{"private": true, "type": "module"}')
        command = [npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]
        run = subprocess.run(
            [*command, *packages], cwd=begun, capture_output=True, text=True, check=False, timeout=1200
        )
        if run.returncode:
            raise NotInstalled(f"npm could not install {' '.join(packages)}: {run.stderr[-300:]}")
        Path(begun).rename(folder)
    return folder
