"""Connections of a faulty API, and how they are broken."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Final

from aiohttp import web

#: SO_LINGER: a close resets the connection and sends nothing any more.
_RESET: Final = struct.pack("ii", 1, 0)


def bound(port: int) -> socket.socket:
    """Return a socket that has a port of 127.0.0.1, beside others that have it."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind(("127.0.0.1", port))
    return made


def reset(transport: asyncio.Transport) -> None:
    """Break a connection so that the other side knows."""
    made = transport.get_extra_info("socket")
    with suppress(OSError):
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()


def none(request: web.BaseRequest) -> web.Response:
    """Break the connection; the response is for nobody."""
    if isinstance(request.transport, asyncio.Transport):
        reset(request.transport)
    return web.Response(status=500)
