"""Schemas with instances that are valid and invalid for them, from ../shared/data."""

from __future__ import annotations

import gzip
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[3] / "shared" / "data"


@dataclass(frozen=True)
class Case:
    """One schema."""

    name: str
    schema: Any
    instances: tuple[tuple[Any, bool], ...]
    """(value, is it valid)"""


def maskbench(part: str) -> list[Case]:
    """A part of MaskBench: core_dev, tools_dev. Raises FileNotFoundError."""
    with gzip.open(DATA / f"maskbench_{part}.jsonl.gz") as file:
        rows = [json.loads(line) for line in file]
    return [
        Case(row["id"], row["schema"], tuple((test["data"], test["valid"]) for test in row["tests"]))
        for row in rows
    ]


def official(draft: str = "draft2020-12") -> list[Case]:
    """The official suite with its formats. Raises FileNotFoundError."""
    cases: list[Case] = []
    with tarfile.open(DATA / "json-schema-test-suite.tar.gz") as archive:
        for member in archive:
            if f"/tests/{draft}/" in member.name and member.name.endswith(".json"):
                file = archive.extractfile(member)
                assert file is not None
                cases.extend(_official(member.name.partition(f"/{draft}/")[2], json.load(file)))
    return cases


def _official(file: str, groups: list[dict[str, Any]]) -> Iterator[Case]:
    for group in groups:
        tests = tuple((test["data"], test["valid"]) for test in group["tests"])
        yield Case(f"{file}: {group['description']}", group["schema"], tests)
