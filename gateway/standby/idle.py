"""The idle loop of the replica that leads: which sandboxes to put to sleep now. Pure.

Who uses a sandbox tells nobody. So each sandbox that may sleep one day is looked at when that day
could be at the earliest: its idle time after its last use, as known when that was worked out. One
that was used meanwhile is looked at again, later; one that is in use, after a whole idle time, for
it cannot sleep sooner. That costs one tuple for each sandbox, about two looks in each idle time
and no timer, and is never late.

What comes out of it: questions to ask, guests to ask first, and notes to write on objects. What
becomes of them comes back as a `Result`. The rules:

- a sandbox is in at most one question at a time, and at most `BATCH` are in questions;
- one that cannot be dealt with now stays where it is: nothing is ever dropped but what is gone;
- one that another replica has used is looked at again an idle time after that use;
- one whose standby failed is tried again after a pause, each time after a longer one; where it was
  the API that failed, or nobody answered at all, all others wait too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.standby.agenda import Agenda
from gateway.standby.verdict import Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.sandbox.activity import Activity
    from gateway.sandbox.model import Key, Route
    from gateway.standby.judging import Judging, Moment
    from gateway.standby.verdict import Verdict

#: Sandboxes that are asked about in one question, and in all questions at one time.
BATCH: Final = 64
#: Entries that are looked at in one turn: other work waits meanwhile.
LOOKS: Final = 256

#: Seconds until one that failed is tried again: the first pause, and the longest.
PAUSE_MIN: Final = 2.0
PAUSE_MAX: Final = 60.0
#: How long all wait after the API failed one, at first and at most.
REST_MIN: Final = 1.0
REST_MAX: Final = 30.0
#: How long a guest that said no is left alone at most, and one whose connections cannot be seen.
VETO_MAX: Final = 60.0
BLIND: Final = 15.0
#: Until a guest that could not be asked, since too many were, has its turn.
TURN: Final = 1.0
#: How long its word holds that it may sleep.
CONSENT: Final = 10.0
#: Idle for so long, and for half of its idle time, a sandbox is noted as idle on its object.
NOTED_AFTER: Final = 60.0


class Result(Enum):
    """What became of a sandbox that was asked about."""

    SLEPT = "slept"
    """The standby was written."""
    USED = "used"
    """Some replica has used it meanwhile, or somebody comes to it now."""
    CHANGED = "changed"
    """Somebody came to it, or its object says by now that it may not sleep."""
    SILENT = "silent"
    """Not all replicas answered, or it is not known who they are."""
    UNCERTAIN = "uncertain"
    """Some replica does not know the sandbox, or was asked by another leader."""
    NOT_LEADING = "not_leading"
    """Another replica leads by now."""
    CONFLICT = "conflict"
    """Somebody else wrote first."""
    GONE = "gone"
    DENIED = "denied"
    """The gateway may not write it."""
    INVALID = "invalid"
    """The API takes no such write."""
    UNAVAILABLE = "unavailable"
    """The API could not be had."""


#: Results after which a sandbox that should sleep is awake: it is overdue.
FAILED: Final = frozenset(
    {
        Result.SILENT,
        Result.UNCERTAIN,
        Result.CONFLICT,
        Result.DENIED,
        Result.INVALID,
        Result.UNAVAILABLE,
    }
)
#: For how long all wait at most after one failed in a way that the next would, too.
_RESTS: Final = {Result.SILENT: REST_MIN, Result.UNAVAILABLE: REST_MAX}


#: The longest pause after a failure that ends by itself once a replica has come or gone.
_PAUSES: Final = {Result.SILENT: 2 * PAUSE_MIN, Result.UNCERTAIN: 2 * PAUSE_MIN}

#: Seconds for which one is left alone that was written, or was found changed.
_WAITS: Final = {Result.SLEPT: PAUSE_MAX, Result.CHANGED: PAUSE_MIN}


class Trouble(NamedTuple):
    """Why a sandbox is awake that should sleep, and since when it should."""

    result: Result
    since: float


class _Bar(NamedTuple):
    """Not to be tried before `until`; the next pause is longer than `pause`."""

    until: float
    pause: float


class _Asked(NamedTuple):
    """The sandbox `uid` is in a question; `since`: since when it should sleep."""

    uid: str
    since: float


@dataclass(slots=True)
class Look:
    """What is to be done now: sandboxes to ask about, guests to ask, notes to write.

    `more`: there is more to look at.
    """

    ask: list[Route] = field(default_factory=list)
    check: list[Route] = field(default_factory=list)
    note: list[Route] = field(default_factory=list)
    more: bool = False


class IdleLoop:
    """All sandboxes that may sleep one day, by when that may be."""

    def __init__(
        self,
        find: Callable[[Key], Route | None],
        judging: Judging,
        activity: Activity,
        concurrency: int,
    ) -> None:
        """`find` gives the route of a key; `concurrency` guests are asked at one time."""
        self._find = find
        self._judging = judging
        self._activity = activity
        self._concurrency = concurrency
        #: When a sandbox is looked at next.
        self._agenda: Agenda[Key] = Agenda()
        self._asked: dict[Key, _Asked] = {}
        self._checked: set[Key] = set()
        self._consents: dict[Key, float] = {}
        self._barred: dict[Key, _Bar] = {}
        #: Until when those are left alone whose guests did not agree.
        self._vetoed: dict[Key, float] = {}
        self._overdue: dict[Key, Trouble] = {}
        self._rest = _Bar(0.0, 0.0)

    # ---- what is shown ------------------------------------------------------------------------

    @property
    def watched(self) -> int:
        """Sandboxes whose idle time is watched."""
        return len(self._agenda)

    @property
    def in_progress(self) -> int:
        """Sandboxes that are being put to sleep, and guests that are being asked."""
        return len(self._asked) + len(self._checked)

    @property
    def overdue(self) -> int:
        """Sandboxes that should sleep but could not be put to sleep."""
        return len(self._overdue)

    def late(self, now: float) -> float:
        """Return for how long the one that has waited longest should sleep."""
        first = next(iter(self._overdue.values()), None)
        failed = now if first is None else first.since
        return max(now - min(failed, self._agenda.next), 0.0)

    def trouble_with(self, route: Route) -> Trouble | None:
        """Return why a sandbox could not be put to sleep, if it should sleep."""
        return self._overdue.get(route.key)

    def vetoed_until(self, route: Route) -> float | None:
        """Return until when a sandbox is left alone whose guest did not agree; None: it has not."""
        return self._vetoed.get(route.key)

    def is_asked(self, route: Route) -> bool:
        """Return whether a sandbox is being put to sleep."""
        asked = self._asked.get(route.key)
        return asked is not None and asked.uid == route.uid

    # ---- events -------------------------------------------------------------------------------

    @property
    def due(self) -> float | None:
        """When something is to be looked at, by the monotonic clock; None: there is nothing."""
        return max(self._agenda.next, self._rest.until) if self._agenda else None

    def forget_all(self) -> None:
        """Another replica leads: nothing is looked at any more. What was asked is still settled."""
        self._agenda.clear()
        for table in (self._consents, self._barred, self._vetoed, self._overdue):
            table.clear()
        self._rest = _Bar(0.0, 0.0)

    def arm(self, route: Route, at: Moment) -> None:
        """Look at a sandbox when it may sleep, unless it is looked at sooner anyway."""
        if route.key in self._asked or route.key in self._checked:
            return
        if not self._judging.concerns(route):
            self._quit(route.key)
            self._agenda.remove(route.key)
            return
        verdict = self._verdict(route, at)
        when = self._when(route, verdict, at.now)
        if when is None:
            self._agenda.remove(route.key)
        else:
            self._await(route, verdict, when, at.now)

    def hear(self, before: Route | None, after: Route | None, at: Moment) -> None:
        """Take news of a sandbox, as a registry tells it."""
        if before is not None and (after is None or after.uid != before.uid):
            self._quit(before.key)
            self._agenda.remove(before.key)
        if after is not None:
            self.arm(after, at)

    def look(self, at: Moment) -> Look:
        """Return what to do about those that are due."""
        found = Look()
        if at.now < self._rest.until:
            return found
        for _ in range(LOOKS):
            first = self._agenda.pop(at.now) if len(self._asked) < BATCH else None
            if first is None:
                break
            due, key = first
            route = self._find(key)
            if route is not None:
                self._look_at(route, due, at, found)
        else:
            found.more = True
        return found

    def consented(self, route: Route, may_sleep: bool, at: Moment) -> None:
        """Take a guest's answer."""
        self._checked.discard(route.key)
        known = self._find(route.key)
        if known is None:
            return
        if known.uid == route.uid and may_sleep:
            self._vetoed.pop(route.key, None)
            self._consents[route.key] = at.now + CONSENT
        elif known.uid == route.uid:
            self._bar_veto(known, at)
        self.arm(known, at)

    def settle(
        self, route: Route, result: Result, at: Moment, used_ago: float | None = None
    ) -> float:
        """Take what became of a sandbox that was asked about; return for how long it should sleep.

        `used_ago`: for how many seconds no replica had used it, where some had.
        """
        since = self._asked.pop(route.key).since
        self._take(route, Trouble(result, since), at, used_ago)
        return max(at.now - since, 0.0)

    # ---- the parts of it ----------------------------------------------------------------------

    def _take(self, route: Route, came: Trouble, at: Moment, used_ago: float | None) -> None:
        key, result = route.key, came.result
        self._rest_after(result, at.now)
        usage = self._activity.of(route.uid)
        if used_ago is not None and usage is not None:
            usage.touch(at.now - used_ago)
        known = self._find(key)
        if known is None or known.uid != route.uid or result not in FAILED:
            self._quit(key)
        else:
            self._overdue[key] = came
            self._bar_failed(known, result, at)
        if known is not None and result in _WAITS:
            # Its news may be late. And should its platform not do as told, it is told again.
            self._barred[key] = _Bar(at.now + _WAITS[result], 0.0)
        if known is not None and result is not Result.GONE:
            self.arm(known, at)

    def _look_at(self, route: Route, due: float, at: Moment, found: Look) -> None:
        verdict = self._verdict(route, at)
        when = self._when(route, verdict, at.now)
        if when is None:
            return
        if when > at.now:
            if self._await(route, verdict, when, at.now):
                found.note.append(route)
        elif route.idle.check is None or self._consents.pop(route.key, 0.0) > at.now:
            self._asked[route.key] = _Asked(route.uid, self._should_since(route, due))
            found.ask.append(route)
        elif len(self._checked) < self._concurrency:
            self._checked.add(route.key)
            found.check.append(route)
        else:
            self._agenda.put(route.key, at.now + TURN)

    def _should_since(self, route: Route, due: float) -> float:
        """Return since when one should sleep that is found at a look that was `due` then."""
        usage = self._activity.of(route.uid)
        if usage is not None:
            due = max(due, usage.last + self._judging.timeout_of(route))
        trouble = self._overdue.get(route.key)
        return due if trouble is None else trouble.since

    def _await(self, route: Route, verdict: Verdict, when: float, now: float) -> bool:
        """Look again when it may sleep, or sooner, to note that it is idle.

        Return whether that is to be noted now.
        """
        noted_at = self._noted_at(route, verdict)
        if noted_at is not None and now < noted_at:
            self._agenda.put(route.key, noted_at)
            return False
        self._agenda.put(route.key, when)
        return noted_at is not None

    def _verdict(self, route: Route, at: Moment) -> Verdict:
        verdict = self._judging.verdict(route, at)
        if verdict.status is not Status.READY_FOR_STANDBY:
            self._quit(route.key)
        return verdict

    def _noted_at(self, route: Route, verdict: Verdict) -> float | None:
        """Return when it is worth a write that a sandbox is idle; None: never, or it was."""
        policy = self._judging.policy_of(route)
        counts = verdict.status is Status.IDLE_COUNTDOWN and verdict.until is not None
        if policy is None or not counts or route.idle.idle_since is not None:
            return None
        assert verdict.until is not None
        after = max(NOTED_AFTER, policy.idle_timeout / 2)
        return verdict.until - policy.idle_timeout + after if after < policy.idle_timeout else None

    def _when(self, route: Route, verdict: Verdict, now: float) -> float | None:
        """Return when a sandbox may sleep at the earliest; None: not before there is news of it."""
        match verdict.status:
            case Status.READY_FOR_STANDBY:
                when = now
            case Status.ACTIVE:
                when = now + self._judging.timeout_of(route)
            case Status.ERROR:
                when = now + BLIND
            case _:
                if verdict.until is None:
                    return None
                when = verdict.until
        bar = self._barred.get(route.key)
        return when if bar is None else max(when, bar.until)

    def _quit(self, key: Key) -> None:
        """It is not to sleep now: what went wrong before is of no interest."""
        self._barred.pop(key, None)
        self._vetoed.pop(key, None)
        self._overdue.pop(key, None)
        self._consents.pop(key, None)

    def _bar_failed(self, route: Route, result: Result, at: Moment) -> None:
        last, longest = self._barred.get(route.key), _PAUSES.get(result, PAUSE_MAX)
        pause = PAUSE_MIN if last is None else min(max(2 * last.pause, PAUSE_MIN), longest)
        self._barred[route.key] = _Bar(at.now + pause, pause)

    def _bar_veto(self, route: Route, at: Moment) -> None:
        self._overdue.pop(route.key, None)
        until = at.now + min(self._judging.timeout_of(route), VETO_MAX)
        self._vetoed[route.key] = until
        self._barred[route.key] = _Bar(until, 0.0)

    def _rest_after(self, result: Result, now: float) -> None:
        longest = _RESTS.get(result)
        if result is Result.SLEPT:
            self._rest = _Bar(0.0, 0.0)
        elif longest is not None and self._rest.until <= now:
            pause = min(max(2 * self._rest.pause, REST_MIN), longest)
            self._rest = _Bar(now + pause, pause)
