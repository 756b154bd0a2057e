"""The kernel's messages on tracked connections, decoded: bytes in, flows out.

They are netlink messages (`linux/netlink.h`) of the netfilter subsystem for connection tracking
(`linux/netfilter/nfnetlink_conntrack.h`): nested attributes, of which the few that are needed are
read.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What a flow leads to: an address (packed, 4 or 16 bytes) and a port.
End: TypeAlias = tuple[bytes, int]

NETLINK_NETFILTER: Final = 12
#: Bits of the multicast groups NFNLGRP_CONNTRACK_NEW, _UPDATE and _DESTROY.
CONNTRACK_GROUPS: Final = 0b111

_ERROR: Final = 2
_DONE: Final = 3
_HEADER: Final = struct.Struct("=IHHII")  # length, type, flags, sequence number, port id
_ERRNO: Final = struct.Struct("=i")
#: `nfgenmsg` after the header: family, version, resource id.
_BODY: Final = _HEADER.size + 4

# NFNL_SUBSYS_CTNETLINK is the upper byte of the type.
_CONNTRACK_NEW: Final = 0x0100
_CONNTRACK_GET: Final = 0x0101
_CONNTRACK_DELETE: Final = 0x0102
_REQUEST_DUMP: Final = 0x0001 | 0x0300

_ATTRIBUTE: Final = struct.Struct("=HH")  # length with this header, type
#: The upper two bits of an attribute's type are flags (nested, byte order).
_TYPE_MASK: Final = 0x3FFF
_TUPLE_ORIGINAL: Final = 1
_TUPLE_REPLY: Final = 2
_PROTOCOL_INFO: Final = 4
_ZONE: Final = 18
_TUPLE_ADDRESSES: Final = 1
_TUPLE_PROTOCOL: Final = 2
_V4_SOURCE: Final = 1
_V4_DESTINATION: Final = 2
_V6_SOURCE: Final = 3
_V6_DESTINATION: Final = 4
_PROTOCOL_NUMBER: Final = 1
_SOURCE_PORT: Final = 2
_DESTINATION_PORT: Final = 3
_INFO_TCP: Final = 1
_TCP_STATE: Final = 1

_TCP: Final = b"\x06"
#: The kernel's states (`enum tcp_conntrack`) of a connection that is none any more, or not yet:
#: NONE, TIME_WAIT and CLOSE. In all others it counts, half-open ones too.
ENDED_STATES: Final = frozenset({0, 7, 8})


class Malformed(ValueError):
    """A message that is not built as the kernel builds them."""


class Flow(msgspec.Struct, frozen=True, gc=False):
    """News of one TCP connection.

    `key` tells it from all others. `ends` are what it leads to: where its client meant it to go,
    and where the node sent it in fact. `open`: whether it counts as a connection now; None: the
    message does not say.
    """

    key: bytes
    source: bytes
    ends: tuple[End, ...]
    open: bool | None


class Last(msgspec.Struct, frozen=True, gc=False):
    """The end of an answer. `error`: 0, or the number of what went wrong."""

    error: int


def dump_request() -> bytes:
    """Return the question for all connections that are tracked, of all address families."""
    return _HEADER.pack(_BODY, _CONNTRACK_GET, _REQUEST_DUMP, 1, 0) + bytes(4)


def decode(data: bytes) -> Iterator[Flow | Last]:
    """Give what the messages of one datagram say; those of no TCP connection are left out.

    Raise Malformed.
    """
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, at)
        end = at + length
        if length < _HEADER.size or end > len(data):
            raise Malformed("a message is longer than what was received")
        if kind in (_CONNTRACK_NEW, _CONNTRACK_DELETE):
            flow = _flow(data[at + _BODY : end], ended=kind == _CONNTRACK_DELETE)
            if flow is not None:
                yield flow
        elif kind in (_ERROR, _DONE):
            payload = at + _HEADER.size
            yield Last(-_ERRNO.unpack_from(data, payload)[0] if end - payload >= 4 else 0)
        at += (length + 3) & ~3


def _flow(data: bytes, *, ended: bool) -> Flow | None:
    attributes = _attributes(data)
    original = _direction(attributes.get(_TUPLE_ORIGINAL, b""))
    reply = _direction(attributes.get(_TUPLE_REPLY, b""))
    if original is None:
        return None
    if reply is None:
        raise Malformed("a connection lacks its way back")
    source, source_port, destination, port = original
    key = b"".join((source, destination, source_port, port, attributes.get(_ZONE, b"")))
    is_open = False if ended else _is_open(attributes.get(_PROTOCOL_INFO, b""))
    return Flow(key, source, _ends(source, (destination, port), (reply[0], reply[1])), is_open)


def _ends(source: bytes, meant: tuple[bytes, bytes], real: tuple[bytes, bytes]) -> tuple[End, ...]:
    """Return what a flow leads to, once each; what leads to its own source leads out of it.

    Where only the port was rewritten, the real one is the one that the workload listens on.
    """
    ends = (real,) if meant[0] == real[0] else (meant, real)
    return tuple(
        (address, int.from_bytes(port, "big")) for address, port in ends if address != source
    )


def _direction(data: bytes) -> tuple[bytes, bytes, bytes, bytes] | None:
    """Return source, its port, destination, its port; None if it is not TCP."""
    attributes = _attributes(data)
    protocol = _attributes(attributes.get(_TUPLE_PROTOCOL, b""))
    if protocol.get(_PROTOCOL_NUMBER) != _TCP:
        return None
    addresses = _attributes(attributes.get(_TUPLE_ADDRESSES, b""))
    source = addresses.get(_V4_SOURCE) or addresses.get(_V6_SOURCE)
    destination = addresses.get(_V4_DESTINATION) or addresses.get(_V6_DESTINATION)
    source_port, port = protocol.get(_SOURCE_PORT), protocol.get(_DESTINATION_PORT)
    if not (source and destination and source_port and port):
        raise Malformed("a connection lacks an address or a port")
    return source, source_port, destination, port


def _is_open(data: bytes) -> bool | None:
    state = _attributes(_attributes(data).get(_INFO_TCP, b"")).get(_TCP_STATE)
    return None if not state else state[0] not in ENDED_STATES


def _attributes(data: bytes) -> dict[int, bytes]:
    """Return the values of attributes by their types."""
    found = {}
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size or at + length > len(data):
            raise Malformed("an attribute is longer than what holds it")
        found[kind & _TYPE_MASK] = data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
    return found
