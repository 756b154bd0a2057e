"""The kernel's messages: recorded ones, all states, and what no kernel sends."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.agents.observe.netlink import Flow, Last, Malformed, decode, dump_request

from . import encoding
from .encoding import DELETE, Connection, Direction, connection, encode

# Recorded from Linux 6.18: a client's connections to a service, which are led to a pod.
NEW_V4: Final = (
    "c4000000000100060000000000000000020000003400018014000180080001000a010002080002000a090001"
    "1c000280050001000600000006000200b3a8000006000300005000003400028014000180080001000a020002"
    "080002000a0100021c0002800500010006000000060002001f90000006000300b3a8000008000c00acb4e059"
    "08000300000001a80800070000000078300004802c0001800500010001000000050002000a00000005000300"
    "0000000006000400030000000600050000000000"
)
TIME_WAIT_V4: Final = (
    "c4000000000100000000000000000000020000003400018014000180080001000a010002080002000a090001"
    "1c000280050001000600000006000200b3a8000006000300005000003400028014000180080001000a020002"
    "080002000a0100021c0002800500010006000000060002001f90000006000300b3a8000008000c00acb4e059"
    "08000300000001ae0800070000000078300004802c0001800500010007000000050002000a00000005000300"
    "0a00000006000400270000000600050033000000"
)
DESTROY_V6: Final = (
    "d40000000201000000000000c95000000a0000004c0001802c00018014000300fd0000010000000000000000"
    "0000000214000400fd0000090000000000000000000000011c000280050001000600000006000200e4480000"
    "06000300005000004c0002802c00018014000300fd00000200000000000000000000000214000400fd000001"
    "0000000000000000000000021c0002800500010006000000060002001f90000006000300e448000008000c00"
    "0f6b06df08000300000003ae0800070000069780100004800c0001800500010003000000"
)
DONE: Final = "140000000300020001000000ca79cee600000000"


def packed(address: str) -> bytes:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.inet_pton(family, address)


def only(data: bytes) -> Flow:
    (flow,) = decode(data)
    assert isinstance(flow, Flow)
    return flow


def test_a_recorded_connection_leads_to_the_service_and_to_the_pod() -> None:
    flow = only(bytes.fromhex(NEW_V4))
    assert flow.source == packed("10.1.0.2")
    assert flow.ends == ((packed("10.9.0.1"), 80), (packed("10.2.0.2"), 8080))
    assert flow.open is True


def test_recorded_news_of_one_connection_have_one_key() -> None:
    ended = only(bytes.fromhex(TIME_WAIT_V4))
    assert ended.open is False
    assert ended.key == only(bytes.fromhex(NEW_V4)).key


def test_a_recorded_end_over_ipv6_is_an_end_though_it_names_an_open_state() -> None:
    flow = only(bytes.fromhex(DESTROY_V6))
    assert flow.source == packed("fd00:1::2")
    assert flow.ends == ((packed("fd00:9::1"), 80), (packed("fd00:2::2"), 8080))
    assert flow.open is False


def test_a_recorded_answer_ends() -> None:
    first, second, last = decode(bytes.fromhex(NEW_V4 + DESTROY_V6 + DONE))
    assert isinstance(first, Flow)
    assert isinstance(second, Flow)
    assert last == Last(0)


def test_a_refusal_has_its_number() -> None:
    refusal = struct.pack("=IHHIIi", 36, 2, 0, 1, 0, -1) + dump_request()[:16]
    assert list(decode(refusal)) == [Last(1)]


@pytest.mark.parametrize(
    ("state", "counts"),
    [
        (encoding.NONE, False),
        (encoding.SYN_SENT, True),
        (encoding.SYN_RECV, True),
        (encoding.ESTABLISHED, True),
        (encoding.FIN_WAIT, True),
        (encoding.CLOSE_WAIT, True),
        (encoding.LAST_ACK, True),
        (encoding.TIME_WAIT, False),
        (encoding.CLOSE, False),
        (encoding.SYN_SENT2, True),
    ],
)
def test_each_state_of_the_kernel_counts_or_does_not(state: int, counts: bool) -> None:
    assert only(encode(connection().now(state))).open is counts


def test_a_message_without_a_state_does_not_say_how_the_connection_stands() -> None:
    assert only(encode(connection().now(None))).open is None


@pytest.mark.parametrize("protocol", [1, 17, 58, 132])
def test_what_is_not_tcp_is_left_out(protocol: int) -> None:
    way = Direction("10.1.0.2", 1, "10.2.0.2", 2)
    assert not list(decode(encode(Connection(way, protocol=protocol, state=None))))


def test_a_connection_whose_port_alone_was_rewritten_leads_to_the_real_port() -> None:
    way = Direction("10.1.0.2", 40000, "10.2.0.2", 80)
    back = Direction("10.2.0.2", 8080, "10.1.0.2", 40000)
    assert only(encode(Connection(way, back))).ends == ((packed("10.2.0.2"), 8080),)


def test_what_a_pod_sends_to_itself_by_its_service_leads_out_of_it() -> None:
    way = Direction("10.2.0.2", 40000, "10.9.0.1", 80)
    back = Direction("10.2.0.2", 8080, "10.2.0.2", 40000)
    assert only(encode(Connection(way, back))).ends == ((packed("10.9.0.1"), 80),)


def test_zones_tell_connections_apart_that_look_alike() -> None:
    way = Direction("10.1.0.2", 40000, "10.2.0.2", 80)
    keys = {only(encode(Connection(way, zone=zone))).key for zone in (None, 1, 2)}
    assert len(keys) == 3


@pytest.mark.parametrize("part", [1, 2])
def test_a_connection_that_lacks_an_address_is_malformed(part: int) -> None:
    message = bytearray.fromhex(NEW_V4)
    at = message.index(packed("10.2.0.2") if part == 2 else packed("10.9.0.1"))
    message[at - 2] = 9  # an attribute that nobody knows
    with pytest.raises(Malformed):
        list(decode(bytes(message)))


@pytest.mark.parametrize("length", [0, 3, 200])
def test_a_length_that_cannot_be_is_malformed(length: int) -> None:
    message = bytearray.fromhex(NEW_V4)
    struct.pack_into("=H", message, 20, length)  # of the first attribute
    with pytest.raises(Malformed):
        list(decode(bytes(message)))


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_malformed(data: bytes) -> None:
    with suppress(Malformed):
        list(decode(data))


@given(st.data())
def test_a_damaged_message_is_read_or_malformed(data: st.DataObject) -> None:
    message = bytearray.fromhex(NEW_V4 + DESTROY_V6)
    for at in data.draw(st.lists(st.integers(0, len(message) - 1), max_size=8)):
        message[at] = data.draw(st.integers(0, 255))
    with suppress(Malformed):
        list(decode(bytes(message[: data.draw(st.integers(0, len(message)))])))


def test_an_end_is_an_end_whatever_state_it_names() -> None:
    assert only(encode(connection(), DELETE)).open is False
