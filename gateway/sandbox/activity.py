"""Who is used now, and who was when: counted on one replica, per sandbox.

Times are by one monotonic clock, in seconds. Counting is on the path of every request: it costs a
look into a dictionary and an addition. Nobody is told; who wants to know looks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.sandbox.model import State

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.sandbox.model import Route


class Usage:
    """One sandbox: how many use it now, and when the last one ended, or it came to run.

    `gone`: its object is not known any more, but what uses it has not ended.
    """

    __slots__ = ("count", "gone", "last", "uid")

    def __init__(self, uid: str, last: float) -> None:
        self.uid = uid
        self.count = 0
        self.last = last
        self.gone = False

    def leave(self, now: float) -> None:
        """Give back what `Activity.enter` took, exactly once."""
        self.count -= 1
        self.last = now

    def touch(self, at: float) -> None:
        """Take note of a use that was over at `at`; a later one stays the last."""
        self.last = max(self.last, at)

    def unused_for(self, now: float) -> float:
        """Return for how many seconds nobody has used it; 0 while somebody does."""
        return 0.0 if self.count else max(now - self.last, 0.0)


class Activity:
    """The use of all sandboxes, by uid, as this replica sees it."""

    def __init__(self) -> None:
        self._usages: dict[str, Usage] = {}
        self._gone: set[str] = set()

    def __len__(self) -> int:
        return len(self._usages)

    def __iter__(self) -> Iterator[Usage]:
        return iter(self._usages.values())

    def enter(self, uid: str, now: float) -> Usage:
        """Count one more use; `leave` what this returns, once it has ended."""
        usage = self._usages.get(uid)
        if usage is None:
            usage = self._usages[uid] = Usage(uid, now)
        usage.count += 1
        return usage

    @property
    def by_uid(self) -> Mapping[str, Usage]:
        """All that is known, by uid; always the same object, for who asks often."""
        return self._usages

    def of(self, uid: str) -> Usage | None:
        """Return what is known of the use of a sandbox; None: nothing."""
        return self._usages.get(uid)

    def heed(self, before: Route | None, after: Route | None, now: float, epoch: float) -> None:
        """Take news of a sandbox, as a registry tells it. `epoch` is `now` since 1970.

        One that comes to run counts as used then. One that ran already when it was first heard of
        is idle since its object says so, or else since now.
        """
        if after is None or (before is not None and before.uid != after.uid):
            self._forget(before)
            before = None
        if after is None:
            return
        usage = self._usages.get(after.uid)
        if usage is None:
            self._usages[after.uid] = Usage(after.uid, _first_use(before, after, now, epoch))
            return
        usage.gone = False
        if before is None or _began(before, after):
            usage.touch(_first_use(before, after, now, epoch))

    def _forget(self, before: Route | None) -> None:
        usage = self._usages.get(before.uid) if before is not None else None
        if usage is not None:
            usage.gone = True
            self._gone.add(usage.uid)
        for uid in tuple(self._gone):
            ended = self._usages.get(uid)
            if ended is None or not ended.gone:
                self._gone.discard(uid)
            elif not ended.count:
                self._gone.discard(uid)
                del self._usages[uid]


#: States of a sandbox that is not awake: to leave them is to begin to run.
_ASLEEP: Final = frozenset({State.PAUSED, State.PAUSING, State.RESUMING, State.CREATING})


def _began(before: Route, after: Route) -> bool:
    if after.backing is not None:
        # Workloads have a new life with each deploy, which is no use: only to leave zero is.
        return before.state is State.PAUSED and after.state is not State.PAUSED
    return after.state is State.RUNNING and (
        before.state in _ASLEEP or before.incarnation != after.incarnation
    )


def _first_use(before: Route | None, after: Route, now: float, epoch: float) -> float:
    since = after.idle.idle_since
    if before is None and since is not None and after.state is State.RUNNING:
        return now - max(epoch - since, 0.0)
    return now
