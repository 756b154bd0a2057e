"""An upstream that takes a whole body before it answers: `python -m e2e.bench.upload_sink PORT`.

nginx's `return` answers before the body has come, which a load of large uploads must not have: it
would measure how proxies and wrk get over that. Here bodies are counted and dropped.
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import Final, cast

import uvloop

_CONTENT_LENGTH: Final = re.compile(rb"\r\ncontent-length: *([0-9]+) *\r\n", re.IGNORECASE)
_TAKEN: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\ntaken\n"
_NO_LENGTH: Final = (
    b"HTTP/1.1 411 Length Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)
#: One for all connections, since bodies are dropped at once, and small enough for a core's cache.
_BUFFER: Final = memoryview(bytearray(1 << 16))


class Sink(asyncio.BufferedProtocol):
    """One connection: heads are kept until they are whole, bodies are counted down."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._missing = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop has transport classes of its own.
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        del sizehint
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        if self._missing:
            self._count(nbytes)
            return
        self._head += _BUFFER[:nbytes]
        head, end, body = self._head.partition(b"\r\n\r\n")
        if not end:
            return
        length = _CONTENT_LENGTH.search(head + b"\r\n")
        if length is None:
            self._transport.write(_NO_LENGTH)
            self._transport.close()
            return
        self._head.clear()
        self._missing = int(length[1])
        self._count(len(body))

    def _count(self, nbytes: int) -> None:
        """Take bytes of the body; answer after its last."""
        self._missing -= nbytes
        if self._missing < 0:  # a client sent more than it said, or did not wait for the answer
            self._transport.abort()
        elif self._missing == 0:
            self._transport.write(_TAKEN)


async def main(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Sink, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
