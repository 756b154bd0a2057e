"""What two parsers that share no code see in the bytes of one side of a connection.

h11 is a strict parser in Python, httptools is llhttp, which Node.js and uvicorn read requests with:
where both see the same messages, there is no room for a smuggled one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast

import h11
import httptools

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: A head or chunk line larger than this is not generated.
_MAX_HEAD: Final = 2**20


@dataclass
class Seen:
    """A message as a parser understood it; names of fields in lower case.

    `start` is the method and target of a request, or the status of a response. `interims` are the
    statuses of the 1xx responses before it.
    """

    start: tuple[bytes, bytes] | int
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    interims: list[int] = field(default_factory=list)

    @property
    def final(self) -> bool:
        """Whether this is no interim response."""
        return not isinstance(self.start, int) or self.start >= 200

    def all(self, name: bytes) -> list[bytes]:
        return [value for known, value in self.fields if known == name]


@dataclass
class Reading:
    """What was seen: whole messages, then maybe a head whose body is not whole.

    `broken`: what follows is no message. `left`: bytes follow which are not a whole head, or which
    are not to be parsed since the connection ends here.
    """

    whole: list[Seen] = field(default_factory=list)
    partial: Seen | None = None
    broken: bool = False
    left: bool = False

    @property
    def clean(self) -> bool:
        """Whether the bytes are whole messages and nothing else."""
        return self.partial is None and not (self.broken or self.left)

    @property
    def begun(self) -> list[Seen]:
        return [*self.whole] if self.partial is None else [*self.whole, self.partial]


def requests_by_h11(data: bytes) -> Reading:
    """Read what a client sent."""
    reading = Reading()
    data = data.lstrip(b"\r\n")  # RFC 9112 §2.2: empty lines before a request
    goes_on = True
    while data and goes_on:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD)
        connection.receive_data(data)
        goes_on = _one_by_h11(connection, reading)
        data = connection.trailing_data[0].lstrip(b"\r\n")
    reading.left = bool(data) and not (reading.partial or reading.broken)
    return reading


def responses_by_h11(data: bytes, methods: Sequence[str], *, ended: bool) -> Reading:
    """Read what a server answered to requests of these methods; `ended`: and then closed."""
    reading = Reading()
    for method in methods:
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)
        connection.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
        connection.send(h11.EndOfMessage())
        if data:  # to h11, no data is the end
            connection.receive_data(data)
        if data and ended:
            connection.receive_data(b"")
        goes_on = _one_by_h11(connection, reading)
        data = connection.trailing_data[0]
        if not goes_on:
            break
    reading.left = bool(data) and not (reading.partial or reading.broken)
    return reading


def _one_by_h11(connection: h11.Connection, reading: Reading) -> bool:
    """Read one message; return whether another may follow it."""
    interims: list[int] = []
    ends = False
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError:
            reading.broken = True
            return False
        if isinstance(event, h11.InformationalResponse):
            interims.append(event.status_code)
        elif isinstance(event, h11.Request | h11.Response):
            ends = _ends(event.http_version, event.headers)
            reading.partial = Seen(_start(event), _fields(event.headers), interims=interims)
        elif isinstance(event, h11.Data):
            assert reading.partial is not None
            reading.partial.body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            assert reading.partial is not None
            reading.partial.trailers = _fields(event.headers)
            reading.whole.append(reading.partial)
            reading.partial = None
            return not ends
        else:  # it needs more, or the connection ended
            return False


def _start(event: h11.Request | h11.Response) -> tuple[bytes, bytes] | int:
    if isinstance(event, h11.Response):
        return event.status_code
    return bytes(event.method), bytes(event.target)


def _fields(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(bytes(name), bytes(value)) for name, value in headers]


def _ends(version: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Return whether the connection ends with this message (RFC 9112 §9.3)."""
    named = b",".join(value for name, value in headers if name == b"connection").lower()
    tokens = {token.strip() for token in named.split(b",")}
    return b"close" in tokens or (version == b"1.0" and b"keep-alive" not in tokens)


class _Collector:
    """What httptools calls back with, put together to messages."""

    def __init__(self) -> None:
        self.reading = Reading()
        self.request: httptools.HttpRequestParser | None = None
        self.response: httptools.HttpResponseParser | None = None
        self.in_head = False
        self.ends = False
        self.whole = False
        self._target = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._interims: list[int] = []

    def on_message_begin(self) -> None:
        self.in_head = True
        self._target, self._fields = b"", []

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        partial = self.reading.partial
        where = self._fields if partial is None else partial.trailers
        where.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self.in_head = False
        start: tuple[bytes, bytes] | int
        if self.request is not None:
            start = (self.request.get_method(), self._target)
            self.ends = not self.request.should_keep_alive()
        else:
            assert self.response is not None
            start = self.response.get_status_code()
            version = self.response.get_http_version().encode()
            self.ends = _ends(version, self._fields)  # llhttp takes HEAD's answers for endless ones
        self.reading.partial = Seen(start, self._fields, interims=self._interims)

    def on_body(self, data: bytes) -> None:
        assert self.reading.partial is not None
        self.reading.partial.body += data

    def on_message_complete(self) -> None:
        message, self.reading.partial = self.reading.partial, None
        assert message is not None
        if not message.final:
            self._interims.append(cast("int", message.start))
            return
        self.reading.whole.append(message)
        self.whole = True


def requests_by_httptools(data: bytes) -> Reading:
    """Read what a client sent."""
    taken = _Collector()
    parser = taken.request = httptools.HttpRequestParser(taken)
    reading = taken.reading
    for rest in _pieces(data):
        if taken.ends and reading.partial is None:
            reading.left = True
            return reading
        try:
            parser.feed_data(rest)
        except httptools.HttpParserUpgrade:
            pass  # byte by byte nothing follows it: an upgrade that is refused is a request
        except httptools.HttpParserError:
            reading.broken = True
            return reading
    reading.left = taken.in_head
    return reading


def responses_by_httptools(data: bytes, methods: Sequence[str], *, ended: bool) -> Reading:
    """Read what a server answered to requests of these methods; `ended`: and then closed."""
    reading = Reading()
    for method in methods:
        taken = _Collector()
        taken.reading = reading
        taken.response = httptools.HttpResponseParser(taken)
        try:
            data = _one_response(taken, data, to_head=method == "HEAD")
        except httptools.HttpParserError:
            reading.broken = True
            return reading
        if ended and reading.partial is not None and _ends_with_connection(reading.partial):
            taken.on_message_complete()
        if taken.ends or reading.partial is not None or not taken.whole:
            break
    reading.left = (bool(data) or taken.in_head) and reading.partial is None
    return reading


def _one_response(taken: _Collector, data: bytes, *, to_head: bool) -> bytes:
    """Feed one response with its interim ones; return what follows it."""
    assert taken.response is not None
    for position, piece in enumerate(_pieces(data)):
        taken.response.feed_data(piece)
        message = taken.reading.partial
        # httptools is not told of the method, nor lets it be said that no body follows.
        if message is not None and (message.start in {204, 304} or (to_head and message.final)):
            taken.on_message_complete()
        if taken.whole:
            return data[position + 1 :]
    return b""


def _ends_with_connection(message: Seen) -> bool:
    return not (message.all(b"content-length") or message.all(b"transfer-encoding"))


def _pieces(data: bytes) -> Iterable[bytes]:
    return (data[at : at + 1] for at in range(len(data)))
