"""The chain that one request goes through: target, admission, connection, exchange, answer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.proxy import answers, headers, pages
from gateway.proxy.exchange import ClientGone, Exchange, ResponseBrokenOff, Timeouts
from gateway.proxy.login import NO_REFERRER
from gateway.proxy.message import WEBSOCKET
from gateway.proxy.reach import Journey
from gateway.proxy.request import CLOSED, KEPT, Done, Request
from gateway.proxy.retry import may_send_again
from gateway.proxy.websocket import Frames
from gateway.sandbox.errors import GatewayError, InvalidTarget, UpstreamReset
from gateway.telemetry.tracing import NO_SPAN

if TYPE_CHECKING:
    from collections.abc import Callable
    from string import Template

    from gateway.proxy.admission import Admission, Admitted
    from gateway.proxy.journal import Journal
    from gateway.proxy.login import Login
    from gateway.proxy.message import RequestHead
    from gateway.proxy.reach import Reacher
    from gateway.proxy.target import Target, TargetReader
    from gateway.proxy.uses import Uses
    from gateway.upstream.connection import UpstreamConnection
    from gateway.upstream.pool import Pool


@dataclass(frozen=True, slots=True)
class ProxyConfig:
    """`preserve_host`: the sandbox sees the client's Host, else its own address. `page`: a template
    for what browsers are shown.
    """

    timeouts: Timeouts = field(default_factory=Timeouts)
    preserve_host: bool = True
    page: Template = pages.DEFAULT


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
        login: Login | None = None,
        uses: Uses | None = None,
    ) -> None:
        """`clock` tells epoch seconds. `login`: lets browsers exchange a token for a cookie.

        `uses` counts who uses which sandbox.
        """
        self._targets = targets
        self._admission = admission
        self._reacher = reacher
        self._pool = pool
        self._journal = journal
        self._timeouts = config.timeouts
        self._preserve_host = config.preserve_host
        self._page = config.page
        self._clock = clock
        self._login = login
        self._uses = uses
        self._loop = asyncio.get_running_loop()
        self._on_end = self._end  # bound once

    def begin(self, request: Request) -> bool:
        """Forward a request at once if nothing has to be waited for; return whether that is so.

        Whatever needs more than an idle connection is left to `handle`, errors included.
        """
        head = request.head
        if (
            isinstance(head, GatewayError)
            or head.upgrade is not None
            or request.connection.writing_paused
        ):
            return False
        if self._login is not None and self._login.asked(head):
            return False
        now = self._clock()
        try:
            targets = self._targets.read(head)
            if not targets:
                return False
            admitted = self._admission.admit(head, targets, now)
        except GatewayError:
            return False
        uses = self._uses
        if uses is not None and admitted.route.uid in uses.shut:
            return False
        upstream = self._reacher.pooled(admitted, now)
        if upstream is None:
            return False
        request.admitted = admitted
        request.connection.serving = request
        self._journal.begin(request)
        if uses is not None:
            uses.count(request, head, admitted)
        exchange = Exchange(request, head, upstream, self._timeouts_for(admitted))
        sent = self._head_for(request, head, admitted, upstream)
        exchange.start(sent, request.began, self._on_end)
        return True

    def _end(self, exchange: Exchange, error: Exception | None) -> None:
        """End what `begin` began."""
        request, now = exchange.request, self._loop.time()
        self._pool.give_back(exchange.upstream, now)
        if isinstance(error, UpstreamReset) and may_repeat(request, exchange):
            request.again = True
            self._journal.forget(request)
            request.connection.hand_over(request)
            return
        if error is None:
            request.answered()
            keep_alive = exchange.keep_alive
        else:
            keep_alive = self._answer_failure(request, error)
        self._journal.end(request, now)
        request.connection.ended(now, keep_alive=keep_alive)

    async def handle(self, request: Request) -> Done:
        """Answer one request on its connection; count and log it, whatever becomes of it."""
        self._journal.begin(request)
        request.connection.serving = request
        keep_alive = False
        try:
            await request.connection.drained(self._timeouts.progress)
            keep_alive = await self._answer(request)
        except asyncio.CancelledError:
            request.client_gone()
            raise
        except (GatewayError, ResponseBrokenOff, ClientGone) as error:
            keep_alive = self._answer_failure(request, error)
        finally:
            now = self._loop.time()
            request.connection.end_request(now, keep_alive=keep_alive)
            self._journal.end(request, now)
        return KEPT if keep_alive else CLOSED

    async def _answer(self, request: Request) -> bool:
        """Return whether the connection may serve another request."""
        head = request.head
        if isinstance(head, GatewayError):
            raise head
        targets = self._targets.read(head)
        if not targets:
            return self._answer_here(request, head)
        if self._login is not None and self._login.asked(head):
            return await self._log_in(request, head, targets, self._login)
        return await self._forward(request, head, targets)

    def _answer_failure(self, request: Request, error: Exception) -> bool:
        """Answer what went wrong if it can be answered; return as `_answer`."""
        if isinstance(error, GatewayError):
            return self._refuse(request, error)
        if isinstance(error, ClientGone):
            request.client_gone()
        return False

    def _answer_here(self, request: Request, head: RequestHead) -> bool:
        """Answer a request that names no sandbox."""
        keep_alive = _may_keep_alive(request, head)
        if head.target == b"*":
            request.answered_here(204)
            request.connection.send(answers.options(keep_alive=keep_alive))
        elif head.target == b"/healthz" and head.method == b"GET":
            request.answered_here(200)
            request.connection.send(answers.health(keep_alive=keep_alive))
        else:
            raise InvalidTarget("The request names no sandbox.")
        return keep_alive

    def _refuse(self, request: Request, error: GatewayError) -> bool:
        """Answer an error. With the body unread, what follows is never taken for a request."""
        request.refused(error)
        head = None if isinstance(request.head, GatewayError) else request.head
        keep_alive = head is not None and _may_keep_alive(request, head)
        request.connection.send(
            answers.error_response(
                error,
                pages.render(self._page, error) if pages.wants_page(head) else None,
                to_head=head is not None and head.method == b"HEAD",
                keep_alive=keep_alive,
                extra=NO_REFERRER if self._login and head and self._login.asked(head) else b"",
            )
        )
        return keep_alive

    async def _log_in(
        self, request: Request, head: RequestHead, targets: list[Target], login: Login
    ) -> bool:
        """Exchange the token in the query for a cookie; nothing is woken or sent on for that."""
        shown = login.presented(head, by_host=self._targets.names_by_host(head))
        await self._admission.prepare(shown, self._clock())
        now = self._clock()
        request.admitted = self._admission.admit(shown, targets, now)
        keep_alive = _may_keep_alive(request, head)
        peer = request.connection.peer
        request.answered_here(303)
        request.connection.send(login.redirect(head, peer, now, keep_alive=keep_alive))
        return keep_alive

    async def _forward(self, request: Request, head: RequestHead, targets: list[Target]) -> bool:
        await self._admission.prepare(head, self._clock())
        admitted = self._admission.admit(head, targets, self._clock())
        request.admitted = admitted
        if self._uses is not None:
            self._uses.count(request, head, admitted)
        frames = self._frames_for(request, head)
        journey = Journey(head, request.body, admitted, request.span)
        while True:
            upstream = await self._reach(request, journey)
            extra = _cold_start(journey) if journey.cold else b""
            timeouts = self._timeouts_for(admitted)
            exchange = Exchange(request, head, upstream, timeouts, extra, frames)
            try:
                await exchange.run(self._head_for(request, head, admitted, upstream))
            except UpstreamReset:
                if not may_repeat(request, exchange):
                    raise
                request.again = True
                continue
            finally:
                self._pool.give_back(upstream, self._loop.time())
            request.answered()
            return exchange.keep_alive

    async def _reach(self, request: Request, journey: Journey) -> UpstreamConnection:
        """Wait for a connection; the rest of the request's body waits in the network."""
        unfinished = not request.body.ended
        if unfinished:
            request.connection.hold_waiting(True)
        try:
            return await self._reacher.reach(journey)
        finally:
            request.wake_seconds = journey.wake_seconds
            if unfinished:
                request.connection.hold_waiting(False)

    def _frames_for(self, request: Request, head: RequestHead) -> Frames | None:
        if head.upgrade != WEBSOCKET:
            return None
        return Frames() if self._uses is None else self._uses.frames(request)

    def _timeouts_for(self, admitted: Admitted) -> Timeouts:
        wished = admitted.target.timeout
        return self._timeouts if wished is None else self._timeouts.with_response_head(wished)

    def _head_for(
        self, request: Request, head: RequestHead, admitted: Admitted, upstream: UpstreamConnection
    ) -> bytes:
        """Return the head to send to the sandbox."""
        target = admitted.target.path or head.target
        passed_on, sent = admitted.passed_on, head.findings.sent
        if sent is None or passed_on:
            host = head.first(b"host") if self._preserve_host else None
            sent = headers.upstream_fields(
                head, host or upstream.authority, request.connection.peer, passed_on
            )
            if host and not passed_on:
                head.findings.sent = sent
        if request.span is not NO_SPAN:
            sent = headers.with_lines(sent, request.span.lines)  # new each time: not remembered
        return headers.upstream_head(head.method, target, sent)


def may_repeat(request: Request, exchange: Exchange) -> bool:
    """Return whether a request may go out once more after its connection broke."""
    head = request.head
    assert not isinstance(head, GatewayError), "it was sent"
    return may_send_again(
        head.method,
        exchange.stage,
        untouched=exchange.untouched,
        body_consumed=request.bytes_up > 0,
        again=request.again,
    )


def _may_keep_alive(request: Request, head: RequestHead) -> bool:
    return head.keep_alive and request.body.ended and not request.connection.front.draining


def _cold_start(journey: Journey) -> bytes:
    """Return the lines that tell a client that it waited, and for what (milliseconds)."""
    wake = (journey.wake_seconds or 0.0) * 1000
    probe = journey.probe_seconds * 1000
    return b"X-Sandbox-Cold-Start: true\r\nServer-Timing: wake;dur=%.1f, probe;dur=%.1f\r\n" % (
        wake,
        probe,
    )
