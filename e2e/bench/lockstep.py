"""A client that sends exactly so many requests, all of its connections in step.

`python -m e2e.bench.lockstep PORT CONNECTIONS COUNT` sends the request on standard input; it is a
program too because `perf stat` counts for as long as a program runs.
"""

from __future__ import annotations

import re
import socket
import sys
from contextlib import ExitStack
from typing import Final, Self

from e2e.bench.stage import PATIENCE, StageError

#: Where a request has this, each one that is sent has another number, equally long.
NUMBER: Final = b"<number>"
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)


class Lockstep:
    """Connections that stay open; use as a context manager. The answers have a Content-Length."""

    def __init__(self, port: int, connections: int, request: bytes) -> None:
        self._address = ("127.0.0.1", port)
        self._count = connections
        self._request = request
        self._open = ExitStack()
        self._sockets: list[socket.socket] = []
        self._sent = 0

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            for _ in range(self._count):
                made = opening.enter_context(socket.create_connection(self._address, PATIENCE))
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sockets.append(made)
            self._open = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def ask(self, count: int) -> None:
        """Send that many requests, a multiple of the connections; raise StageError if one fails.

        Each connection sends its next one when all have their answer to the last.
        """
        assert count % self._count == 0
        for _ in range(count // self._count):
            for connection in self._sockets:
                self._sent += 1
                connection.sendall(self._request.replace(NUMBER, b"%08d" % self._sent))
            for connection in self._sockets:
                _take_answer(connection)


def _take_answer(connection: socket.socket) -> None:
    received = bytearray()
    while not is_answer(bytes(received)):
        try:
            more = connection.recv(1 << 16)
        except TimeoutError as error:
            raise StageError(f"no answer within {PATIENCE:.0f} s") from error
        if not more:
            raise StageError(f"connection closed after {bytes(received[:200])!r}")
        received += more


def is_answer(received: bytes) -> bool:
    """Return whether this is a whole answer; raise StageError if it is another one than 200."""
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return False
    length = _LENGTH.search(head)
    if not head.startswith(b"HTTP/1.1 200 ") or length is None:
        raise StageError(f"not the answer that was asked for: {received[:200]!r}")
    return len(body) >= int(length[1])


if __name__ == "__main__":
    port, connections, count = map(int, sys.argv[1:])
    with Lockstep(port, connections, sys.stdin.buffer.read()) as client:
        client.ask(count)
