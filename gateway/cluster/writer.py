"""The only code that changes a sandbox.

Every change is compare-and-set: the object is read, its uid compared, its guards judged on what
was just read, and the patch carries the resourceVersion of that reading.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from gateway.cluster import marks
from gateway.cluster.events import EventRecorder
from gateway.cluster.intake import JUDGING_MISTAKES
from gateway.cluster.intents import Intents, Verb
from gateway.dialects.base import identity
from gateway.sandbox.errors import (
    AccessDenied,
    ApiUnavailable,
    ClusterError,
    Conflict,
    InvalidWrite,
    MalformedObject,
    NotResumable,
    NotWritten,
    ObjectGone,
    SandboxIsPausing,
    StandbyForbidden,
    WakeForbidden,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.cluster.intake import Intake
    from gateway.cluster.marks import Changes
    from gateway.cluster.metrics import ClusterCounters
    from gateway.dialects.base import Patch, RawObject, Resource
    from gateway.sandbox.model import Key, Route

    #: Judges what was just read: the patch to write, or None.
    Decide = Callable[[RawObject, Route], Patch | None]

#: First match wins: subclasses stand before their bases.
_OUTCOMES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (SandboxIsPausing, "pausing"),
    (WakeForbidden, "forbidden"),
    (NotResumable, "not_resumable"),
    (ObjectGone, "gone"),
    (Conflict, "conflict"),
    (AccessDenied, "denied"),
    (InvalidWrite, "invalid"),
    (StandbyForbidden, "forbidden"),
    (NotWritten, "not_written"),
    (ApiUnavailable, "unavailable"),
)
WRITTEN: Final = "written"
NOTHING_TO_DO: Final = "nothing_to_do"

#: Failures that stay until somebody acts: worth an Event on the sandbox.
_LASTING: Final = (AccessDenied, InvalidWrite, NotResumable)

#: How often a mark is tried where somebody else writes in between. Controllers write in bursts.
ATTEMPTS: Final = 4
#: A standby that has less time than this left, in seconds, is not written.
LEAST_TIME: Final = 0.5


class _Unjudged(ObjectGone):
    """What the API says of a sandbox that it has changed cannot be taken for it."""


class WriterClient(Protocol):
    """What the writer needs of the client; every method raises a ClusterError."""

    async def get(self, resource: Resource, namespace: str, name: str) -> RawObject:
        """Read an object."""

    async def merge_patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        patch: Patch,
        within: float | None = None,
    ) -> RawObject:
        """Change an object: `within` so many seconds, or not at all."""

    async def create(self, resource: Resource, namespace: str, body: RawObject) -> RawObject:
        """Create an object."""


@dataclass(frozen=True, slots=True)
class _Standby:
    """A standby that `may` be written until `deadline` by the loop's clock; `why` is for people."""

    may: Callable[[Route], bool]
    deadline: float
    why: str

    @property
    def time_left(self) -> float:
        """Seconds."""
        return self.deadline - asyncio.get_running_loop().time()


