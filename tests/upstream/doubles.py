"""What stands at both ends of an upstream connection in tests: a transport and a sink."""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.sandbox.errors import GatewayError
    from gateway.upstream.connection import UpstreamConnection
    from gateway.upstream.response import ResponseHead


class TcpInfo:
    """The one thing that a connection asks of its socket: how many bytes were acknowledged."""

    def __init__(self) -> None:
        self.acked = 1  # the SYN
        self.known = True

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        assert (level, option) == (socket.IPPROTO_TCP, socket.TCP_INFO)
        return struct.pack("=120xQ", self.acked)[: size if self.known else 100]


class RecordingTransport(asyncio.Transport):
    """Keeps what is written; closes as a real one does, except that the test says when."""

    def __init__(self, peername: tuple[Any, ...] = ("10.0.0.7", 8080)) -> None:
        self.info = TcpInfo()
        super().__init__({"peername": peername, "socket": self.info})
        self.sent = b""
        self.readings: list[bool] = []
        self.closed = False
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not (self.closed or self.aborted):
            self.sent += bytes(data)

    def pause_reading(self) -> None:
        self.readings.append(False)

    def resume_reading(self) -> None:
        self.readings.append(True)

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True


@dataclass
class RecordingSink:
    """Keeps what a connection said, the body joined: splits of it mean nothing."""

    events: list[tuple[Any, ...]] = field(default_factory=list)
    body: bytes = b""
    early: bytes = b""
    tunnel: bytes = b""
    ends: int = 0
    pauses: list[bool] = field(default_factory=list)

    def interim(self, status: int, reason: bytes, lines: list[bytes]) -> None:
        self.events.append(("interim", status, reason, tuple(lines)))

    def received(self, head: ResponseHead | None, parts: Sequence[bytes], *, ended: bool) -> None:
        if head is not None:
            self.events.append(_shown(head))
        assert all(parts), "an empty piece would look like the last chunk"
        self.body += b"".join(parts)
        self.ends += ended

    def switched(self, head: ResponseHead, early: bytes) -> None:
        self.events.append(_shown(head))
        self.tunnel += early

    def tunnelled(self, data: bytes) -> None:
        self.tunnel += data

    def lost(self, error: GatewayError, *, untouched: bool) -> None:
        self.events.append(("lost", type(error), untouched))

    def upstream_paused(self, paused: bool) -> None:
        self.pauses.append(paused)


def _shown(head: ResponseHead) -> tuple[Any, ...]:
    framing = (head.length, head.chunked, head.bodyless)
    return ("head", head.status, head.reason, tuple(head.lines), framing, head.upgrade)


def feed(connection: UpstreamConnection, pieces: Iterable[bytes]) -> None:
    """Give pieces until the connection is aborted: an asyncio transport reads no more then."""
    for piece in pieces:
        if connection.is_open and piece:
            connection.data_received(piece)
