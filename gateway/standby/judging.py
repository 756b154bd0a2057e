"""Judges sandboxes by what one replica knows of them: their rules, their use, their connections."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from gateway.dialects import deployment
from gateway.sandbox.model import State
from gateway.sandbox.standby import StandbyPolicy
from gateway.standby.verdict import Seen, Verdict, judge

if TYPE_CHECKING:
    from gateway.sandbox.activity import Activity
    from gateway.sandbox.model import Route
    from gateway.standby.config import IdleConfig

#: The dialects whose objects `IdleConfig.deployments_after` is for.
WORKLOADS: Final = frozenset({deployment.DEPLOYMENT.name, deployment.STATEFUL_SET.name})


class Moment(NamedTuple):
    """One moment by two clocks: monotonic seconds, and those since 1970."""

    now: float
    epoch: float

    def monotonic(self, epoch: float) -> float:
        """Return a time since 1970 by the monotonic clock."""
        return self.now + (epoch - self.epoch)

    def since_1970(self, now: float) -> float:
        """Return a time of the monotonic clock as one since 1970."""
        return self.epoch + (now - self.now)


class Flows(Protocol):
    """Connections to a sandbox that bypass the gateway; all of them together count as one use.

    `last_seen`: when the last one ended, by the monotonic clock; None: there was none. Where they
    are not `connected`, nobody knows.
    """

    @property
    def count(self) -> int:
        """How many there are."""

    @property
    def last_seen(self) -> float | None:
        """When the last one ended."""

    @property
    def connected(self) -> bool:
        """Whether they can be seen."""


class Observed(Protocol):
    """What is known of connections that bypass the gateway."""

    def active(self, route: Route) -> Flows:
        """Return a sandbox's."""


class _Recent:
    """What befell sandboxes within the last `span` seconds: when, by their uids."""

    def __init__(self, span: float) -> None:
        self.span = span
        self._times: dict[str, float] = {}
        self._order: deque[tuple[float, str]] = deque()

    def note(self, uid: str, now: float) -> None:
        """Take note that it befalls one now."""
        self._times[uid] = now
        self._order.append((now, uid))

    def of(self, uid: str) -> float | None:
        """Return when it befell one."""
        return self._times.get(uid)

    def forget(self, now: float) -> None:
        """Forget what was longer ago."""
        while self._order and self._order[0][0] + self.span <= now:
            at, uid = self._order.popleft()
            if self._times.get(uid) == at:
                del self._times[uid]


class Judging:
    """Judges every sandbox by the same rules, on whichever replica."""

    def __init__(
        self, config: IdleConfig, activity: Activity, observed: Observed | None = None
    ) -> None:
        """Without `observed`, only what goes through the gateway is use."""
        self._activity = activity
        self._observed = observed
        self._default = (
            StandbyPolicy(enabled=True, idle_timeout=config.deployments_after)
            if config.deployments_after is not None
            else None
        )
        #: Who came to run of late, and who was held when there was news.
        self._began = _Recent(config.min_uptime)
        self._held = _Recent(config.cooldown)

    @property
    def observes(self) -> bool:
        """Whether connections that bypass the gateway count."""
        return self._observed is not None

    def policy_of(self, route: Route) -> StandbyPolicy | None:
        """Return the policy that a sandbox has, or its kind has by default.

        The default is for those only that traffic may wake: nobody asked for the others to sleep,
        and they would sleep for good.
        """
        policy = route.idle.policy
        if policy is None and route.wake.enabled and route.key.dialect in WORKLOADS:
            return self._default
        return policy

    def timeout_of(self, route: Route) -> float:
        """Return for how many seconds nobody must have used a sandbox that sleeps."""
        policy = self.policy_of(route)
        return 0.0 if policy is None else policy.idle_timeout

    def unused_for(self, route: Route, now: float) -> float:
        """Return for how many seconds nobody has used a sandbox, as far as is known here."""
        usage = self._activity.of(route.uid)
        return 0.0 if usage is None else usage.unused_for(now)

    def concerns(self, route: Route) -> bool:
        """Return whether only use and holds can keep a sandbox awake: what is asked of all news."""
        policy = self.policy_of(route)
        return policy is not None and policy.enabled and route.state is State.RUNNING

    def heed(self, before: Route | None, after: Route | None, at: Moment) -> None:
        """Take news of a sandbox, as a registry tells it."""
        self._began.forget(at.now)
        self._held.forget(at.now)
        if before is None or after is None:
            return
        if _begins(before, after):
            self._began.note(after.uid, at.now)
        if _is_held(before, at.epoch):
            self._held.note(after.uid, at.now)

    def verdict(self, route: Route, at: Moment, *, requested: bool = False) -> Verdict:
        """Return what becomes of a sandbox, with times of the monotonic clock."""
        return judge(self.seen(route, at, requested=requested), at.now)

    def seen(self, route: Route, at: Moment, *, requested: bool = False) -> Seen:
        """Return what a verdict goes by. A use that is not known of is one now."""
        rules, usage = route.idle, self._activity.of(route.uid)
        active, idle_since = (0, at.now) if usage is None else (usage.count, usage.last)
        blind = False
        if self._observed is not None:
            flows = self._observed.active(route)
            if flows.count:  # All of them together are one use already.
                active = max(active, 1) + flows.count - 1
            idle_since = max(idle_since, flows.last_seen or idle_since)
            blind = not flows.connected
        return Seen(
            policy=self.policy_of(route),
            running=route.state_at(at.epoch) is State.RUNNING,
            address=route.address is not None,
            always_on=rules.always_on,
            pinned=rules.pinned,
            hold_until=self._held_until(route, at),
            requested=requested,
            observer_error=blind,
            active=active,
            idle_since=idle_since,
            ran_since=self._began.of(route.uid),
            min_uptime=self._began.span,
        )

    def _held_until(self, route: Route, at: Moment) -> float | None:
        """Return when the cooldown is over of its lease, or of the last hold that was taken off."""
        held_at, leased_until = self._held.of(route.uid), route.idle.hold_until
        ends = [] if held_at is None else [held_at]
        if leased_until is not None:
            ends.append(at.monotonic(leased_until))
        return max(ends) + self._held.span if ends else None


def _begins(before: Route, after: Route) -> bool:
    return after.state is State.RUNNING and (
        before.state is not State.RUNNING or before.incarnation != after.incarnation
    )


def _is_held(route: Route, epoch: float) -> bool:
    rules = route.idle
    return rules.pinned or (rules.hold_until is not None and epoch < rules.hold_until)
