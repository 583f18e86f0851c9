from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit_server.errors import InvalidModelName
from agentkit_server.models.names import ModelName


@pytest.mark.parametrize(
    ("text", "short", "parts"),
    [
        ("smollm2", "smollm2:latest", ("registry.ollama.ai", "library", "smollm2", "latest")),
        ("smollm2:135m", "smollm2:135m", ("registry.ollama.ai", "library", "smollm2", "135m")),
        ("me/mine", "me/mine:latest", ("registry.ollama.ai", "me", "mine", "latest")),
        ("localhost:5000/a/b:c", "localhost:5000/a/b:c", ("localhost:5000", "a", "b", "c")),
        ("https://h.example/a/b", "h.example/a/b:latest", ("h.example", "a", "b", "latest")),
        (
            "hf.co/User/Repo.GGUF:Q4_K_M",
            "hf.co/User/Repo.GGUF:Q4_K_M",
            ("hf.co", "User", "Repo.GGUF", "Q4_K_M"),
        ),
        ("_x/_y:_z", "_x/_y:_z", ("registry.ollama.ai", "_x", "_y", "_z")),
    ],
)
def test_names_get_their_defaults_and_are_shown_without_them(
    text: str, short: str, parts: tuple[str, ...]
) -> None:
    name = ModelName.parse(text)
    assert (name.short, name.path_parts) == (short, parts)
    assert ModelName.parse(name.full) == ModelName.parse(name.short) == name


OUTSIDE = ["", ":", "/", "a/", "/a", "a:", "a//b", "a/b/c/d", "../a", "a/../b", ".a", "-a", "a b", "a:b:c"]
OUTSIDE += [
    "a\\b",
    "x/y.z/a",
    "a\n",
    "a\x00",
    "é",
    "a:..",
    "..",
    "a" * 81,
    "h" * 351 + "/n/m",
    "n" * 81 + "/m",
]


@pytest.mark.parametrize("text", OUTSIDE)
def test_what_is_outside_the_grammar_is_refused_with_its_value(text: str) -> None:
    with pytest.raises(InvalidModelName, match="invalid model name") as caught:
        ModelName.parse(text)
    assert repr(text) in str(caught.value)


def test_a_name_is_refused_at_once_however_long_it_is() -> None:
    with pytest.raises(InvalidModelName, match="invalid model name"):
        ModelName.parse("a" * 4_000_000)


def test_the_longest_parts_are_allowed() -> None:
    name = ModelName.parse("h" * 350 + "/" + "n" * 80 + "/" + "m" * 80 + ":" + "t" * 80)
    assert [len(part) for part in name.path_parts] == [350, 80, 80, 80]


def test_names_that_differ_in_case_have_one_key() -> None:
    assert ModelName.parse("HF.co/User/Repo:Q4").key == ModelName.parse("hf.CO/user/repo:q4").key


@settings(database=None)
@given(st.text())
def test_no_text_makes_a_path_that_leaves_the_store(text: str) -> None:
    try:
        parts = ModelName.parse(text).path_parts
    except InvalidModelName:
        return
    assert all(part and part[0] != "." and not set(part) & set("/\\\0") for part in parts)
