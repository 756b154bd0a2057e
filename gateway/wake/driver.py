"""Drives wake episodes: does what `episode` commands and tells it what happened.

What moves an episode is the registry's news; on the happy path nothing is polled, and the waiters
are released inside the very callback that brings the news.

An episode belongs to no client: one that loses its last waiter goes on to its end. Its patch may be
on its way already, to stop would not take that back, and who asked once mostly asks again: the
retry then joins what is under way instead of sending a second patch.
"""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from gateway.sandbox.errors import Conflict, GatewayError, NotReady
from gateway.sandbox.model import Route
from gateway.telemetry.tracing import NO_SPAN, Span, of_sandbox
from gateway.wake import episode as machine
from gateway.wake import messages
from gateway.wake.calls import Calls
from gateway.wake.counters import Ending, WakeCounters, ending_of
from gateway.wake.limits import Breaker, PatchBudget

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.sandbox.registry import Registry
    from gateway.telemetry.tracing import Tracer
    from gateway.wake.calls import SandboxWriter
    from gateway.wake.config import WakeConfig

logger = logging.getLogger(__name__)

#: How a wait ends. An error is a result here, raised by who waits: a future that holds an exception
#: would complain if its waiter left in the same moment.
Result: TypeAlias = Route | GatewayError
Waiter: TypeAlias = "asyncio.Future[Result]"

#: How much longer than configured the pauses of an episode may be (`Episode.pace`).
_SLOWEST_PACE: Final = 1.5


@dataclass(slots=True, eq=False)
class Run:
    """An episode under way: its state, who waits, its timer, the read in flight, patches begun.

    `epoch` is the wall clock's value at loop time 0, taken once: an episode's time then goes on
    evenly, whatever is done to the wall clock.
    """

    episode: machine.Episode
    epoch: float
    span: Span
    waiters: dict[Waiter, None] = field(default_factory=dict)
    timer: asyncio.TimerHandle | None = None
    timer_due: float | None = None
    read: asyncio.Task[Route] | None = None
    attempts: int = 0


