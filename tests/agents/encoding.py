"""Messages on tracked connections as the kernel takes and sends them, built from scratch."""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass, replace
from typing import Final

NEW, DELETE = 0x0100, 0x0102
#: CREATE and EXCL: what the kernel must not know already.
CREATE: Final = 0x0001 | 0x0400 | 0x0200
_NESTED: Final = 0x8000

NONE, SYN_SENT, SYN_RECV, ESTABLISHED, FIN_WAIT = range(5)
CLOSE_WAIT, LAST_ACK, TIME_WAIT, CLOSE, SYN_SENT2 = range(5, 10)


@dataclass(frozen=True)
class Direction:
    source: str
    source_port: int
    destination: str
    port: int

    def back(self) -> Direction:
        return Direction(self.destination, self.port, self.source, self.source_port)


@dataclass(frozen=True)
class Connection:
    """`reply`: how answers go, if not straight back (addresses were rewritten)."""

    original: Direction
    reply: Direction | None = None
    state: int | None = ESTABLISHED
    protocol: int = 6
    zone: int | None = None

    def now(self, state: int | None) -> Connection:
        return replace(self, state=state)


def connection(
    source: str = "10.1.0.2", source_port: int = 40000, to: str = "10.2.0.2", port: int = 80
) -> Connection:
    return Connection(Direction(source, source_port, to, port))


def encode(one: Connection, kind: int = NEW, flags: int = 0, timeout: int = 0) -> bytes:
    """Return a message; with `timeout` (seconds) it is one that the kernel takes."""
    version = ipaddress.ip_address(one.original.source).version
    body = struct.pack("=BBH", 2 if version == 4 else 10, 0, 0)
    body += _direction(1, one.original, one.protocol)
    body += _direction(2, one.reply or one.original.back(), one.protocol)
    if timeout:
        # IPS_SEEN_REPLY, IPS_ASSURED and IPS_CONFIRMED, as of any that is established.
        body += _attribute(3, struct.pack("!I", 0b1110)) + _attribute(7, struct.pack("!I", timeout))
    if one.state is not None:
        state = _attribute(1, bytes([one.state]))
        body += _attribute(4 | _NESTED, _attribute(1 | _NESTED, state))
    if one.zone is not None:
        body += _attribute(18, struct.pack("!H", one.zone))
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 0, 0) + body


def _direction(kind: int, way: Direction, protocol: int) -> bytes:
    source, destination = (
        ipaddress.ip_address(address) for address in (way.source, way.destination)
    )
    first = 1 if source.version == 4 else 3
    addresses = _attribute(first, source.packed) + _attribute(first + 1, destination.packed)
    ports = _attribute(1, bytes([protocol]))
    if protocol in (6, 17):
        ports += _attribute(2, struct.pack("!H", way.source_port))
        ports += _attribute(3, struct.pack("!H", way.port))
    else:
        ports += _attribute(4, bytes(2)) + _attribute(5, bytes(1)) + _attribute(6, bytes(1))
    return _attribute(
        kind | _NESTED, _attribute(1 | _NESTED, addresses) + _attribute(2 | _NESTED, ports)
    )


def _attribute(kind: int, value: bytes) -> bytes:
    padding = bytes(-len(value) % 4)
    return struct.pack("=HH", 4 + len(value), kind) + value + padding
