"""One connection to a sandbox, as an asyncio protocol: requests out, their responses in."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Final, Protocol, cast

from gateway.sandbox.errors import UpstreamProtocolError, UpstreamReset
from gateway.upstream.response import ResponseReader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.sandbox.errors import GatewayError
    from gateway.tls.stream import TlsStream
    from gateway.upstream.response import ResponseHead

#: Unanswered keep-alive probes after which a connection is dead.
_PROBES: Final = 3

#: `struct tcp_info` of Linux: tcpi_bytes_acked, which counts the SYN too, at 120.
_TCP_INFO_BYTES_ACKED: Final = struct.Struct("=120xQ")


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
        "_held",
        "_on_closed",
        "_reader",
        "_sink",
        "_transport",
        "_tunnel",
        "_written",
        "_written_before",
        "idle_since",
        "incarnation",
        "port",
        "served",
    )

    def __init__(
        self, incarnation: str, port: int, on_closed: Callable[[UpstreamConnection], None]
    ) -> None:
        """`on_closed` is called once, when the connection is gone for whatever reason."""
        self.incarnation = incarnation
        self.port = port
        self.served = 0
        self.idle_since = 0.0
        self._on_closed = on_closed
        self._transport: asyncio.Transport | None = None
        self._reader = ResponseReader()
        self._sink: ResponseSink | None = None
        self._tunnel = False
        self._held = False
        self._written = 0
        self._written_before = 0

    # ---- for the exchange

    @property
    def is_open(self) -> bool:
        """Whether the connection still stands."""
        return self._transport is not None

    @property
    def arrived(self) -> bool:
        """Whether the sandbox's machine has taken anything of the present request."""
        return self._reader.fed > 0 or not self._nothing_arrived(self._transport)

    def watch_peer(self, seconds: float) -> None:
        """Break the connection once the sandbox's machine has been silent for about so long.

        A node that is lost sends no end: without this, a request would wait for its answer for
        ever. Silence counts where something is expected: the receipt of bytes, or of a probe.
        """
        if self._transport is None:
            return
        sock: socket.socket = self._transport.get_extra_info("socket")
        interval = max(1, int(seconds / (1 + _PROBES)))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, interval)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))

    @property
    def unsent(self) -> int:
        """Bytes of the request that the sandbox has not taken yet."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    @property
    def authority(self) -> bytes:
        """The address and port it leads to, as a Host."""
        peer = self._transport.get_extra_info("peername") if self._transport is not None else None
        host, port = (peer[0], peer[1]) if peer else ("", self.port)
        return (f"[{host}]:{port}" if ":" in host else f"{host}:{port}").encode()

    @property
    def reusable(self) -> bool:
        """Whether another exchange may begin: the last one ended cleanly, nothing came after it."""
        return self._transport is not None and self._sink is None and self._reader.keep_alive

    @property
    def trailers(self) -> list[bytes]:
        """The trailers of the response that has ended, as whole lines."""
        return self._reader.trailers

    def begin(self, sink: ResponseSink, *, to_head: bool) -> None:
        """Start an exchange; `to_head`: the request is HEAD, so no body follows the head."""
        self._sink = sink
        self.served += 1
        self._written_before = self._written
        self._reader.begin(to_head=to_head)

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
        """Serve no other exchange after this one."""
        self._reader.keep_alive = False

    def release(self) -> None:
        """End the exchange: the sink hears nothing more; an unfinished response ends it all."""
        self._sink = None
        if self._held:
            self.hold(False)
        reader = self._reader
        if self._tunnel or reader.surplus or not reader.ended:
            self.spoil()

    def close(self) -> None:
        """Close after what was written is sent."""
        self.spoil()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self.spoil()
        if self._transport is not None:
            self._transport.abort()

    # ---- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        sink, reader = self._sink, self._reader
        if self._tunnel and sink is not None:
            sink.tunnelled(data)
            return
        if sink is None or reader.ended:
            # Nobody asked: whatever this is, it is never to be somebody's answer.
            self.abort()
            return
        head = reader.head
        try:
            reader.feed(data)
        except UpstreamProtocolError as error:
            self._break(sink, error)
            return
        if reader.interims or reader.switched is not None:
            self._deliver_early(sink, reader)
        if reader.head is None or self._tunnel:
            return
        parts, is_new = reader.take_parts(), head is None
        if is_new or parts or reader.ended:
            sink.received(reader.head if is_new else None, parts, ended=reader.ended)

    def eof_received(self) -> None:
        # asyncio closes the transport now and says so later: the pool must not hand it out until.
        self.spoil()

    def connection_lost(self, exc: Exception | None) -> None:
        transport, self._transport = self._transport, None
        sink, self._sink = self._sink, None
        reader = self._reader
        if sink is not None and (self._tunnel or not reader.ended):
            head = reader.head
            if exc is None and head is not None and head.ends_with_connection:
                reader.ended = True
                self.spoil()
                sink.received(None, (), ended=True)
            else:
                untouched = reader.fed == 0 and self._nothing_arrived(transport)
                sink.lost(UpstreamReset(), untouched=untouched)
        self._on_closed(self)

    def pause_writing(self) -> None:
        if self._sink is not None:
            self._sink.upstream_paused(True)

    def resume_writing(self) -> None:
        if self._sink is not None:
            self._sink.upstream_paused(False)

    # ---- the parts of it

    def _deliver_early(self, sink: ResponseSink, reader: ResponseReader) -> None:
        """Tell the sink of interim responses and of the change to another protocol."""
        for interim in reader.interims:
            sink.interim(interim.status, interim.reason, interim.lines)
        reader.interims = []
        if reader.head is not None and reader.switched is not None:
            self._tunnel = True
            sink.switched(reader.head, reader.switched)

    def _break(self, sink: ResponseSink, error: UpstreamProtocolError) -> None:
        """The sandbox does not speak HTTP/1.1: nothing more is believed."""
        self._sink = None
        self.abort()
        sink.lost(error, untouched=False)

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


class SecureUpstreamConnection(UpstreamConnection):
    """One over TLS: what is acknowledged are records, and those of the handshake too."""

    def begin(self, sink: ResponseSink, *, to_head: bool) -> None:
        super().begin(sink, to_head=to_head)
        self._written_before = cast("TlsStream", self._transport).wire_bytes
