"""Pods that can fail in each way that a network knows, and what was delivered to them.

They are servers of this process on loopback addresses of their own. Each tells in all that it says
who it is, and looks whether what it is asked was for it.
"""

from __future__ import annotations

import asyncio
import ctypes
import socket
import struct
import time
import uuid
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import orjson
from aiohttp import WSMsgType, web

#: Connections that the kernel takes before the pod does.
_BACKLOG: Final = 512
#: Seconds for which a request that was answered may not come once more.
_REMEMBERED: Final = 60.0
#: `struct linger` by which closing a socket resets its connection.
_RESET: Final = struct.pack("ii", 1, 0)
#: socket(7); Python has no name for it.
_SO_ATTACH_FILTER: Final = 26


@dataclass(slots=True)
class Deliveries:
    """What reached pods: which requests how often, and which were for somebody else."""

    count: int = 0
    astray: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    """What was delivered more often than it may be.

    A GET may come twice, if its first connection broke before it was even acknowledged.
    """
    _seen: Counter[str] = field(default_factory=Counter)
    _settled: deque[tuple[float, str]] = field(default_factory=deque)

    def note(self, request: web.BaseRequest, sandbox: str) -> None:
        self.count += 1
        wanted, number = request.headers["X-For"], request.headers["X-Number"]
        if wanted != sandbox:
            self.astray.append(f"request {number} for {wanted} reached {sandbox}")
        self._seen[number] += 1
        if self._seen[number] > (2 if request.method == "GET" else 1):
            self.repeated.append(f"{request.method} {number} for {wanted}")

    def settle(self, number: str) -> None:
        """Remember a request for a while yet: it has been answered, and none must follow."""
        now = time.monotonic()
        self._settled.append((now, number))
        while self._settled and self._settled[0][0] < now - _REMEMBERED:
            self._seen.pop(self._settled.popleft()[1], None)


class Pod:
    """One life of a sandbox's workload."""

    def __init__(self, sandbox: str, ip: str, port: int, deliveries: Deliveries) -> None:
        self.sandbox = sandbox
        self.ip = ip
        self.port = port
        self.uid = str(uuid.uuid4())
        self.over = False
        #: Requests that it is answering, WebSockets included.
        self.in_flight = 0
        self.deliveries = deliveries
        self._present = asyncio.Event()
        self._present.set()
        self._listener: socket.socket | None = None
        self._taking: set[asyncio.Task[None]] = set()
        self._server = web.Server(self._answer, access_log=None)

    async def open(self) -> None:
        """Listen, if it does not already."""
        if self._listener is not None:
            return
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setblocking(False)
        listener.bind((self.ip, self.port))
        listener.listen(_BACKLOG)
        self._listener = listener
        self._listen()

    def close_port(self) -> None:
        """Listen no more; connections stay."""
        if self._listener is not None:
            # The kernel would reset what it has taken and the pod has not.
            self._accept(self._listener)
            self._listen_not()
            self._listener.close()
            self._listener = None

    def stall(self) -> None:
        """Serve no new connection until `resume`, with a backlog that is full at once."""
        assert self._listener is not None
        self._listener.listen(0)
        self._listen_not()

    def resume(self) -> None:
        """Serve what waits, and have room for more."""
        if self._listener is not None:
            self._listener.listen(_BACKLOG)
            self._listen()

    async def vanish(self) -> None:
        """Fall silent as a lost node does: nothing is taken, acknowledged, answered or ended."""
        self.over = True
        self._present.clear()
        for sock in self._sockets():
            _drop_all(sock)

    async def kill(self) -> None:
        """End it as the kernel ends what a killed process had: all its connections are reset."""
        self.over = True
        self.close_port()
        await asyncio.gather(*self._taking, return_exceptions=True)
        for connection in self._server.connections:
            if connection.transport is not None:
                _reset(connection.transport)
        await self._server.shutdown(timeout=0.1)

    # ---- connections

    def _listen(self) -> None:
        # Not sock_accept: one that is cancelled at the wrong moment keeps a connection to itself.
        assert self._listener is not None
        asyncio.get_running_loop().add_reader(self._listener.fileno(), self._accept, self._listener)

    def _listen_not(self) -> None:
        assert self._listener is not None
        asyncio.get_running_loop().remove_reader(self._listener.fileno())

    def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with suppress(BlockingIOError, ConnectionAbortedError):
            while True:
                connection, _ = listener.accept()
                connection.setblocking(False)
                task = loop.create_task(self._take(connection))
                self._taking.add(task)
                task.add_done_callback(self._taking.discard)

    async def _take(self, connection: socket.socket) -> None:
        await asyncio.get_running_loop().connect_accepted_socket(self._server, connection)
        if not self._present.is_set():  # the kernel had taken it before the node was lost
            _drop_all(connection)

    def _sockets(self) -> list[socket.socket]:
        transports = [one.transport for one in self._server.connections]
        found = [one.get_extra_info("socket") for one in transports if one is not None]
        return [*found, self._listener] if self._listener is not None else found

    # ---- requests

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Tell who answers: at `/echo` with the body, at `/events/N/PAUSE` N times.

        `/socket` is a WebSocket, which gives each message back.
        """
        self.deliveries.note(request, self.sandbox)
        self.in_flight += 1
        try:
            return await self._answer_to(request)
        finally:
            self.in_flight -= 1

    async def _answer_to(self, request: web.BaseRequest) -> web.StreamResponse:
        await self._present.wait()
        who = {"X-Sandbox": self.sandbox, "X-Pod": self.uid}
        _, place, *arguments = request.path.split("/")
        if place == "socket":
            return await self._converse(request, who)
        if place == "events":
            return await self._tell(request, who, int(arguments[0]), float(arguments[1]))
        if place == "echo":
            return web.Response(body=await request.read(), headers=who)
        told = orjson.dumps({"sandbox": self.sandbox, "pod": self.uid})
        return web.Response(body=told, headers=who)

    async def _tell(
        self, request: web.BaseRequest, who: dict[str, str], count: int, pause: float
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers=who | {"Content-Type": "text/event-stream"})
        await response.prepare(request)
        with suppress(ConnectionError):  # whoever listened has gone
            for number in range(count):
                await self._present.wait()
                await response.write(f"data: {number} {self.sandbox} {self.uid}\n\n".encode())
                await asyncio.sleep(pause)
        return response

    async def _converse(self, request: web.BaseRequest, who: dict[str, str]) -> web.StreamResponse:
        response = web.WebSocketResponse()
        response.headers.update(who)
        await response.prepare(request)
        async for message in response:
            await self._present.wait()
            if message.type is WSMsgType.TEXT:
                await response.send_str(f"{message.data} {self.sandbox} {self.uid}")
        return response


def _reset(transport: asyncio.Transport) -> None:
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()


def _drop_all(sock: socket.socket) -> None:
    """Have the kernel drop whatever comes for a socket, before TCP sees it.

    A classic BPF program of one instruction: keep 0 bytes.
    """
    keep_nothing = ctypes.create_string_buffer(struct.pack("=HBBI", 0x06, 0, 0, 0))
    program = struct.pack("@HP", 1, ctypes.addressof(keep_nothing))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
