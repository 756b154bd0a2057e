"""What an agent does next: a pure function of what it knows and the time.

The order of things: to grow, a permit, then the resize, then the guest is told; to shrink, the
guest agrees, then the resize, then who permits is told. A size that lies between is never taken
for what it is on its way to: each step goes by what the pod has in fact.

Each action is put to who carries it out; its beginning and its end come back as `events`,
and until then it is not asked for again. `wait` is how long there is nothing else to do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway.resize.amounts import Resources, clamped
from gateway.resize.state import Phase
from gateway.resize.wanted import desired

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.resize.state import State


@dataclass(frozen=True, slots=True)
class AskPermit:
    """Ask for the right to so much, or tell that so much is held."""

    resources: Resources


@dataclass(frozen=True, slots=True)
class ResizePod:
    """Have the pod resized."""

    target: Resources


@dataclass(frozen=True, slots=True)
class TellUpscale:
    """Tell the guest that it has more."""

    resources: Resources


@dataclass(frozen=True, slots=True)
class AskDownscale:
    """Ask the guest whether it can do with less."""

    resources: Resources


@dataclass(frozen=True, slots=True)
class Actions:
    """What is to be done now. `wait`: seconds until there is more; None: until something happens.

    `wanted`: the size that all this is for.
    """

    wanted: Resources
    permit: AskPermit | None = None
    resize: ResizePod | None = None
    tell: TellUpscale | None = None
    ask: AskDownscale | None = None
    wait: float | None = None


def next_actions(state: State, now: float) -> Actions:
    """Return what there is to do."""
    if state.migrating or state.guest.elsewhere or state.phase is Phase.CHANGING:
        return Actions(state.using)
    wanted = desired(state, now)
    permit = _permit_action(state, wanted, now)
    resize = _resize_action(state, wanted, permit, now)
    tell = _tell_action(state, wanted, now)
    ask = None if tell is not None else _ask_action(state, wanted, now)
    wait = min((at - now for at in _deadlines(state) if at > now), default=None)
    return Actions(wanted, permit, resize, tell, ask, wait)


# ---- the four things to do --------------------------------------------------------------------


def _permit_action(state: State, wanted: Resources, now: float) -> AskPermit | None:
    permit, timing = state.permit, state.timing
    if permit.under_way or _is_recent(permit.failed_at, timing.failed, now):
        return None
    request = state.held(now).max(wanted)
    if permit.granted is not None and now < permit.denied_until:
        request = request.min(permit.granted)
    is_due = permit.asked is None or now >= permit.asked.at + timing.permit_tick
    has_failed = permit.failed_at is not None
    return AskPermit(request) if is_due or has_failed or request != permit.granted else None


def _resize_action(
    state: State, wanted: Resources, permit: AskPermit | None, now: float
) -> ResizePod | None:
    target = clamped(wanted, _agreed_least(state, now), _permitted_most(state))
    # What it is about to have less it need not be given for a moment.
    evens = state.pod.uneven and target.memory == wanted.memory
    if target == state.pod.desired and not evens:
        return None
    if _is_recent(state.pod.failed_at, state.timing.failed, now):
        return None
    if _is_to_settle(state, target, now) or _was_refused(state, target, now):
        return None
    # What is being given back is not to be taken again before that is over, and the reverse.
    asked = state.permit.asked.resources if state.permit.under_way and state.permit.asked else None
    planned = permit.resources if permit is not None else asked
    return None if planned is not None and target.exceeds(planned) else ResizePod(target)


def _is_to_settle(state: State, target: Resources, now: float) -> bool:
    """Return whether a resize has to wait for the one under way.

    One for more goes out once the API has taken that: a node may need long to take memory back.
    """
    pod = state.pod
    if pod.target is None or pod.failed_at is not None:
        return False
    return not pod.sent or (
        now < pod.since + state.timing.settling and not target.exceeds(pod.target)
    )


def _was_refused(state: State, target: Resources, now: float) -> bool:
    """Return whether the API would have to be asked again for what it did not take.

    More than that may be another matter: some take no shrink, and none is to stand in its way.
    """
    failed = state.pod.target
    is_same = failed is not None and not target.exceeds(failed)
    return is_same and now < state.pod.retry_at(state.timing)


def _agreed_least(state: State, now: float) -> Resources:
    """Return the least that the pod may be resized to."""
    using, approved = state.using, state.guest.approved
    least = using if approved is None else approved.min(using)
    least = replace(least, cpu=0) if state.phase is Phase.ASLEEP else least
    return least.max(state.pod.kept_at(now))


def _permitted_most(state: State) -> Resources:
    """Return the most that the pod may be resized to."""
    granted = state.permit.granted
    return state.using if granted is None else granted.max(state.using)


def _tell_action(state: State, wanted: Resources, now: float) -> TellUpscale | None:
    guest = state.guest
    if guest.approved is None or guest.is_busy or not _can_speak(state):
        return None
    if _is_recent(guest.tell_failed_at, state.timing.failed, now):
        return None
    # What it has more only because it is about to have less, it need not hear of.
    lasting = state.kept(now).min(wanted)
    news = lasting.max(guest.approved)
    # Where it is not sure what it has heard, it is told again, if it may keep that.
    is_unsure = guest.heard != guest.approved and not guest.approved.exceeds(lasting)
    return TellUpscale(news) if news != guest.approved or is_unsure else None


def _ask_action(state: State, wanted: Resources, now: float) -> AskDownscale | None:
    guest = state.guest
    if guest.approved is None or guest.is_busy or not _can_speak(state):
        return None
    if _is_recent(guest.ask_failed_at, state.timing.failed, now):
        return None
    return AskDownscale(guest.approved.min(wanted)) if guest.approved.exceeds(wanted) else None


def _can_speak(state: State) -> bool:
    return state.phase in (Phase.AWAKE, Phase.DROWSY)


def _is_recent(at: float | None, span: float, now: float) -> bool:
    return at is not None and now < at + span


def _deadlines(state: State) -> Iterator[float]:
    """Return when things change by time alone."""
    timing, permit, guest, pod = state.timing, state.permit, state.guest, state.pod
    if permit.asked is not None and not permit.under_way:
        yield permit.asked.at + timing.permit_tick
    yield permit.denied_until
    for at in (permit.failed_at, guest.tell_failed_at, guest.ask_failed_at, pod.failed_at):
        if at is not None:
            yield at + timing.failed
    if guest.wish is not None:
        yield guest.wished_at + timing.wished
    if state.gain is not None:
        yield state.gain.kept_until
    if guest.refusal is not None:
        yield guest.refused_at + timing.refused
    if state.metrics is not None:
        yield state.measured_at + timing.measured
    if state.lift is not None:
        yield state.lift.until
    yield from (pod.cap_until, pod.kept_until)
    if pod.target is not None:
        yield pod.since + timing.settling
        yield pod.retry_at(timing)
