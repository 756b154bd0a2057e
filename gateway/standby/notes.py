"""Notes on objects: since when their sandbox is idle, for gateways that begin anew.

A replica that starts knows of no use before its start. Without a note each sandbox would be idle
since then only, and stay awake for another idle time with every rollout. So the leader notes
those that have been idle for a while, and whichever replica sees a use after that takes it off.

Notes are a help and no more: few are written a second, and one that fails is let be. One that is
there by mistake makes nothing sleep that a running replica has used since; but where all of them
are killed at one time, what it says is what those that come after them know.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from gateway.cluster.turns import turns
from gateway.dialects import own
from gateway.sandbox.errors import ClusterError, MalformedObject
from gateway.sandbox.model import State
from gateway.sandbox.texts import format_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.sandbox.activity import Activity, Usage
    from gateway.sandbox.model import Key, Route
    from gateway.sandbox.registry import Registry
    from gateway.standby.judging import Moment
    from gateway.telemetry.instruments import Instruments

#: Notes that wait to be written; more are dropped.
QUEUE: Final = 1024
#: Seconds between two looks at all that are noted as idle, give or take a quarter: replicas that
#: look at one time write at one time.
SWEEP: Final = 10.0
#: Seconds that a replica takes to tidy up before it leaves, and writes that it makes at one time.
TIDYING: Final = 5.0
_LANES: Final = 16
#: Notes have whole seconds, and the clocks of machines differ a little.
TOLERANCE: Final = 2.0


class Annotator(Protocol):
    """What changes annotations; raises a ClusterError."""

    async def annotate(
        self,
        key: Key,
        uid: str,
        changes: Mapping[str, str | None],
        if_: Callable[[Route], bool] | None = None,
    ) -> Route:
        """Make our annotations so, if the object that was just read is as it should be."""


@dataclass(frozen=True, slots=True)
class _Note:
    """What to write of a sandbox: that it is `idle`, or that it is so no more."""

    key: Key
    uid: str
    idle: bool


class Notes:
    """Writes notes one after the other, while it runs."""

    def __init__(
        self,
        annotator: Annotator,
        registry: Registry,
        activity: Activity,
        instruments: Instruments,
        moment: Callable[[], Moment],
        per_second: float,
    ) -> None:
        self._annotator = annotator
        self._registry = registry
        self._activity = activity
        self._moment = moment
        self._pause = 1.0 / per_second
        self._queue: asyncio.Queue[_Note] = asyncio.Queue(QUEUE)
        self._waiting: set[str] = set()
        #: Sandboxes that run and are noted as idle.
        self._noted: set[Key] = set()
        self._outcomes = instruments.counter(
            "idle_notes", "Notes on objects that their sandbox is idle, or no more.", "outcome"
        )
        for outcome in ("idle", "used", "dropped", "failed"):
            self._outcomes.prime(outcome)

    def heed(self, before: Route | None, after: Route | None) -> None:
        """Take news of a sandbox, as a registry tells it."""
        if after is not None and _is_noted(after):
            self._noted.add(after.key)
        elif self._noted and (one := after or before) is not None:
            self._noted.discard(one.key)

    def note_idle(self, route: Route) -> None:
        """Note since when a sandbox is idle, soon, if it still is then."""
        self._put(_Note(route.key, route.uid, idle=True))

    async def run(self) -> None:
        """Write what is to be noted, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._write_all())
            group.create_task(self._sweep_again_and_again())

    async def tidy(self) -> None:
        """Take off the notes of what was used here since, before this replica leaves: those of all
        others would be believed. What is not done within `TIDYING` is let be.
        """
        stale = [note for key in tuple(self._noted) if (note := self._stale(key)) is not None]
        lanes = asyncio.Semaphore(_LANES)

        async def write(note: _Note) -> None:
            async with lanes:
                with contextlib.suppress(ClusterError, MalformedObject):
                    await self._write(note)

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TIDYING), asyncio.TaskGroup() as group:
                for note in stale:
                    group.create_task(write(note))

    async def _write_all(self) -> None:
        while True:
            note = await self._queue.get()
            self._waiting.discard(note.uid)
            try:
                written = await self._write(note)
            except (ClusterError, MalformedObject):
                self._outcomes.inc("failed")
                written = True  # as far as the pause is concerned
            if written:
                await asyncio.sleep(self._pause)

    async def _sweep_again_and_again(self) -> None:
        while True:
            await asyncio.sleep(SWEEP * random.uniform(0.75, 1.25))  # noqa: S311 - spreads load
            for turn in turns(tuple(self._noted), lambda: self._moment().now):
                for key in turn:
                    self._sweep(key)
                await asyncio.sleep(0)

    def _sweep(self, key: Key) -> None:
        note = self._stale(key)
        if note is not None:
            self._put(note)

    def _stale(self, key: Key) -> _Note | None:
        """Return the note to write of one that is noted as idle and was used since."""
        route = self._registry.get(key)
        usage = self._activity.of(route.uid) if route is not None else None
        if route is None or usage is None or not _is_noted(route):
            return None
        used = _used_since(route, _last_use(usage, self._moment()))
        return _Note(key, route.uid, idle=False) if used else None

    def _put(self, note: _Note) -> None:
        if note.uid in self._waiting:
            return
        if self._queue.full():
            self._outcomes.inc("dropped")
            return
        self._waiting.add(note.uid)
        self._queue.put_nowait(note)

    async def _write(self, note: _Note) -> bool:
        """Write one note if it is still true; return whether it was sent."""
        usage = self._activity.of(note.uid)
        if usage is None or (note.idle and usage.count):
            return False
        last = _last_use(usage, self._moment())
        written = format_time(last)
        await self._annotator.annotate(
            note.key,
            note.uid,
            {own.IDLE_SINCE: written if note.idle else None, own.LAST_ACTIVITY_AT: written},
            _is_unnoted if note.idle else lambda route: _used_since(route, last),
        )
        self._outcomes.inc("idle" if note.idle else "used")
        return True


def _last_use(usage: Usage, at: Moment) -> float:
    """Return when a sandbox was last used, in seconds since 1970."""
    return at.epoch if usage.count else at.since_1970(usage.last)


def _is_noted(route: Route) -> bool:
    return route.idle.idle_since is not None and route.state is State.RUNNING


def _is_unnoted(route: Route) -> bool:
    return route.idle.idle_since is None and route.state is State.RUNNING


def _used_since(route: Route, last: float) -> bool:
    """Return whether a note says that a sandbox is idle since before its last use."""
    since = route.idle.idle_since
    return since is not None and last > since + TOLERANCE
