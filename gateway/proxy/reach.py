"""From an admitted request to a connection: wait for the sandbox if it sleeps, then dial its port.

The route is taken anew after every wait, and its uid compared: a request never reaches a sandbox
other than the one it was admitted to. A refused port is dialled again for a while, since a sandbox
that has just been woken may need a moment until its server listens.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from gateway.proxy import pages
from gateway.sandbox.errors import (
    SandboxNotWakeable,
    SandboxUnreachable,
    StillWaking,
    WakeFailed,
)
from gateway.sandbox.policy import NeverWake, Verdict, outcome
from gateway.telemetry.tracing import NO_SPAN, Span, failure_of
from gateway.upstream.pool import DialRefused

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.proxy.admission import Admitted
    from gateway.proxy.body import RequestBody
    from gateway.proxy.claims import Claims
    from gateway.proxy.message import RequestHead
    from gateway.replicas.gate import Gate
    from gateway.sandbox.errors import GatewayError
    from gateway.sandbox.model import Route
    from gateway.sandbox.registry import Registry
    from gateway.upstream.connection import UpstreamConnection
    from gateway.upstream.pool import Pool

#: Pauses between two dials of a port that refuses: seconds, the first and the longest.
_PAUSE_MIN: Final = 0.005
_PAUSE_MAX: Final = 0.1

#: How dialling ends whose sandbox turns out to sleep.
NOT_RUNNING: Final = "not_running"


class Waker(Protocol):
    """Brings sandboxes to running; `gateway.wake.waker` is the one."""

    async def ready(
        self, route: Route, *, timeout: float, held_bytes: int = 0, span: Span = NO_SPAN
    ) -> object:
        """Return when the sandbox with this uid runs; raise a GatewayError.

        `span` is that of who waits.
        """


@dataclass(frozen=True, slots=True)
class ReachConfig:
    """Times in seconds.

    `wait_timeout`: how long one request waits for a wake; `dial_timeout`: how long a refusing
    port is tried; `port_retry_timeout`: the same right after a wake; `page_after`: how long a
    browser waits until it is shown that it does, 0: for all of the wait; `address_doubt`: how long
    the API is not believed that a sandbox is still where another one claims to be (`claims`).
    """

    never_wake: NeverWake = field(default_factory=NeverWake)
    wait_timeout: float = 120.0
    dial_timeout: float = 5.0
    port_retry_timeout: float = 10.0
    page_after: float = 5.0
    address_doubt: float = 0.0


@dataclass(slots=True)
class Journey:
    """One admitted request on its way to its sandbox, and what that has cost so far."""

    head: RequestHead
    body: RequestBody
    admitted: Admitted
    span: Span = NO_SPAN
    wake_seconds: float | None = None
    gate_seconds: float = 0.0
    probe_seconds: float = 0.0
    _dial_until: float | None = None
    _pause: float = _PAUSE_MIN
    _settle_by: float | None = None
    _dialling: Span | None = None
    _dials: int = 0

    @property
    def cold(self) -> bool:
        """Whether the request had to wait for its sandbox."""
        return self.wake_seconds is not None

    @property
    def waited(self) -> float:
        """For how many seconds the request has waited, for its sandbox and for word of it."""
        return self.gate_seconds + (self.wake_seconds or 0.0)

    def woke(self, seconds: float) -> None:
        """Count a wait; the dialling before it, if any, was of a life that is over."""
        self.wake_seconds = (self.wake_seconds or 0.0) + seconds
        self._dial_until = None
        self._pause = _PAUSE_MIN

    def settle_by(self, now: float, patience: float) -> float:
        """Return until when it is waited for who is at the address, however often that changes."""
        if self._settle_by is None:
            self._settle_by = now + patience
        return self._settle_by

    def dials(self) -> None:
        """Count one more attempt to connect."""
        if self._dialling is None:
            self._dialling = self.span.child("dial")
        self._dials += 1

    def dialled(self, failure: str | None = None) -> None:
        """Count the attempts to connect, if there were any, as over."""
        if self._dialling is not None:
            self._dialling.note({"gateway.dial.attempts": self._dials})
            self._dialling.end(failure)
            self._dialling, self._dials = None, 0

    def until_page(self, config: ReachConfig) -> float | None:
        """Return for how long this waits before it is shown that it does; None: it never is."""
        if not config.page_after or not pages.is_navigation(self.head):
            return None
        return max(config.page_after - self.waited, 0.0)

    def next_pause(self, now: float, config: ReachConfig) -> float | None:
        """Return how long to wait before a refusing port is dialled again; None: no more."""
        if self._dial_until is None:
            patience = config.dial_timeout
            if self.cold:
                until_page = self.until_page(config)
                patience = config.port_retry_timeout if until_page is None else until_page
            self._dial_until = now + patience
        if now >= self._dial_until:
            return None
        pause = self._pause
        self._pause = min(2 * pause, _PAUSE_MAX)
        return pause


class Reacher:
    """Finds or makes the connection for a request."""

    def __init__(
        self,
        registry: Registry,
        pool: Pool,
        waker: Waker,
        claims: Claims,
        config: ReachConfig,
        clock: Callable[[], float],
        gate: Gate | None = None,
    ) -> None:
        """`clock` tells epoch seconds, in which sandboxes expire.

        `gate`: where requests wait while it is decided whether their sandbox sleeps.
        """
        self._registry = registry
        self._pool = pool
        self._waker = waker
        self._claims = claims
        self._config = config
        self._clock = clock
        self._gate = gate
        self._loop = asyncio.get_running_loop()

    async def reach(self, journey: Journey) -> UpstreamConnection:
        """Return a connection to the admitted sandbox; raise a GatewayError."""
        try:
            connection = await self._find(journey)
        except BaseException as error:
            journey.dialled(failure_of(error))
            raise
        journey.dialled()
        return connection

    async def _find(self, journey: Journey) -> UpstreamConnection:
        port = journey.admitted.port
        while True:
            if self._gate is not None:
                await self._pass(self._gate, journey)
            route = self._current(journey.admitted.route)
            verdict = outcome(route, self._clock())
            if not isinstance(verdict, Verdict):
                raise verdict
            if verdict is not Verdict.FORWARD:
                journey.dialled(NOT_RUNNING)
                await self._wait(journey, route, verdict)
                continue
            connection = self._pool.take(route, port) or await self._dial(route, port, journey)
            if connection is not None:
                return connection

    def pooled(self, admitted: Admitted, now: float) -> UpstreamConnection | None:
        """Return a connection if one is idle and the sandbox runs: nothing to be waited for.

        The request has been admitted this very moment, so its route is the present one.
        """
        if outcome(admitted.route, now) is not Verdict.FORWARD:
            return None
        return self._pool.take(admitted.route, admitted.port)

    def is_current(self, route: Route, connection: UpstreamConnection) -> bool:
        """Return whether a connection made for a route still leads to where the sandbox is.

        A dial may take seconds, and the address can be another sandbox's by then.
        """
        now = self._registry.get(route.key)
        return (
            now is not None
            and now.incarnation == connection.incarnation
            and now.address is not None
            and now.address == route.address
            and now.tls == route.tls
        )

    def _current(self, admitted: Route) -> Route:
        route = self._registry.get(admitted.key)
        if route is None or route.uid != admitted.uid:
            raise WakeFailed("The sandbox was deleted while the request waited.")
        return route

    async def _pass(self, gate: Gate, journey: Journey) -> None:
        """Wait while it is not known whether the sandbox sleeps."""
        admitted = journey.admitted.route
        if not gate.is_shut(admitted.uid):
            return
        began = self._loop.time()
        patience, until_page = self._patience(journey), journey.until_page(self._config)
        shows_page = until_page is not None and until_page < patience
        try:
            async with asyncio.timeout(until_page if shows_page else patience):
                await gate.wait(admitted.key, admitted.uid)
        except TimeoutError:
            if shows_page:
                raise StillWaking from None
            raise WakeFailed(
                "The sandbox may have been put to sleep, and that was not known in time."
            ) from None
        finally:
            journey.gate_seconds += self._loop.time() - began

    async def _wait(self, journey: Journey, route: Route, verdict: Verdict) -> None:
        if verdict is Verdict.WAKE and self._never_wakes(journey):
            raise SandboxNotWakeable
        patience = self._patience(journey)
        began = self._loop.time()
        held = journey.head.size + journey.body.kept_bytes
        try:
            async with asyncio.timeout(journey.until_page(self._config)):
                await self._waker.ready(
                    route, timeout=max(patience, 0.0), held_bytes=held, span=journey.span
                )
        except TimeoutError:
            raise StillWaking from None
        journey.woke(self._loop.time() - began)

    def _patience(self, journey: Journey) -> float:
        """Return for how long a request waits now, in seconds."""
        patience = self._config.wait_timeout - journey.waited
        wished = journey.admitted.target.timeout
        return patience if wished is None else min(patience, wished)

    async def _settle(self, route: Route, journey: Journey) -> None:
        """Wait until it is known whether the sandbox has its address to itself."""
        deadline = journey.settle_by(self._loop.time(), self._patience(journey))
        try:
            async with asyncio.timeout_at(deadline):
                await self._claims.settle(route)
        except TimeoutError as error:
            raise SandboxUnreachable(
                "Another sandbox claims this one's address, and it is not known yet who is there."
            ) from error

    def _never_wakes(self, journey: Journey) -> bool:
        head = journey.head
        return self._config.never_wake.applies(
            head.method,
            journey.admitted.target.path or head.target,
            list(head.fields()),
            head.upgrade is not None,
        )

    async def _dial(self, route: Route, port: int, journey: Journey) -> UpstreamConnection | None:
        """Return a new connection, or None if the route is to be looked at again."""
        began = self._loop.time()
        if not self._claims.stands(route):
            await self._settle(route, journey)
            return None
        journey.dials()
        try:
            connection = await self._pool.connect(route, port)
        except DialRefused as refused:
            pause = journey.next_pause(self._loop.time(), self._config)
            if pause is None:
                raise self._unreachable(journey) from refused
            await asyncio.sleep(pause)
            return None
        finally:
            journey.probe_seconds += self._loop.time() - began
        if (
            self.is_current(route, connection)
            and self._claims.stands(route)
            # It shuts while a request is under way only if that is no use of the sandbox.
            and not (self._gate is not None and self._gate.is_shut(route.uid))
        ):
            return connection
        connection.abort()
        return None

    def _unreachable(self, journey: Journey) -> GatewayError:
        """Return what to answer when a port has refused for long enough."""
        shows_page = journey.cold and journey.until_page(self._config) is not None
        return StillWaking() if shows_page else SandboxUnreachable()
