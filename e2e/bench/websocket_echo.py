"""A WebSocket server that echoes small binary messages: `python -m e2e.bench.websocket_echo PORT`.

It does as little as it can, in a bare epoll loop, so that the proxy before it is what is measured.
"""

from __future__ import annotations

import os
import re
import select
import socket
import sys
from typing import Final

from e2e.bench.websocket import BadFrame, accept_of, echoes

_KEY: Final = re.compile(rb"\r\nsec-websocket-key: *([^ \r]+) *\r\n", re.IGNORECASE)
_READ_BYTES: Final = 1 << 16


class Connection:
    """One connection: a handshake, then echoes."""

    def __init__(self, socket: socket.socket) -> None:
        self._socket = socket
        self._upgraded = False
        self._held = b""

    def take(self, data: bytes) -> bool:
        """Answer what came; return whether the connection goes on. Raises BadFrame."""
        if self._held:
            data = self._held + data
        if not self._upgraded:
            return self._shake_hands(data)
        answer, used, closed = echoes(data)
        self._held = data[used:]
        if answer:
            self._socket.sendall(answer)
        return not closed

    def close(self) -> None:
        self._socket.close()

    def _shake_hands(self, data: bytes) -> bool:
        head, end, rest = data.partition(b"\r\n\r\n")
        if not end:
            self._held = data
            return True
        key = _KEY.search(head + b"\r\n")
        if key is None or rest:  # a frame before the answer is against section 4.1
            print(f"no handshake: {data!r}", file=sys.stderr)
            return False
        self._upgraded, self._held = True, b""
        self._socket.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept_of(key[1])
        )
        return True


def serve(listener: socket.socket) -> None:
    """Serve for ever. Sockets block: an echo always fits into a socket's buffer."""
    polled, connections = select.epoll(), dict[int, Connection]()
    listening = listener.fileno()
    polled.register(listening, select.EPOLLIN)
    poll, read = polled.poll, os.read
    while True:
        for number, _ in poll():
            if number == listening:
                accepted, _ = listener.accept()
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connections[accepted.fileno()] = Connection(accepted)
                polled.register(accepted.fileno(), select.EPOLLIN)
                continue
            connection = connections[number]
            try:
                data = read(number, _READ_BYTES)
                goes_on = bool(data) and connection.take(data)
            except (OSError, BadFrame) as error:
                print(f"a connection ended: {error}", file=sys.stderr)
                goes_on = False
            if not goes_on:
                polled.unregister(number)
                connections.pop(number).close()


if __name__ == "__main__":
    serve(socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=4096))
