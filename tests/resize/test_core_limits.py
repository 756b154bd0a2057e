"""What an agent does next as bounds, nodes and the sandbox's own state limit it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from gateway.resize import events
from gateway.resize.amounts import Resources
from gateway.resize.core import Actions, ResizePod, next_actions
from gateway.resize.sizing import DEFAULT_UNIT, Metrics, Rules
from gateway.resize.state import TIMING, Denial, Guest, Phase, Pod, State

from .loop import LARGE, SMALL, Loop, Step, World
from .scenes import Failing, InTurn, Node, Slow, Stubborn, done, load, need, settled, units

# ---- bounds -----------------------------------------------------------------------------------


def bounds(loop: Loop, low: int, high: int) -> None:
    loop.take(events.ruled(loop.state, Rules(units(low), units(high))))


def test_bounds_that_rise_are_reached_without_metrics() -> None:
    loop = settled()
    bounds(loop, 3, 16)
    assert done(loop, 5.0) == [("permit", units(3)), ("resize", units(3)), ("tell", units(3))]


def test_bounds_that_fall_are_reached_once_the_guest_agrees() -> None:
    world = Stubborn(6)
    loop = settled(8, world)
    bounds(loop, 1, 4)
    assert done(loop, 3.0) == [
        ("ask", units(4)),
        ("ask", units(5)),
        ("ask", units(6)),
        ("resize", units(6)),
        ("permit", units(6)),
    ]
    world.least = 1
    assert done(loop, 6.0) == [("ask", units(4)), ("resize", units(4)), ("permit", units(4))]


def test_bounds_that_fall_without_an_informant_take_nothing_away() -> None:
    loop = settled(8)
    loop.lose_guest()
    bounds(loop, 1, 4)
    assert done(loop, 60.0) == []


@pytest.mark.parametrize("seconds", [0.05, 0.15, 0.5, 0.75])
def test_bounds_may_fall_while_it_grows(seconds: float) -> None:
    loop = settled(2)
    need(loop, 8)
    loop.run(seconds)
    bounds(loop, 1, 4)
    loop.run(6.0)
    assert (loop.permitted, loop.actual, loop.counted_on) == (units(4),) * 3
    assert done(loop, 100.0) == []


@pytest.mark.parametrize("seconds", [0.05, 0.15, 0.5, 0.75])
def test_bounds_may_rise_while_it_shrinks(seconds: float) -> None:
    loop = settled(4)
    need(loop, 1)
    loop.run(seconds)
    bounds(loop, 6, 16)
    loop.run(6.0)
    assert (loop.permitted, loop.actual, loop.counted_on) == (units(6),) * 3
    assert done(loop, 100.0) == []


# ---- nodes ------------------------------------------------------------------------------------


def test_a_guest_hears_of_what_it_has_when_it_has_it() -> None:
    loop = settled(1, InTurn())
    need(loop, 4)
    assert done(loop, 6.0) == [
        ("permit", units(4)),
        ("resize", units(4)),
        ("tell", Resources(1000, 1)),
        ("tell", units(4)),
    ]


def test_who_permits_hears_that_it_shrank_when_it_has_shrunk_altogether() -> None:
    loop = settled(4, InTurn())
    need(loop, 1)
    assert done(loop, 6.0) == [
        ("ask", units(1)),
        ("resize", units(1)),
        ("permit", Resources(250, 4)),
        ("permit", units(1)),
    ]


def test_what_a_node_does_not_give_now_is_given_back_and_asked_for_again_ever_more_rarely() -> None:
    world = Node(Denial.DEFERRED)
    loop = settled(1, world)
    need(loop, 4)
    assert done(loop, 1.9) == [
        ("permit", units(4)),
        ("resize", units(4)),
        ("resize", units(1)),
        ("permit", units(1)),
    ]
    loop.deeds.clear()
    loop.run(400.0)
    tries = [deed.at for deed in loop.deeds if deed.what == "resize" and deed.size == units(4)]
    pauses = [later - before for before, later in pairwise(tries)]
    # Between two tries lie the two calls and the node's answer, too.
    assert [round(pause - 0.7) for pause in pauses] == [4, 8, 16, 32, *[60] * 5]
    world.denial = None
    assert done(loop, 61.0)[-1] == ("tell", units(4))
    assert loop.state.pod.denials == 0


def test_denials_long_ago_make_no_longer_wait() -> None:
    loop = settled(1, Node(Denial.DEFERRED))
    need(loop, 4)
    loop.run(30.0)
    need(loop, 1)
    loop.run(200.0)
    need(loop, 4)
    loop.run(2.0)
    assert loop.state.pod.denials == 1


def test_what_a_node_can_never_give_is_not_asked_for_again_for_5_minutes() -> None:
    loop = settled(1, Node(Denial.INFEASIBLE))
    need(loop, 4)
    loop.run(2.0)
    assert loop.desired == loop.actual == loop.permitted == units(1)
    assert done(loop, TIMING.capped - 3.0) == []
    assert ("resize", units(4)) in done(loop, 10.0)


def test_what_else_is_wanted_is_done_in_spite_of_a_denial() -> None:
    class NoMemory(World):
        def settles(self, actual: Resources, desired: Resources) -> list[Step]:
            denied = desired.memory > actual.memory
            return [Step(0.5, Denial.INFEASIBLE if denied else desired)]

    loop = Loop(Resources(250, 4), Rules(SMALL, Resources(4000, 8)), NoMemory())
    loop.world.metrics = Metrics(1.8)
    loop.run(30.0)
    # CPU and memory were asked for together, so that it is not known which was lacking.
    assert loop.actual == loop.desired == Resources(250, 4)
    loop.world.metrics = load(1)
    loop.run(30.0)
    assert loop.actual == units(1)


def test_a_cap_is_forgotten_when_there_is_more_after_all() -> None:
    world = Node(Denial.INFEASIBLE)
    loop = settled(1, world)
    need(loop, 4)
    loop.run(3.0)
    assert loop.decide().wanted == units(1)
    loop.take(events.observed(loop.state, units(2), units(2), None, loop.now))
    assert loop.decide().wanted == units(4)


def test_a_resize_that_the_api_will_not_take_is_denied_too() -> None:
    loop = settled()
    need(loop, 4)
    loop.run(0.15)
    assert loop.state.pod.target == units(4)
    loop.take(events.resize_failed(loop.state, loop.now, Denial.INFEASIBLE))
    assert loop.decide().wanted == units(1)


def test_after_a_failure_the_api_is_not_asked_at_once_for_something_else_either() -> None:
    loop = settled(1, Failing("resize"))
    need(loop, 4)
    loop.run(0.5)
    need(loop, 8)
    loop.run(TIMING.failed - 0.5)
    assert loop.resizes() == [units(4)]
    loop.run(1.0)
    assert loop.resizes() == [units(4), units(8)]


def test_a_node_has_a_minute_from_when_it_was_asked_before_less_is_asked_of_it() -> None:
    class Never(World):
        def settles(self, actual: Resources, desired: Resources) -> list[Step]:
            return []

    loop = settled(1, Never())
    loop.run(100.0)
    need(loop, 4)
    loop.run(1.0)
    need(loop, 2)
    assert done(loop, TIMING.settling - 2.0) == []
    assert ("resize", units(2)) in done(loop, 2.0)


def test_a_resize_that_another_leader_began_is_left_to_end_and_given_back_if_it_is_denied() -> None:
    state = State(Rules(SMALL, LARGE), Pod(desired=units(4), actual=units(1)))
    actions = next_actions(state, 0.0)
    assert actions.permit is not None
    assert actions.permit.resources == units(4)
    state = events.permit_asked(state, units(4), 0.0)
    state = events.permitted(state, units(4), DEFAULT_UNIT, migrating=False, now=0.0)
    assert next_actions(state, 0.0).resize is None
    state = events.observed(state, units(4), units(1), Denial.DEFERRED, 1.0)
    actions = next_actions(state, 1.0)
    assert actions.resize is not None
    assert actions.resize.target == units(1)


def test_what_somebody_else_made_of_it_is_brought_back_in_order() -> None:
    loop = settled(2)
    need(loop, 2)
    loop.meddle(units(4))
    loop.run(5.0)
    assert (loop.permitted, loop.desired, loop.actual) == (units(2),) * 3
    loop.meddle(units(1))
    loop.run(5.0)
    assert (loop.permitted, loop.desired, loop.actual) == (units(2),) * 3


def test_what_somebody_else_took_is_not_given_back_because_the_guest_was_being_told_of_it() -> None:
    loop = settled(1, Slow("tell"))
    loop.world.room = units(2)
    need(loop, 2)
    loop.run(1.0)
    assert loop.deeds[-1].what == "tell"
    loop.desired = loop.actual = units(1)
    loop.take(events.observed(loop.state, units(1), units(1), None, loop.now))
    loop.take(events.told(loop.state, units(2)))
    need(loop, 1)
    assert done(loop, 1.0) == [("permit", units(1)), ("ask", units(1))]


def test_more_than_was_permitted_is_not_brought_below_what_is_wanted() -> None:
    state = State(Rules(SMALL, LARGE), Pod(units(16), units(16)), guest=Guest(units(1), units(1)))
    state = events.permit_asked(state, units(16), 0.0)
    state = events.permitted(state, units(2), DEFAULT_UNIT, migrating=False, now=0.0)
    actions = next_actions(events.measured(state, load(8), 0.0), 0.0)
    assert actions.resize == ResizePod(units(8))


def test_more_than_bounds_that_somebody_else_gave_it_is_asked_back() -> None:
    loop = settled(2)
    need(loop, 2)
    loop.run(1.0)
    loop.lose_guest()
    loop.meddle(units(20))
    loop.run(5.0)
    loop.meet_guest()
    need(loop, 2)
    loop.run(5.0)
    assert loop.actual == units(2)


# ---- phases -----------------------------------------------------------------------------------

FLOOR = Resources(100, 1)
BOOST = units(8)
PHASED = Rules(units(2), units(16), floor=FLOOR, boost=BOOST, boost_for=30.0)


def phased(size: int = 4, rules: Rules = PHASED) -> Loop:
    loop = settled(size, rules=rules)
    need(loop, size)
    loop.run(1.0)
    return loop


def test_who_is_not_used_may_fall_to_its_floor_and_has_what_it_had_when_it_is() -> None:
    loop = phased()
    loop.enter(Phase.DROWSY)
    need(loop, 1)
    loop.run(5.0)
    assert loop.actual == FLOOR
    loop.world.metrics = Metrics(0.0)
    loop.enter(Phase.AWAKE)
    assert done(loop, 5.0) == [("permit", units(4)), ("resize", units(4)), ("tell", units(4))]
    loop.run(TIMING.lifted - 10.0)
    assert loop.actual == units(4)
    loop.run(10.0)
    assert loop.actual == units(2)


def test_who_is_used_once_a_minute_is_not_brought_to_what_it_needed_long_ago() -> None:
    loop = phased(8)
    need(loop, 1)
    found = []
    for _ in range(3):
        loop.enter(Phase.DROWSY)
        loop.run(30.0)
        assert loop.actual == FLOOR
        loop.enter(Phase.AWAKE)
        loop.run(30.0)
        found.append(loop.actual)
    # When it was used first its load had just fallen.
    assert found == [units(2)] * 3


def test_a_floor_above_the_least_size_raises_nothing() -> None:
    loop = phased(rules=replace(PHASED, floor=Resources(100, 4)))
    loop.enter(Phase.DROWSY)
    need(loop, 1)
    loop.run(5.0)
    assert loop.actual == Resources(100, 2)


def test_load_counts_for_who_is_not_used() -> None:
    loop = phased()
    loop.enter(Phase.DROWSY)
    need(loop, 8)
    loop.run(5.0)
    assert loop.actual == units(8)


def test_without_a_floor_who_is_not_used_falls_to_its_least_size() -> None:
    loop = phased(rules=replace(PHASED, floor=None))
    loop.enter(Phase.DROWSY)
    need(loop, 1)
    loop.run(5.0)
    assert loop.actual == units(2)


def test_who_sleeps_gives_its_cpu_back_and_keeps_its_memory_and_nobody_asks_it() -> None:
    loop = phased()
    loop.enter(Phase.CHANGING)
    loop.enter(Phase.ASLEEP)
    asleep = Resources(FLOOR.cpu, 4)
    assert done(loop, 5.0) == [("resize", asleep), ("permit", asleep)]
    assert done(loop, 300.0) == []


def test_who_falls_asleep_while_it_shrinks_keeps_the_memory_that_it_still_has() -> None:
    pod = Pod(desired=Resources(1000, 4), actual=Resources(1000, 6))
    state = State(PHASED, pod, phase=Phase.ASLEEP)
    resize = next_actions(state, 0.0).resize
    assert resize is not None
    assert resize.target == Resources(FLOOR.cpu, 6)


def test_without_a_floor_who_sleeps_keeps_what_it_has() -> None:
    loop = phased(rules=replace(PHASED, floor=None))
    loop.enter(Phase.ASLEEP)
    assert done(loop, 300.0) == []


def test_who_is_woken_is_boosted_before_it_runs_and_for_so_long_after_that() -> None:
    loop = phased()
    loop.enter(Phase.ASLEEP)
    loop.run(5.0)
    loop.enter(Phase.WAKING)
    assert done(loop, 5.0) == [("permit", BOOST), ("resize", BOOST)]
    loop.enter(Phase.AWAKE)
    need(loop, 1)
    assert done(loop, PHASED.boost_for - 1.0) == []
    loop.run(5.0)
    assert loop.actual == PHASED.low


def test_without_a_boost_who_is_woken_has_what_it_had() -> None:
    loop = phased(rules=replace(PHASED, boost=None))
    loop.enter(Phase.ASLEEP)
    loop.run(5.0)
    loop.enter(Phase.WAKING)
    loop.run(5.0)
    assert loop.actual == units(4)
    loop.enter(Phase.AWAKE)
    need(loop, 1)
    assert done(loop, TIMING.lifted - 1.0) == []


def test_a_boost_does_not_pass_bounds_that_fell_meanwhile() -> None:
    loop = phased()
    loop.enter(Phase.ASLEEP)
    loop.run(5.0)
    loop.take(events.ruled(loop.state, replace(PHASED, high=units(6))))
    loop.enter(Phase.WAKING)
    loop.run(5.0)
    assert loop.actual == units(6)


def test_so_does_what_it_had_before() -> None:
    loop = phased(8, replace(PHASED, boost=None))
    loop.enter(Phase.DROWSY)
    loop.enter(Phase.AWAKE)
    loop.take(events.ruled(loop.state, replace(PHASED, high=units(6))))
    loop.run(5.0)
    assert loop.actual == units(6)


def test_who_sleeps_or_is_woken_is_not_spoken_to() -> None:
    for phase in (Phase.ASLEEP, Phase.WAKING):
        state = State(PHASED, Pod(units(4), units(4)), phase=phase, guest=Guest(units(8), units(2)))
        actions = next_actions(state, 0.0)
        assert (actions.tell, actions.ask) == (None, None)


def test_who_is_woken_in_a_new_pod_keeps_its_size_until_the_load_is_known() -> None:
    loop = settled(4, rules=replace(PHASED, boost=None))
    loop.take(events.woken(loop.state, loop.now))
    need(loop, 1)
    assert done(loop, TIMING.lifted - 1.0) == []
    loop.run(5.0)
    assert loop.actual == units(2)


def test_between_two_states_nothing_is_done() -> None:
    loop = settled(2)
    need(loop, 8)
    loop.enter(Phase.CHANGING)
    assert loop.decide() == Actions(units(2))
    assert done(loop, 100.0, ticks=True) == []


def test_who_is_to_leave_its_node_is_left_alone_until_it_need_not() -> None:
    loop = settled(2)
    need(loop, 8)
    state = events.permit_asked(loop.state, units(8), loop.now)
    loop.take(events.permitted(state, units(8), DEFAULT_UNIT, migrating=True, now=loop.now))
    assert loop.decide() == Actions(units(2))
    assert done(loop, 100.0, ticks=True) == []
    loop.take(events.stays(loop.state))
    loop.run(5.0)
    assert loop.actual == units(8)


def test_who_listens_to_another_agent_is_left_to_that_one() -> None:
    loop = settled(2)
    need(loop, 8)
    loop.take(events.guest_elsewhere(loop.state))
    assert loop.decide() == Actions(units(2))
    loop.take(events.guest_running(loop.state))
    need(loop, 8)
    loop.run(5.0)
    assert loop.actual == units(8)


def test_without_an_informant_it_grows_to_its_bounds_but_never_shrinks() -> None:
    loop = settled(4)
    need(loop, 1)
    loop.lose_guest()
    assert done(loop, 30.0) == []
    bounds(loop, 6, 16)
    assert done(loop, 30.0) == [("permit", units(6)), ("resize", units(6))]
