"""Prints docs/reference/json-schema.md: a preface, then which level each keyword has, found by preparing the
schemas that the tests use.

python scripts/schema_reference.py > docs/reference/json-schema.md
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.schema_pairs import GROUPS
from support.schema_refusals import REFUSED

from agentkit_server.errors import SchemaRefused
from agentkit_server.turn.schema.prepare import prepare

PREFACE = Path(__file__).with_suffix(".md")


def reference() -> str:
    """The whole page."""
    rows: dict[tuple[str, str], set[str]] = {}
    for group in GROUPS:
        rows.setdefault((group.keyword, group.condition), set()).add(prepare(group.schema).level)
    for refused in REFUSED:
        rows.setdefault((refused.keyword, refused.condition), set()).add(_refusal(refused.schema))
    keywords = list(dict.fromkeys(keyword for keyword, _ in rows))
    lines = ["| keyword | condition | level |", "| --- | --- | --- |"]
    for keyword in keywords:
        for (named, condition), levels in rows.items():
            if named == keyword:
                lines.append(f"| `{keyword}` | {condition} | {', '.join(sorted(levels))} |")
    return PREFACE.read_text(encoding="utf-8") + "\n".join(lines) + "\n"


def _refusal(schema: object) -> str:
    try:
        return prepare(schema).level  # pyright: ignore[reportArgumentType]
    except SchemaRefused:
        return "refused"


if __name__ == "__main__":
    sys.stdout.write(reference())
