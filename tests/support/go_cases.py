"""Tables of Go templates: rows of a name, a source, its data, and what is written; or, for errors, the line
and column and some words of the message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import pytest

from agentkit_server.gotemplate.template import GoTemplate, GoTemplateError

Row: TypeAlias = tuple[str, str, Any, str]
ErrorRow: TypeAlias = tuple[str, str, Any, int, int, str]


def table(rows: Sequence[tuple[Any, ...]]) -> pytest.MarkDecorator:
    """Parametrises a test with `row`, whose first item is its name."""
    return pytest.mark.parametrize("row", [pytest.param(row, id=row[0]) for row in rows])


def check(row: Row) -> None:
    _, source, data, written = row
    assert GoTemplate.parse(source).render(data) == written


def check_error(row: ErrorRow) -> None:
    _, source, data, line, column, words = row
    with pytest.raises(GoTemplateError) as caught:
        GoTemplate.parse(source).render(data)
    assert words in caught.value.reason
    assert (caught.value.line, caught.value.column) == (line, column)
