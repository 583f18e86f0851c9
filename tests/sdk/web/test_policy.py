from __future__ import annotations

from ipaddress import ip_address

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agentkit import AgentkitError
from agentkit._errors import DefinitionError, FetchRefused
from agentkit.web import FetchPolicy
from agentkit.web._policy import check_addresses, check_url

OPEN = FetchPolicy(allow_local=True)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("https://example.com/a?b=c", "https://example.com/a?b=c"),
        ("HTTP://EXAMPLE.com:80/", "http://example.com/"),
        ("example.com", "https://example.com"),
        ("example.com:8443/a", "https://example.com:8443/a"),
        (" example.com/a#part ", "https://example.com/a"),
        ("http://example.com./a", "http://example.com/a"),
        ("http://example.com.:81/", "http://example.com:81/"),
        ("https://münchen.example/", "https://xn--mnchen-3ya.example/"),
        ("http://[2606:4700:0:0::1111]/", "http://[2606:4700::1111]/"),
        ("http://127。0。0。1/", "http://127.0.0.1/"),
    ],
)
def test_a_url_is_read_as_it_is_meant(written: str, meant: str) -> None:
    assert str(check_url(written, OPEN)) == meant


@pytest.mark.parametrize(
    "url",
    [
        "",
        "   ",
        "/a",
        "//example.com/a",
        "http:example.com",
        "https:///a",
        "file:///etc/passwd",
        "file:/etc/passwd",
        "ftp://example.com/",
        "gopher://example.com/",
        "data:text/html,hello",
        "javascript:alert(1)",
        "http://user:secret@example.com/",
        "http://user@example.com/",
        "http://example.com\\@127.0.0.1/",
        "http://exa mple.com/",
        "http://%31%32%37.0.0.1/",
        "http://example..com/",
        "http://[::1%25eth0]/",
        "http://[::1/",
        "http://example.com:99999/",
        "http://example.com:0/",
        "http://example.com:x/",
        "http://example.com/\x00",
        f"http://{'a' * 64}.com/",
        "http://example.com/" + "a" * 5000,
    ],
)
def test_what_is_no_plain_web_address_is_refused(url: str) -> None:
    with pytest.raises(FetchRefused):
        check_url(url, OPEN)


def test_a_refusal_repeats_no_credentials() -> None:
    with pytest.raises(FetchRefused) as refusal:
        check_url("http://user:secret@example.com/", OPEN)
    assert "secret" not in str(refusal.value)


@settings(deadline=None)
@given(st.one_of(st.text(), st.text().map("http://{}".format), st.from_regex(r"https?://[^/]*(:\d*)?/.*")))
@example("http://xn--/")
@example("http://[::ffff:1.2.3]/")
@example("http://a\udc80/")
@example("http://example.com:" + "9" * 5000)
def test_check_url_raises_nothing_but_a_refusal(text: str) -> None:
    try:
        url = check_url(text, FetchPolicy(allow_domains=["a", "example.com"], deny_domains=["b"]))
    except FetchRefused:
        return
    assert url.scheme in ("http", "https")
    assert url.userinfo == b""


@settings(deadline=None)
@given(st.from_regex(r"(https?://)?[a-z0-9.-]{1,20}(:[0-9]{1,5})?(/[a-z]*)?", fullmatch=True))
def test_what_was_checked_is_checked_to_the_same(text: str) -> None:
    try:
        url = check_url(text, OPEN)
    except FetchRefused:
        return
    assert check_url(str(url), OPEN) == url


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://example.com/", True),
        ("https://docs.example.com/", True),
        ("https://EXAMPLE.com./", True),
        ("https://notexample.com/", False),
        ("https://example.com.evil.test/", False),
        ("https://bad.example.com/", False),
        ("https://worse.bad.example.com/", False),
        ("https://xn--mnchen-3ya.example/", True),
    ],
)
def test_domain_lists_count_whole_labels_and_denial_comes_first(url: str, allowed: bool) -> None:
    policy = FetchPolicy(allow_domains=["example.com", "münchen.example"], deny_domains=[".bad.example.com"])
    if allowed:
        check_url(url, policy)
    else:
        with pytest.raises(FetchRefused, match="domain"):
            check_url(url, policy)


def test_a_text_in_place_of_a_list_of_domains_is_a_mistake() -> None:
    with pytest.raises(DefinitionError, match=r"'example\.com'"):
        FetchPolicy(deny_domains="example.com")


def addresses(url: str, *found: str, policy: FetchPolicy = FetchPolicy()) -> None:  # noqa: B008
    check_addresses(httpx.URL(url), [ip_address(each) for each in found], policy)


def test_one_bad_address_among_good_ones_is_enough() -> None:
    addresses("http://a.test/", "8.8.8.8", "2606:4700::1")
    with pytest.raises(FetchRefused, match="private"):
        addresses("http://a.test/", "8.8.8.8", "10.0.0.1")
    with pytest.raises(FetchRefused, match="no address"):
        addresses("http://a.test/")


def test_allowing_local_networks_allows_neither_metadata_nor_reserved_addresses() -> None:
    addresses("http://a.test/", "10.0.0.1", "127.0.0.1", "fe80::1", policy=OPEN)
    for address in ("169.254.169.254", "168.63.129.16", "0.0.0.0", "224.0.0.1", "::ffff:169.254.169.254"):
        with pytest.raises(FetchRefused):
            addresses("http://a.test/", address, policy=OPEN)


def test_one_host_may_be_local_with_its_port_or_on_every_port() -> None:
    policy = FetchPolicy(allow_hosts=["wiki.test", "127.0.0.1:81", "[::1]:82"])
    addresses("http://wiki.test:8080/", "10.0.0.1", policy=policy)
    addresses("http://127.0.0.1:81/", "127.0.0.1", policy=policy)
    addresses("http://[::1]:82/", "::1", policy=policy)
    for url in ("http://127.0.0.1:83/", "http://other.test/", "http://a.wiki.test/"):
        with pytest.raises(FetchRefused):
            addresses(url, "127.0.0.1", policy=policy)


def test_a_refusal_names_no_address() -> None:
    with pytest.raises(FetchRefused) as refusal:
        addresses("http://a.test/", "10.20.30.40")
    assert "10.20.30.40" not in str(refusal.value)


def test_the_port_of_the_model_server_is_always_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FetchRefused, match="model server"):
        check_url("http://a.test:11434/api/tags", OPEN)
    monkeypatch.setenv("AGENTKIT_HOST", "127.0.0.1:8123")
    for url in ("http://127.0.0.1:8123/", "http://a.test:8123/"):
        with pytest.raises(FetchRefused, match="model server"):
            check_url(url, FetchPolicy(allow_local=True, allow_hosts=["a.test:8123"]))


def test_a_model_server_on_a_port_of_the_web_leaves_the_web_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTKIT_HOST", "https://models.test")
    addresses(str(check_url("https://example.com/", OPEN)), "8.8.8.8", policy=OPEN)
    with pytest.raises(FetchRefused, match="model server"):
        check_url("https://models.test/", OPEN)
    with pytest.raises(FetchRefused, match="model server"):
        addresses("https://other.test/", "10.0.0.1", policy=OPEN)


def test_a_host_setting_that_cannot_be_read_denies_the_usual_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTKIT_HOST", "ftp://nowhere")
    with pytest.raises(FetchRefused):
        check_url("http://a.test:11434/", OPEN)


def test_a_refusal_is_an_error_of_the_tree() -> None:
    assert issubclass(FetchRefused, AgentkitError)
