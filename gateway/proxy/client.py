"""One client connection: aiohttp's protocol with our request parser, behind an interface of ours.

The private names of aiohttp that this relies on are pinned by tests/proxy/test_aiohttp_pins.py.
"""

from __future__ import annotations

import contextlib
import logging
import math
import socket
import struct
from typing import TYPE_CHECKING, Any, Final, cast

from aiohttp.web_protocol import RequestHandler

from gateway.proxy import answers
from gateway.proxy.headers import Peer
from gateway.proxy.memory import Share, kept_by
from gateway.proxy.parser import Phase, RequestParser
from gateway.proxy.request import CLOSED, Request
from gateway.sandbox.errors import Overloaded

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from gateway.proxy.body import RequestBody
    from gateway.proxy.exchange import Exchange
    from gateway.proxy.front import Front
    from gateway.proxy.message import RequestHead
    from gateway.sandbox.errors import GatewayError

_LOG = logging.getLogger(__name__)

#: `struct linger` by which closing a socket resets its connection.
_RESET: Final = struct.pack("ii", 1, 0)

#: The first byte of Linux' `struct tcp_info`, tcpi_state: neither side has ended.
_TCP_ESTABLISHED: Final = 1

#: Attribute access on an enum is slow (a descriptor on its metaclass), and this is the hot path.
_HEAD: Final = Phase.HEAD
_BETWEEN: Final = Phase.BETWEEN

#: Who has asked that a connection is not read.
_HOLD_QUEUE: Final = 1
_HOLD_BODY: Final = 2
_HOLD_ASIDE: Final = 4
_HOLD_WAIT: Final = 8
_HOLD_AHEAD: Final = 16

#: Bytes of requests that are queued behind others before no more is read; of one that is counted.
_AHEAD: Final = 128 * 1024
_LARGE: Final = 4 * 1024


class _Tunnel:
    """Where aiohttp's protocol puts the client's bytes after a 101."""

    __slots__ = ("_take",)

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self._take(data)
        return False, b""

    def feed_eof(self) -> None:
        """Do nothing: the connection's end is seen by the connection."""


