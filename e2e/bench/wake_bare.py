"""A bare event loop that does what a wake takes and nothing more: what the gateway is held to.

`python -m e2e.bench.wake_bare LOOP API-PORT SERVER-PORT REQUESTS CONNECTIONS` reads the watch,
decodes its events, and on Running sends so many requests over so many new connections to the
address in the event. Once all are answered it closes them and waits for the next Running.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import orjson
import uvloop

from e2e.bench.wake_sandbox import COLLECTION, is_running
from e2e.bench.wake_sockets import reset_on_close
from e2e.bench.wake_wire import HELLO_BODY, WatchReader

if TYPE_CHECKING:
    from collections.abc import Callable

WATCH: Final = f"GET {COLLECTION}?watch=1&resourceVersion=1 HTTP/1.1\r\nHost: api\r\n\r\n".encode()
REQUEST: Final = b"GET / HTTP/1.1\r\nHost: sandbox\r\n\r\n"
LOOPS: Final[dict[str, Callable[[], asyncio.AbstractEventLoop]]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
#: Connections being opened at one time: a server's queue of connections must not run over.
DIALS: Final = 64


class Watch(asyncio.Protocol):
    """Reads the events and hands on the objects that run."""

    def __init__(self, on_running: Callable[[dict[str, Any]], None]) -> None:
        self._on_running = on_running
        self._reader = WatchReader()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(WATCH)

    def data_received(self, data: bytes) -> None:
        for event in self._reader.feed(data):
            raw = orjson.loads(event)["object"]
            if is_running(raw):
                self._on_running(raw)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set_result(None)


class Crowd:
    """Sends the requests of one wake."""

    def __init__(self, port: int, requests: int, connections: int) -> None:
        """Each connection sends one request, and what is left goes to whichever is free."""
        self._loop = asyncio.get_running_loop()
        self._port = port
        self._connections = self._undialled = connections
        self._unsent = requests - connections
        self._unanswered = requests
        self._open: list[asyncio.Transport] = []
        self._dialling: list[asyncio.Task[None]] = []

    def start(self, raw: dict[str, Any]) -> None:
        """Begin to connect to the object's address."""
        dial = partial(self._dial, raw["status"]["podIP"])
        for _ in range(min(self._connections, DIALS)):
            self._dialling.append(self._loop.create_task(dial()))

    async def _dial(self, host: str) -> None:
        while self._undialled:
            self._undialled -= 1
            await self._loop.create_connection(partial(_Request, self), host, self._port)

    def opened(self, transport: asyncio.Transport) -> None:
        self._open.append(transport)
        transport.write(REQUEST)

    def answered(self, transport: asyncio.Transport) -> None:
        self._unanswered -= 1
        if self._unsent:
            self._unsent -= 1
            transport.write(REQUEST)
        elif not self._unanswered:
            for one in self._open:
                reset_on_close(one.get_extra_info("socket"))
                one.close()


class _Request(asyncio.Protocol):
    """One connection."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._crowd.opened(self._transport)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        if data.endswith(HELLO_BODY):
            self._crowd.answered(self._transport)


async def main(api_port: int, server_port: int, requests: int, connections: int) -> None:
    loop = asyncio.get_running_loop()
    crowd: Crowd | None = None

    def on_running(raw: dict[str, Any]) -> None:
        nonlocal crowd
        crowd = Crowd(server_port, requests, connections)
        crowd.start(raw)

    _, watch = await loop.create_connection(lambda: Watch(on_running), "127.0.0.1", api_port)
    gc.collect()
    gc.freeze()
    await watch.ended


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=LOOPS[sys.argv[1]]) as runner:
        runner.run(main(*map(int, sys.argv[2:])))
