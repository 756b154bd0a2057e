"""Which state a sandbox is in and whether it may be woken, for APIs that speak in phases.

A dialect fills in `Observed` from its own fields; the rules stand here once, first match wins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from gateway.sandbox.errors import (
    SandboxIsPausing,
    SandboxIsTerminating,
    SandboxPhaseNotAllowed,
    ShutdownTimeReached,
)
from gateway.sandbox.model import State

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Phases after which nothing comes.
FINAL_PHASES: Final = frozenset({"Succeeded", "Failed", "Terminating"})
#: Phases in which the platform works on the sandbox: no traffic, no waking.
BLOCKING_PHASES: Final[Mapping[str, str]] = {"Upgrading": "upgrading", "Recycling": "recycling"}
#: Phases of a sandbox that has not run yet; an object nobody has looked at has none.
NEW_PHASES: Final = frozenset({"", "Pending"})

REASON_DELETING: Final = "deleting"
REASON_POOL_MEMBER: Final = "pool_member"
REASON_UNKNOWN_PHASE: Final = "unknown_phase"


class Observed(msgspec.Struct, frozen=True, gc=False):
    """What judging reads. `pause_settled`: the platform says that the pause is complete."""

    phase: str
    wants_pause: bool
    deleting: bool = False
    expires_at: float | None = None
    pool_member: bool = False
    pause_settled: bool = True
    ready: bool = False
    address: str | None = None


class Judgement(msgspec.Struct, frozen=True, gc=False):
    """A state, and for blocked and dead the reason."""

    state: State
    reason: str = ""


def judge(seen: Observed) -> Judgement:
    """Return the state. Expiry is not judged here but at each request (`Route.state_at`)."""
    if seen.deleting:
        return Judgement(State.DEAD, REASON_DELETING)
    if seen.phase in FINAL_PHASES:
        return Judgement(State.DEAD, seen.phase.lower())
    if seen.pool_member:
        return Judgement(State.BLOCKED, REASON_POOL_MEMBER)
    if seen.phase in BLOCKING_PHASES:
        return Judgement(State.BLOCKED, BLOCKING_PHASES[seen.phase])
    if seen.phase in NEW_PHASES:
        return Judgement(State.CREATING)
    if seen.phase not in _JUDGED_BY_INTENT:
        return Judgement(State.BLOCKED, REASON_UNKNOWN_PHASE)
    return Judgement(_pausing_or_paused(seen) if seen.wants_pause else _resuming_or_running(seen))


_JUDGED_BY_INTENT: Final = frozenset({"Running", "Pausing", "Paused", "Resuming"})


def _pausing_or_paused(seen: Observed) -> State:
    settled = seen.phase == "Paused" and seen.pause_settled
    return State.PAUSED if settled else State.PAUSING


def _resuming_or_running(seen: Observed) -> State:
    up = seen.phase == "Running" and seen.ready and seen.address is not None
    return State.RUNNING if up else State.RESUMING


def check_resumable(seen: Observed, now: float) -> None:
    """Return if the sandbox may be woken at `now`; raise the NotResumable that says why not."""
    if seen.deleting:
        raise SandboxIsTerminating
    if seen.expires_at is not None and seen.expires_at <= now:
        raise ShutdownTimeReached
    if seen.pool_member or seen.phase not in _JUDGED_BY_INTENT:
        raise SandboxPhaseNotAllowed
    if _is_pausing(seen):
        raise SandboxIsPausing


def _is_pausing(seen: Observed) -> bool:
    if seen.phase == "Paused":
        return not seen.pause_settled
    return seen.wants_pause and seen.phase in {"Running", "Pausing"}
