"""Why a sandbox is awake, and whether it may sleep now: one table, first match wins."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from gateway.sandbox.standby import StandbyPolicy


class Status(Enum):
    """What the idle controller makes of a sandbox."""

    UNSUPPORTED = "unsupported"
    DISABLED = "disabled"
    INELIGIBLE = "ineligible"
    HELD = "held"
    STANDBY_REQUESTED = "standby_requested"
    ERROR = "error"
    ACTIVE = "active"
    IDLE_COUNTDOWN = "idle_countdown"
    READY_FOR_STANDBY = "ready_for_standby"


class Reason(Enum):
    """Why it is that status."""

    UNSUPPORTED_PLATFORM = "unsupported_platform"
    POLICY_MISSING = "policy_missing"
    POLICY_DISABLED = "policy_disabled"
    ALWAYS_ON = "always_on"
    NOT_RUNNING = "instance_not_running"
    MISSING_IP = "missing_ip"
    PINNED = "pinned"
    LEASED = "leased"
    READY = "ready_for_standby"
    OBSERVER_ERROR = "observer_error"
    ACTIVE_CONNECTIONS = "active_inbound_connections"
    MIN_UPTIME = "min_uptime"
    NOT_ELAPSED = "idle_timeout_not_elapsed"


class Seen(msgspec.Struct, frozen=True, gc=False):
    """What judging reads of one sandbox. Times are seconds of one clock, whichever that is.

    `supported`: this gateway puts sandboxes to sleep. `active`: requests, tunnels and connections
    under way. `idle_since`: when the last of them ended. `ran_since`: since when it runs; None:
    for long, or not known. `observer_error`: its connections cannot be seen now.
    """

    policy: StandbyPolicy | None
    running: bool
    supported: bool = True
    address: bool = True
    always_on: bool = False
    pinned: bool = False
    hold_until: float | None = None
    requested: bool = False
    observer_error: bool = False
    active: int = 0
    idle_since: float = 0.0
    ran_since: float | None = None
    min_uptime: float = 0.0


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """A status, its reason, and when it may change by time alone (None: it does not)."""

    status: Status
    reason: Reason
    until: float | None = None


def judge(seen: Seen, now: float) -> Verdict:
    """Return what becomes of a sandbox at `now`."""
    return (
        _not_meant(seen)
        or _held(seen, now)
        or _unsettled(seen)
        or _counting_down(seen, now)
        or Verdict(Status.READY_FOR_STANDBY, Reason.READY)
    )


def _not_meant(seen: Seen) -> Verdict | None:
    """Return why its gateway, its author, or its state rules a standby out."""
    if not seen.supported:
        return Verdict(Status.UNSUPPORTED, Reason.UNSUPPORTED_PLATFORM)
    if seen.policy is None:
        return Verdict(Status.DISABLED, Reason.POLICY_MISSING)
    if not seen.policy.enabled:
        return Verdict(Status.DISABLED, Reason.POLICY_DISABLED)
    if seen.always_on:
        return Verdict(Status.INELIGIBLE, Reason.ALWAYS_ON)
    if not seen.running:
        return Verdict(Status.INELIGIBLE, Reason.NOT_RUNNING)
    if not seen.address:
        return Verdict(Status.INELIGIBLE, Reason.MISSING_IP)
    return None


def _held(seen: Seen, now: float) -> Verdict | None:
    if seen.pinned:
        return Verdict(Status.HELD, Reason.PINNED)
    if seen.hold_until is not None and now < seen.hold_until:
        return Verdict(Status.HELD, Reason.LEASED, seen.hold_until)
    return None


def _unsettled(seen: Seen) -> Verdict | None:
    if seen.requested:
        return Verdict(Status.STANDBY_REQUESTED, Reason.READY)
    if seen.observer_error:
        return Verdict(Status.ERROR, Reason.OBSERVER_ERROR)
    if seen.active > 0:
        return Verdict(Status.ACTIVE, Reason.ACTIVE_CONNECTIONS)
    return None


def _counting_down(seen: Seen, now: float) -> Verdict | None:
    assert seen.policy is not None
    ends = seen.idle_since + seen.policy.idle_timeout
    if now < ends:
        return Verdict(Status.IDLE_COUNTDOWN, Reason.NOT_ELAPSED, ends)
    if seen.ran_since is not None and now < seen.ran_since + seen.min_uptime:
        return Verdict(Status.INELIGIBLE, Reason.MIN_UPTIME, seen.ran_since + seen.min_uptime)
    return None
