"""How what happens to a sandbox changes what its agent knows. Pure: time is an argument."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from gateway.resize.amounts import Resources
from gateway.resize.sizing import Refusal, Wish, goal, risen, wished_size
from gateway.resize.state import Asked, Denial, Gain, Guest, Lift, Phase
from gateway.resize.wanted import asked_by_load

if TYPE_CHECKING:
    from gateway.resize.sizing import Metrics, Rules
    from gateway.resize.state import State

#: More than any machine has of anything.
_ENDLESS: Final = 2**62
#: Denials, or failures, in a row that are counted.
_MOST_IN_A_ROW: Final = 16


# ---- the sandbox ------------------------------------------------------------------------------


def ruled(state: State, rules: Rules) -> State:
    """Its author wrote other bounds, or another configuration."""
    return replace(state, rules=rules)


def stays(state: State) -> State:
    """The sandbox need not leave its node after all."""
    return replace(state, migrating=False)


def entered(state: State, phase: Phase, now: float) -> State:
    """The sandbox is in another phase."""
    used, before = state.used, state.before
    if state.phase is Phase.AWAKE:
        # Not what it has: it may have been lifted to that, and would be again for ever.
        used = asked_by_load(state, state.rules, now)
    if phase in (Phase.DROWSY, Phase.ASLEEP, Phase.WAKING) and before is None:
        before = used
    if phase is not Phase.AWAKE:
        return replace(state, phase=phase, used=used, before=before)
    if before is not None:
        slept = state.phase is not Phase.DROWSY
        state = replace(state, lift=_lift(state, before, now, slept))
    return replace(state, phase=phase, used=None, before=None)


def woken(state: State, now: float) -> State:
    """The sandbox has just been woken, in a pod that was made for that."""
    return replace(state, lift=_lift(state, state.using, now, slept=True))


def _lift(state: State, before: Resources, now: float, slept: bool) -> Lift:
    if not slept or state.rules.boost is None:
        return Lift(before, now + state.timing.lifted)
    return Lift(risen(state.rules, before), now + state.rules.boost_for)


def measured(state: State, metrics: Metrics, now: float) -> State:
    """An informant reported how much there is to do.

    What it was shrunk from, and needs again soon, it should have kept: less shows a greater load.
    """
    state = replace(state, metrics=metrics, measured_at=now)
    given_up = state.given_up_at(now)
    if given_up is None or state.phase is not Phase.AWAKE:
        return state
    there, rules = state.pod.desired, state.rules
    # That it is below a bound is no need of its own.
    unbound = replace(rules, low=there.min(rules.low))
    again = goal(there, metrics, None, None, unbound, state.permit.unit).min(given_up)
    return replace(state, gain=_gain(state, again, now)) if again.exceeds(there) else state


# ---- who permits ------------------------------------------------------------------------------


def permit_asked(state: State, resources: Resources, now: float) -> State:
    """A request goes out."""
    asked = Asked(now, resources)
    permit = replace(state.permit, asked=asked, under_way=True, failed_at=None)
    return replace(state, permit=permit)


def permitted(
    state: State, granted: Resources, unit: Resources, migrating: bool, now: float
) -> State:
    """The answer; raise ValueError for one that cannot be right."""
    asked = state.permit.asked
    if asked is None or not state.permit.under_way:
        raise ValueError("nothing was asked")
    if not granted.has_both or not unit.has_both:
        raise ValueError("a permit and its unit must have some of each")
    if granted.exceeds(asked.resources):
        raise ValueError("the permit is for more than was asked")
    denied = asked.resources.exceeds(granted)
    permit = replace(state.permit, under_way=False, granted=granted, unit=unit)
    if denied:
        permit = replace(permit, denied_until=now + state.timing.permit_denied)
    return replace(state, permit=permit, migrating=state.migrating or migrating)


def permit_failed(state: State, now: float) -> State:
    """No answer, or one that cannot be right."""
    return replace(state, permit=replace(state.permit, under_way=False, failed_at=now))


# ---- the pod ----------------------------------------------------------------------------------


def resizing(state: State, target: Resources, now: float) -> State:
    """A resize goes out."""
    pod = replace(state.pod, target=target, sent=False, since=now, failed_at=None)
    if state.phase is Phase.AWAKE and state.using.exceeds(target):
        before = state.given_up_at(now)
        most = state.using if before is None else state.using.max(before)
        state = replace(state, given_up=Asked(now, most))
    return replace(state, pod=pod)


def resize_taken(state: State) -> State:
    """The API has taken the resize; the node has still to do it."""
    target = state.pod.target
    assert target is not None, "it went out"
    return replace(
        state, pod=replace(state.pod, sent=True, desired=target, failures=0, uneven=False)
    )


def resize_failed(state: State, now: float, denial: Denial | None = None) -> State:
    """The API has not taken the resize, or nobody knows.

    `denial`: it will not either, for now or for this node, as it has said itself.
    """
    target = state.pod.target
    failures = min(state.pod.failures + 1, _MOST_IN_A_ROW)
    failed = replace(state, pod=replace(state.pod, failed_at=now, failures=failures))
    return failed if denial is None or target is None else _denied(failed, target, denial, now)


def resize_refused(state: State, now: float) -> State:
    """The API has said that it does not take this resize: something there is against it.

    What was to shrink stays for a while: its memory, and its CPU too if that alone is refused. Of
    what was to grow half of the way is tried next, and so on, until what may be had is had; then
    for a while no more.
    """
    target, was = state.pod.target, state.pod.desired
    assert target is not None, "it went out"
    pod = replace(state.pod, target=None, sent=False, failed_at=now, uneven=False)
    if was.exceeds(target):
        in_a_row = pod.keeps if now < pod.kept_until + state.timing.settling else 0
        # Kubernetes 1.33 takes less CPU, but no less memory where that has a limit.
        less = Resources(0, was.memory) if target.memory < was.memory else Resources(was.cpu, 0)
        pod = replace(
            pod,
            kept=less.max(pod.kept_at(now)),
            kept_until=now + _pause(state, in_a_row),
            keeps=min(in_a_row + 1, _MOST_IN_A_ROW),
        )
        return replace(state, pod=pod)
    in_a_row = pod.denials if now < pod.cap_until + state.timing.settling else 0
    known, cap = pod.cap_at(now), _half_way(was, target, state.permit.unit)
    pod = replace(
        pod,
        cap=cap if known is None else cap.min(known),
        cap_until=max(now + _pause(state, in_a_row), pod.cap_until),
        denials=min(in_a_row + 1, _MOST_IN_A_ROW),
    )
    return replace(state, pod=pod)


def _pause(state: State, in_a_row: int) -> float:
    """Return for how long what the API has refused is not asked for again."""
    return min(state.timing.failed * 2.0 ** (in_a_row + 1), state.timing.capped)


def _half_way(was: Resources, target: Resources, unit: Resources) -> Resources:
    """Return half of the way up in whole units; of what was not to grow there is no end."""

    def half(has: int, refused: int, step: int) -> int:
        return has + (refused - has) // 2 // step * step if refused > has else _ENDLESS

    return Resources(
        half(was.cpu, target.cpu, unit.cpu), half(was.memory, target.memory, unit.memory)
    )


def observed(
    state: State, desired: Resources, actual: Resources, denial: Denial | None, now: float
) -> State:
    """The pod, as the API has it; the denial is of what it is to have."""
    pod = replace(state.pod, desired=desired, actual=actual)
    if pod.cap is not None and actual.exceeds(pod.cap):
        pod = replace(pod, cap=None, denials=0)
    if pod.failed_at is not None and pod.target == desired:
        pod = replace(pod, sent=True, failed_at=None, failures=0)
    if pod.sent and pod.target == actual:
        pod = replace(pod, target=None, sent=False)
    guest = state.guest
    if guest.approved is not None and guest.heard is not None:
        # Who shrank it otherwise has not asked: the guest cannot count on more than it has.
        approved, heard = guest.approved.min(actual), guest.heard.min(actual)
        guest = replace(guest, approved=approved, heard=heard)
    state = replace(state, pod=pod, guest=guest)
    # While a resize goes out, what was denied is what it is about to replace.
    goes_out = pod.target is not None and not pod.sent and pod.failed_at is None
    return state if denial is None or goes_out else _denied(state, desired, denial, now)


def _denied(state: State, target: Resources, denial: Denial, now: float) -> State:
    """A node does not give what it was asked for: to ask it again at once is of no use."""
    pod, timing, using = state.pod, state.timing, state.using
    if not target.exceeds(using):
        return state
    known = pod.cap_at(now)
    pod = replace(pod, target=None, sent=False)
    if known is not None and target.exceeds(known):
        return replace(state, pod=pod)
    in_a_row = pod.denials if now < pod.cap_until + timing.settling else 0
    wait = min(timing.permit_denied * 2**in_a_row, timing.node_denied)
    cap = Resources(
        using.cpu if target.cpu > using.cpu else _ENDLESS,
        using.memory if target.memory > using.memory else _ENDLESS,
    )
    pod = replace(
        pod,
        cap=cap if known is None else cap.min(known),
        cap_until=now + (timing.capped if denial is Denial.INFEASIBLE else wait),
        denials=min(in_a_row + 1, _MOST_IN_A_ROW),
    )
    return replace(state, pod=pod)


# ---- the guest --------------------------------------------------------------------------------


def guest_running(state: State) -> State:
    """An informant listens to this agent."""
    return replace(state, guest=Guest(approved=state.using, heard=state.using))


def guest_gone(state: State) -> State:
    """Nobody speaks for the guest any more: what it said does not count."""
    return replace(state, guest=Guest(), metrics=None)


def guest_elsewhere(state: State) -> State:
    """The guest listens to another agent from now on."""
    return replace(state, guest=Guest(elsewhere=True), metrics=None)


def wished(state: State, cpu: bool, memory: bool, now: float) -> State:
    """The guest needs more than it has, at once."""
    if not (cpu or memory):
        return state
    base = state.using if state.guest.heard is None else state.guest.heard
    wish = Wish(base, cpu, memory)
    guest = replace(state.guest, wish=wish, wished_at=now)
    gain = _gain(state, wished_size(wish, state.rules, state.permit.unit), now)
    return replace(state, guest=guest, gain=gain)


def _gain(state: State, size: Resources, now: float) -> Gain:
    gain, timing = state.gain, state.timing
    if gain is None or now >= gain.kept_until + timing.wish_forgotten:
        return Gain(size, now, timing.wish_kept)
    if now >= gain.kept_until:
        lost = gain.had
        has_lost = 0 < size.cpu <= lost.cpu or 0 < size.memory <= lost.memory
        kept = min(gain.kept * 2, timing.wish_kept_most) if has_lost else gain.kept
        return Gain(size, now, kept, lost)
    if gain.lost is not None:
        # The first step was not enough: the next one is to what it had got, not all of them again.
        size = Resources(
            max(size.cpu, gain.lost.cpu) if size.cpu > gain.size.cpu else size.cpu,
            max(size.memory, gain.lost.memory) if size.memory > gain.size.memory else size.memory,
        )
    return replace(gain, size=gain.size.max(size), asked_at=now)


# What a call of the guest's informant came to is told with what it was about: an answer to one that
# does not count any more, since another conversation has begun meanwhile, changes nothing.


def telling(state: State, resources: Resources) -> State:
    """The guest is being told that it has more."""
    # From now on it may have heard: nothing of it is taken back without asking.
    guest = state.guest
    approved = resources if guest.approved is None else guest.approved.max(resources)
    guest = replace(guest, approved=approved, telling=resources, tell_failed_at=None)
    return replace(state, guest=guest)


def told(state: State, resources: Resources) -> State:
    """The guest knows that it has more."""
    if state.guest.telling != resources:
        return state
    guest = replace(state.guest, approved=resources, heard=resources, telling=None)
    return replace(state, guest=guest)


def tell_failed(state: State, resources: Resources, now: float) -> State:
    """Whether the guest knows is not known."""
    if state.guest.telling != resources:
        return state
    return replace(state, guest=replace(state.guest, telling=None, tell_failed_at=now))


def asking(state: State, resources: Resources) -> State:
    """The guest is being asked to have less."""
    return replace(state, guest=replace(state.guest, asking=resources, ask_failed_at=None))


def agreed(state: State, resources: Resources) -> State:
    """The guest agrees to have less."""
    if state.guest.asking != resources:
        return state
    guest = replace(state.guest, approved=resources, heard=resources, asking=None)
    return replace(state, guest=guest)


def refused(state: State, resources: Resources, now: float) -> State:
    """The guest does not agree to have less."""
    guest = state.guest
    if guest.asking != resources or guest.approved is None:
        return state
    refusal = Refusal(current=guest.approved, requested=resources)
    return replace(state, guest=replace(guest, asking=None, refusal=refusal, refused_at=now))


def ask_failed(state: State, resources: Resources, now: float) -> State:
    """Whether the guest agrees is not known."""
    guest = state.guest
    if guest.asking != resources or guest.heard is None:
        return state
    heard = guest.heard.min(resources)
    return replace(state, guest=replace(guest, heard=heard, asking=None, ask_failed_at=now))
