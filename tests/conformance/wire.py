"""HTTP/1.1 over bare sockets, for both ends: what is sent is exactly what a test spells out.

Messages are read by a few lines of their own, which share nothing with the gateway's parsers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from .tls_end import TlsEnd

if TYPE_CHECKING:
    import ssl
    from typing import Self

#: Seconds that any single wait of a test may take.
PATIENCE: Final = 10.0
_READ: Final = 256 * 1024
_BODYLESS: Final = frozenset({204, 304})


@dataclass
class Message:
    """A request or a response as it was on the wire; `fields` in order, names as written."""

    start: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    interims: list[Message] = field(default_factory=list)

    @property
    def status(self) -> int:
        return int(self.start.split(b" ")[1])

    @property
    def method(self) -> bytes:
        return self.start.split(b" ")[0]

    @property
    def target(self) -> bytes:
        return self.start.split(b" ")[1]

    @property
    def reason(self) -> str:
        """Return why the gateway refused, of an answer of its own."""
        return str(json.loads(self.body)["reason"])

    def all(self, name: str) -> list[bytes]:
        """Return the values of one field, in order."""
        wanted = name.lower().encode()
        return [value for known, value in self.fields if known.lower() == wanted]

    def one(self, name: str) -> bytes:
        """Return the value of a field that must be there once."""
        (value,) = self.all(name)
        return value

    def has(self, name: str) -> bool:
        return bool(self.all(name))


class Wire:
    """One end of a TCP connection that remembers all it received."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.received = bytearray()
        self._unread = bytearray()
        self._tls: TlsEnd | None = None

    # ---- bytes

    async def encrypt(self, context: ssl.SSLContext, server_name: str | None = None) -> None:
        """Speak TLS from now on; without a name to be proved, as the server."""
        self._tls = TlsEnd(self.sock, context, server_name)
        async with asyncio.timeout(PATIENCE):
            await self._tls.shake_hands()

    @property
    def chosen_protocol(self) -> str | None:
        """What ALPN chose."""
        return self._tls.chosen_protocol if self._tls is not None else None

    async def send(self, data: bytes) -> None:
        async with asyncio.timeout(PATIENCE):
            if self._tls is None:
                await asyncio.get_running_loop().sock_sendall(self.sock, data)
            else:
                await self._tls.send(data)

    def send_now(self, data: bytes) -> None:
        """Give little to the kernel before anything else happens."""
        self.sock.send(data if self._tls is None else self._tls.seal(data))

    async def fill(self) -> bool:
        """Receive something; return whether there was anything before the end."""
        async with asyncio.timeout(PATIENCE):
            if self._tls is None:
                data = await asyncio.get_running_loop().sock_recv(self.sock, _READ)
            else:
                data = await self._tls.receive()
        self.received += data
        self._unread += data
        return bool(data)

    async def until(self, mark: bytes) -> bytes:
        """Return what comes up to and with `mark`; raise EOFError if the end comes first."""
        while mark not in self._unread:
            if not await self.fill():
                raise EOFError(bytes(self._unread))
        return self._take(self._unread.index(mark) + len(mark))

    async def exactly(self, size: int) -> bytes:
        while len(self._unread) < size:
            if not await self.fill():
                raise EOFError(bytes(self._unread))
        return self._take(size)

    async def rest(self) -> bytes:
        """Return all that comes until a clean end."""
        while await self.fill():
            pass
        return self._take(len(self._unread))

    async def ended(self) -> None:
        """Wait for the end, clean or not; anything that still comes before it is dropped."""
        try:
            await self.rest()
        except ConnectionError:
            return

    async def assert_silent(self, seconds: float = 0.1) -> None:
        """Nothing comes for a while, and there is no end either."""
        try:
            async with asyncio.timeout(seconds):
                raise AssertionError(await self.fill(), bytes(self._unread))
        except TimeoutError:
            return

    def _take(self, size: int) -> bytes:
        data = bytes(self._unread[:size])
        del self._unread[:size]
        return data

    # ---- messages

    async def head(self) -> Message:
        """Return the next head. A bare LF, or space around a name, is a failure."""
        raw = await self.until(b"\r\n\r\n")
        start, *lines = raw[:-4].split(b"\r\n")
        assert b"\n" not in b"".join(lines) + start, raw
        return Message(start, [_field(line) for line in lines])

    async def request(self) -> Message:
        """Return the next request, whole."""
        message = await self.head()
        await self._body(message, to_end=False)
        return message

    async def response(self, method: str = "GET") -> Message:
        """Return the next final response, with the interim ones before it."""
        interims = []
        while (message := await self.head()).status < 200:
            interims.append(message)
            if message.status == 101:
                return message
        message.interims = interims
        if method != "HEAD" and message.status not in _BODYLESS:
            await self._body(message, to_end=True)
        return message

    async def _body(self, message: Message, *, to_end: bool) -> None:
        codings, lengths = message.all("transfer-encoding"), message.all("content-length")
        assert len(codings) + len(lengths) <= 1, message
        if codings:
            assert codings == [b"chunked"], codings
            message.body = await self._chunks()
            while (line := await self.until(b"\r\n")) != b"\r\n":
                message.trailers.append(_field(line[:-2]))
        elif lengths:
            message.body = await self.exactly(int(lengths[0]))
        elif to_end:
            message.body = await self.rest()

    async def _chunks(self) -> bytes:
        body = bytearray()
        while chunk := await self.chunk():
            body += chunk
        return bytes(body)

    async def chunk(self) -> bytes:
        """Return the next chunk; nothing is the last, whose trailers are still to come."""
        size = int((await self.until(b"\r\n"))[:-2], 16)
        if not size:
            return b""
        data = await self.exactly(size)
        assert await self.exactly(2) == b"\r\n"
        return data

    # ---- ends

    def half_close(self) -> None:
        self._say_farewell()
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._say_farewell()
        self.sock.close()

    def cut(self) -> None:
        """Close without a farewell, which over plain TCP is a clean end all the same."""
        self.sock.close()

    def _say_farewell(self) -> None:
        if self._tls is not None and self.sock.fileno() >= 0:
            with contextlib.suppress(OSError):
                self.sock.send(self._tls.farewell())

    def reset(self) -> None:
        """Close by an RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class Client(Wire):
    """A client's end."""

    @classmethod
    async def connect(cls, address: tuple[str, int], *, buffer: int = 0) -> Self:
        """Connect; `buffer` bounds the socket's own buffers, for tests of pressure."""
        sock = socket.socket()
        if buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, address)
        except OSError:
            sock.close()
            raise
        return cls(sock)


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    assert colon, line
    assert name == name.strip(), line
    return name, value.strip(b" \t")


def chunked(*parts: bytes, trailers: bytes = b"") -> bytes:
    """Return a chunked body, each part one chunk."""
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + (
        b"0\r\n" + trailers + b"\r\n"
    )


def ok(body: bytes = b"ok", *fields: str) -> bytes:
    """Return a response of 200 with a length."""
    lines = "".join(f"{line}\r\n" for line in fields).encode()
    return b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (lines, len(body), body)