class Connection(RequestHandler):
    """One client connection."""

    __slots__ = (
        "_aside",
        "_holds",
        "_phase",
        "_read_deadline",
        "_share",
        "_wire",
        "deadline",
        "exchange",
        "front",
        "peer",
        "serving",
    )

    _parser: Any

    def __init__(self, front: Front, loop: asyncio.AbstractEventLoop) -> None:
        config = front.config
        super().__init__(
            front,
            loop=loop,
            access_log=cast("logging.Logger", None),
            keepalive_timeout=config.keep_alive_timeout + 60.0,  # ours, in `sweep`, is sooner
            lingering_time=config.linger_timeout,
        )
        self._parser = RequestParser(config.limits, front.names, self.hold_body)
        self.front = front
        self._aside: list[bytes] | None = None
        self._holds = 0
        self._phase = _BETWEEN
        self._read_deadline = math.inf
        self._share = Share()
        self._wire: asyncio.Transport | None = None
        self.deadline = math.inf
        self.serving: Request | None = None
        self.exchange: Exchange | None = None
        self.peer = Peer("", trusted=False)

    # ---- for the proxy

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop it runs on."""
        return self._loop

    @property
    def idle(self) -> bool:
        """Whether no part of a request is here that has not been answered.

        aiohttp's loop waits for the next one: what was read, but not handed over yet, is not idle.
        """
        waiter, parser = self._waiter, self._parser
        waits = waiter is not None and not waiter.done()
        between = parser is not None and parser.phase is _BETWEEN
        return waits and between and self.serving is None

    def send(self, data: bytes) -> None:
        """Write bytes to the client; nothing happens if it has gone."""
        if self._wire is not None:
            self._wire.write(data)

    def send_pieces(self, pieces: list[bytes]) -> None:
        """Write bytes that are not worth being copied into one piece."""
        if self._wire is not None:
            self._wire.writelines(pieces)

    def hold_body(self, held: bool) -> None:
        """Stop or resume reading from the client, for the body's sake."""
        self._hold(_HOLD_BODY, held)
        self._count_memory()

    def hold_waiting(self, held: bool) -> None:
        """Leave in the network what the client sends while its request waits, or go on reading."""
        self._hold(_HOLD_WAIT, held)

    async def drained(self, within: float) -> None:
        """Wait until the client has taken most of what it was sent; cut it if that takes longer.

        Whoever sends requests and reads no answers would have them kept here without end.
        """
        if self.writing_paused:
            self.deadline = self._loop.time() + within
            try:
                with contextlib.suppress(ConnectionError):
                    await self._drain_helper()
            finally:
                self.deadline = math.inf

    def start_tunnel(self, take: Callable[[bytes], None]) -> None:
        """Give what the client sends from now on to `take`, what it sent early included."""
        self.set_parser(cast("Any", _Tunnel(take)))

    def abort(self) -> None:
        """Close the connection without waiting for what is not sent yet."""
        if self._wire is not None:
            self._wire.abort()

    def break_off(self) -> None:
        """Reset the connection: what was sent must not look complete (RFC 9112 §8).

        A body that ends with its connection would, if that were just closed.
        """
        if self._wire is not None:
            sock = self._wire.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._wire.abort()

    def end_request(self, now: float, *, keep_alive: bool) -> None:
        """The handler is done with a request."""
        self.serving = None
        if self._share.bytes:
            self._count_memory()
        if keep_alive:
            self._watch_reading(now)
        elif self._parser is not None:
            self._parser.stop()
            # For lingering, and then for a client that does not read what closes the connection.
            self._read_deadline = now + 2 * self.front.config.linger_timeout

    # ---- requests that need no task

    def _begin(self, head: RequestHead | GatewayError, body: RequestBody) -> bool:
        """Begin the only request that is here, if nothing has to be waited for.

        Most requests are of that kind. aiohttp's loop, which makes a task of each, never sees
        them; what the client sends meanwhile is set aside until the answer is done.
        """
        self._aside = []
        if self.front.begin(Request(head, body, self)):
            return True
        self._aside = None
        return False

    def ended(self, now: float, *, keep_alive: bool) -> None:
        """End a request that was begun by `_begin`."""
        aside, self._aside = self._aside, None
        self._phase = _BETWEEN
        if not keep_alive:
            self.end_request(now, keep_alive=False)
            self.force_close()
            return
        self.serving = None
        self._read_deadline = now + self.front.config.keep_alive_timeout
        if aside:
            self._hold(_HOLD_ASIDE, False)
            self.data_received(b"".join(aside))

    def hand_over(self, request: Request) -> None:
        """Give a request begun by `_begin` to aiohttp's loop: it has to wait after all."""
        self._messages.append((cast("Any", request), cast("Any", request.body)))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        aside, self._aside = self._aside, None
        if aside:
            self._hold(_HOLD_ASIDE, False)
            self.data_received(b"".join(aside))

    # ---- what aiohttp's protocol calls or is called for

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = cast("asyncio.Transport", transport)
        peername = transport.get_extra_info("peername")
        address = peername[0] if isinstance(peername, tuple) else ""
        secure = transport.get_extra_info("sslcontext") is not None
        self.peer = Peer(address, self.front.config.trusted(address), secure)
        super().connection_made(transport)
        if len(self.front.connections) > self.front.config.max_connections:
            self.front.memory.too_many.count += 1
            self.send(answers.error_response(Overloaded(), to_head=False, keep_alive=False))
            self.force_close()
            return
        self._read_deadline = self._loop.time() + self.front.config.head_timeout

    def connection_lost(self, exc: BaseException | None) -> None:
        self._wire = None
        if self.exchange is not None:
            self.exchange.client_gone()
        self.front.memory.count(self._share, 0)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._aside is not None:
            self._aside.append(data)
            self._hold(_HOLD_ASIDE, True)
            self._count_memory()
            return
        waiter = self._waiter
        if waiter is None or self.serving or self._messages or waiter.done():
            # A request before this one is queued, or is just being given to its task.
            super().data_received(data)
        else:
            alone = self._parser.feed(data)
            if alone is not None:
                if self._begin(*alone):
                    if len(data) > _LARGE:
                        self._count_memory()
                    return
                self._parser.messages.append(alone)
            super().data_received(b"")  # it asks the parser for what has come
        self._count_memory()
        if self._parser is not None and self._parser.phase is not self._phase:
            self._watch_reading(self._loop.time())

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.exchange is not None:
            self.exchange.client_full(True)
        self._count_memory()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.exchange is not None:
            self.exchange.client_full(False)
        self._count_memory()

    def _pause_transport_reading(self) -> None:
        self._hold(_HOLD_QUEUE, True)

    def _resume_transport_reading(self) -> None:
        self._hold(_HOLD_QUEUE, False)

    def _hold(self, who: int, held: bool) -> None:
        before = self._holds
        self._holds = before | who if held else before & ~who
        if self._wire is None or bool(before) == bool(self._holds):
            return
        if self._holds:
            self._wire.pause_reading()
        else:
            self._wire.resume_reading()

    def handle_error(
        self, _request: Any, _status: int = 500, exc: BaseException | None = None, *_more: Any
    ) -> Any:
        """Break off: the proxy answers its own errors, so this one is a bug of ours."""
        self.log_exception(exc_info=exc)
        self.break_off()
        return CLOSED

    def log_exception(self, *_args: Any, **kw: Any) -> None:
        """Log a bug of ours; the message holds nothing that the client sent."""
        _LOG.error("request handler failed", exc_info=kw.get("exc_info", True))

    # ---- memory

    def _count_memory(self) -> None:
        """Count what is kept for this client; if there is no room for it, let the client go."""
        wire, parser, exchange = self._wire, self._parser, self.exchange
        if wire is None or parser is None:
            return
        queued = sum(kept_by(head, body) for head, body in self._messages)
        self._hold(_HOLD_AHEAD, queued > _AHEAD)
        kept = queued + parser.kept_bytes + wire.get_write_buffer_size()
        kept += sum(map(len, self._aside or ()))
        if self.serving is not None:
            kept += kept_by(self.serving.head, self.serving.body)
        if exchange is not None:
            kept += exchange.upstream.unsent
        if self.front.memory.count(self._share, kept):
            return
        if self.serving or self._messages:
            self.break_off()
        else:
            parser.refuse(Overloaded())
            super().data_received(b"")

    # ---- time

    def _watch_reading(self, now: float) -> None:
        """Set the deadline for what is read next."""
        if self._parser is None:
            return
        config, phase = self.front.config, self._parser.phase
        self._phase = phase
        if phase is _HEAD:
            self._read_deadline = now + config.head_timeout
        elif self.serving or self._messages:
            self._read_deadline = math.inf
        else:
            self._read_deadline = now + config.keep_alive_timeout

    def sweep(self, now: float) -> None:
        """Act on the deadlines that have passed."""
        if self.deadline <= now:
            if self.exchange is not None:
                self.exchange.expire()
            else:
                self.break_off()
        if self._share.bytes:
            self._count_memory()
        if self._holds and self.serving:
            self._look_for_departure()
        if self._read_deadline > now or self.serving:
            return
        self._read_deadline = math.inf
        if self._parser is not None and self._parser.expire():
            self.data_received(b"")
        else:
            self.abort()

    def _look_for_departure(self) -> None:
        """Close if the client has ended its side: while nothing is read, no event tells that.

        An end behind bytes that do not fit into the kernel's buffer is not to be seen here either.
        """
        if self._wire is None:
            return
        sock = self._wire.get_extra_info("socket")
        state = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        if state != _TCP_ESTABLISHED:
            self._wire.close()
