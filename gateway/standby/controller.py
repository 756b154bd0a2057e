"""Puts idle sandboxes to sleep while this replica leads: does what `idle` finds to be done.

On the others it tells how each sandbox stands, by what they know, and takes off notes.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, Protocol

from msgspec.structs import replace

from gateway.cluster.turns import turns
from gateway.standby.idle import IdleLoop, Result
from gateway.standby.judging import Judging, Moment, Observed
from gateway.standby.metrics import IdleCounters
from gateway.standby.notes import Annotator, Notes
from gateway.standby.question import Observers, Sleeper, Standbys
from gateway.standby.snapshot import Sleeps, Slept, snapshot_of
from gateway.standby.workloads import Workloads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.replicas.peers import PeerUse
    from gateway.sandbox.activity import Activity
    from gateway.sandbox.model import Route
    from gateway.sandbox.registry import Registry
    from gateway.sandbox.standby import StandbyCheck
    from gateway.standby.config import IdleConfig
    from gateway.standby.question import Asking, Leading
    from gateway.standby.snapshot import Snapshot
    from gateway.telemetry.instruments import Instruments

#: Seconds between two looks, at least and at most. What falls due in between is asked about in one
#: question; and news by which a sandbox is due sooner need wake nobody.
LOOK_MIN: Final = 0.15
LOOK_MAX: Final = 1.0


class Writer(Sleeper, Annotator, Protocol):
    """What the controller needs of the Kubernetes API."""


class AllObservers(Observed, Observers, Protocol):
    """Who sees connections that bypass the gateway."""


class Guests(Protocol):
    """Asks guests."""

    async def may_sleep(self, route: Route, check: StandbyCheck) -> bool:
        """Return whether a guest agrees to sleep; no answer is a no."""


class IdleController:
    """The idle loop of one replica: `run` it, once."""

    def __init__(
        self,
        config: IdleConfig,
        registry: Registry,
        activity: Activity,
        peers: Asking,
        writer: Writer,
        leadership: Leading,
        guests: Guests,
        instruments: Instruments,
        *,
        observers: AllObservers | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` is that of `activity`, which hears of the registry's news before this does.

        Without `observers`, only what goes through the gateway is use.
        """
        self._registry = registry
        self._peers = peers
        self._leadership = leadership
        self._guests = guests
        self._clock, self._wall_clock = clock, wall_clock
        self._leading = False
        self._sleeps = Sleeps()
        self._judging = Judging(config, activity, observers)
        self._idle = IdleLoop(registry.get, self._judging, activity, config.concurrency)
        self._counters = IdleCounters(instruments, self._idle, clock)
        self._workloads = (
            Workloads(instruments, lambda: self._leading)
            if config.deployments_after is not None
            else None
        )
        self._standbys = Standbys(
            peers, writer, leadership, observers, self._judging, self._moment, config.concurrency
        )
        self._notes = Notes(
            writer, registry, activity, instruments, self._moment, config.notes_per_second
        )
        for route in registry:
            self._heed(None, route)
        registry.subscribe(self._hear)

    async def run(self) -> None:
        """Do what there is to do, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._notes.run())
            while True:
                await self._leadership.wait_won()
                await self._lead()

    async def tidy(self) -> None:
        """Take off the notes that are not true any more; this ends by itself, soon."""
        await self._notes.tidy()

    # ---- what is known ------------------------------------------------------------------------

    def why(self, route: Route) -> Snapshot:
        """Return how a sandbox stands by what this replica knows alone."""
        return self._snapshot(route, ())

    async def snapshot(self, route: Route) -> Snapshot:
        """Return how a sandbox stands; the other replicas are asked how they use it."""
        return self._snapshot(route, await self._peers.uses(route.uid))

    def _snapshot(self, route: Route, uses: Sequence[PeerUse]) -> Snapshot:
        at = self._moment()
        seen = self._judging.seen(route, at, requested=self._idle.is_asked(route))
        for other in uses[1:]:  # The first is this replica's own.
            active = seen.active + other.count
            last = at.now - (other.unused_for or 0.0) if not other.silent else seen.idle_since
            seen = replace(seen, active=active, idle_since=max(seen.idle_since, last))
        return snapshot_of(
            route,
            seen,
            at,
            observes=self._judging.observes,
            slept=self._sleeps.of(route.uid),
            trouble=self._idle.trouble_with(route),
            vetoed_until=self._idle.vetoed_until(route),
            uses=uses,
        )

    def _moment(self) -> Moment:
        return Moment(self._clock(), self._wall_clock())

    # ---- events in ----------------------------------------------------------------------------

    def _hear(self, before: Route | None, after: Route | None) -> None:
        at = self._moment()
        self._judging.heed(before, after, at)
        self._heed(before, after)
        if self._leading:
            self._idle.hear(before, after, at)

    def _heed(self, before: Route | None, after: Route | None) -> None:
        self._notes.heed(before, after)
        if self._workloads is not None:
            self._workloads.heed(before, after)

    def _settled(self, route: Route, result: Result, used_ago: float | None) -> None:
        at = self._moment()
        if result is Result.SLEPT:
            idle_for = self._judging.unused_for(route, at.now)
            self._sleeps.add(route.uid, Slept(at.epoch, idle_for))
        late = self._idle.settle(route, result, at, used_ago)
        self._counters.settled(result, late)
        if self._workloads is not None:
            self._workloads.settle(route, result)

    # ---- the work of the leader ---------------------------------------------------------------

    async def _lead(self) -> None:
        """Look at what is due until the lead is lost; what is under way then comes to its end."""
        self._leading = True
        try:
            async with asyncio.TaskGroup() as term:
                looking = term.create_task(self._look_again_and_again(term))
                await self._leadership.wait_lost()
                looking.cancel()
        finally:
            self._leading = False
            self._idle.forget_all()

    async def _look_again_and_again(self, term: asyncio.TaskGroup) -> None:
        for turn in turns(tuple(self._registry), time.perf_counter):
            for route in turn:
                self._idle.arm(route, self._moment())
            await asyncio.sleep(0)
        while True:
            began, more = time.perf_counter(), True
            while more:
                more = self._leadership.acting and self._look(term)
                await asyncio.sleep(0)
            self._counters.looked(time.perf_counter() - began)
            due = self._idle.due
            wait = LOOK_MAX if due is None else due - self._clock()
            await asyncio.sleep(min(max(wait, LOOK_MIN), LOOK_MAX))

    def _look(self, term: asyncio.TaskGroup) -> bool:
        """Begin what is to be done now; return whether there is more to look at."""
        found = self._idle.look(self._moment())
        for route in found.note:
            self._notes.note_idle(route)
        for route in found.check:
            term.create_task(self._check(route))
        if found.ask:
            term.create_task(self._standbys.put_to_sleep(found.ask, self._settled))
        return found.more

    async def _check(self, route: Route) -> None:
        check = route.idle.check
        agrees = check is None or await self._guests.may_sleep(route, check)
        if not agrees:
            self._counters.vetoed()
        self._idle.consented(route, agrees, self._moment())
