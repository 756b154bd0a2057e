"""A scripted sandbox: a server that does to each connection what a test says, and counts bytes."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING

from .wire import Message, Wire, ok

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Script = Callable[["Leg"], Awaitable[None]]


class Leg(Wire):
    """The server's end of one connection of the gateway; `number` counts them from 0."""

    def __init__(self, sock: socket.socket, upstream: Upstream, number: int) -> None:
        super().__init__(sock)
        self.upstream = upstream
        self.number = number

    async def request(self) -> Message:
        message = await super().request()
        self.upstream.requests.append(message)
        return message


class Upstream:
    """Listens, runs `script` once for each connection, and closes the connection after it."""

    def __init__(
        self, script: Script, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> None:
        self.script = script
        self.host = host
        self.tls = tls
        self.backlog = 4096
        self.legs: list[Leg] = []
        self.requests: list[Message] = []
        self._port = 0
        self._place: socket.socket | None = None
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._failures: list[BaseException] = []

    @property
    def port(self) -> int:
        return self._port

    @property
    def received(self) -> bytes:
        """All bytes that ever came, one connection after the other."""
        return b"".join(bytes(leg.received) for leg in self.legs)

    async def start(self, port: int = 0, *, buffer: int = 0) -> None:
        """Listen, on the same port as before if told so."""
        if self._place is None:
            self._place = self._bound(port)
        listener = self._listener = self._bound(self._place.getsockname()[1])
        if buffer:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        listener.listen(self.backlog)
        listener.setblocking(False)
        self._port = listener.getsockname()[1]
        self._accepting = asyncio.create_task(self._accept(listener))

    def _bound(self, port: int) -> socket.socket:
        """Return a socket that has the port; what does not listen refuses who connects to it."""
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((self.host, port))
        return made

    async def stop(self) -> None:
        """Close everything; raise what a script failed with."""
        await self.close_listener()
        if self._place is not None:
            self._place.close()
            self._place = None
        tasks = tuple(self._running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for leg in self.legs:  # one whose script was cancelled before it began is open still
            leg.close()
        if self._failures:
            raise self._failures[0]

    async def close_listener(self) -> None:
        """Refuse further connections; the port stays taken, so that nobody else is given it."""
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
            self._accepting = None
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sock, _ = await loop.sock_accept(listener)
            leg = Leg(sock, self, len(self.legs))
            self.legs.append(leg)
            task = asyncio.create_task(self._run(leg))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _run(self, leg: Leg) -> None:
        try:
            if self.tls is not None:
                await leg.encrypt(self.tls)
            await self.script(leg)
        except (EOFError, ConnectionError, TimeoutError, ssl.SSLError):
            pass  # the gateway closed: whether it should have is for the test to say
        except AssertionError as failure:
            self._failures.append(failure)
        finally:
            leg.close()


def answering(respond: Callable[[Message], bytes]) -> Script:
    """Answer each request of each connection by `respond`."""

    async def script(leg: Leg) -> None:
        while True:
            await leg.send(respond(await leg.request()))

    return script


def always(response: bytes) -> Script:
    """Answer each request the same."""
    return answering(lambda _: response)


#: Answers with the method, the target and the body that came.
ECHO = answering(lambda request: ok(b"%b %b " % (request.method, request.target) + request.body))
