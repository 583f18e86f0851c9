"""What kind an IP address is: the rules that decide whether a page may be fetched from it.

Pure: nothing here resolves or connects. The table follows the IANA registries of special-purpose addresses,
and is our own because the answers of `ipaddress` differ between Python releases. An IPv4 address inside an
IPv6 one counts as much as the address around it.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Literal

Address = IPv4Address | IPv6Address
Kind = Literal["public", "local", "reserved", "metadata"]
"""`local` may be allowed by whoever owns the network; `reserved` and `metadata` never are."""

_ORDER: tuple[Kind, ...] = ("public", "local", "reserved", "metadata")
_METADATA = frozenset(
    ip_address(address)
    for address in (
        "169.254.169.254",
        "169.254.169.253",
        "169.254.170.2",
        "169.254.170.23",
        "169.254.42.42",
        "100.100.100.200",
        "192.0.0.192",
        # Public by its number, and answers inside of one cloud only.
        "168.63.129.16",
        "fd00:ec2::23",
        "fd00:ec2::253",
        "fd00:ec2::254",
        "fd00:42::42",
        "fd20:ce::254",
    )
)
_TABLE: tuple[tuple[str, Kind, str], ...] = (
    ("127.0.0.0/8", "local", "loopback"),
    ("10.0.0.0/8", "local", "private"),
    ("172.16.0.0/12", "local", "private"),
    ("192.168.0.0/16", "local", "private"),
    ("100.64.0.0/10", "local", "carrier-grade NAT"),
    ("169.254.0.0/16", "local", "link-local"),
    ("0.0.0.0/8", "reserved", "unspecified"),
    ("192.0.0.0/24", "reserved", "reserved"),
    ("192.0.2.0/24", "reserved", "documentation"),
    ("192.88.99.0/24", "reserved", "6to4 relay"),
    ("198.18.0.0/15", "reserved", "benchmarking"),
    ("198.51.100.0/24", "reserved", "documentation"),
    ("203.0.113.0/24", "reserved", "documentation"),
    ("224.0.0.0/4", "reserved", "multicast"),
    ("240.0.0.0/4", "reserved", "reserved"),
    ("::1/128", "local", "loopback"),
    ("fc00::/7", "local", "private"),
    ("fe80::/10", "local", "link-local"),
    ("fec0::/10", "local", "site-local"),
    ("::/128", "reserved", "unspecified"),
    ("ff00::/8", "reserved", "multicast"),
    ("2001:db8::/32", "reserved", "documentation"),
    ("3fff::/20", "reserved", "documentation"),
    # The forms that carry an IPv4 address are public themselves: what they carry decides.
    ("::ffff:0:0/96", "public", "IPv4-mapped"),
    ("64:ff9b::/96", "public", "NAT64"),
    ("2001::/32", "public", "Teredo"),
    ("2001::/23", "reserved", "reserved"),
    # Everything else that is not global unicast, the IPv4-compatible and local NAT64 forms among it.
    ("2000::/3", "public", "public"),
    ("::/0", "reserved", "reserved"),
    ("0.0.0.0/0", "public", "public"),
)
_RULES: tuple[tuple[IPv4Network | IPv6Network, Kind, str], ...] = tuple(
    (ip_network(network), kind, name) for network, kind, name in _TABLE
)
_MAPPED, _NAT64, _TEREDO, _6TO4 = (
    IPv6Network(network) for network in ("::ffff:0:0/96", "64:ff9b::/96", "2001::/32", "2002::/16")
)
# The middle of an ISATAP interface identifier, with and without the bit for "globally unique".
_ISATAP = (0x00005EFE, 0x02005EFE)


def kind(address: Address) -> tuple[Kind, str]:
    """The strictest kind among `address` and the IPv4 addresses inside it, and that rule's name."""
    judged = [_rule(each) for each in (address, *embedded(address))]
    return max(judged, key=lambda found: _ORDER.index(found[0]))


def embedded(address: Address) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses inside an IPv6 one: mapped, NAT64, 6to4, Teredo (server, client), ISATAP."""
    if isinstance(address, IPv4Address):
        return ()
    number = int(address)
    low = IPv4Address(number & 0xFFFFFFFF)
    if address in _MAPPED or address in _NAT64:
        return (low,)
    if address in _TEREDO:
        # The client's address is written with every bit turned over.
        return (IPv4Address(number >> 64 & 0xFFFFFFFF), IPv4Address(int(low) ^ 0xFFFFFFFF))
    found = (IPv4Address(number >> 80 & 0xFFFFFFFF),) if address in _6TO4 else ()
    return (*found, low) if number >> 32 & 0xFFFFFFFF in _ISATAP else found


def _rule(address: Address) -> tuple[Kind, str]:
    # Made anew from its number, because a zone index (`fe80::1%eth0`) makes equal addresses differ.
    if type(address)(int(address)) in _METADATA:
        return "metadata", "cloud metadata"
    return next((kind, name) for network, kind, name in _RULES if address in network)
