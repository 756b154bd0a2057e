"""HTTP sessions of tests, which leave no connection behind with the loop."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import aiohttp

from .waiting import soon

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator


@asynccontextmanager
async def session(
    trust: ssl.SSLContext | None, **options: Any
) -> AsyncIterator[aiohttp.ClientSession]:
    """Give a session for as many and as long requests as wanted; in the end all it had is closed.

    To close TLS in order is to wait for the server to do so too, and one that hangs does not.
    """
    made: list[socket.socket] = []

    def make(address: aiohttp.AddrInfoType) -> socket.socket:
        one = socket.socket(*address[:3])
        made[:] = [*_open(made), one]
        return one

    connector = aiohttp.TCPConnector(ssl=trust or True, limit=0, socket_factory=make)
    timeout = aiohttp.ClientTimeout(total=None)
    try:
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, **options) as given:
            yield given
    finally:
        for one in _open(made):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        await soon(lambda: not _open(made), "all connections are closed")


def _open(sockets: list[socket.socket]) -> list[socket.socket]:
    return [one for one in sockets if one.fileno() >= 0]


def abort(response: aiohttp.ClientResponse) -> None:
    """End an answer that goes on, and its connection, at once."""
    if response.connection is not None and response.connection.transport is not None:
        response.connection.transport.abort()
