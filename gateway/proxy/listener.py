"""Accepts client connections, many at a time.

The event loop's own server takes one connection in each turn of the loop (libuv since 1.46). Under
load a turn lasts tens of milliseconds, and a crowd of new clients would wait for seconds.
"""

from __future__ import annotations

import asyncio
import logging
import math
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from gateway.tls.server import TlsServer

_LOG = logging.getLogger(__name__)

#: Connections that the kernel completes before they are accepted.
BACKLOG: Final = 4096
#: Connections accepted in one turn of the loop: the others' requests wait meanwhile.
BATCH: Final = 64
#: How long nothing is accepted when descriptors or memory ran out, in seconds.
PAUSE: Final = 0.1
#: TLS handshakes under way at once. One more costs the oldest: an honest one takes milliseconds.
HANDSHAKES: Final = 1024


class Listener:
    """One listening socket."""

    def __init__(
        self,
        factory: Callable[[], asyncio.BaseProtocol],
        tls: TlsServer | None = None,
        room: Callable[[], float] = lambda: math.inf,
    ) -> None:
        """`factory` makes the protocol of each connection, with `tls` once hands are shaken.

        `room` tells how many connections may be added to those that the factory made.
        """
        self._factory = factory
        self._tls = tls
        self._room = room
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._opening: dict[asyncio.Task[None], None] = {}  # in order

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen; return the address in fact (port 0: any free one). Raise OSError."""
        found = await self._loop.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, _, _, _, address = found[0]
        self._socket = socket.create_server(
            (str(address[0]), port), family=family, backlog=BACKLOG, reuse_port=False
        )
        self._socket.setblocking(False)
        self._resume()
        taken = self._socket.getsockname()
        return str(taken[0]), int(taken[1])

    def close(self) -> None:
        """Refuse further connections; those that stand stay."""
        listening, self._socket = self._socket, None
        if listening is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(listening)
        listening.close()

    async def opened(self) -> None:
        """Wait until the connections that were accepted last stand."""
        if self._opening:
            await asyncio.wait(tuple(self._opening))

    async def abandon(self) -> None:
        """Break off the handshakes that are under way, and wait until the other accepted stand."""
        if self._tls is not None:
            for task in self._opening:
                task.cancel()
        await self.opened()

    def _resume(self) -> None:
        self._timer = None
        if self._socket is not None:
            self._loop.add_reader(self._socket, self._accept)

    def _accept(self) -> None:
        listening = self._socket
        for _ in range(BATCH):
            if listening is None:
                return
            try:
                client, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                # EMFILE, ENFILE, ENOBUFS, ENOMEM: the socket stays readable, so look away a while.
                _LOG.error("cannot accept connections: %s", error.strerror)
                self._loop.remove_reader(listening)
                self._timer = self._loop.call_later(PAUSE, self._resume)
                return
            client.setblocking(False)
            if self._tls is None:
                self._begin(self._open(client))
            elif self._room() <= len(self._opening):
                client.close()
            else:
                self._make_way()
                self._begin(self._tls.take(client, self._factory))

    def _begin(self, opening: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(opening)
        self._opening[task] = None
        task.add_done_callback(self._opening.pop)

    def _make_way(self) -> None:
        """Give up the oldest handshake if there are too many: who takes so long is not honest."""
        if len(self._opening) >= HANDSHAKES:
            next(task for task in self._opening if not task.cancelling()).cancel()

    async def _open(self, client: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._factory, client)
        except OSError:
            client.close()  # it has left already
