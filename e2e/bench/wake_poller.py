"""Sockets that may be read, and who reads them: one thread, no event loop in between.

While something is timed this polls without ever sleeping, so that what it adds to a figure is a
system call or two and not the time that a sleeping processor takes to wake.
"""

from __future__ import annotations

import select
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable


class TooLate(Exception):
    """What was waited for did not come."""


class Poller:
    """Calls the reader of each socket that has something to read."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._readers: dict[int, Callable[[], None]] = {}

    def add(self, sock: socket.socket, reader: Callable[[], None]) -> None:
        """Call `reader` whenever `sock`, which does not block, can be read."""
        descriptor = sock.fileno()
        self._readers[descriptor] = reader
        self._epoll.register(descriptor, select.EPOLLIN)

    def remove(self, sock: socket.socket) -> None:
        """Forget a socket that is still open."""
        descriptor = sock.fileno()
        del self._readers[descriptor]
        self._epoll.unregister(descriptor)

    def poll(self, seconds: float | None) -> None:
        """Wait for at most so long (None: as long as it takes) and serve what can be read."""
        for descriptor, _ in self._epoll.poll(seconds):
            reader = self._readers.get(descriptor)
            if reader is not None:
                reader()

    def wait_until(self, done: Callable[[], bool], seconds: float, what: str) -> None:
        """Serve until `done`, asleep in between; raise TooLate."""
        self._serve_until(done, seconds, 0.02, what)

    def spin_until(self, done: Callable[[], bool], seconds: float, what: str) -> None:
        """Serve until `done`, awake all the time; raise TooLate."""
        self._serve_until(done, seconds, 0.0, what)

    def rest(self, seconds: float) -> None:
        """Serve for so long, asleep in between."""
        until = time.perf_counter() + seconds
        while (left := until - time.perf_counter()) > 0:
            self.poll(left)

    def _serve_until(self, done: Callable[[], bool], seconds: float, nap: float, what: str) -> None:
        give_up = time.perf_counter() + seconds
        while not done():
            if time.perf_counter() > give_up:
                raise TooLate(f"{what} did not come within {seconds:g} s")
            self.poll(nap)
