from __future__ import annotations

import pytest
from ollama._client import _parse_host as ollama_parse_host  # pyright: ignore[reportPrivateUsage]

from agentkit import Client, RequestError

FORMS = [
    None,
    "",
    "1.2.3.4",
    ":56789",
    "1.2.3.4:56789",
    "http://1.2.3.4",
    "https://1.2.3.4",
    "https://1.2.3.4:56789",
    "example.com",
    "example.com/",
    "example.com:56789/",
    "http://example.com",
    "example.com/path",
    "https://example.com:56789/path/",
    "[0001:002:003:0004::1]",
    "[0001:002:003:0004::1]:56789",
    "http://[0001:002:003:0004::1]",
    "https://[0001:002:003:0004::1]:56789/path",
]


@pytest.mark.parametrize("host", FORMS)
def test_every_form_means_what_it_means_to_the_published_client(host: str | None) -> None:
    assert Client(host).base_url == ollama_parse_host(host)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("::1", "http://[::1]:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("[::]:8080", "http://[::1]:8080"),
        (' "here:1" ', "http://here:1"),
    ],
)
def test_forms_that_only_we_read(host: str, url: str) -> None:
    assert Client(host).base_url == url


@pytest.mark.parametrize("host", ["ftp://here", "here:port", "here:99999", "[::1"])
def test_other_forms_are_refused_with_the_value(host: str) -> None:
    with pytest.raises(RequestError) as error:
        _ = Client(host).base_url
    assert repr(host) in str(error.value)


def test_our_setting_comes_before_ollamas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "theirs:1")
    assert Client().base_url == "http://theirs:1"
    monkeypatch.setenv("AGENTKIT_HOST", "ours:2")
    assert Client().base_url == "http://ours:2"
