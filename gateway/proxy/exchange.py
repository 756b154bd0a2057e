"""One request sent to a sandbox and its response relayed, both bodies streamed with backpressure.

The exchange stands between two protocols and is driven by their callbacks; `run` waits for its
end. As long as nothing has been sent to the client a failure is raised, so that it can be answered
or tried again; after that all that is left is to break the client's connection off, so that the
client does not take half a response for a whole one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Final

from gateway.proxy import cookies, headers
from gateway.proxy.websocket import SERVICE_RESTART
from gateway.sandbox.errors import (
    GatewayError,
    RequestTimeout,
    UpstreamProtocolError,
    UpstreamTimeout,
)

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from gateway.proxy.message import RequestHead
    from gateway.proxy.request import Request
    from gateway.proxy.websocket import Frames
    from gateway.upstream.connection import UpstreamConnection
    from gateway.upstream.response import ResponseHead


class Stage(Enum):
    """How far an exchange got; decides whether the request may be sent again."""

    SENDING = "sending"
    SENT = "sent"
    ANSWERED = "answered"
    TUNNEL = "tunnel"


class ResponseBrokenOff(Exception):
    """The response could not be finished; the client's connection has been aborted."""


class ClientGone(Exception):
    """The client left before its response was whole."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `progress`: for a client that sends or reads a body and stands still.

    `response_head`: for the sandbox to begin its answer. `tunnel_idle`: for a silent tunnel. A
    response's body has no limit of its own: server-sent events may be silent for as long as they
    like, and a sandbox that is frozen under a request holds it until somebody gives up.
    """

    progress: float = 60.0
    response_head: float = 300.0
    tunnel_idle: float = 3600.0

    def with_response_head(self, wished: float) -> Timeouts:
        """Return these with a client's own wish, which can only shorten."""
        return replace(self, response_head=min(self.response_head, wished))


#: Attribute access on an enum is slow (a descriptor on its metaclass), and this is the hot path.
_SENDING: Final = Stage.SENDING
_SENT: Final = Stage.SENT
_ANSWERED: Final = Stage.ANSWERED
_TUNNEL: Final = Stage.TUNNEL


#: Bytes of a response below which its pieces are put together before they are written.
_SMALL: Final = 16 * 1024


