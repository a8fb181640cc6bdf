"""Where webhooks may lead: the internet, and what the configuration allows."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carryon_operator.notify.addresses import Allowed, literal, parse

INTERNET = ["93.184.216.34", "1.1.1.1", "2606:4700::1111", "2a00:1450:4001::200e", "64:ff9b::101:101", "::ffff:1.1.1.1"]
PRIVATE = ["10.0.0.1", "172.16.5.4", "192.168.1.10", "100.64.0.7", "fd12:3456::1", "::ffff:10.0.0.1", "64:ff9b::a00:1"]
OF_THIS_MACHINE = [
    *("127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "0.0.0.0", "::"),
    *("169.254.1.1", "169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe"),
    *("fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "100.100.100.200", "168.63.129.16", "192.0.0.192"),
    *("224.0.0.1", "255.255.255.255", "240.0.0.1", "198.18.0.1", "203.0.113.9", "ff02::1", "ff0e::1"),
    *("::7f00:1", "2002:7f00:1::", "2002:a00:1::", "2001:0:1::1", "2001:db8::1", "fec0::1", "64:ff9b:1::a00:1"),
]


@pytest.mark.parametrize("address", INTERNET)
def test_what_is_on_the_internet_may_be_told(address: str) -> None:
    assert Allowed().permits(ipaddress.ip_address(address), "hooks.example")


@pytest.mark.parametrize("address", PRIVATE + OF_THIS_MACHINE)
def test_what_is_not_may_not_in_whatever_form(address: str) -> None:
    assert not Allowed().permits(ipaddress.ip_address(address), "hooks.example")


@pytest.mark.parametrize("address", PRIVATE)
def test_a_host_that_is_named_may_be_private(address: str) -> None:
    allowed = parse(["relay.studio.svc", "*.internal.example"])
    for host, permitted in {
        "relay.studio.svc": True,
        "Relay.Studio.SVC.": True,
        "a.b.internal.example": True,
        "internal.example": False,
        "evilinternal.example": False,
        "xrelay.studio.svc": False,
        address: False,
    }.items():
        assert allowed.permits(ipaddress.ip_address(address), host) is permitted, host


@pytest.mark.parametrize("address", OF_THIS_MACHINE)
def test_no_name_leads_to_this_machine_or_its_cloud(address: str) -> None:
    assert not parse(["relay.studio.svc", "*.svc"]).permits(ipaddress.ip_address(address), "relay.studio.svc")


def test_a_network_that_is_named_may_be_whatever_it_is() -> None:
    allowed = parse(["127.0.0.0/8", "::1", "10.1.0.0/16", "169.254.7.7"])
    for address, permitted in {
        "127.0.0.1": True,
        "::ffff:127.0.0.1": True,
        "::1": True,
        "10.1.2.3": True,
        "64:ff9b::a01:203": True,
        "10.2.0.1": False,
        "169.254.7.7": True,
        "169.254.169.254": False,
    }.items():
        assert allowed.permits(ipaddress.ip_address(address), "any.example") is permitted, address


@pytest.mark.parametrize(
    "part", ["10.0.0.0/33", "10.0.0.1/8", "a b", "http://relay", "relay/path", "*", "10.0.0", "*.*.a", "-a"]
)
def test_a_setting_that_means_nothing_is_refused(part: str) -> None:
    with pytest.raises(ValueError, match="is neither a network"):
        parse([part])


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.1", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("017700000001", "127.0.0.1"),
        ("[::1]", "::1"),
        ("10.0.0.1", "10.0.0.1"),
        ("hooks.example", None),
    ],
)
def test_an_address_is_known_in_every_spelling(host: str, address: str | None) -> None:
    assert literal(host) == (ipaddress.ip_address(address) if address else None)


@given(st.ip_addresses())
def test_what_is_private_to_python_is_never_told(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if address.is_private or address.is_loopback or address.is_link_local or address.is_multicast:
        inside = isinstance(address, ipaddress.IPv6Address) and (
            address.ipv4_mapped or int(address) >> 32 == 0x64FF9B << 64
        )
        assert inside or not Allowed().permits(address, "hooks.example")
