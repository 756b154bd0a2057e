"""What size a sandbox should have, by all that is known of it. Pure: time is an argument.

Its load and its bounds are `sizing`'s matter; here it counts, too, what its guest has asked for and
got, and whether it is used, sleeps or has just been woken.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.resize.sizing import goal, risen
from gateway.resize.state import Phase

if TYPE_CHECKING:
    from gateway.resize.amounts import Resources
    from gateway.resize.sizing import Metrics, Refusal, Rules, Wish
    from gateway.resize.state import State


def desired(state: State, now: float) -> Resources:
    """Return the size to work towards now, whoever has still to agree."""
    wanted, cap = needed(state, now), state.pod.cap_at(now)
    return wanted if cap is None else wanted.min(cap)


def needed(state: State, now: float) -> Resources:
    """Return the size that the sandbox should have now, also where that was denied."""
    wanted = _by_phase(state, now)
    if state.lift is not None and now < state.lift.until and state.phase is Phase.AWAKE:
        wanted = wanted.max(state.lift.size.min(state.rules.high))
    return wanted


def asked_by_load(state: State, rules: Rules, now: float) -> Resources:
    """Return the size that its guest's load and wishes ask for, within these bounds.

    What is on its way counts as there: else it would be taken back whenever nothing is measured.
    """
    there, unit = state.pod.desired, state.permit.unit
    wish, refusal = _wish(state, now), _refusal(state, now)
    wanted = goal(there, _metrics(state, now), wish, refusal, rules, unit)
    gain = state.gain
    if gain is None or now >= gain.kept_until:
        return wanted
    # What it was not given while it asked, it is not given afterwards.
    gained = gain.size if wish is not None else gain.size.min(there)
    return wanted.max(gained.min(rules.high))


def _by_phase(state: State, now: float) -> Resources:
    there, rules = state.pod.desired, state.rules
    if state.phase is Phase.ASLEEP:
        # It cannot agree to have less memory, but needs no CPU.
        cpu = there.cpu if rules.floor is None else min(there.cpu, rules.floor.cpu)
        return replace(there, cpu=cpu)
    if state.phase is Phase.WAKING:
        return there if state.before is None else there.max(risen(rules, state.before))
    if state.phase is Phase.DROWSY and rules.floor is not None:
        rules = replace(rules, low=rules.floor.min(rules.low))
    return asked_by_load(state, rules, now)


def _metrics(state: State, now: float) -> Metrics | None:
    fresh = now < state.measured_at + state.timing.measured
    return state.metrics if fresh else None


def _wish(state: State, now: float) -> Wish | None:
    return state.guest.wish if now < state.guest.wished_at + state.timing.wished else None


def _refusal(state: State, now: float) -> Refusal | None:
    guest = state.guest
    if guest.refusal is None or guest.approved is None:
        return None
    if now >= guest.refused_at + state.timing.refused:
        return None
    # What it has agreed to give back since is not given to it again for that.
    return replace(guest.refusal, current=guest.refusal.current.min(guest.approved))
