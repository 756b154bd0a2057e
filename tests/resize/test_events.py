"""What is known of a sandbox, as things happen to it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.resize import events
from gateway.resize.amounts import Resources
from gateway.resize.sizing import DEFAULT_UNIT, Metrics, Refusal, Rules, Wish, risen
from gateway.resize.state import Asked, Denial, Gain, Guest, Lift, Phase, Pod, State

ONE, TWO, FOUR = (DEFAULT_UNIT.times(number) for number in (1, 2, 4))
RULES = Rules(low=ONE, high=DEFAULT_UNIT.times(16))
START = State(RULES, Pod(TWO, TWO))
ASKED = events.permit_asked(START, FOUR, 10.0)
RUNNING = events.guest_running(START)


def permitted(state: State, granted: Resources, unit: Resources = DEFAULT_UNIT) -> State:
    return events.permitted(state, granted, unit, migrating=False, now=11.0)


# ---- who permits ------------------------------------------------------------------------------


def test_what_is_granted_counts_and_the_unit_with_it() -> None:
    unit = Resources(500, 2)
    state = permitted(ASKED, FOUR, unit)
    permit = state.permit
    assert (permit.granted, permit.unit, permit.under_way) == (FOUR, unit, False)
    assert permit.denied_until == 0.0


def test_for_what_is_not_granted_nobody_asks_again_at_once() -> None:
    assert permitted(ASKED, TWO).permit.denied_until == 11.0 + START.timing.permit_denied


@pytest.mark.parametrize(
    ("granted", "unit"),
    [
        (Resources(0, 4), DEFAULT_UNIT),
        (Resources(1000, 0), DEFAULT_UNIT),
        (FOUR, Resources(0, 1)),
        (FOUR, Resources(250, 0)),
        (Resources(1001, 1), DEFAULT_UNIT),
        (Resources(250, 5), DEFAULT_UNIT),
    ],
)
def test_an_answer_that_cannot_be_right_is_none(granted: Resources, unit: Resources) -> None:
    with pytest.raises(ValueError, match="permit"):
        permitted(ASKED, granted, unit)


def test_an_answer_that_nobody_asked_for_is_none() -> None:
    for state in (START, permitted(ASKED, FOUR), events.permit_failed(ASKED, 10.5)):
        with pytest.raises(ValueError, match="nothing was asked"):
            permitted(state, FOUR)


def test_who_asks_again_has_not_failed_yet() -> None:
    failed = events.permit_failed(ASKED, 10.5)
    assert failed.permit.failed_at == 10.5
    assert not failed.permit.under_way
    assert events.permit_asked(failed, FOUR, 14.0).permit.failed_at is None


def test_who_is_to_leave_its_node_is_until_it_is_said_otherwise() -> None:
    leaving = events.permitted(ASKED, FOUR, DEFAULT_UNIT, migrating=True, now=11.0)
    again = permitted(events.permit_asked(leaving, FOUR, 12.0), FOUR)
    assert again.migrating
    assert not events.stays(again).migrating


# ---- the pod ----------------------------------------------------------------------------------


def test_what_is_held_is_the_most_of_what_the_pod_has_is_to_have_and_was_asked_for() -> None:
    state = events.observed(START, Resources(500, 4), Resources(750, 2), None, 1.0)
    assert state.held(1.0) == Resources(750, 4)
    assert events.resizing(state, FOUR, 2.0).held(2.0) == FOUR


def test_what_it_keeps_is_the_least_of_these() -> None:
    state = events.observed(START, Resources(500, 4), Resources(750, 2), None, 1.0)
    assert state.kept(1.0) == TWO
    assert events.resizing(state, ONE, 2.0).kept(2.0) == ONE


def test_a_resize_is_over_when_the_pod_has_what_was_asked_for_and_not_before() -> None:
    state = events.resizing(START, FOUR, 1.0)
    # The node may be quicker than the API's own answer.
    state = events.observed(state, FOUR, FOUR, None, 1.1)
    assert state.pod.target == FOUR
    state = events.resize_taken(state)
    state = events.observed(state, FOUR, Resources(1000, 2), None, 1.2)
    assert state.pod.target == FOUR
    assert state.using == Resources(1000, 2)
    state = events.observed(state, FOUR, FOUR, None, 1.3)
    assert (state.pod.target, state.pod.sent) == (None, False)


def test_a_resize_that_failed_may_have_been_taken_as_long_as_it_is_not_repeated() -> None:
    state = events.resize_failed(events.resizing(START, FOUR, 1.0), 2.0)
    assert (state.pod.desired, state.pod.failed_at, state.pod.cap) == (TWO, 2.0, None)
    later = 2.0 + state.timing.failed
    assert (state.held(later - 0.1), state.held(later)) == (FOUR, TWO)
    assert events.resizing(state, FOUR, later).pod.failed_at is None
    shrinking = events.resize_failed(events.resizing(START, ONE, 1.0), 2.0)
    assert (shrinking.kept(later - 0.1), shrinking.kept(later)) == (ONE, TWO)


def test_a_resize_that_was_taken_without_an_answer_is_under_way_once_it_is_seen() -> None:
    state = events.resize_failed(events.resizing(START, FOUR, 1.0), 2.0)
    state = events.observed(state, FOUR, TWO, None, 2.1)
    assert (state.pod.target, state.pod.sent, state.pod.failed_at) == (FOUR, True, None)
    assert state.pod.failures == 0
    assert events.observed(state, FOUR, FOUR, None, 2.2).pod.target is None


def test_a_resize_that_goes_out_is_not_taken_yet_whatever_came_of_the_one_before() -> None:
    state = events.resize_taken(events.resizing(START, FOUR, 1.0))
    assert (state.pod.desired, state.pod.sent) == (FOUR, True)
    pod = events.resizing(state, RULES.high, 70.0).pod
    assert (pod.target, pod.sent, pod.since) == (RULES.high, False, 70.0)


@pytest.mark.parametrize(
    ("denial", "seconds"), [(Denial.DEFERRED, 2.0), (Denial.INFEASIBLE, 300.0)]
)
@pytest.mark.parametrize("target", [Resources(1000, 2), Resources(500, 4), FOUR])
def test_what_a_node_denies_is_capped_for_a_time(
    denial: Denial, seconds: float, target: Resources
) -> None:
    state = events.resize_taken(events.resizing(START, target, 1.0))
    state = events.observed(state, target, TWO, denial, 2.0)
    assert state.pod.target is None
    cap = state.pod.cap_at(2.0)
    assert cap is not None
    # Of what it was not asked more of, nothing is known.
    assert (cap.cpu, cap.memory) == (
        TWO.cpu if target.cpu > TWO.cpu else 2**62,
        TWO.memory if target.memory > TWO.memory else 2**62,
    )
    assert state.pod.cap_at(1.9 + seconds) == cap
    assert state.pod.cap_at(2.0 + seconds) is None


def test_a_denial_that_is_told_again_is_the_same() -> None:
    state = events.observed(START, FOUR, TWO, Denial.DEFERRED, 2.0)
    assert events.observed(state, FOUR, TWO, Denial.DEFERRED, 3.0) == state


def test_who_asks_for_what_is_denied_already_is_denied_for_no_longer() -> None:
    denied = events.observed(START, FOUR, TWO, Denial.INFEASIBLE, 2.0)
    state = events.resize_taken(events.resizing(denied, FOUR, 3.0))
    state = events.observed(state, FOUR, TWO, Denial.DEFERRED, 4.0)
    assert (state.pod.target, state.pod.cap) == (None, TWO)
    assert (state.pod.cap_until, state.pod.denials) == (302.0, 1)


def test_another_denial_while_one_counts_adds_to_it() -> None:
    state = events.observed(START, Resources(1000, 2), TWO, Denial.DEFERRED, 2.0)
    state = events.observed(state, Resources(500, 4), TWO, Denial.DEFERRED, 3.0)
    assert state.pod.cap_at(3.0) == TWO
    assert state.pod.denials == 2


def test_a_denial_of_what_is_no_more_than_there_is_means_nothing() -> None:
    state = events.resize_taken(events.resizing(START, ONE, 1.0))
    state = events.observed(state, ONE, TWO, Denial.DEFERRED, 2.0)
    assert state.pod.cap is None
    assert state.pod.target == ONE


def test_while_a_resize_goes_out_what_is_denied_is_the_one_before() -> None:
    state = events.resizing(START, FOUR, 1.0)
    state = events.observed(state, DEFAULT_UNIT.times(8), TWO, Denial.INFEASIBLE, 2.0)
    assert state.pod.cap is None
    assert state.pod.target == FOUR


def test_what_the_api_denies_by_itself_counts_as_if_the_node_had() -> None:
    state = events.resizing(START, FOUR, 1.0)
    state = events.resize_failed(state, 2.0, Denial.INFEASIBLE)
    assert state.pod.cap_at(301.0) == TWO
    assert state.pod.failed_at == 2.0


def refused(state: State, target: Resources, now: float) -> State:
    return events.resize_refused(events.resizing(state, target, now - 0.1), now)


@pytest.mark.parametrize(
    ("target", "cap"),
    [
        (DEFAULT_UNIT.times(12), DEFAULT_UNIT.times(7)),
        (FOUR, DEFAULT_UNIT.times(3)),
        (DEFAULT_UNIT.times(3), TWO),
        (Resources(1700, 2), Resources(1000, 2**62)),  # in whole units, above what there is
        (Resources(500, 5), Resources(2**62, 3)),
    ],
)
def test_of_what_the_api_refuses_half_of_the_way_is_tried_next(
    target: Resources, cap: Resources
) -> None:
    state = refused(START, target, 2.0)
    assert (state.pod.cap, state.pod.target, state.pod.sent) == (cap, None, False)
    assert (state.pod.failed_at, state.pod.failures) == (2.0, 0)
    assert state.held(2.0) == TWO  # what is not given is not held


def test_the_more_often_the_api_refuses_the_longer_it_is_not_asked_again() -> None:
    state, now, waits = START, 2.0, []
    for _ in range(9):
        state = refused(state, FOUR, now)
        waits.append(state.pod.cap_until - now)
        now = state.pod.cap_until
    assert waits == [6, 12, 24, 48, 96, 192, 300, 300, 300]
    later = now + state.timing.settling
    assert refused(state, FOUR, later).pod.cap_until == later + 6


def test_what_the_api_refuses_makes_a_word_of_the_node_no_shorter() -> None:
    state = events.observed(START, Resources(500, 4), TWO, Denial.INFEASIBLE, 2.0)
    state = refused(state, FOUR, 5.0)
    assert state.pod.cap == Resources(750, 2)
    assert state.pod.cap_until == 302.0


@pytest.mark.parametrize(
    ("target", "kept"),
    [
        (ONE, Resources(0, 2)),
        (Resources(1000, 1), Resources(0, 2)),
        (Resources(250, 2), Resources(500, 0)),
        (Resources(250, 4), Resources(500, 0)),
    ],
)
def test_where_the_api_takes_no_shrink_that_alone_is_not_tried_for_a_while(
    target: Resources, kept: Resources
) -> None:
    state, now, waits = START, 2.0, []
    for _ in range(8):
        state = refused(state, target, now)
        waits.append(state.pod.kept_until - now)
        assert (state.pod.kept_at(now), state.pod.failed_at) == (kept, now)
        now = state.pod.kept_until
        assert state.pod.kept_at(now) == Resources(0, 0)
    assert waits == [6, 12, 24, 48, 96, 192, 300, 300]
    assert (state.pod.cap, state.pod.denials, state.pod.target) == (None, 0, None)
    later = now + state.timing.settling
    assert refused(state, target, later).pod.kept_until == later + 6


def test_where_the_api_takes_no_less_of_either_both_stay() -> None:
    state = refused(refused(START, ONE, 2.0), Resources(250, 2), 5.0)
    assert state.pod.kept_at(5.0) == TWO


def test_what_it_is_to_have_is_what_the_api_compares_with_and_not_what_it_has() -> None:
    # Its node has denied more, and now the API does not let that be taken back.
    state = events.observed(START, FOUR, TWO, None, 1.0)
    assert refused(state, TWO, 2.0).pod.kept_until == 8.0


def test_a_node_that_gives_more_than_it_said_it_could_is_believed() -> None:
    state = events.observed(START, FOUR, TWO, Denial.INFEASIBLE, 2.0)
    assert events.observed(state, TWO, TWO, None, 3.0).pod.cap is not None
    state = events.observed(state, FOUR, FOUR, None, 3.0)
    assert (state.pod.cap, state.pod.denials) == (None, 0)


# ---- the guest --------------------------------------------------------------------------------


def test_a_guest_counts_on_what_there_is_when_it_begins_to_listen() -> None:
    assert RUNNING.guest == Guest(approved=TWO, heard=TWO)
    assert events.guest_gone(RUNNING).guest == Guest()
    assert events.guest_elsewhere(RUNNING).guest == Guest(elsewhere=True)


def test_what_was_measured_does_not_outlive_the_conversation() -> None:
    state = events.measured(RUNNING, Metrics(1.0), 5.0)
    assert (state.metrics, state.measured_at) == (Metrics(1.0), 5.0)
    assert events.guest_gone(state).metrics is None
    assert events.guest_elsewhere(state).metrics is None


def test_a_guest_that_is_told_may_have_heard_from_then_on_and_has_when_it_has_answered() -> None:
    state = events.telling(RUNNING, FOUR)
    assert (state.guest.approved, state.guest.heard, state.guest.is_busy) == (FOUR, TWO, True)
    told = events.told(state, FOUR)
    assert told.guest == Guest(approved=FOUR, heard=FOUR)
    failed = events.tell_failed(state, FOUR, 3.0)
    assert failed.guest == Guest(approved=FOUR, heard=TWO, tell_failed_at=3.0)


def test_a_guest_that_is_asked_has_agreed_when_it_has_answered_and_may_have_before() -> None:
    state = events.asking(RUNNING, ONE)
    assert (state.guest.approved, state.guest.heard, state.guest.is_busy) == (TWO, TWO, True)
    assert events.agreed(state, ONE).guest == Guest(approved=ONE, heard=ONE)
    failed = events.ask_failed(state, ONE, 3.0)
    assert failed.guest == Guest(approved=TWO, heard=ONE, ask_failed_at=3.0)
    refused = events.refused(state, ONE, 3.0)
    refusal = Refusal(current=TWO, requested=ONE)
    assert refused.guest == Guest(approved=TWO, heard=TWO, refusal=refusal, refused_at=3.0)


def test_an_answer_to_what_is_not_asked_any_more_changes_nothing() -> None:
    asked = events.asking(RUNNING, ONE)
    told = events.telling(RUNNING, FOUR)
    for state in (RUNNING, asked, told):
        assert events.agreed(state, Resources(300, 1)) == state
        assert events.refused(state, Resources(300, 1), 3.0) == state
        assert events.ask_failed(state, Resources(300, 1), 3.0) == state
        assert events.told(state, Resources(800, 3)) == state
        assert events.tell_failed(state, Resources(800, 3), 3.0) == state
    for state in (RUNNING, told):
        assert events.agreed(state, ONE) == state
    for state in (RUNNING, asked):
        assert events.told(state, FOUR) == state


def test_a_guest_cannot_count_on_more_than_somebody_else_has_left_it() -> None:
    state = events.observed(RUNNING, ONE, Resources(250, 2), None, 3.0)
    assert state.guest == Guest(approved=Resources(250, 2), heard=Resources(250, 2))


def test_a_wish_is_for_more_than_the_guest_knows_that_it_has() -> None:
    state = events.wished(events.telling(RUNNING, FOUR), True, False, 3.0)
    assert (state.guest.wish, state.guest.wished_at) == (Wish(TWO, cpu=True), 3.0)
    assert events.wished(START, True, False, 3.0).guest.wish == Wish(TWO, cpu=True)


def test_what_is_asked_for_again_is_kept_from_then_on() -> None:
    asked = events.wished(RUNNING, True, False, 3.0)
    again = events.wished(asked, True, False, 9.0)
    assert asked.gain is not None
    assert again.gain == replace(asked.gain, asked_at=9.0)
    assert again.gain.kept_until == 9.0 + START.timing.wish_kept


# ---- phases -----------------------------------------------------------------------------------


def shrunk(state: State, now: float) -> State:
    """Return a sandbox that has been brought from four units to two."""
    going = events.resizing(replace(state, pod=Pod(FOUR, FOUR)), TWO, now)
    return events.observed(events.resize_taken(going), TWO, TWO, None, now)


LOAD_FOR_FOUR = Metrics(load1=0.9)


def test_what_its_load_needs_again_soon_after_it_was_taken_back_is_kept() -> None:
    again = events.measured(shrunk(START, 10.0), LOAD_FOR_FOUR, 70.0)
    assert again.gain == Gain(FOUR, 70.0, START.timing.wish_kept)


def test_the_more_often_it_needs_again_what_it_lost_the_longer_that_is_kept() -> None:
    state, now = START, 0.0
    for times in range(8):
        state = events.measured(shrunk(state, now), LOAD_FOR_FOUR, now + 60.0)
        assert state.gain is not None
        assert state.gain.kept == min(120.0 * 2**times, 3600.0)
        now = state.gain.kept_until + 5.0


@pytest.mark.parametrize(
    ("metrics", "after"),
    [
        (LOAD_FOR_FOUR, START.timing.regained),
        (Metrics(load1=0.45), 60.0),
        (Metrics(load1=0.0), 60.0),
    ],
)
def test_a_need_that_comes_late_or_is_met_is_no_such_thing(metrics: Metrics, after: float) -> None:
    assert events.measured(shrunk(START, 10.0), metrics, 10.0 + after).gain is None


def test_of_a_greater_need_what_it_had_is_kept_and_no_more() -> None:
    again = events.measured(shrunk(START, 10.0), Metrics(load1=3.6), 70.0)
    assert again.gain is not None
    assert again.gain.size == FOUR


def test_what_it_was_shrunk_from_in_steps_is_the_first_of_them() -> None:
    state = shrunk(START, 10.0)
    state = events.observed(
        events.resize_taken(events.resizing(state, ONE, 20.0)), ONE, ONE, None, 21.0
    )
    assert state.given_up == Asked(20.0, FOUR)
    again = events.measured(state, LOAD_FOR_FOUR, 70.0)
    assert again.gain is not None
    assert again.gain.size == FOUR
    late = events.resizing(replace(state, pod=Pod(TWO, TWO)), ONE, 20.0 + START.timing.regained)
    assert late.given_up == Asked(320.0, TWO)


def test_a_bound_below_which_it_is_is_no_need() -> None:
    raised = events.ruled(shrunk(START, 10.0), replace(RULES, low=FOUR))
    assert events.measured(raised, Metrics(load1=0.0), 70.0).gain is None
    drowsy = replace(raised, phase=Phase.DROWSY)
    assert events.measured(drowsy, LOAD_FOR_FOUR, 70.0).gain is None


def test_needs_of_either_kind_that_take_turns_are_each_known_again() -> None:
    state = replace(events.guest_running(START), rules=replace(RULES, separate=True))
    now, kept = 0.0, []
    for turn in range(6):
        state = events.wished(state, cpu=turn % 2 == 0, memory=turn % 2 == 1, now=now)
        assert state.gain is not None
        kept.append(state.gain.kept)
        now = state.gain.kept_until + 1.0
    assert kept == [120, 120, 240, 480, 960, 1920]


def test_what_it_lost_by_sleeping_or_never_had_it_was_not_shrunk_from() -> None:
    asleep = shrunk(replace(START, phase=Phase.ASLEEP), 10.0)
    assert asleep.given_up is None
    grown = events.resizing(START, FOUR, 10.0)
    assert grown.given_up is None
    assert events.measured(START, LOAD_FOR_FOUR, 20.0).gain is None


def entered(state: State, *phases: Phase) -> State:
    for number, phase in enumerate(phases):
        state = events.entered(state, phase, 100.0 + number)
    return state


def test_what_it_had_when_it_was_used_last_is_kept_until_it_is_used_again() -> None:
    drowsy = entered(START, Phase.DROWSY)
    assert drowsy.before == TWO
    shrunk = events.observed(drowsy, ONE, ONE, None, 101.0)
    asleep = entered(shrunk, Phase.CHANGING, Phase.ASLEEP, Phase.WAKING)
    assert asleep.before == TWO
    awake = events.entered(asleep, Phase.AWAKE, 200.0)
    assert (awake.before, awake.lift) == (None, Lift(TWO, 200.0 + START.timing.lifted))


def test_what_it_needed_is_what_its_load_asked_for_and_not_what_it_was_lifted_to() -> None:
    lifted = replace(START, lift=Lift(FOUR, 200.0), pod=Pod(FOUR, FOUR))
    idle = events.measured(lifted, Metrics(0.1), 99.0)
    assert entered(idle, Phase.DROWSY).before == ONE
    # When it is about to be paused, nobody speaks for its guest any more.
    pausing = events.guest_gone(entered(idle, Phase.CHANGING))
    assert entered(pausing, Phase.ASLEEP).before == ONE
    busy = events.measured(lifted, Metrics(0.9), 99.0)
    assert entered(busy, Phase.DROWSY, Phase.ASLEEP).before == FOUR


@pytest.mark.parametrize("phase", [Phase.ASLEEP, Phase.WAKING])
def test_of_whom_nothing_is_known_it_is_taken_that_it_needs_its_least_size(phase: Phase) -> None:
    least = events.ruled(START, replace(RULES, low=FOUR))
    assert entered(least, phase).before == FOUR


def test_who_was_lifted_long_ago_is_not_lifted_to_that_again() -> None:
    busy = events.measured(START, Metrics(0.9), 99.0)
    back = entered(busy, Phase.DROWSY, Phase.AWAKE)
    assert back.lift is not None
    assert back.lift.size == FOUR
    idle = events.measured(back, Metrics(0.0), 101.5)
    again = entered(idle, Phase.CHANGING, Phase.DROWSY, Phase.AWAKE)
    assert again.lift is not None
    assert again.lift.size == ONE
    assert (again.used, again.before) == (None, None)


def test_who_only_paused_between_two_states_is_not_lifted() -> None:
    assert entered(START, Phase.CHANGING, Phase.AWAKE) == START


@pytest.mark.parametrize(
    ("phases", "boosted"),
    [
        ((Phase.DROWSY,), False),
        ((Phase.ASLEEP,), True),
        ((Phase.ASLEEP, Phase.WAKING), True),
        ((Phase.DROWSY, Phase.CHANGING, Phase.ASLEEP, Phase.WAKING), True),
    ],
)
def test_only_who_slept_is_boosted(phases: tuple[Phase, ...], boosted: bool) -> None:
    rules = Rules(ONE, RULES.high, boost=FOUR, boost_for=5.0)
    awake = events.entered(entered(events.ruled(START, rules), *phases), Phase.AWAKE, 200.0)
    timed = START.timing.lifted
    assert awake.lift == (Lift(FOUR, 205.0) if boosted else Lift(TWO, 200.0 + timed))


def test_a_boost_never_takes_anything_away_and_keeps_to_the_bounds() -> None:
    rules = Rules(ONE, TWO, boost=FOUR, boost_for=5.0)
    assert risen(rules, ONE) == TWO
    assert risen(Rules(ONE, RULES.high, boost=ONE, boost_for=5.0), FOUR) == FOUR
    assert risen(Rules(ONE, RULES.high), FOUR) == FOUR


def test_a_pod_that_was_made_for_a_wake_counts_as_woken() -> None:
    rules = Rules(ONE, RULES.high, boost=FOUR, boost_for=5.0)
    assert events.woken(events.ruled(START, rules), 50.0).lift == Lift(FOUR, 55.0)
    assert events.woken(START, 50.0).lift == Lift(TWO, 50.0 + START.timing.lifted)
