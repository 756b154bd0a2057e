"""The sandbox's server: takes connections, answers every request at once, and counts."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Final

from e2e.bench.wake_wire import HEAD_END, HELLO

if TYPE_CHECKING:
    from e2e.bench.wake_poller import Poller

#: More than any kernel allows without being told: it takes its own limit (somaxconn).
BACKLOG: Final = 65535
#: Connections accepted in one go: requests are read in between.
BATCH: Final = 64


class Upstream:
    """Serves GETs on a port of loopback.

    Since `reset`: `first_byte` and `last_request` are when the first byte and the newest whole
    request were read (perf_counter), `requests` and `connections` how many came.
    """

    def __init__(self, poller: Poller) -> None:
        self.standing = 0
        self.first_byte = 0.0
        self.last_request = 0.0
        self.requests = 0
        self.connections = 0
        self._poller = poller
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        self._listener.setblocking(False)
        poller.add(self._listener, self._accept)

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    def reset(self) -> None:
        """Count anew."""
        self.first_byte = self.last_request = 0.0
        self.requests = self.connections = 0

    def read_some(self, now: float, requests: int) -> None:
        """Count what one read brought."""
        if not self.first_byte:
            self.first_byte = now
        if requests:
            self.requests += requests
            self.last_request = now

    def _accept(self) -> None:
        for _ in range(BATCH):
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            sock.setblocking(False)
            self.standing += 1
            self.connections += 1
            connection = _Connection(self, self._poller, sock)
            self._poller.add(sock, connection.read)
            connection.read()


class _Connection:
    __slots__ = ("_pending", "_poller", "_sock", "_upstream")

    def __init__(self, upstream: Upstream, poller: Poller, sock: socket.socket) -> None:
        self._upstream = upstream
        self._poller = poller
        self._sock = sock
        self._pending = b""

    def read(self) -> None:
        try:
            data = self._sock.recv(65536)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        now = time.perf_counter()
        if not data:
            self._close()
            return
        *heads, self._pending = (self._pending + data).split(HEAD_END)
        self._upstream.read_some(now, len(heads))
        try:
            for _ in heads:
                self._sock.send(HELLO)
        except ConnectionError:  # whoever asked finds that there is no answer
            self._close()

    def _close(self) -> None:
        self._poller.remove(self._sock)
        self._sock.close()
        self._upstream.standing -= 1