class Exchange:
    """One request on one upstream connection: begun by `start`, or by `run` within a task.

    The status and the bytes moved are noted in the request. After the end `keep_alive` says whether
    the client's connection may serve another request, and `untouched` whether a failed one cannot
    have reached the sandbox.
    """

    __slots__ = (
        "_body",
        "_chunk_down",
        "_client",
        "_extra",
        "_frames",
        "_head",
        "_on_end",
        "_request_ended",
        "_timeouts",
        "_upstream_full",
        "keep_alive",
        "request",
        "stage",
        "untouched",
        "upstream",
    )

    def __init__(
        self,
        request: Request,
        head: RequestHead,
        upstream: UpstreamConnection,
        timeouts: Timeouts,
        extra: bytes = b"",
        frames: Frames | None = None,
    ) -> None:
        """`head` is the request's; `extra` are whole lines that the response's head gets more.

        `frames` follows those of the WebSocket that this may become.
        """
        self.request = request
        self.upstream = upstream
        self._client = request.connection
        self._head = head
        self._body = request.body
        self._timeouts = timeouts
        self._extra = extra
        self._on_end: Callable[[Exchange, Exception | None], None] | None = None
        self._chunk_down = False
        self._request_ended = False
        self._upstream_full = False
        self._frames = frames
        self.stage = _SENDING
        self.keep_alive = False
        self.untouched = False

    def start(
        self, sent: bytes, now: float, on_end: Callable[[Exchange, Exception | None], None]
    ) -> None:
        """Send the head as it is to be `sent`, and the body; relay the response.

        `now` is by the loop's clock. `on_end` is called once, when both sides have been given back:
        with None for a response relayed to its end, with a GatewayError if nothing was sent to the
        client, with ResponseBrokenOff or ClientGone if it is of no use to answer any more.
        """
        client, upstream = self._client, self.upstream
        self._on_end = on_end
        client.exchange = self
        upstream.begin(self, to_head=self._head.method == b"HEAD")
        length = self._head.length
        whole = b"" if length == 0 else None if length is None else self._body.take_whole()
        if whole is not None:
            self.request.bytes_up += len(whole)
            self._request_ended = True
            self.stage = _SENT
            client.deadline = now + self._timeouts.response_head
            upstream.write(sent + whole if whole else sent)
        else:
            client.deadline = now + self._timeouts.progress
            upstream.write(sent)
            self._body.attach(self)

    async def run(self, sent: bytes) -> None:
        """Do all of `start` and wait for the end; raise the error that it ended with."""
        loop = self._client.loop
        done: asyncio.Future[None] = loop.create_future()

        def on_end(_: Exchange, error: Exception | None) -> None:
            if done.done():
                return
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

        self.start(sent, loop.time(), on_end)
        try:
            await done
        finally:
            if self._on_end is not None:
                self._on_end = None
                self._let_go()

    def _let_go(self) -> None:
        """Give both sides back as they were; an upstream in mid-message is of no more use."""
        client, upstream = self._client, self.upstream
        if self._head.length != 0:
            self._body.detach()
        if not self._request_ended:
            upstream.spoil()
        upstream.release()
        if self._upstream_full:
            client.hold_body(False)
        client.exchange = None
        client.deadline = math.inf

    def _end(self, error: Exception | None) -> None:
        on_end = self._on_end
        if on_end is not None:
            self._on_end = None
            self._let_go()
            on_end(self, error)

    def _arm(self, seconds: float) -> None:
        client = self._client
        client.deadline = client.loop.time() + seconds

    def _break_off(self) -> None:
        # In this order: losing its connection cancels the handler, which then tells another story.
        client = self._client
        self._end(ResponseBrokenOff())
        client.break_off()

    # ---- the request's body

    def body_data(self, data: bytes) -> None:
        self.request.bytes_up += len(data)
        if self._head.length is None:
            self.upstream.write(b"%x\r\n%b\r\n" % (len(data), data))
        else:
            self.upstream.write(data)
        if self.stage is _SENDING:
            self._arm(self._timeouts.progress)

    def body_end(self, trailers: list[bytes]) -> None:
        self._request_ended = True
        if self._head.length is None:
            self.upstream.write(b"0\r\n%b\r\n" % b"".join(trailers))
        if self.stage is _SENDING:
            self.stage = _SENT
            self._arm(self._timeouts.response_head)

    def body_failed(self, error: GatewayError) -> None:
        if self.stage is _SENDING:
            self._end(error)
        else:
            self._break_off()

    # ---- the response

    def interim(self, status: int, reason: bytes, lines: list[bytes]) -> None:
        if self._head.http_1_1:
            self._client.send(headers.interim_head(status, reason, lines))

    def received(self, head: ResponseHead | None, parts: Sequence[bytes], *, ended: bool) -> None:
        out: list[bytes] = []
        if head is not None:
            out.append(self._begin_response(head))
        if parts:
            size = sum(map(len, parts))
            self.request.bytes_down += size
            if self._chunk_down:
                out.append(b"%x\r\n" % size)
                out += parts
                out.append(b"\r\n")
            else:
                out += parts
        if ended and self._chunk_down:
            out.append(b"0\r\n%b\r\n" % b"".join(self.upstream.trailers))
        if len(out) == 1:
            self._client.send(out[0])
        elif self.request.bytes_down < _SMALL:
            self._client.send(b"".join(out))  # one write is cheaper than a copy of little
        else:
            self._client.send_pieces(out)
        if ended:
            self._end(None)

    def _begin_response(self, response: ResponseHead) -> bytes:
        request = self._head
        if self._client.front.keeps_cookie:
            response = cookies.without_ours(response)
        self.stage = _ANSWERED
        self.request.status = response.status
        self._client.deadline = math.inf
        to_length = response.bodyless or response.length is not None
        self._chunk_down = not to_length and request.http_1_1
        self.keep_alive = (
            request.keep_alive
            and not self._client.front.draining
            and self._request_ended
            and (to_length or request.http_1_1)
        )
        return headers.client_head(
            response,
            chunked=self._chunk_down
            or (response.bodyless and response.chunked and request.http_1_1),
            http_1_1=request.http_1_1,
            keep_alive=self.keep_alive,
            extra=self._extra,
        )

    def lost(self, error: GatewayError, *, untouched: bool) -> None:
        self.untouched = untouched
        if self.stage is _TUNNEL:
            self._end(None)
        elif self.stage is _ANSWERED:
            self._break_off()
        else:
            self._end(error)

    # ---- another protocol after 101

    def switched(self, head: ResponseHead, early: bytes) -> None:
        if not _asked_for(self._head.upgrade, head.upgrade):
            self._end(UpstreamProtocolError())
            return
        self.stage = _TUNNEL
        self.request.status = head.status
        self._arm(self._timeouts.tunnel_idle)
        if self._client.front.keeps_cookie:
            head = cookies.without_ours(head)
        self._client.send_pieces([headers.switching_head(head, extra=self._extra), early])
        if self._frames is not None:
            self._frames.opened(self)
            self._frames.down(early)
        self._client.start_tunnel(self._tunnel_up)

    def tunnelled(self, data: bytes) -> None:
        self.request.bytes_down += len(data)
        self._arm(self._timeouts.tunnel_idle)
        if self._frames is not None:
            self._frames.down(data)
        self._client.send(data)

    def _tunnel_up(self, data: bytes) -> None:
        self.request.bytes_up += len(data)
        self._arm(self._timeouts.tunnel_idle)
        if self._frames is not None:
            self._frames.up(data)
        self.upstream.write(data)

    def end_tunnel(self) -> None:
        """End a tunnel, if this is one; a WebSocket's client is told to come again (6455 §7.4)."""
        if self.stage is not _TUNNEL:
            return
        if self._frames is not None and self._frames.may_close:
            self._client.send(SERVICE_RESTART)
        self._end(None)

    # ---- pressure, departure, time

    def upstream_paused(self, paused: bool) -> None:
        self._upstream_full = paused
        self._client.hold_body(paused)

    def client_full(self, full: bool) -> None:
        """The client does not read fast enough, or does again."""
        self.upstream.hold(full)
        if self.stage is _ANSWERED:
            self._client.deadline = math.inf
            if full:
                self._arm(self._timeouts.progress)

    def client_gone(self) -> None:
        """The client left: the sandbox is told at once, by the end of its connection."""
        if self._on_end is None:
            return
        self.upstream.release()
        self.upstream.abort()
        self._end(None if self.stage is _TUNNEL else ClientGone())

    def expire(self) -> None:
        """The deadline that was armed last has passed."""
        if self.stage is _SENT or (self.stage is _SENDING and self._upstream_full):
            self._end(UpstreamTimeout())
        elif self.stage is _SENDING:
            self._end(RequestTimeout())
        elif self.stage is _TUNNEL:
            self._end(None)
        else:
            self._break_off()


def _asked_for(asked: bytes | None, switched_to: bytes | None) -> bool:
    """Return whether a client asked for the protocol that it would get (RFC 9110 §7.8)."""
    if asked is None or switched_to is None:
        return False
    offered = {protocol.strip() for protocol in asked.split(b",")}
    return {protocol.strip().lower() for protocol in switched_to.split(b",")} <= offered
