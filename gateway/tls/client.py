"""Connections made by TLS."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.tls.stream import TlsStream

if TYPE_CHECKING:
    from gateway.tls.contexts import Context


class TlsClient:
    """Makes connections by TLS, in the newest context."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def connect(
        self, protocol: asyncio.BaseProtocol, address: str, port: int, server_name: str
    ) -> None:
        """Connect a protocol; `server_name` is the name or address that the server must prove.

        Raise ssl.SSLError where hands cannot be shaken, and OSError where the connection fails.
        """
        stream = TlsStream(self._context.newest, lambda: protocol, server_name=server_name)
        try:
            await asyncio.get_running_loop().create_connection(lambda: stream, address, port)
            await stream.established
        except BaseException:
            stream.give_up()
            raise
