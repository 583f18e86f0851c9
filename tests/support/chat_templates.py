"""The published chat templates, where they are at hand, as parameters of a test."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import pytest

ARCHIVE = Path(__file__).resolve().parents[3] / "shared" / "data" / "chat-templates.tar.gz"


def published() -> dict[str, str]:
    """Sources by name; {} where the archive is absent."""
    if not ARCHIVE.exists():
        return {}
    with tarfile.open(ARCHIVE) as archive:
        members = [member for member in archive.getmembers() if member.name.endswith(".jinja")]
        files = [(Path(member.name).stem, archive.extractfile(member)) for member in members]
        return {name: file.read().decode() for name, file in sorted(files) if file is not None}


def parameters() -> list[Any]:
    """(name, source) of each, or one that is skipped."""
    found = published()
    if not found:
        return [pytest.param("", "", marks=pytest.mark.skip(reason="the shared chat templates are absent"))]
    return [pytest.param(name, source, id=name) for name, source in found.items()]
