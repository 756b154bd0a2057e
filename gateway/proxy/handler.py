"""The chain that one request goes through: target, admission, connection, exchange, answer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.proxy import answers, headers
from gateway.proxy.exchange import ClientGone, Exchange, ResponseBrokenOff, Timeouts
from gateway.proxy.reach import Journey
from gateway.proxy.request import CLOSED, KEPT, Done, Request
from gateway.proxy.retry import may_send_again
from gateway.sandbox.errors import GatewayError, InvalidTarget, UpstreamReset

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.proxy.admission import Admission
    from gateway.proxy.client import Connection
    from gateway.proxy.journal import Entry, Journal
    from gateway.proxy.message import RequestHead
    from gateway.proxy.reach import Reacher
    from gateway.proxy.target import Target, TargetReader
    from gateway.upstream.connection import UpstreamConnection
    from gateway.upstream.pool import Pool


@dataclass(frozen=True, slots=True)
class ProxyConfig:
    """`preserve_host`: the sandbox sees the client's Host, else its own address."""

    timeouts: Timeouts = field(default_factory=Timeouts)
    preserve_host: bool = True


class _Direct:
    """One request that is forwarded without a task, by callbacks alone."""

    __slots__ = ("_entry", "_exchange", "_journey", "_proxy", "_request", "_upstream")

    def __init__(
        self, proxy: Proxy, request: Request, journey: Journey, upstream: UpstreamConnection
    ) -> None:
        self._proxy = proxy
        self._request = request
        self._journey = journey
        self._upstream = upstream
        self._entry = proxy.journal.begin(request)
        self._entry.admitted(journey)
        self._exchange = proxy.exchange(request.connection, journey, upstream)

    def start(self) -> None:
        head = self._proxy.head_for(self._request.connection, self._journey, self._upstream)
        self._exchange.start(head, self._on_end)

    def _on_end(self, error: Exception | None) -> None:
        proxy, request, exchange = self._proxy, self._request, self._exchange
        proxy.give_back(self._upstream)
        if isinstance(error, UpstreamReset) and may_repeat(request, exchange):
            request.again = True
            proxy.journal.forget()
            request.connection.hand_over(request)
            return
        entry = self._entry
        entry.saw(exchange)
        if error is None:
            entry.answered()
            keep_alive = exchange.keep_alive
        else:
            keep_alive = proxy.answer_failure(request, error, entry)
        proxy.journal.end(entry)
        request.connection.ended(keep_alive=keep_alive)