class Driver:
    """All episodes under way, at most one per sandbox uid."""

    def __init__(
        self,
        registry: Registry,
        writer: SandboxWriter,
        config: WakeConfig,
        counters: WakeCounters,
        clock: Callable[[], float],
        tracer: Tracer | None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._tracer = tracer
        self._registry = registry
        self._config = config
        self._counters = counters
        self._clock = clock
        self._calls = Calls(writer)
        self._budget = PatchBudget(config, self._loop.time())
        self._budget_timer: asyncio.TimerHandle | None = None
        self._unsubscribe = registry.subscribe(self._hear)
        self.runs: dict[str, Run] = {}
        self.breaker = Breaker(config)

    def join(self, route: Route, waiter: Waiter, cause: Span) -> Run:
        """Let the waiter wait for this sandbox, in an episode that is begun if there is none.

        `cause` is the span of the request that waits.
        """
        run = self.runs.get(route.uid)
        if run is not None:
            run.waiters[waiter] = None
            return run
        now = self._clock()
        pace = random.uniform(1.0, _SLOWEST_PACE)  # noqa: S311 - spreads load, hides nothing
        first, commands = machine.begin(self._config, route, now, pace)
        span = self._span(route, cause)
        run = self.runs[route.uid] = Run(first, now - self._loop.time(), span, {waiter: None})
        self._do(run, commands)
        return run

    def _span(self, route: Route, cause: Span) -> Span:
        if self._tracer is None:
            return NO_SPAN
        span = self._tracer.wake(cause)
        span.note(of_sandbox(route))
        return span

    async def close(self) -> None:
        """Answer all waiters with NotReady and end all that is under way."""
        self._unsubscribe()
        for run in list(self.runs.values()):
            self._finish(run, Ending.CLOSED, NotReady(retry_after=self._config.retry_after))
        if self._budget_timer is not None:
            self._budget_timer.cancel()
        await self._calls.close()

    # ---- events in ----------------------------------------------------------------------------

    def _hear(self, before: Route | None, after: Route | None) -> None:
        """Take the registry's news."""
        subject = after or before
        assert subject is not None
        run = self.runs.get(subject.uid)
        if run is not None:
            self._feed(run, messages.RouteChanged(after))
        if after is None:
            self.breaker.forget(subject.uid)

    def _patched(self, run: Run, answer: Route | BaseException) -> None:
        if isinstance(answer, Route):
            self._counters.patches.inc()
            self._feed(run, messages.Patched(answer))
            self._learn(answer)
            return
        if isinstance(answer, Conflict):
            self._counters.conflicts.inc()
        self._feed(run, messages.PatchFailed(answer))

    def _reread(self, run: Run, answer: Route | BaseException) -> None:
        if isinstance(answer, Route):
            self._feed(run, messages.Reread(answer))
            self._learn(answer)
        else:
            self._feed(run, messages.RereadFailed(answer))

    def _learn(self, route: Route) -> None:
        """Tell the registry what the API answered, since the watch may be what lags.

        Only of a sandbox that it holds: one that has left it could else come back for good.
        """
        known = self._registry.get(route.key)
        if known is not None and known.uid == route.uid:
            self._registry.apply(route)

    def _tick(self, run: Run, due: float) -> None:
        # A loop may call early by its clock's resolution: then it is `due` all the same.
        run.timer_due = None
        self._feed(run, messages.Tick(), at_least=due)

    def _spend_budget(self) -> None:
        now = self._loop.time()
        for uid in self._budget.grant(now):
            self._feed(self.runs[uid], messages.Granted())
        if self._budget_timer is not None:
            self._budget_timer.cancel()
            self._budget_timer = None
        wait = self._budget.wait(now)
        if wait is not None:
            self._budget_timer = self._loop.call_later(wait, self._spend_budget)

    def _feed(self, run: Run, event: messages.Event, at_least: float = 0.0) -> None:
        now = max(run.epoch + self._loop.time(), at_least)
        run.episode, commands = machine.step(run.episode, event, now)
        self._do(run, commands)

    # ---- commands out -------------------------------------------------------------------------

    def _do(self, run: Run, commands: tuple[messages.Command, ...]) -> None:
        """Carry out commands. Asking the budget may move the episode at once: it comes last."""
        key, uid = run.episode.route.key, run.episode.uid
        for command in commands:
            match command:
                case messages.Order.ASK_BUDGET:
                    self._budget.ask(key.namespace, uid)
                    self._spend_budget()
                case messages.Order.WITHDRAW:
                    self._budget.withdraw(key.namespace, uid)
                case messages.Order.PATCH:
                    run.attempts += 1
                    self._calls.patch(key, uid, partial(self._patched, run), run.span)
                case messages.Order.READ:
                    self._stop_reading(run)
                    run.read = self._calls.read(key, uid, partial(self._reread, run))
                case messages.Succeed(route):
                    self._succeed(run, route)
                case messages.Fail(error):
                    self._fail(run, error)
        self._set_timer(run)

    def _set_timer(self, run: Run) -> None:
        ended = run.episode.phase is machine.Phase.ENDED
        if ended or run.timer_due == run.episode.due:
            return
        if run.timer is not None:
            run.timer.cancel()
        due = run.timer_due = run.episode.due
        run.timer = self._loop.call_at(due - run.epoch, self._tick, run, due)

    def _stop_reading(self, run: Run) -> None:
        if run.read is not None:
            run.read.cancel()

    def _succeed(self, run: Run, route: Route) -> None:
        episode = run.episode
        self.breaker.forget(episode.uid)
        self._counters.woken(episode.started, episode.sent_at, episode.since)
        self._finish(run, Ending.WOKEN, route)

    def _fail(self, run: Run, error: GatewayError) -> None:
        uid, now, ending = run.episode.uid, self._loop.time(), ending_of(error)
        # Nobody waits for its answer now. (After a success it is left alone: the watch is often
        # quicker than the answer, and to break that off would cost a connection each time.)
        self._calls.abandon_patch(uid)
        if ending in (Ending.FAILED, Ending.TIMEOUT):
            logger.warning("waking %s failed: %s", run.episode.route.key, error.text)
            self.breaker.failed(uid, now, error.text, opens=ending is Ending.TIMEOUT)
        opened = self.breaker.check(uid, now)
        error.retry_after = self._config.retry_after if opened is None else opened.retry_after
        self._finish(run, ending, error)

    def _finish(self, run: Run, ending: Ending, result: Result) -> None:
        """End an episode: its waiters get the result, and nothing of it is left."""
        del self.runs[run.episode.uid]
        if run.timer is not None:
            run.timer.cancel()
        self._stop_reading(run)
        self._counters.ended(ending)
        run.span.note({"gateway.outcome": ending.value, "gateway.wake.attempts": run.attempts})
        run.span.end(None if ending is Ending.WOKEN else ending.value)
        for waiter in run.waiters:
            if not waiter.done():
                waiter.set_result(result if isinstance(result, Route) else again(result))
        run.waiters.clear()


def again(error: GatewayError) -> GatewayError:
    """Return an equal error: one instance raised by many would collect all their tracebacks."""
    return type(error)(error.text, retry_after=error.retry_after)