class SandboxWriter:
    """Reads and changes sandboxes; what it learns goes to the registry at once."""

    def __init__(
        self,
        client: WriterClient,
        intakes: Mapping[str, Intake],
        clock: Callable[[], float],
        counters: ClusterCounters,
    ) -> None:
        """Take the intakes by dialect name, and a `clock` that gives epoch seconds."""
        self._client = client
        self._intakes = intakes
        self._clock = clock
        self._counters = counters
        self._intents = Intents()
        self._events = EventRecorder(client, clock, counters)

    async def read(self, key: Key, uid: str) -> Route:
        """Return the sandbox as the API has it now.

        Raises ObjectGone where there is none of this uid that can be judged, or a ClusterError.
        """
        return (await self._read(key, uid))[1]

    async def wake(self, key: Key, uid: str) -> Route:
        """Ask for Running, unless that is asked for already; return the sandbox after that.

        Raises the NotResumable that says why it cannot be woken (WakeForbidden: its policy),
        ObjectGone, Conflict where somebody else wrote in between, or another ClusterError.
        """
        return await self._intents.run(uid, Verb.WAKE, lambda: self._wake(key, uid))

    async def sleep(
        self,
        key: Key,
        uid: str,
        may: Callable[[Route], bool],
        within: float,
        why: str = "Nobody used it.",
    ) -> Route:
        """Ask for Paused, if `may` still allows that of the sandbox as it is then; return it.

        The write is made `within` so many seconds from now, or never. ApiUnavailable: nobody knows
        whether it was made. Any other ClusterError: it was not. StandbyForbidden: `may` said no;
        Conflict: somebody else wrote in between, or wakes it; NotWritten: the sandbox could not be
        read in time. `why` is shown to users.
        """
        standby = _Standby(may, asyncio.get_running_loop().time() + within, why)
        if self._intents.closed:
            raise NotWritten("the gateway is closing")
        return await self._intents.run(uid, Verb.PAUSE, lambda: self._sleep(key, uid, standby))

    async def annotate(
        self,
        key: Key,
        uid: str,
        changes: Changes,
        if_: Callable[[Route], bool] | None = None,
    ) -> Route:
        """Make annotations of ours say this, `if_` that holds of the sandbox as it is then.

        Where they do already, nothing is written. Return the sandbox after that. Raises ObjectGone,
        Conflict where others wrote in between again and again, or another ClusterError.
        """

        def decide(raw: RawObject, route: Route) -> Patch | None:
            return marks.difference(raw, changes) if if_ is None or if_(route) else None

        return await self._intents.run(uid, Verb.MARK, lambda: self._mark(key, uid, decide))

    async def claim(self, key: Key, uid: str) -> Route:
        """Let no standby land any more that was judged before; return the sandbox after that.

        Where it is to run, that takes a write over it. Raises as `annotate` does.
        """
        dialect = self._intakes[key.dialect].dialect

        def decide(raw: RawObject, _: Route) -> Patch | None:
            now = self._clock()
            is_to_run = _made(dialect.standby_patch, raw, now) is not None
            return marks.claim(now) if is_to_run else None

        return await self._intents.run(uid, Verb.MARK, lambda: self._mark(key, uid, decide))

    async def postpone(self, key: Key, uid: str, used_at: float) -> Route:
        """Put off what its own controller would end, if that is near for one used then.

        `used_at` is seconds since 1970. Raises as `annotate` does.
        """
        dialect = self._intakes[key.dialect].dialect

        def decide(raw: RawObject, _: Route) -> Patch | None:
            return _made(dialect.postpone_patch, raw, used_at)

        return await self._intents.run(uid, Verb.MARK, lambda: self._mark(key, uid, decide))

    def note(self, route: Route, reason: str, message: str, *, warning: bool = False) -> None:
        """Tell users of a sandbox what was done to it, by an Event; later, and perhaps never."""
        resource = self._intakes[route.key.dialect].dialect.resource
        self._events.record(resource, route, reason, message, warning=warning)

    async def close(self) -> None:
        """Take no more, and wait for what is under way."""
        await self._intents.close()
        await self._events.close()

    async def _wake(self, key: Key, uid: str) -> Route:
        resource = self._intakes[key.dialect].dialect.resource
        try:
            raw, route = await self._read(key, uid)
        except ClusterError as error:
            self._count(Verb.WAKE, error)
            raise
        try:
            patch = self._wake_patch(raw, route)
            changed = await self._write(Verb.WAKE, raw, route, patch)
        except (ClusterError, NotResumable) as error:
            self._count(Verb.WAKE, error)
            if isinstance(error, _LASTING) and not isinstance(error, SandboxIsPausing):
                why = f"Traffic could not wake it: {type(error).__name__}."
                self._events.record(resource, route, "WakeFailed", why, warning=True)
            raise
        if patch is not None:
            self._events.record(resource, changed, "Woken", "Traffic woke it.")
        return changed

    async def _sleep(self, key: Key, uid: str, standby: _Standby) -> Route:
        resource = self._intakes[key.dialect].dialect.resource
        try:
            raw, route = await self._read_in_time(key, uid, standby)
        except ClusterError as error:
            self._count(Verb.PAUSE, error)
            raise
        try:
            patch = self._sleep_patch(raw, route, standby)
            changed = await self._write_in_time(raw, route, patch, standby)
        except ClusterError as error:
            self._count(Verb.PAUSE, error)
            if isinstance(error, _LASTING):
                why = f"It could not be put to sleep: {type(error).__name__}."
                self._events.record(resource, route, "StandbyFailed", why, warning=True)
            raise
        if patch is not None:
            self._events.record(resource, changed, "Standby", standby.why)
        return changed

    async def _read_in_time(self, key: Key, uid: str, standby: _Standby) -> tuple[RawObject, Route]:
        """Read what a standby depends on; raise NotWritten where it cannot be had in time."""
        try:
            async with asyncio.timeout(max(standby.time_left - LEAST_TIME, 0.0)):
                return await self._read(key, uid)
        except (ApiUnavailable, TimeoutError) as error:
            raise NotWritten(f"the sandbox cannot be read: {error}") from error

    def _sleep_patch(self, raw: RawObject, route: Route, standby: _Standby) -> Patch | None:
        """Judge the object just read. Where Paused is asked for already, nothing need allow it."""
        dialect = self._intakes[route.key.dialect].dialect
        patch = _made(dialect.standby_patch, raw, self._clock())
        if patch is not None and not standby.may(route):
            raise StandbyForbidden("it may not sleep as it is now")
        return None if patch is None else marks.asleep(raw, patch)

    async def _write_in_time(
        self, raw: RawObject, route: Route, patch: Patch | None, standby: _Standby
    ) -> Route:
        left = standby.time_left
        if left < LEAST_TIME:
            raise NotWritten("it is too late to write")
        try:
            return await self._write(Verb.PAUSE, raw, route, patch, left)
        except _Unjudged as error:
            raise ApiUnavailable(f"the answer to a standby cannot be judged: {error}") from error

    async def _mark(self, key: Key, uid: str, decide: Decide) -> Route:
        try:
            for _ in range(ATTEMPTS - 1):
                with suppress(Conflict):
                    return await self._mark_once(key, uid, decide)
            return await self._mark_once(key, uid, decide)
        except ClusterError as error:
            self._count(Verb.MARK, error)
            raise

    async def _mark_once(self, key: Key, uid: str, decide: Decide) -> Route:
        raw, route = await self._read(key, uid)
        return await self._write(Verb.MARK, raw, route, decide(raw, route))

    def _wake_patch(self, raw: RawObject, route: Route) -> Patch | None:
        """Judge the guards on the object just read.

        Where Running is asked for already nothing is written, so that no policy need allow it.
        """
        dialect = self._intakes[route.key.dialect].dialect
        now = self._clock()
        dialect.check_resumable(raw, now)
        patch = _made(dialect.wake_patch, raw, now)
        if patch is not None and not route.wake.enabled:
            raise WakeForbidden
        return patch

    async def _read(self, key: Key, uid: str) -> tuple[RawObject, Route]:
        intake = self._intakes[key.dialect]
        raw = await self._client.get(intake.dialect.resource, key.namespace, key.name)
        return raw, self._judge(intake, raw, uid)

    async def _write(
        self,
        verb: Verb,
        raw: RawObject,
        route: Route,
        patch: Patch | None,
        within: float | None = None,
    ) -> Route:
        if patch is None:
            self._counters.writes.inc(verb.value, NOTHING_TO_DO)
            return route
        intake, key = self._intakes[route.key.dialect], route.key
        guarded = patch | {
            "metadata": patch.get("metadata", {})
            | {"resourceVersion": raw["metadata"]["resourceVersion"]}
        }
        changed = await self._client.merge_patch(
            intake.dialect.resource, key.namespace, key.name, guarded, within
        )
        try:
            result = self._judge(intake, changed, route.uid)
        except ObjectGone as error:
            raise _Unjudged(str(error)) from error
        self._counters.writes.inc(verb.value, WRITTEN)
        return result

    def _judge(self, intake: Intake, raw: RawObject, uid: str) -> Route:
        """Enter what was read into the registry; an object without a route does not exist to us."""
        if _uid_of(raw, intake.dialect.name) != uid:
            raise ObjectGone("another object has taken the name")
        route = intake.take(raw)
        if route is None:
            raise ObjectGone("the object cannot be judged")
        return route

    def _count(self, verb: Verb, error: Exception) -> None:
        outcome = next((name for kind, name in _OUTCOMES if isinstance(error, kind)), "failed")
        self._counters.writes.inc(verb.value, outcome)


def _uid_of(raw: RawObject, dialect: str) -> str | None:
    try:
        return identity(raw, dialect)[1]
    except MalformedObject:
        return None


def _made(
    make: Callable[[RawObject, float], Patch | None], raw: RawObject, now: float
) -> Patch | None:
    try:
        return make(raw, now)
    except JUDGING_MISTAKES as error:  # such as a duration whose end no calendar has
        raise InvalidWrite(f"no legal patch: {type(error).__name__}") from error
