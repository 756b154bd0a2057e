"""Many clients of one gateway, a connection and a request each."""

from __future__ import annotations

import socket
import time
from typing import Self

from e2e.bench.wake_rig import PATIENCE, RigError
from e2e.bench.wake_sockets import reset_on_close
from e2e.bench.wake_wire import HELLO_BODY, OK


class Crowd:
    """Connections of which nobody reads until told: answers wait in the kernel.

    So that the core which the sandbox's server runs on has nothing else to do meanwhile.
    """

    def __init__(self) -> None:
        self._socks: list[socket.socket] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in self._socks:
            reset_on_close(sock)
            sock.close()

    def connect(self, port: int, connections: int) -> None:
        """Open so many connections."""
        for _ in range(connections):
            sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
            self._socks.append(sock)

    def ask(self, request: bytes) -> None:
        """Send the request on each connection."""
        for sock in self._socks:
            sock.sendall(request)

    def read_answers(self) -> float:
        """Read every answer; return when the last was read. Raise RigError if one is an error."""
        for sock in self._socks:
            _read_answer(sock)
        return time.perf_counter()


def _read_answer(sock: socket.socket) -> None:
    data = b""
    while not data.endswith(HELLO_BODY):
        try:
            piece = sock.recv(65536)
        except OSError as error:
            raise RigError(f"no answer, {type(error).__name__}, after {data[:300]!r}") from error
        data += piece
        if not piece or not data.startswith(OK[: len(data)]):
            raise RigError(f"the gateway answered {data[:300]!r}")
