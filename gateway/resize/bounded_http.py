"""One request and its answer over HTTP/1.1, at a bounded cost whatever the other side sends.

What comes is counted as it comes, framing and all: past the bound the connection is dropped unread.
A general client bounds bodies at best; interim answers, tiny chunks or their extensions without end
would keep it at work, in the event loop that serves everybody else.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import Final, cast

from gateway.sandbox.errors import UpstreamProtocolError
from gateway.upstream.response import ResponseReader

#: Bytes of an answer beside its body: up to the head's end, and the framing of chunks with it.
_OVERHEAD: Final = 16 * 1024

#: Pieces in which an answer may arrive. Each costs a turn of the event loop, however small it is;
#: 80 KiB are 160 pieces in the smallest packets that IPv4 lets a network have.
_MOST_PIECES: Final = 256


class BrokenOff(ConnectionError):
    """The connection ended before the answer did."""


class Excessive(Exception):
    """More came than an answer may be, or what is no HTTP. The text quotes nothing."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A final answer."""

    status: int
    body: bytes


async def exchange(host: str, port: int, call: tuple[str, str], body: bytes, most: int) -> Answer:
    """Make a `call` (method and path) with a JSON body, b"" for none; return what is answered.

    `host`: an address; names are not looked up. `most`: bytes of the answer's body. Each call has a
    connection of its own: what breaks is not sent again unasked, and another machine might have the
    address by the next one. Raise OSError if there is no connection or no answer (BrokenOff), and
    Excessive. There is no time-out: cancel it.
    """
    request = _request(host, port, call, body)
    transport, conversation = await asyncio.get_running_loop().create_connection(
        lambda: _Conversation(request, most), host, port, flags=socket.AI_NUMERICHOST
    )
    try:
        await conversation.over
        return conversation.answer()
    finally:
        transport.abort()


def _request(host: str, port: int, call: tuple[str, str], body: bytes) -> bytes:
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"{call[0]} {call[1]} HTTP/1.1", f"Host: {authority}", "Connection: close"]
    lines.append("Accept-Encoding: identity")
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join((*lines, "", "")).encode() + body


class _Conversation(asyncio.Protocol):
    """A connection for one request. `over` is done once there is an answer, or will be none."""

    def __init__(self, request: bytes, most: int) -> None:
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request = request
        self._most = most
        self._came = self._pieces = 0
        self._reader = ResponseReader()
        self._body = bytearray()
        self._failure: Exception | None = None

    def answer(self) -> Answer:
        """Return the answer; raise BrokenOff or Excessive."""
        head = self._reader.head
        if self._failure is not None:
            raise self._failure
        assert head is not None, "it is over, and has not failed"
        return Answer(head.status, bytes(self._body))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        cast("asyncio.Transport", transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        """Take a piece of the answer, or no more of it."""
        if self.over.done():
            return
        try:
            self._take(data)
        except Excessive as error:
            self._end(error)
        if self._reader.ended:
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take it for the end of the answer where nothing else tells that."""
        head = self._reader.head
        if exc is None and head is not None and head.ends_with_connection:
            self._end()
        else:
            self._end(BrokenOff("the connection ended before the answer did"))

    def _take(self, data: bytes) -> None:
        self._came += len(data)
        self._pieces += 1
        if self._came > self._most + _OVERHEAD:
            raise Excessive(f"the answer is longer than {self._most} bytes, or of odd framing")
        if self._pieces > _MOST_PIECES:
            raise Excessive(f"the answer comes in more than {_MOST_PIECES} pieces")
        try:
            self._reader.feed(data)
        except UpstreamProtocolError as error:
            raise Excessive("the answer is no HTTP, or of odd framing") from error
        if self._reader.head is None and self._came > _OVERHEAD:
            raise Excessive(f"the answer's head is longer than {_OVERHEAD} bytes")
        self._body += b"".join(self._reader.take_parts())
        if len(self._body) > self._most:
            raise Excessive(f"the answer is longer than {self._most} bytes")

    def _end(self, failure: Exception | None = None) -> None:
        if not self.over.done():
            self._failure = failure
            self.over.set_result(None)
