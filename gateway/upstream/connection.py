"""One HTTP/1.1 connection to a sandbox (RFC 9112), as an asyncio protocol on httptools.

A response with a known length is parsed up to its head; after that bytes are counted and passed
on as they came, since sending them through the parser would halve the speed of large bodies.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, cast

import httptools

from gateway.sandbox.errors import UpstreamProtocolError, UpstreamReset

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.sandbox.errors import GatewayError

#: Response fields that are the connection's or the framing's, not the message's (9110 §7.6.1).
_SPECIAL: Final = frozenset(
    {
        b"connection",
        b"content-length",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    }
)
_BODYLESS: Final = frozenset({204, 304})

#: More than this without a head being complete is no head.
MAX_RESPONSE_HEAD: Final = 256 * 1024

#: Interim responses to one request; a sandbox that sends more does not come to an end.
MAX_INTERIMS: Final = 64

#: `struct tcp_info` of Linux: tcpi_bytes_acked, which counts the SYN too, at 120.
_TCP_INFO_BYTES_ACKED: Final = struct.Struct("=120xQ")


@dataclass(slots=True)
class ResponseHead:
    """A response head. `lines` are the end-to-end fields, each with its CRLF.

    `length` is the Content-Length as it stood, None if there is none; `bodyless` says that no body
    follows whatever the length. Without a length and not chunked the body ends with the connection.
    """

    status: int
    reason: bytes
    lines: list[bytes]
    length: int | None
    chunked: bool
    bodyless: bool
    upgrade: bytes | None = None


class ResponseSink(Protocol):
    """Who takes what a connection receives for one request."""

    def interim(self, status: int, reason: bytes, lines: list[bytes]) -> None:
        """Take a 1xx response, not 101."""

    def received(self, head: ResponseHead | None, parts: Sequence[bytes], *, ended: bool) -> None:
        """Take what one read brought: maybe the head, pieces of the body, maybe its end."""

    def switched(self, head: ResponseHead, early: bytes) -> None:
        """Take a 101: from here on the connection carries another protocol."""

    def tunnelled(self, data: bytes) -> None:
        """Take bytes of that other protocol."""

    def lost(self, error: GatewayError, *, untouched: bool) -> None:
        """Learn that the connection broke. `untouched`: the sandbox cannot have had the request."""

    def upstream_paused(self, paused: bool) -> None:
        """Stop or resume giving bytes to `write`."""


class UpstreamConnection(asyncio.Protocol):
    """A connection to one port of one incarnation; serves one exchange at a time."""

    __slots__ = (
        "_counting",
        "_ended",
        "_fed",
        "_head",
        "_held",
        "_interims",
        "_keep_alive",
        "_left",
        "_lines",
        "_on_closed",
        "_parser",
        "_parts",
        "_reason",
        "_sink",
        "_special",
        "_surplus",
        "_to_head",
        "_transport",
        "_tunnel",
        "_written",
        "_written_before",
        "idle_since",
        "incarnation",
        "port",
        "served",
        "trailers",
    )

    _ended: bool
    _fed: int
    _head: ResponseHead | None
    _reason: bytes
    _lines: list[bytes]
    _special: dict[bytes, list[bytes]]
    _parts: list[bytes]

    def __init__(
        self, incarnation: str, port: int, on_closed: Callable[[UpstreamConnection], None]
    ) -> None:
        """`on_closed` is called once, when the connection is gone for whatever reason."""
        self.incarnation = incarnation
        self.port = port
        self.served = 0
        self.idle_since = 0.0
        self.trailers: list[bytes] = []
        self._on_closed = on_closed
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._sink: ResponseSink | None = None
        self._tunnel = False
        self._keep_alive = True
        self._surplus = False
        self._held = False
        self._written = 0
        self._written_before = 0
        self._reset(to_head=False)

    # ---- for the exchange

    @property
    def is_open(self) -> bool:
        """Whether the connection still stands."""
        return self._transport is not None

    @property
    def authority(self) -> bytes:
        """The address and port it leads to, as a Host."""
        peer = self._transport.get_extra_info("peername") if self._transport is not None else None
        host, port = (peer[0], peer[1]) if peer else ("", self.port)
        return (f"[{host}]:{port}" if ":" in host else f"{host}:{port}").encode()

    @property
    def reusable(self) -> bool:
        """Whether another exchange may begin: the last one ended cleanly, nothing came after it."""
        return self._transport is not None and self._sink is None and self._keep_alive

    def begin(self, sink: ResponseSink, *, to_head: bool) -> None:
        """Start an exchange; `to_head`: the request is HEAD, so no body follows the head."""
        self._sink = sink
        self.served += 1
        self._written_before = self._written
        self._reset(to_head=to_head)

    def write(self, data: bytes) -> None:
        """Send bytes; nothing happens if the connection is gone (the sink is told)."""
        if self._transport is not None:
            self._written += len(data)
            self._transport.write(data)

    def hold(self, held: bool) -> None:
        """Stop or resume reading what the sandbox sends."""
        self._held = held
        if self._transport is None:
            return
        if held:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def spoil(self) -> None:
        """Serve no other exchange: what was sent is not a whole request."""
        self._keep_alive = False

    def release(self) -> None:
        """End the exchange: the sink hears nothing more; an unfinished response ends it all."""
        self._sink = None
        if self._held:
            self.hold(False)
        if not self._ended or self._surplus or self._tunnel:
            self._keep_alive = False

    def close(self) -> None:
        """Close after what was written is sent."""
        self._keep_alive = False
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._keep_alive = False
        if self._transport is not None:
            self._transport.abort()

    # ---- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        sink = self._sink
        if sink is None or self._ended:
            # Nobody asked: whatever this is, it is never to be somebody's answer.
            self.abort()
        elif self._tunnel:
            sink.tunnelled(data)
        elif self._counting:
            self._count(sink, data)
        else:
            self._parse(sink, data)

    def eof_received(self) -> None:
        # asyncio closes the transport now and says so later: the pool must not hand it out until.
        self._keep_alive = False

    def connection_lost(self, exc: Exception | None) -> None:
        transport, self._transport = self._transport, None
        sink, self._sink = self._sink, None
        if sink is not None and not self._ended:
            if exc is None and self._ends_with_connection():
                self._ended = True
                self._keep_alive = False
                sink.received(None, (), ended=True)
            else:
                untouched = self._fed == 0 and self._nothing_arrived(transport)
                sink.lost(UpstreamReset(), untouched=untouched)
        self._on_closed(self)

    def pause_writing(self) -> None:
        if self._sink is not None:
            self._sink.upstream_paused(True)

    def resume_writing(self) -> None:
        if self._sink is not None:
            self._sink.upstream_paused(False)

    # ---- callbacks of httptools

    def on_message_begin(self) -> None:
        if self._ended:
            raise UpstreamProtocolError  # surplus: the response that ended is left as it is
        self._head = None
        self._reason = b""
        self._lines = []
        self._special = {}

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        lower = name.lower()
        if self._head is not None:
            if lower not in _SPECIAL:
                self.trailers.append(b"%b: %b\r\n" % (name, value))
        elif lower in _SPECIAL:
            self._special.setdefault(lower, []).append(value.strip(b" \t"))
        else:
            self._lines.append(b"%b: %b\r\n" % (name, value))

    def on_headers_complete(self) -> None:
        head = self._head = self._judge_head()
        if 100 <= head.status < 200:
            return
        if head.bodyless:
            self._ended = True

    def on_body(self, data: bytes) -> None:
        if self._ended:
            self._surplus = True
        else:
            self._parts.append(data)

    def on_message_complete(self) -> None:
        head = self._head
        if head is None:
            return
        if 100 <= head.status < 200:
            self._on_interim(head)
        else:
            self._ended = True

    # ---- the parts of it

    def _reset(self, *, to_head: bool) -> None:
        self._to_head = to_head
        self._ended = False
        self._counting = False
        self._left = 0
        self._fed = 0
        self._interims = 0
        self._head = None
        self._reason = b""
        self._lines = []
        self._special = {}
        self._parts = []
        if self.trailers:
            self.trailers = []

    def _parse(self, sink: ResponseSink, data: bytes) -> None:
        known = self._head
        if self._parser is None:
            self._parser = httptools.HttpResponseParser(self)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._switch(sink, data[upgrade.args[0] :])
            return
        except httptools.HttpParserError:
            if not self._ended:
                self._break(sink)
                return
            self._surplus = True
        self._fed += len(data)
        head: ResponseHead | None = self._head
        if head is None or 100 <= head.status < 200:
            if self._fed > MAX_RESPONSE_HEAD:
                self._break(sink)
            return
        self._deliver(sink, head, is_new=head is not known)

    def _deliver(self, sink: ResponseSink, head: ResponseHead, *, is_new: bool) -> None:
        parts, self._parts = self._parts, []
        if self._surplus:
            self._keep_alive = False
        if self._ended:
            if head.bodyless:
                self._parser = None
        elif is_new and head.length is not None:
            self._counting = True
            self._left = head.length - sum(map(len, parts))
            self._parser = None
        if is_new or parts or self._ended:
            sink.received(head if is_new else None, parts, ended=self._ended)

    def _count(self, sink: ResponseSink, data: bytes) -> None:
        left = self._left = self._left - len(data)
        if left > 0:
            sink.received(None, (data,), ended=False)
            return
        self._counting = False
        self._ended = True
        if left < 0:
            self._keep_alive = False
            data = data[:left]
        sink.received(None, (data,), ended=True)

    def _judge_head(self) -> ResponseHead:
        parser = self._parser
        assert parser is not None
        if parser.get_http_version() not in ("1.1", "1.0"):
            raise UpstreamProtocolError
        status = parser.get_status_code()
        if status < 100:
            raise UpstreamProtocolError
        special = self._special
        codings = special.get(b"transfer-encoding")
        if codings is not None and b",".join(codings).lower() != b"chunked":
            raise UpstreamProtocolError
        length = int(special[b"content-length"][0]) if b"content-length" in special else None
        if status == 204 and (length or codings is not None):
            raise UpstreamProtocolError
        tokens = special.get(b"connection")
        lines = _without(self._lines, tokens) if tokens is not None else self._lines
        if status >= 200:
            self._keep_alive = self._keep_alive and parser.should_keep_alive()
        return ResponseHead(
            status=status,
            reason=self._reason,
            lines=lines,
            length=length,
            chunked=codings is not None,
            bodyless=self._to_head or status in _BODYLESS,
            upgrade=b", ".join(special.get(b"upgrade", ())) or None,
        )

    def _on_interim(self, head: ResponseHead) -> None:
        assert self._parser is not None
        if head.status == 101 and self._parser.should_upgrade():
            return  # `_switch` comes next
        self._interims += 1
        if head.status == 101 or self._interims > MAX_INTERIMS:
            # A 101 that names no protocol, or no end of interim responses.
            raise UpstreamProtocolError
        if self._sink is not None:
            self._sink.interim(head.status, head.reason, head.lines)

    def _switch(self, sink: ResponseSink, early: bytes) -> None:
        head = self._head
        self._fed += 1
        self._keep_alive = False
        if head is None or head.status != 101 or head.upgrade is None:
            self._break(sink)
            return
        self._tunnel = True
        sink.switched(head, early)

    def _break(self, sink: ResponseSink) -> None:
        """The sandbox does not speak HTTP/1.1: nothing more is believed."""
        self._sink = None
        self._keep_alive = False
        self.abort()
        sink.lost(UpstreamProtocolError(), untouched=False)

    def _nothing_arrived(self, transport: asyncio.Transport | None) -> bool:
        """Return whether no byte of this exchange's request got to the sandbox's machine.

        A reset alone does not say that: a server may read a request and then reset. (If it does so
        before its kernel has acknowledged the request, that cannot be told apart.)
        """
        if transport is None:
            return False
        sock: socket.socket = transport.get_extra_info("socket")
        size = _TCP_INFO_BYTES_ACKED.size
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, size)
        if len(info) < size:
            return False
        acked: int = _TCP_INFO_BYTES_ACKED.unpack(info)[0]
        return acked <= self._written_before + 1

    def _ends_with_connection(self) -> bool:
        head = self._head
        return (
            head is not None
            and head.status >= 200
            and head.length is None
            and not head.chunked
            and not self._tunnel
        )


def _without(lines: list[bytes], connection: list[bytes]) -> list[bytes]:
    """Return the fields less those that Connection names (RFC 9110 §7.6.1)."""
    if connection[0].lower() in _HARMLESS_TOKENS and len(connection) == 1:
        return lines
    named = {token.strip().lower() for token in b",".join(connection).split(b",")}
    named -= _HARMLESS_TOKENS
    if not named:
        return lines
    return [line for line in lines if line.partition(b":")[0].lower() not in named]


_HARMLESS_TOKENS: Final = frozenset({b"close", b"keep-alive", b"upgrade", b""})
