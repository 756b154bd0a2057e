"""The gate before each sandbox: shut while it is asked, by whoever leads, whether it may sleep.

A request that comes to a shut gate waits until it is known what became of the standby. Then it goes
on by what is known: to the sandbox, or to wake it again. Where that does not get known, one of
those who wait claims the sandbox, for all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.replicas.sleep import Fences, Word
from gateway.sandbox.errors import ClusterError, ObjectGone

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Container, Mapping

    from gateway.replicas.sleep import Answer, Fence
    from gateway.sandbox.activity import Activity
    from gateway.sandbox.model import Key, Route
    from gateway.sandbox.registry import Registry

    #: Has the registry know a sandbox as it is, and makes sure that no standby lands any more that
    #: was judged before: where it is to run, by a write over it. Raises a ClusterError (ObjectGone:
    #: there is none of this uid).
    Claim = Callable[[Key, str], Awaitable[object]]

#: Seconds between two attempts to claim a sandbox.
_PAUSE_MIN: Final = 0.1
_PAUSE_MAX: Final = 2.0


@dataclass(frozen=True, slots=True)
class Use:
    """How many use a sandbox now, and for how many seconds nobody has (None: it is not known)."""

    count: int
    unused_for: float | None


class _Queue:
    """Those who wait at one gate. `claiming` is held by the one of them that claims."""

    __slots__ = ("_moved", "claiming", "waiting")

    def __init__(self) -> None:
        self._moved = asyncio.Event()
        self.claiming = asyncio.Lock()
        self.waiting = 0

    def tell(self) -> None:
        """Have all of them look again."""
        self._moved.set()
        self._moved.clear()

    async def told(self, within: float) -> None:
        """Wait until there is a reason to look again, or so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._moved.wait()


class Gate:
    """All gates of one replica, and what it answers who asks."""

    def __init__(
        self, activity: Activity, registry: Registry, claim: Claim, clock: Callable[[], float]
    ) -> None:
        """`clock` gives monotonic seconds, those of `activity`."""
        self.activity = activity
        self._registry = registry
        self._claim = claim
        self._clock = clock
        self._fences = Fences()
        self._queues: dict[str, _Queue] = {}

    def __len__(self) -> int:
        return len(self._fences.by_uid)

    @property
    def shut(self) -> Container[str]:
        """The sandboxes, by uid, whose gate is shut; always the same object, for who asks often."""
        return self._fences.by_uid

    def is_shut(self, uid: str) -> bool:
        """Return whether requests to a sandbox have to `wait`. Asked for each request."""
        return uid in self._fences.by_uid

    def ask(self, question: str, uid: str, needed: float) -> Answer:
        """Answer whether a sandbox may sleep that must have been unused for `needed` seconds.

        After a yes its gate is shut until `settle`, or until that can come no more.
        """
        usage, now = self.activity.of(uid), self._clock()
        if usage is None or usage.gone:
            return Word.UNKNOWN
        answer = self._fences.ask(question, uid, usage.unused_for(now), needed, now)
        if answer is Word.UNUSED:
            self._tell(uid)
        return answer

    def settle(self, question: str, key: Key, uid: str, version: int | None, known: bool) -> None:
        """Take the asker's word on what became of its question.

        `version` is that of the standby; None: it was not written, nor will be. Not `known`: nobody
        can tell.
        """
        self._fences.settle(question, uid, version, known=known)
        route = self._registry.get(key)
        if route is not None and route.uid == uid:
            self._fences.heard(uid, route.version)
        self._tell(uid)

    def use(self, uid: str) -> Use:
        """Return how a sandbox is used on this replica."""
        usage = self.activity.of(uid)
        return Use(0, None) if usage is None else Use(usage.count, usage.unused_for(self._clock()))

    def inherit(self, uses: Mapping[str, float]) -> None:
        """Take over what another replica knew that leaves: how long ago it used which sandbox."""
        now = self._clock()
        for uid, ago in uses.items():
            usage = self.activity.of(uid)
            if usage is not None:
                usage.touch(now - ago)

    def bequest(self, most: int) -> dict[str, float]:
        """Return how long ago sandboxes were used here, the `most` that were used last."""
        now = self._clock()
        last = heapq.nlargest(most, self.activity, key=lambda one: one.last)
        return {one.uid: round(one.unused_for(now), 3) for one in last if not one.gone}

    def heed(self, before: Route | None, after: Route | None) -> None:
        """Take news of a sandbox, as a registry tells it."""
        if not self._fences.by_uid:
            return
        if before is not None and (after is None or after.uid != before.uid):
            for uid in self._fences.forget(before.uid, self._clock()):
                self._tell(uid)
        if after is not None and self._fences.heard(after.uid, after.version):
            self._tell(after.uid)

    async def wait(self, key: Key, uid: str) -> None:
        """Return when a sandbox's gate is open; as long as the API cannot be asked, it is not."""
        queue = self._queues.setdefault(uid, _Queue())
        queue.waiting += 1
        try:
            while (fence := self._fences.by_uid.get(uid)) is not None:
                due = fence.word_due(self._clock())
                if due:
                    await queue.told(within=due)
                else:
                    await self._make_sure(queue, fence, key, uid)
        finally:
            queue.waiting -= 1
            if not queue.waiting:
                del self._queues[uid]

    async def _make_sure(self, queue: _Queue, fence: Fence, key: Key, uid: str) -> None:
        """Claim a sandbox, one at a time for each, until this fence is lifted or asks for more."""
        pause = _PAUSE_MIN
        async with queue.claiming:
            while self._needs_claim(uid, fence):
                if await self._claimed(key, uid):
                    self._fences.claimed(uid, fence, self._clock())
                else:
                    await queue.told(within=pause)
                    pause = min(2 * pause, _PAUSE_MAX)

    def _needs_claim(self, uid: str, fence: Fence) -> bool:
        return self._fences.by_uid.get(uid) is fence and not fence.word_due(self._clock())

    async def _claimed(self, key: Key, uid: str) -> bool:
        try:
            await self._claim(key, uid)
        except ObjectGone:
            return True
        except ClusterError:
            return False
        return True

    def _tell(self, uid: str) -> None:
        queue = self._queues.get(uid)
        if queue is not None:
            queue.tell()
