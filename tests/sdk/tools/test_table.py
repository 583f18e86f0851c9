"""Every row: the schema is the wanted one, valid, and one that the server's grammar can hold."""

from __future__ import annotations

import pytest
from jsonschema import Draft202012Validator
from sdk.tools import callable_rows, docstring_rows, type_rows
from sdk.tools.rows import Row

from agentkit._tool import as_tool
from agentkit_server.turn.schema.prepare import prepare

ROWS = [*docstring_rows.row.rows, *type_rows.row.rows, *callable_rows.row.rows]
each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


@each_row
def test_a_function_gives_this_schema(row: Row) -> None:
    made = as_tool(row.tool)
    assert made.parameters == row.schema
    assert list(made.parameters["properties"]) == list(row.schema["properties"])
    assert made.description == row.description
    assert made.returns == row.returns


@each_row
def test_its_schema_is_a_valid_one(row: Row) -> None:
    made = as_tool(row.tool)
    Draft202012Validator.check_schema(made.parameters)
    if made.returns is not None:
        Draft202012Validator.check_schema(made.returns)


@each_row
def test_the_server_holds_a_model_to_it(row: Row) -> None:
    """Only sets are checked after generation: a grammar cannot remember the items before."""
    prepared = prepare(as_tool(row.tool).parameters)
    assert prepared.level == ("checked" if row.checked else "exact")
    assert {problem.keyword for problem in prepared.loose} == set(row.checked)


def test_the_table_is_long_enough() -> None:
    assert len(ROWS) >= 60
    assert {keyword for row in ROWS for keyword in row.checked} == {"uniqueItems"}
