"""WebSockets that send one message after the echo of the last: how many, and how long each took.

`python -m e2e.bench.websocket_load PORT CONNECTIONS SECONDS HEADER...` prints one line of JSON as
load.lua does. Each echo is compared with what was sent, byte by byte; anything else ends the
program with a status other than 0. A bare epoll loop, so that the proxy is what is measured.
"""

from __future__ import annotations

import base64
import json
import os
import select
import socket
import sys
import time
from itertools import cycle
from typing import TYPE_CHECKING, Final

from e2e.bench.model import rank
from e2e.bench.websocket import MAX_PAYLOAD, accept_of, from_client, from_server

if TYPE_CHECKING:
    from collections.abc import Sequence

#: How long a handshake or an echo may take in seconds.
_PATIENCE: Final = 10.0
_READ_BYTES: Final = 1 << 16


class LoadError(Exception):
    """A handshake was refused, or an echo did not come or was wrong."""


class Client:
    """One WebSocket. Its messages alternate, so that an echo of the one before is noticed."""

    __slots__ = ("_messages", "_socket", "echo", "held", "sent_at")

    def __init__(self, socket: socket.socket, number: int) -> None:
        self._socket = socket
        self._messages = cycle(_messages(number))
        self.held = b""
        self.echo = b""
        self.sent_at = 0.0

    def send(self, now: float) -> None:
        """Send the next message."""
        frame, self.echo = next(self._messages)
        self.sent_at = now
        self._socket.sendall(frame)

    def take_part(self, data: bytes) -> bool:
        """Take what is not a whole echo at once; return whether it completes one."""
        self.held += data
        if not data or not self.echo.startswith(self.held):
            raise LoadError(f"{self.echo!r} was to come, not {self.held!r}")
        if self.held != self.echo:
            return False
        self.held = b""
        return True


def _messages(number: int) -> list[tuple[bytes, bytes]]:
    """Return two messages of one connection, each with its echo."""
    payloads = [(f"{number}-{turn} " * MAX_PAYLOAD)[:MAX_PAYLOAD].encode() for turn in range(2)]
    return [(from_client(payload, os.urandom(4)), from_server(payload)) for payload in payloads]


def upgraded(port: int, fields: Sequence[str]) -> socket.socket:
    """Return a connection whose handshake is done; raise LoadError if it is refused."""
    key = base64.b64encode(os.urandom(16))
    head = (
        "GET /echo HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key.decode()}",
        "Sec-WebSocket-Version: 13",
        *fields,
    )
    connection = socket.create_connection(("127.0.0.1", port), _PATIENCE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(("\r\n".join(head) + "\r\n\r\n").encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        data = connection.recv(_READ_BYTES)
        if not data:
            raise LoadError(f"the handshake was answered by {answer!r}")
        answer += data
    status, *lines = answer.split(b"\r\n")
    parts = (line.partition(b":") for line in lines)
    told = {name.lower(): value.strip() for name, _, value in parts}
    if not status.startswith(b"HTTP/1.1 101 ") or told[b"sec-websocket-accept"] != accept_of(key):
        raise LoadError(f"the handshake was answered by {answer!r}")
    return connection


def exchange(sockets: Sequence[socket.socket], seconds: float) -> list[float]:
    """Send messages for so long; return how long each took from its sending to its echo."""
    polled = select.epoll()
    clients = {one.fileno(): Client(one, number) for number, one in enumerate(sockets)}
    for number in clients:
        polled.register(number, select.EPOLLIN)
    poll, read, clock = polled.poll, os.read, time.perf_counter
    took: list[float] = []
    waiting, now = len(clients), clock()
    deadline = now + seconds
    for client in clients.values():
        client.send(now)
    while waiting:
        events = poll(_PATIENCE)
        if not events:
            raise LoadError(f"{waiting} echoes did not come")
        for number, _ in events:
            client = clients[number]
            data = read(number, _READ_BYTES)
            if (client.held or data != client.echo) and not client.take_part(data):
                continue
            now = clock()
            if now > deadline:
                waiting -= 1
                continue
            took.append(now - client.sent_at)
            client.send(now)
    return took


def main(port: int, connections: int, seconds: float, fields: Sequence[str]) -> None:
    sockets = [upgraded(port, fields) for _ in range(connections)]
    took = sorted(exchange(sockets, seconds))
    told = {
        "requests": len(took),
        "duration": int(seconds * 1e6),
        "p50": rank(took, 0.5) * 1e6,
        "p99": rank(took, 0.99) * 1e6,
        "errors": {},
    }
    print(json.dumps(told))


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4:])
    except (LoadError, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
