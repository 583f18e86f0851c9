"""Settings are read as Ollama reads its own."""

from __future__ import annotations

import pytest

from agentkit_server.settings import Settings


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("1", "on"),
        ("true", "on"),
        (" 'on' ", "on"),
        ("enabled", "on"),
        ("0", "off"),
        ("False", "off"),
        ("auto", "auto"),
        ("", "auto"),
    ],
)
def test_flash_attention_takes_every_form_of_a_boolean(
    monkeypatch: pytest.MonkeyPatch, value: str, meant: str
) -> None:
    monkeypatch.setenv("OLLAMA_FLASH_ATTENTION", value)
    assert Settings().flash_attention == meant


def test_a_boolean_that_is_not_plainly_false_is_true(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, meant in (("banana", True), ('"1"', True), ("no", False), ("F", False)):
        monkeypatch.setenv("AGENTKIT_NOPRUNE", value)
        assert Settings().noprune is meant


def test_our_setting_comes_before_its_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_MAX_QUEUE", "7")
    assert Settings().max_queue == 7
    monkeypatch.setenv("AGENTKIT_MAX_QUEUE", "9")
    assert Settings().max_queue == 9
