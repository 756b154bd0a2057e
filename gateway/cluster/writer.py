"""The only code that changes a sandbox.

Every change is compare-and-set: the object is read, its uid compared, its guards judged on what
was just read, and the patch carries the resourceVersion of that reading.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

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
    ObjectGone,
    SandboxIsPausing,
    WakeForbidden,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.cluster.intake import Intake
    from gateway.cluster.metrics import ClusterCounters
    from gateway.dialects.base import Patch, RawObject, Resource
    from gateway.sandbox.model import Key, Route

#: First match wins: subclasses stand before their bases.
_OUTCOMES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (SandboxIsPausing, "pausing"),
    (WakeForbidden, "forbidden"),
    (NotResumable, "not_resumable"),
    (ObjectGone, "gone"),
    (Conflict, "conflict"),
    (AccessDenied, "denied"),
    (InvalidWrite, "invalid"),
    (ApiUnavailable, "unavailable"),
)
WRITTEN: Final = "written"
NOTHING_TO_DO: Final = "nothing_to_do"

#: Failures that stay until somebody acts: worth an Event on the sandbox.
_LASTING: Final = (AccessDenied, InvalidWrite, NotResumable)


class WriterClient(Protocol):
    """What the writer needs of the client; every method raises a ClusterError."""

    async def get(self, resource: Resource, namespace: str, name: str) -> RawObject:
        """Read an object."""

    async def merge_patch(
        self, resource: Resource, namespace: str, name: str, patch: Patch
    ) -> RawObject:
        """Change an object."""

    async def create(self, resource: Resource, namespace: str, body: RawObject) -> RawObject:
        """Create an object."""


class SandboxWriter:
    """Reads, wakes and pauses sandboxes; what it learns goes to the registry at once."""

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

    async def pause(self, key: Key, uid: str) -> Route:
        """Ask for Paused, unless that is asked for already; return the sandbox after that.

        Raises ObjectGone, Conflict where somebody else wrote in between or wakes it, or another
        ClusterError.
        """
        return await self._intents.run(uid, Verb.PAUSE, lambda: self._pause(key, uid))

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

    async def _pause(self, key: Key, uid: str) -> Route:
        try:
            raw, route = await self._read(key, uid)
            dialect = self._intakes[key.dialect].dialect
            patch = _made(dialect.standby_patch, raw, self._clock())
            return await self._write(Verb.PAUSE, raw, route, patch)
        except ClusterError as error:
            self._count(Verb.PAUSE, error)
            raise

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

    async def _write(self, verb: Verb, raw: RawObject, route: Route, patch: Patch | None) -> Route:
        if patch is None:
            self._counters.writes.inc(verb.value, NOTHING_TO_DO)
            return route
        intake, key = self._intakes[route.key.dialect], route.key
        guarded = patch | {
            "metadata": patch.get("metadata", {})
            | {"resourceVersion": raw["metadata"]["resourceVersion"]}
        }
        changed = await self._client.merge_patch(
            intake.dialect.resource, key.namespace, key.name, guarded
        )
        result = self._judge(intake, changed, route.uid)
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
