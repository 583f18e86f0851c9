from __future__ import annotations

import pytest

from agentkit import ChatResponse, ListResponse, Message, ShowResponse, _types
from agentkit._types import Record


def test_a_record_reads_as_a_dict() -> None:
    message = Message(role="user", content="Hi")
    assert message["content"] == message.get("content") == message.content == "Hi"
    assert "content" in message
    assert "thinking" not in message
    assert message.get("absent", "default") == "default"
    message["content"] = "Bye"
    assert message.content == "Bye"


def test_what_checks_a_record_can_be_built() -> None:
    # Building is put off until a record is made, and so would be a mistake in a type.
    kinds = [kind for kind in vars(_types).values() if isinstance(kind, type) and issubclass(kind, Record)]
    assert len(kinds) > 20
    for kind in kinds:
        kind.model_rebuild()
        assert kind.__pydantic_complete__


def test_only_fields_are_keys() -> None:
    message = Message(role="user")
    for key in ("absent", "get", "model_dump"):
        with pytest.raises(KeyError, match=key):
            message[key]
        assert key not in message


def test_fields_of_a_newer_server_are_kept() -> None:
    answer = ChatResponse.model_validate({"message": {"role": "assistant"}, "cached": 7})
    assert answer["cached"] == 7
    assert "cached" in answer
    assert answer.get("cached") == 7


def test_a_field_answers_to_its_name_on_the_wire_too() -> None:
    answer = ShowResponse.model_validate({"model_info": {"a": 1}})
    assert answer.modelinfo == answer["modelinfo"] == answer["model_info"] == {"a": 1}


def test_times_and_sizes_are_typed() -> None:
    entry = {"name": "m", "modified_at": "2030-01-02T03:04:05Z", "size": 98_000_000}
    model = ListResponse.model_validate({"models": [entry]}).models[0]
    assert model.modified_at is not None
    assert model.modified_at.year == 2030
    assert model.size == 98_000_000
