"""Arguments as JSON: passed on as they come, to the end of the object and no further."""

from __future__ import annotations

import pytest
from support.calls import PLAIN, read, tool

from agentkit_server.turn.syntaxes.styles.json import JSON

ANY = tool({"a": {}})


@pytest.mark.parametrize(
    "text",
    ["{}", '{"a": {"b": [{}, []]}}', '{"a": "}]{\\"}\\\\"}', '{\n  "a": "\\u00e9\\n"\n}', '{"a": "\\\\"}'],
)
@pytest.mark.parametrize("rest", ["", "}", "</tool_call>", '"', "\n}"])
def test_the_end_of_the_object_is_found_in_any_pieces(text: str, rest: str) -> None:
    for pieces in ([text + rest], [*text, rest]):
        assert read(JSON, ANY, pieces) == (text, rest)


def test_text_is_passed_on_at_once() -> None:
    scanner = JSON.scanner(ANY, PLAIN)
    said = [
        scanner.feed(piece)
        for piece in [
            " \n",
            '{"a',
            '": "x',
            "\\",
            '""',
            "}",
        ]
    ]
    assert said == [("", None), ('{"a', None), ('": "x', None), ("\\", None), ('""', None), ("}", "")]


def test_keys_are_written_in_the_order_of_the_schema_at_every_depth() -> None:
    inner = {"type": "object", "properties": {"x": {}, "y": {}}}
    of = tool({"b": {"type": "array", "items": inner}, "a": {}})
    assert JSON.write(of, {"a": 1, "b": [{"y": 2, "x": 3}]}) == '{"b": [{"x": 3, "y": 2}], "a": 1}'
