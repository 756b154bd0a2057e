"""Which addresses are dialled, whatever an API object says."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.addresses import AddressGuard, own_addresses

SPECIAL = [
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "0.0.0.0",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "ff02::1",
    "::ffff:10.0.0.7",
    "::ffff:127.0.0.1",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "2001:0:7f00:1::",
]
NO_ADDRESS = [
    "",
    "localhost",
    "sandbox.example.com",
    "10.0.0",
    "010.0.0.1",
    "10.0.0.7:80",
    "10.0.0.7 ",
    "0x0a000007",
    "167772167",
    "[fd00::7]",
    "\u0661\u0660.0.0.7",
]


@pytest.mark.parametrize("address", ["10.0.0.7", "192.168.0.1", "100.64.0.1", "8.8.8.8", "fd00::7"])
def test_an_ordinary_address_may_be_dialled(address: str) -> None:
    assert AddressGuard().allows(address)


@pytest.mark.parametrize("address", SPECIAL)
def test_an_address_that_no_sandbox_can_have_may_not(address: str) -> None:
    assert not AddressGuard().allows(address)


@pytest.mark.parametrize("text", NO_ADDRESS)
def test_what_is_no_literal_address_may_not(text: str) -> None:
    assert not AddressGuard(allow=(ipaddress.ip_network("0.0.0.0/0"),)).allows(text)


TEN, TEN_ONE, LOOPBACK, ULA = map(
    ipaddress.ip_network, ("10.0.0.0/8", "10.1.0.0/16", "127.0.0.0/8", "fd00::/8")
)


def test_a_denied_network_may_not_even_where_it_is_allowed() -> None:
    guard = AddressGuard(deny=(TEN_ONE, ULA))
    assert guard.allows("10.0.0.7")
    assert not guard.allows("10.1.0.7")
    assert not guard.allows("fd00::7")
    assert not guard.allows("127.0.0.1")
    assert not AddressGuard(allow=(TEN,), deny=(TEN_ONE,)).allows("10.1.0.7")


def test_where_networks_are_allowed_no_other_may() -> None:
    guard = AddressGuard(allow=(TEN, LOOPBACK))
    assert guard.allows("10.0.0.7")
    assert guard.allows("127.0.0.1")
    assert not guard.allows("192.168.0.1")
    assert not guard.allows("fd00::7")
    assert not guard.allows("169.254.169.254")
    assert not guard.allows("::ffff:10.0.0.7")


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_in_ipv6_clothes_never_may(address: ipaddress.IPv4Address) -> None:
    assert not AddressGuard().allows(f"::ffff:{address}")


@given(st.text(max_size=40))
def test_any_text_gets_an_answer(text: str) -> None:
    assert AddressGuard().allows(text) in (True, False)


def test_the_hosts_own_addresses_are_denied_and_loopback_is_left_to_the_rule() -> None:
    own = own_addresses()
    assert all(network.num_addresses == 1 and not network.is_loopback for network in own)
    host = {str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None)}
    guard = AddressGuard(deny=own)
    assert not any(guard.allows(address) for address in host)