class Proxy:
    """Answers requests."""

    def __init__(
        self,
        targets: TargetReader,
        admission: Admission,
        reacher: Reacher,
        pool: Pool,
        journal: Journal,
        config: ProxyConfig,
        clock: Callable[[], float],
    ) -> None:
        """`clock` tells epoch seconds."""
        self._targets = targets
        self._admission = admission
        self._reacher = reacher
        self._pool = pool
        self.journal = journal
        self._config = config
        self._clock = clock
        self._loop = asyncio.get_running_loop()

    def begin(self, request: Request) -> bool:
        """Forward a request at once if nothing has to be waited for; return whether that is so.

        Whatever needs more than an idle connection is left to `handle`, errors included.
        """
        head = request.head
        if isinstance(head, GatewayError) or head.upgrade is not None:
            return False
        try:
            targets = self._targets.read(head)
            if not targets:
                return False
            now = self._clock()
            admitted = self._admission.admit(head, targets, now)
        except GatewayError:
            return False
        upstream = self._reacher.pooled(admitted, now)
        if upstream is None:
            return False
        journey = Journey(head, request.body, admitted)
        request.connection.begin_request()
        _Direct(self, request, journey, upstream).start()
        return True

    async def handle(self, request: Request) -> Done:
        """Answer one request on its connection; count and log it, whatever becomes of it."""
        entry = self.journal.begin(request)
        request.connection.begin_request()
        keep_alive = False
        try:
            keep_alive = await self._answer(request, entry)
        except asyncio.CancelledError:
            entry.client_gone()
            raise
        except (GatewayError, ResponseBrokenOff, ClientGone) as error:
            keep_alive = self.answer_failure(request, error, entry)
        finally:
            request.connection.end_request(keep_alive=keep_alive)
            self.journal.end(entry)
        return KEPT if keep_alive else CLOSED

    async def _answer(self, request: Request, entry: Entry) -> bool:
        """Return whether the connection may serve another request."""
        head = request.head
        if isinstance(head, GatewayError):
            raise head
        targets = self._targets.read(head)
        if not targets:
            return self._answer_here(request, head, entry)
        return await self._forward(request, head, targets, entry)

    def answer_failure(self, request: Request, error: Exception, entry: Entry) -> bool:
        """Answer what went wrong if it can be answered; return as `_answer`."""
        if isinstance(error, GatewayError):
            return self._refuse(request, error, entry)
        if isinstance(error, ClientGone):
            entry.client_gone()
        return False

    def _answer_here(self, request: Request, head: RequestHead, entry: Entry) -> bool:
        """Answer a request that names no sandbox."""
        keep_alive = _may_keep_alive(request, head)
        if head.target == b"*":
            entry.answered_here(204)
            request.connection.send(answers.options(keep_alive=keep_alive))
        elif head.target == b"/healthz" and head.method == b"GET":
            entry.answered_here(200)
            request.connection.send(answers.health(keep_alive=keep_alive))
        else:
            raise InvalidTarget("The request names no sandbox.")
        return keep_alive

    def _refuse(self, request: Request, error: GatewayError, entry: Entry) -> bool:
        """Answer an error. With the body unread, what follows is never taken for a request."""
        entry.refused(error)
        head = None if isinstance(request.head, GatewayError) else request.head
        keep_alive = head is not None and _may_keep_alive(request, head)
        request.connection.send(
            answers.error_response(
                error,
                page=answers.wants_page(head),
                to_head=head is not None and head.method == b"HEAD",
                keep_alive=keep_alive,
            )
        )
        return keep_alive

    async def _forward(
        self, request: Request, head: RequestHead, targets: list[Target], entry: Entry
    ) -> bool:
        admitted = self._admission.admit(head, targets, self._clock())
        journey = Journey(head, request.body, admitted)
        entry.admitted(journey)
        while True:
            upstream = await self._reacher.reach(journey)
            exchange = self.exchange(request.connection, journey, upstream)
            try:
                await exchange.run(self.head_for(request.connection, journey, upstream))
            except UpstreamReset:
                if not may_repeat(request, exchange):
                    raise
                request.again = True
                continue
            finally:
                entry.saw(exchange)
                self.give_back(upstream)
            entry.answered()
            return exchange.keep_alive

    def exchange(
        self, client: Connection, journey: Journey, upstream: UpstreamConnection
    ) -> Exchange:
        """Return the exchange that serves a journey's end."""
        timeouts = self._config.timeouts
        wished = journey.admitted.target.timeout
        if wished is not None:
            timeouts = timeouts.with_response_head(wished)
        extra = _cold_start(journey) if journey.cold else b""
        return Exchange(client, journey.head, journey.body, upstream, timeouts, extra)

    def head_for(self, client: Connection, journey: Journey, upstream: UpstreamConnection) -> bytes:
        """Return the head to send to the sandbox."""
        head, admitted = journey.head, journey.admitted
        host = head.first(b"host") if self._config.preserve_host else None
        return headers.upstream_head(
            head,
            admitted.target.path or head.target,
            host or upstream.authority,
            client.peer,
            admitted.passed_on,
        )

    def give_back(self, upstream: UpstreamConnection) -> None:
        """Give a connection back to the pool."""
        self._pool.give_back(upstream, self._loop.time())


def may_repeat(request: Request, exchange: Exchange) -> bool:
    """Return whether a request may go out once more after its connection broke."""
    head = request.head
    assert not isinstance(head, GatewayError), "it was sent"
    return may_send_again(
        head.method,
        exchange.stage,
        untouched=exchange.untouched,
        body_consumed=exchange.bytes_up > 0,
        again=request.again,
    )


def _may_keep_alive(request: Request, head: RequestHead) -> bool:
    return head.keep_alive and request.body.ended and not request.connection.draining


def _cold_start(journey: Journey) -> bytes:
    """Return the lines that tell a client that it waited, and for what (milliseconds)."""
    wake = (journey.wake_seconds or 0.0) * 1000
    probe = journey.probe_seconds * 1000
    return b"X-Sandbox-Cold-Start: true\r\nServer-Timing: wake;dur=%.1f, probe;dur=%.1f\r\n" % (
        wake,
        probe,
    )
