"""One end of TLS over a bare socket, which shares nothing with the gateway's."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import socket

_READ: Final = 256 * 1024
_PIECE: Final = 256 * 1024


class TruncatedError(ConnectionResetError):
    """The end came without a farewell."""


class TlsEnd:
    """Seals what is sent, and opens what is received."""

    def __init__(
        self, sock: socket.socket, context: ssl.SSLContext, server_name: str | None
    ) -> None:
        self._sock = sock
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._in,
            self._out,
            server_side=server_name is None,
            server_hostname=server_name,
        )

    @property
    def chosen_protocol(self) -> str | None:
        return self._tls.selected_alpn_protocol()

    async def shake_hands(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await loop.sock_sendall(self._sock, self._out.read())
                await self._more()
            else:
                await loop.sock_sendall(self._sock, self._out.read())
                return

    async def send(self, data: bytes) -> None:
        for at in range(0, len(data), _PIECE):
            sealed = self.seal(data[at : at + _PIECE])
            await asyncio.get_running_loop().sock_sendall(self._sock, sealed)

    def seal(self, data: bytes) -> bytes:
        view = memoryview(data)
        while view:
            view = view[self._tls.write(view) :]
        return self._out.read()

    async def receive(self) -> bytes:
        """Return what comes next, nothing after a farewell; raise TruncatedError."""
        while True:
            try:
                return self._tls.read(_READ)
            except ssl.SSLWantReadError:
                await self._more()
            except ssl.SSLZeroReturnError:
                return b""

    def farewell(self) -> bytes:
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        return self._out.read()

    async def _more(self) -> None:
        raw = await asyncio.get_running_loop().sock_recv(self._sock, _READ)
        if not raw:
            raise TruncatedError
        self._in.write(raw)
