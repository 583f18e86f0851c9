from __future__ import annotations

from ipaddress import IPv4Address, ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit.web._addresses import embedded, kind

PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "169.253.255.255",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a00:1450:4001::1",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
    "2a00::5efe:8.8.8.8",
]
LOCAL = [
    ("127.0.0.1", "loopback"),
    ("127.255.255.254", "loopback"),
    ("::1", "loopback"),
    ("10.0.0.1", "private"),
    ("172.16.0.1", "private"),
    ("172.31.255.255", "private"),
    ("192.168.1.1", "private"),
    ("fc00::1", "private"),
    ("fdff::1", "private"),
    ("100.64.0.1", "carrier-grade NAT"),
    ("100.127.255.255", "carrier-grade NAT"),
    ("169.254.0.1", "link-local"),
    ("fe80::1", "link-local"),
    ("fe80::1%eth0", "link-local"),
    ("fec0::1", "site-local"),
    ("::ffff:127.0.0.1", "loopback"),
    ("::ffff:10.0.0.1", "private"),
    ("64:ff9b::192.168.1.1", "private"),
    ("2002:7f00:1::1", "loopback"),
    ("2002:0a00:0001::", "private"),
    ("2a00::5efe:10.0.0.1", "private"),
    ("2a00::200:5efe:127.0.0.1", "loopback"),
    ("2001:0:808:808::f5ff:fffe", "private"),  # Teredo: the client is 10.0.0.1, turned over
    ("2001:0:7f00:1::f7f7:f7f7", "loopback"),  # Teredo: the server is 127.0.0.1
    ("2002:808:808::5efe:a00:1", "private"),  # public in 6to4, private in ISATAP
]
RESERVED = [
    ("0.0.0.0", "unspecified"),
    ("0.1.2.3", "unspecified"),
    ("::", "unspecified"),
    ("192.0.0.1", "reserved"),
    ("192.0.2.1", "documentation"),
    ("198.51.100.1", "documentation"),
    ("203.0.113.1", "documentation"),
    ("2001:db8::1", "documentation"),
    ("3fff::1", "documentation"),
    ("192.88.99.1", "6to4 relay"),
    ("198.18.0.1", "benchmarking"),
    ("224.0.0.1", "multicast"),
    ("239.255.255.255", "multicast"),
    ("ff02::1", "multicast"),
    ("240.0.0.1", "reserved"),
    ("255.255.255.255", "reserved"),
    ("2001:2::1", "reserved"),
    ("100::1", "reserved"),
    ("64:ff9b:1::1", "reserved"),
    ("::127.0.0.1", "reserved"),
    ("::ffff:0:127.0.0.1", "reserved"),
    ("5f00::1", "reserved"),
    ("::ffff:0.0.0.0", "unspecified"),
    ("::ffff:224.0.0.1", "multicast"),
]
METADATA = [
    "169.254.169.254",
    "169.254.170.2",
    "100.100.100.200",
    "168.63.129.16",
    "fd00:ec2::254",
    "fd00:ec2::254%eth0",
    "::ffff:169.254.169.254",
    "64:ff9b::169.254.169.254",
    "2002:a9fe:a9fe::1",
    "2a00::5efe:169.254.169.254",
    "2001:0:808:808::5601:5601",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_of_the_public_net_is_public(address: str) -> None:
    assert kind(ip_address(address))[0] == "public"


@pytest.mark.parametrize(("address", "name"), LOCAL)
def test_an_address_of_a_local_network_is_local_in_every_form(address: str, name: str) -> None:
    assert kind(ip_address(address)) == ("local", name)


@pytest.mark.parametrize(("address", "name"), RESERVED)
def test_an_address_for_no_host_is_reserved(address: str, name: str) -> None:
    assert kind(ip_address(address)) == ("reserved", name)


@pytest.mark.parametrize("address", METADATA)
def test_an_address_of_cloud_metadata_is_known_in_every_form(address: str) -> None:
    assert kind(ip_address(address))[0] == "metadata"


@settings(deadline=None)
@given(st.ip_addresses())
def test_no_address_that_python_knows_as_not_global_is_public(address) -> None:
    carriers = ("::ffff:", "64:ff9b::", "2001:", "2002:")
    if not address.is_global and not str(address).startswith(carriers):
        assert kind(address)[0] != "public"


@settings(deadline=None)
@given(st.ip_addresses(v=4), st.integers(0, 2**32 - 1))
def test_an_embedded_address_is_found_whatever_is_around_it(inner: IPv4Address, noise: int) -> None:
    number = int(inner)
    forms = [
        0xFFFF << 32 | number,
        0x64FF9B << 96 | number,
        0x2002 << 112 | number << 80 | noise,
        0x2001 << 112 | noise << 64 | number ^ 0xFFFFFFFF,
        0x2A00 << 112 | noise << 64 | 0x5EFE << 32 | number,
    ]
    assert all(inner in embedded(ip_address(form)) for form in forms)
