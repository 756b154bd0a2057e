"""What is known of one sandbox's sleep, for the admin API and for `explain`."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from gateway.sandbox.model import State
from gateway.sandbox.texts import format_duration, format_time
from gateway.standby.judging import Moment
from gateway.standby.verdict import Seen, Status, judge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.replicas.peers import PeerUse
    from gateway.sandbox.model import Route
    from gateway.sandbox.standby import StandbyPolicy
    from gateway.standby.idle import Result, Trouble
    from gateway.standby.verdict import Reason

#: What `last_failure` says of one whose guest did not agree. That is no failure of the gateway's.
VETOED: Final = "vetoed"

#: Standbys that are remembered.
_REMEMBERED: Final = 4096


@dataclass(frozen=True, slots=True)
class Slept:
    """When this replica put a sandbox to sleep (since 1970), and how long it had been idle."""

    at: float
    idle_for: float


class Sleeps:
    """The last standby of each sandbox that this replica put to sleep of late."""

    def __init__(self) -> None:
        self._by_uid: OrderedDict[str, Slept] = OrderedDict()

    def add(self, uid: str, slept: Slept) -> None:
        """Remember a standby."""
        self._by_uid[uid] = slept
        self._by_uid.move_to_end(uid)
        if len(self._by_uid) > _REMEMBERED:
            self._by_uid.popitem(last=False)

    def of(self, uid: str) -> Slept | None:
        """Return the last one of a sandbox."""
        return self._by_uid.get(uid)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How a sandbox stands between use and sleep. Times are seconds since the epoch.

    `active`: how many use it. `until`: when the status may change by time alone. `uses`: what all
    replicas say, where they were asked. `slept`: its last standby, if this replica made it.
    `trouble`: why it is awake though it should sleep, and `overdue`: for how many seconds.
    `vetoed_until`: it may sleep but for its guest, which did not agree and is asked again then.
    """

    status: Status
    reason: Reason
    policy: StandbyPolicy | None
    taken_at: float
    active: int
    idle_since: float | None
    until: float | None
    last_used_at: float | None
    hold_until: float | None
    pinned: bool
    tracking: str
    slept: Slept | None = None
    trouble: Result | None = None
    overdue: float = 0.0
    vetoed_until: float | None = None
    uses: Sequence[PeerUse] = field(default=())

    @property
    def eligible(self) -> bool:
        """Whether it may sleep once nobody uses or holds it."""
        return self.status not in _NOT_MEANT

    @property
    def next_standby_at(self) -> float | None:
        """When it sleeps if nobody uses it until then; None: not by time alone."""
        if self.vetoed_until is not None:
            return None
        if self.status is Status.READY_FOR_STANDBY or self.status is Status.STANDBY_REQUESTED:
            return self.taken_at
        return self.until if self.status is Status.IDLE_COUNTDOWN else None

    @property
    def _failure(self) -> str | None:
        if self.vetoed_until is not None:
            return VETOED
        return None if self.trouble is None else self.trouble.value

    def as_json(self) -> dict[str, object]:
        """Return it as values for JSON."""
        policy, due = self.policy, self.next_standby_at
        enabled = policy is not None and policy.enabled
        return {
            "supported": self.status is not Status.UNSUPPORTED,
            "configured": policy is not None,
            "enabled": enabled,
            "eligible": self.eligible,
            "status": self.status.value,
            "reason": self.reason.value,
            "active_inbound_count": self.active,
            "idle_timeout": format_duration(policy.idle_timeout) if policy and enabled else None,
            "idle_since": _time(self.idle_since),
            "last_inbound_activity_at": _time(self.last_used_at),
            "next_standby_at": _time(due),
            "countdown_remaining": (
                None if due is None else format_duration(round(max(due - self.taken_at, 0.0), 3))
            ),
            "tracking_mode": self.tracking,
            "hold_until": _time(self.hold_until),
            "pinned": self.pinned,
            "last_standby": (
                None
                if self.slept is None
                else {
                    "at": _time(self.slept.at),
                    "idle_for": format_duration(round(self.slept.idle_for, 3)),
                }
            ),
            "last_failure": self._failure,
            "replicas": [
                {
                    "replica": one.replica,
                    "active_count": one.count,
                    "unused_for": (
                        None
                        if one.unused_for is None
                        else format_duration(round(one.unused_for, 3))
                    ),
                    "silent": one.silent,
                }
                for one in self.uses
            ],
        }


_NOT_MEANT: Final = frozenset({Status.UNSUPPORTED, Status.DISABLED, Status.INELIGIBLE})


def snapshot_of(
    route: Route,
    seen: Seen,
    at: Moment,
    *,
    observes: bool,
    slept: Slept | None = None,
    trouble: Trouble | None = None,
    vetoed_until: float | None = None,
    uses: Sequence[PeerUse] = (),
) -> Snapshot:
    """Return the snapshot of what was `seen`: that and `vetoed_until` by the monotonic clock."""
    verdict = judge(seen, at.now)
    if verdict.status is not Status.READY_FOR_STANDBY:
        vetoed_until = None  # Something else keeps it awake by now.
    used_at = at.epoch if seen.active else at.since_1970(seen.idle_since)
    last = max(used_at, route.idle.last_activity_at or used_at)
    return Snapshot(
        status=verdict.status,
        reason=verdict.reason,
        policy=seen.policy,
        taken_at=at.epoch,
        active=seen.active,
        idle_since=used_at if seen.running and not seen.active else None,
        until=None if verdict.until is None else at.since_1970(verdict.until),
        last_used_at=last,
        hold_until=route.idle.hold_until,
        pinned=route.idle.pinned,
        tracking="proxy+conntrack" if observes else "proxy",
        slept=slept,
        trouble=None if trouble is None else trouble.result,
        overdue=0.0 if trouble is None else at.now - trouble.since,
        vetoed_until=None if vetoed_until is None else at.since_1970(vetoed_until),
        uses=uses,
    )


def unsupported(route: Route, epoch: float) -> Snapshot:
    """Return the snapshot of a sandbox where the gateway puts none to sleep."""
    seen = Seen(route.idle.policy, running=route.state_at(epoch) is State.RUNNING, supported=False)
    return replace(
        snapshot_of(route, seen, Moment(0.0, epoch), observes=False),
        idle_since=None,
        last_used_at=route.idle.last_activity_at,
    )


def _time(epoch: float | None) -> str | None:
    return None if epoch is None else format_time(epoch)
