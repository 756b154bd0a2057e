"""Keeps platforms that sleep by their own clocks from doing so in the middle of use.

OpenKruise pauses a sandbox at its pauseTime, whoever uses it then. So that time is moved ahead
while the sandbox is used, and once more when the use has ended: its idle time begins there. Nothing
is written that makes it sooner, nor while most of that time is still to come: a use costs a write
now and then, and a sandbox that nobody uses none.

Nobody tells of use. Who is used is looked up when the pause comes near: `MARGIN` before it, and
from then on whenever half of what was left has gone. A use that begins in the last moment before
the pause is missed, and what a write takes comes on top; then its request is broken off, or wakes
the sandbox again. Of those that are found in use the end is looked for every `POLL`.

Each replica does this for the use that it sees; all move the time the same way, so that the second
finds it done. What pins and leases hold is the leader's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from dataclasses import dataclass
from itertools import islice
from math import inf
from typing import TYPE_CHECKING, Final, Protocol

from gateway.sandbox.errors import ClusterError, ObjectGone
from gateway.sandbox.model import State
from gateway.standby.agenda import Agenda
from gateway.standby.holds import Event, Failed, Happened, Holds, Report, Schedule, Toggle, Write
from gateway.standby.holds import step as next_step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.sandbox.activity import Activity
    from gateway.sandbox.model import Key, Route
    from gateway.sandbox.registry import Registry
    from gateway.telemetry.instruments import Instruments

logger = logging.getLogger(__name__)

#: Seconds before a pause when the first look is due: time for a write, and for some that fail.
MARGIN: Final = 60.0
#: Seconds between two looks at a sandbox that is in use, or whose pause is late.
POLL: Final = 10.0
#: Seconds before a pause when it is too late for another look.
_LEAST: Final = 0.25
#: Looks between two turns of everybody else: about a millisecond's worth.
_AT_ONCE: Final = 256


class Writer(Protocol):
    """What is needed of the Kubernetes API."""

    async def postpone(self, key: Key, uid: str, used_at: float) -> Route:
        """Let the platform's idle time begin at `used_at`, or later; raise a ClusterError.

        Seconds since 1970.
        """


@dataclass(frozen=True, slots=True)
class PostponerConfig:
    """`cooldown`: seconds from the end of a use until it is told. `concurrency`: writes at once."""

    cooldown: float = 1.0
    concurrency: int = 16


class PostponerCounters:
    """What putting off counts."""

    def __init__(self, instruments: Instruments) -> None:
        self.writes = instruments.counter(
            "pause_postponements",
            "Attempts to put off the pause that a platform makes by its own clock, by outcome.",
            "outcome",
        )
        self.missed = instruments.counter(
            "pauses_in_use", "Sandboxes that their platforms paused by the clock while in use."
        )
        for outcome in ("done", "failed", "gone"):
            self.writes.prime(outcome)
        self.missed.prime()


@dataclass(slots=True, eq=False)
class _Watched:
    """A sandbox that runs, and is to be paused at a time.

    `told`: until when its use is known to its platform, or needs not be. `seen`: the last look.
    `look_at`: the next one, for which the agenda may have a sooner time. `due`: when the holds want
    one. Times are by the clock of activity.
    """

    route: Route
    holds: Holds
    told: float
    seen: float
    look_at: float = inf
    due: float = inf


class Postponer:
    """All sandboxes whose platforms pause them by the clock; `run` does the work."""

    def __init__(
        self,
        config: PostponerConfig,
        registry: Registry,
        activity: Activity,
        writer: Writer,
        acting: Callable[[], bool],
        instruments: Instruments,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` is that of `activity`, which hears of the registry's news before this does.

        `acting`: whether this replica leads.
        """
        self._config = config
        self._activity = activity
        self._writer = writer
        self._acting = acting
        self._counters = PostponerCounters(instruments)
        self._clock, self._wall_clock = clock, wall_clock
        self._unheld = Holds(config.cooldown)  # as nearly all are: one will do for them
        self._watched: dict[str, _Watched] = {}
        self._agenda: Agenda[str] = Agenda()
        self._ready: deque[_Watched] = deque()
        self._writing = 0
        self._changed = asyncio.Event()
        self._logged: type[ClusterError] | None = None
        registry.subscribe(self._hear)
        for route in registry:
            self._hear(None, route)

    def __len__(self) -> int:
        return len(self._watched)

    async def run(self) -> None:
        """Put off pauses until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                now = self._clock()
                for watched in islice(self._due(now), _AT_ONCE):
                    self._look(watched, now)
                self._begin_writes(group)
                await self._wait()

    def _begin_writes(self, group: asyncio.TaskGroup) -> None:
        while self._ready and self._writing < self._config.concurrency:
            watched = self._ready.popleft()
            if self._is_known(watched):
                self._writing += 1
                group.create_task(self._write(watched))

    async def _wait(self) -> None:
        """Wait until a look is due, or something has changed."""
        wait = self._agenda.next - self._clock()
        if wait <= 0:
            await asyncio.sleep(0)
            return
        try:
            async with asyncio.timeout(wait if wait < inf else None):
                await self._changed.wait()
        except TimeoutError:
            return

    # ---- what is known ------------------------------------------------------------------------

    def _hear(self, before: Route | None, after: Route | None) -> None:
        """Take the registry's news."""
        if before is not None and (after is None or after.uid != before.uid):
            self._drop(before.uid)
        if after is None:
            return
        watched, pause_at = self._watched.get(after.uid), after.idle.pause_at
        if pause_at is None or after.state is not State.RUNNING:
            if watched is not None:
                self._forget(watched, after)
            return
        if watched is None:
            now = self._clock()
            watched = self._watched[after.uid] = _Watched(after, self._unheld, told=now, seen=now)
        elif watched.route.idle.pause_at == pause_at:
            watched.route = after
            return
        watched.route = after
        self._look_later(watched)
        self._changed.set()

    def _drop(self, uid: str) -> None:
        self._watched.pop(uid, None)
        self._agenda.remove(uid)

    # ---- looks --------------------------------------------------------------------------------

    def _due(self, now: float) -> Iterator[_Watched]:
        """Take out those whose time has come."""
        while (first := self._agenda.pop(now)) is not None:
            watched = self._watched[first[1]]
            if watched.look_at <= now:
                yield watched
            else:
                self._agenda.put(first[1], watched.look_at)

    def _look(self, watched: _Watched, now: float) -> None:
        if watched.route.state_at(self._wall_clock()) is not State.RUNNING:
            self._drop(watched.route.uid)
            return
        watched.due = inf
        for event, at in self._events(watched, now):
            self._feed(watched, event, at)
        watched.seen = now
        self._look_later(watched)

    def _events(self, watched: _Watched, now: float) -> Iterator[tuple[Happened, float]]:
        """Say what has happened, as far as the holds do not know of it."""
        marked = self._is_marked(watched.route)
        if marked != watched.holds.pinned:
            yield Happened.DISABLED if marked else Happened.ENABLED, now
        used = self._is_used(watched)
        if used != (watched.holds.count > 0):
            yield (Happened.ACQUIRED, now) if used else (Happened.RELEASED, self._last(watched))
        if self._left(watched.route) <= MARGIN:
            yield Happened.LAPSES, now
        yield Happened.DUE, now

    def _is_used(self, watched: _Watched) -> bool:
        """Return whether it is used, or was since: since the last look, where that is told."""
        since = watched.seen if watched.holds.told is Toggle.OFF else watched.told
        return self._count(watched) > 0 or self._last(watched) > since

    def _is_marked(self, route: Route) -> bool:
        idle = route.idle
        leased = idle.hold_until is not None and self._wall_clock() < idle.hold_until
        return (idle.pinned or idle.always_on or leased) and self._acting()

    def _count(self, watched: _Watched) -> int:
        usage = self._activity.of(watched.route.uid)
        return 0 if usage is None else usage.count

    def _last(self, watched: _Watched) -> float:
        usage = self._activity.of(watched.route.uid)
        return watched.told if usage is None else usage.last

    def _left(self, route: Route) -> float:
        """Return in how many seconds it is paused."""
        assert route.idle.pause_at is not None
        return route.idle.pause_at - self._wall_clock()

    def _look_later(self, watched: _Watched) -> None:
        """Settle when to look next."""
        left, holds = self._left(watched.route), watched.holds
        late = left <= 2 * _LEAST
        wait = inf if late else max(left - MARGIN, left / 2)
        if holds.failures:
            wait = min(wait, holds.pause)
        elif late or holds.told is Toggle.OFF:
            wait = min(wait, POLL)
        watched.look_at = min(self._clock() + wait, watched.due)
        self._agenda.put(watched.route.uid, watched.look_at)

    # ---- the holds ----------------------------------------------------------------------------

    def _feed(self, watched: _Watched, event: Event, at: float) -> None:
        watched.holds, commands = next_step(watched.holds, event, at)
        for command in commands:
            match command:
                case Write(toggle):
                    self._tell(watched, toggle, at)
                case Schedule(due):
                    watched.due = due
                case Report():
                    self._report(watched, command)

    def _tell(self, watched: _Watched, toggle: Toggle, at: float) -> None:
        if toggle is Toggle.ON and self._used_until(watched) <= watched.told:
            self._feed(watched, Happened.WRITTEN, at)  # its platform counts from there already
        else:
            self._ready.append(watched)

    def _used_until(self, watched: _Watched) -> float:
        held = self._count(watched) > 0 or self._is_marked(watched.route)
        return self._clock() if held else self._last(watched)

    async def _write(self, watched: _Watched) -> None:
        try:
            event = await self._postpone(watched)
            if self._is_known(watched):
                self._feed(watched, event, self._clock())
                self._look_later(watched)
        finally:
            self._writing -= 1
            self._changed.set()

    def _is_known(self, watched: _Watched) -> bool:
        return self._watched.get(watched.route.uid) is watched

    async def _postpone(self, watched: _Watched) -> Event:
        key, uid = watched.route.key, watched.route.uid
        used_until = self._used_until(watched)
        try:
            used_at = self._wall_clock() - (self._clock() - used_until)
            await self._writer.postpone(key, uid, used_at)
        except ObjectGone as error:
            self._counters.writes.inc("gone")
            self._drop(uid)
            return Failed(error)
        except ClusterError as error:
            self._counters.writes.inc("failed")
            return Failed(error)
        self._counters.writes.inc("done")
        self._logged = None
        watched.told = used_until
        return Happened.WRITTEN

    # ---- what goes wrong ----------------------------------------------------------------------

    def _report(self, watched: _Watched, report: Report) -> None:
        """Log a failure, where the one before was of another kind: one outage fails very many."""
        if type(report.error) is not self._logged:
            self._logged = type(report.error)
            text = "the pause of %s cannot be put off: %s: %s"
            logger.warning(text, watched.route.key, self._logged.__name__, report.error)

    def _forget(self, watched: _Watched, after: Route) -> None:
        """Leave alone what runs no more, or is to be paused no more."""
        self._drop(after.uid)
        paused = after.state in (State.PAUSING, State.PAUSED)
        if paused and self._left(watched.route) <= 0 and self._count(watched):
            self._counters.missed.inc()
            logger.warning("%s was paused by its platform's clock while in use", after.key)
