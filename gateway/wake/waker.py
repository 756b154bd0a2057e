"""Requests wait here until their sandbox runs: one shared episode per sandbox uid."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from gateway.sandbox.errors import GatewayError, NotReady, WakeFailed, WakeOverloaded
from gateway.sandbox.policy import Verdict, outcome
from gateway.telemetry.tracing import NO_SPAN
from gateway.wake.counters import WakeCounters
from gateway.wake.driver import Driver
from gateway.wake.episode import Phase, Trouble, overdue
from gateway.wake.limits import Opened, Places, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.sandbox.model import Route
    from gateway.sandbox.registry import Registry
    from gateway.telemetry.instruments import Instruments
    from gateway.telemetry.tracing import Span, Tracer
    from gateway.wake.calls import SandboxWriter
    from gateway.wake.config import WakeConfig
    from gateway.wake.driver import Run, Waiter

_REFUSALS: Final[Mapping[Refusal, str]] = {
    Refusal.SANDBOX: "Too many requests wait for this sandbox.",
    Refusal.TOTAL: "Too many requests wait for sandboxes.",
    Refusal.BYTES: "The requests that wait for sandboxes hold too much memory.",
}


@dataclass(frozen=True, slots=True)
class Ready:
    """The sandbox runs. `wake_seconds`: how long this request waited for it.

    `cold`: it did not run when the request came.
    """

    route: Route
    wake_seconds: float
    cold: bool


@dataclass(frozen=True, slots=True)
class Waking:
    """What goes on about one sandbox, for people: times are seconds since the epoch.

    `last_failure` is of earlier episodes. Without an episode, `phase` is None.
    """

    phase: Phase | None = None
    since: float | None = None
    deadline: float | None = None
    waiters: int = 0
    patches: int = 0
    trouble: Trouble | None = None
    breaker: Opened | None = None
    last_failure: str | None = None


class Waker:
    """Brings sandboxes to Running and lets requests wait for that.

    To be made and used within one running event loop, and closed at the end.
    """

    def __init__(
        self,
        registry: Registry,
        writer: SandboxWriter,
        config: WakeConfig,
        instruments: Instruments,
        clock: Callable[[], float] = time.time,
        tracer: Tracer | None = None,
    ) -> None:
        """`clock` gives seconds since the epoch, as the routes' expiry does.

        With `tracer`, wakes are traced.
        """
        self._loop = asyncio.get_running_loop()
        self._registry = registry
        self._config = config
        self._clock = clock
        self._counters = WakeCounters(instruments)
        self._driver = Driver(registry, writer, config, self._counters, clock, tracer)
        self._places = Places(config)
        self._closed = False
        self._show(instruments)

    async def ready(
        self, route: Route, *, timeout: float, held_bytes: int = 0, span: Span = NO_SPAN
    ) -> Ready:
        """Wait until the sandbox with this route's uid runs, for at most `timeout` seconds.

        `held_bytes` is about what the request holds in memory meanwhile, `span` its own span.
        Raises the GatewayError to answer with: that of the policy table if there is nothing to
        wait for, WakeFailed, WakeTimeout, WakeOverloaded, SandboxNotWakeable, or NotReady once
        closed.
        """
        known = self._registry.get(route.key)
        if known is None or known.uid != route.uid:
            raise WakeFailed("The sandbox was deleted.", retry_after=self._config.retry_after)
        verdict = outcome(known, self._clock())
        if verdict is Verdict.FORWARD:
            return Ready(known, 0.0, cold=False)
        if not isinstance(verdict, Verdict):
            raise verdict
        self._enter(known.uid, held_bytes)
        try:
            return await self._wait(known, timeout, span)
        finally:
            self._leave(known.uid, held_bytes)

    def explain(self, uid: str) -> Waking:
        """Return what goes on about this sandbox."""
        breaker = self._driver.breaker
        about = Waking(
            breaker=breaker.check(uid, self._loop.time()), last_failure=breaker.last_cause(uid)
        )
        run = self._driver.runs.get(uid)
        if run is None:
            return about
        return replace(
            about,
            phase=run.episode.phase,
            since=run.episode.since,
            deadline=run.episode.deadline,
            waiters=len(run.waiters),
            patches=run.episode.patches,
            trouble=run.episode.trouble,
        )

    async def close(self) -> None:
        """Answer those who still wait with NotReady, and end all that is under way."""
        self._closed = True
        await self._driver.close()

    def _enter(self, uid: str, held_bytes: int) -> None:
        """Take a place, or raise why there is none."""
        if self._closed:
            raise NotReady(retry_after=self._config.retry_after)
        opened = self._driver.breaker.check(uid, self._loop.time())
        if opened is not None and uid not in self._driver.runs:
            self._counters.refused(Refusal.BREAKER)
            text = f"Waking this sandbox failed and is not tried again yet. {opened.cause}"
            raise WakeOverloaded(text, retry_after=opened.retry_after)
        refusal = self._places.enter(uid, held_bytes)
        if refusal is not None:
            self._counters.refused(refusal)
            raise WakeOverloaded(_REFUSALS[refusal], retry_after=self._config.retry_after)

    def _leave(self, uid: str, held_bytes: int) -> None:
        self._places.leave(uid, held_bytes)

    async def _wait(self, route: Route, timeout: float, span: Span) -> Ready:
        began = self._loop.time()
        waiter: Waiter = self._loop.create_future()
        joined = route.uid in self._driver.runs
        run = self._driver.join(route, waiter, span)
        timer = self._loop.call_later(timeout, self._time_is_up, run, waiter)
        with span.child("wait", run.span) as wait:
            wait.note({"gateway.wait.joined": joined})
            try:
                result = await waiter
            finally:
                timer.cancel()
                run.waiters.pop(waiter, None)
            if isinstance(result, GatewayError):
                raise result
        return Ready(result, self._loop.time() - began, cold=True)

    def _time_is_up(self, run: Run, waiter: Waiter) -> None:
        """End one request's wait; the episode goes on."""
        if not waiter.done():
            error = overdue(run.episode)
            error.retry_after = self._config.retry_after
            waiter.set_result(error)

    def _show(self, instruments: Instruments) -> None:
        places, driver, loop = self._places, self._driver, self._loop
        instruments.gauge(
            "wake_waiting_requests", "Requests that wait for a sandbox.", lambda: places.count
        )
        instruments.gauge(
            "wake_waiting_bytes", "What waiting requests hold.", lambda: places.held_bytes
        )
        instruments.gauge(
            "wake_episodes_active", "Wake episodes under way.", lambda: len(driver.runs)
        )
        instruments.gauge(
            "wake_breakers_open",
            "Sandboxes that are not woken for now, after repeated failure.",
            lambda: driver.breaker.opened(loop.time()),
        )
