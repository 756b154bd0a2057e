"""HTTP/1.1 as little of it as the rig and the bare loop speak, on bytes alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: A watch has no end, so its events are chunks (RFC 9112 §7.1).
WATCH_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
)
#: What the sandbox's server answers to every request.
HELLO_BODY: Final = b"hello world\n"
HELLO: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%b" % (
    len(HELLO_BODY),
    HELLO_BODY,
)
HEAD_END: Final = b"\r\n\r\n"
#: How a response begins that is none of an error.
OK: Final = b"HTTP/1.1 200 "

_REASONS: Final = {200: b"OK", 201: b"Created", 404: b"Not Found", 409: b"Conflict"}


class MalformedBytes(Exception):
    """What came is not what these few lines can read."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request for the API."""

    method: bytes
    target: bytes
    body: bytes


class RequestReader:
    """Cuts what one connection receives into requests with a Content-Length or no body."""

    def __init__(self) -> None:
        self._pending = b""

    def feed(self, data: bytes) -> list[Request]:
        """Return the requests that `data` completes; raise MalformedBytes."""
        self._pending += data
        found = []
        while (request := self._next()) is not None:
            found.append(request)
        return found

    def _next(self) -> Request | None:
        head, end, rest = self._pending.partition(HEAD_END)
        if not end:
            return None
        first, *lines = head.split(b"\r\n")
        length = _body_length(lines)
        if len(rest) < length:
            return None
        self._pending = rest[length:]
        method, target, _ = first.split(b" ", 2)
        return Request(method, target, rest[:length])


def _body_length(lines: list[bytes]) -> int:
    for line in lines:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
        if name.lower() == b"transfer-encoding":
            raise MalformedBytes("a chunked request")
    return 0


def json_answer(status: int, body: bytes) -> bytes:
    """Return a whole response of the API."""
    return b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        status,
        _REASONS[status],
        len(body),
        body,
    )


def chunk(data: bytes) -> bytes:
    """Return one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class WatchReader:
    """Takes the events out of a watch's bytes: response head, then one event in each chunk."""

    def __init__(self) -> None:
        self._pending = b""
        self._in_body = False

    def feed(self, data: bytes) -> list[bytes]:
        """Return the chunks that `data` completes; raise MalformedBytes."""
        self._pending += data
        if not self._in_body and not self._skip_head():
            return []
        found = []
        while (one := self._next()) is not None:
            found.append(one)
        return found

    def _skip_head(self) -> bool:
        head, end, rest = self._pending.partition(HEAD_END)
        if not end:
            return False
        if not head.startswith(OK):
            raise MalformedBytes("the watch was refused")
        self._pending, self._in_body = rest, True
        return True

    def _next(self) -> bytes | None:
        size, end, rest = self._pending.partition(b"\r\n")
        if not end:
            return None
        length = int(size, 16)
        if len(rest) < length + 2:
            return None
        self._pending = rest[length + 2 :]
        return rest[:length]
