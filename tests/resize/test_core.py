"""What an agent does next: the order of things, what is done again, and when."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.resize import events
from gateway.resize.amounts import Resources
from gateway.resize.core import next_actions
from gateway.resize.sizing import DEFAULT_UNIT, Metrics, Refusal, Rules
from gateway.resize.state import TIMING, Denial, Guest, Pod, State

from .loop import LARGE, SMALL, Deed, Loop, Sent, Step, What, World
from .scenes import Failing, Slow, Stubborn, at, done, load, need, rounded, settled, units

# ---- the order of things ----------------------------------------------------------------------


def test_the_first_thing_is_to_tell_what_is_held() -> None:
    state = State(Rules(SMALL, LARGE), Pod(units(2), units(2)))
    actions = next_actions(state, 100.0)
    assert (actions.wanted, actions.resize, actions.tell, actions.ask) == (units(2),) + (None,) * 3
    assert actions.permit is not None
    assert actions.permit.resources == units(2)


def test_to_grow_a_permit_comes_first_then_the_resize_and_then_the_guest_is_told() -> None:
    loop = settled()
    need(loop, 2)
    loop.run(3.0)
    assert rounded(loop) == [
        Deed(1.0, "permit", units(2)),
        Deed(1.1, "resize", units(2)),
        # The call has taken 0.1 s, and the node 0.5 s.
        Deed(1.7, "tell", units(2)),
    ]


def test_to_shrink_the_guest_agrees_first_then_comes_the_resize_and_then_the_permit() -> None:
    loop = settled(2)
    need(loop, 1)
    loop.run(3.0)
    assert rounded(loop) == [
        Deed(1.0, "ask", units(1)),
        Deed(1.1, "resize", units(1)),
        Deed(1.7, "permit", units(1)),
    ]
    assert (loop.permitted, loop.actual, loop.counted_on) == (units(1),) * 3


def test_of_one_kind_more_and_of_the_other_less_goes_by_both_orders() -> None:
    loop = settled(4)
    loop.take(events.ruled(loop.state, Rules(SMALL, Resources(4000, 2))))
    need(loop, 8)
    assert done(loop, 5.0) == [
        ("permit", Resources(2000, 4)),
        ("ask", Resources(1000, 2)),
        ("resize", Resources(2000, 4)),
        ("resize", Resources(2000, 2)),
        ("tell", Resources(2000, 2)),
        ("permit", Resources(2000, 2)),
    ]


def test_a_guest_is_told_of_what_it_has_more_before_it_is_asked_for_what_it_has_too_much() -> None:
    rules = Rules(SMALL, Resources(4000, 2))
    state = State(
        rules, Pod(Resources(2000, 4), Resources(2000, 4)), guest=Guest(units(4), units(4))
    )
    actions = next_actions(events.measured(state, load(8), 0.0), 0.0)
    assert actions.ask is None
    assert actions.tell is not None
    assert actions.tell.resources == Resources(2000, 4)


def test_who_permits_hears_every_15_seconds_of_what_is_held() -> None:
    loop = settled()
    need(loop, 1)
    assert done(loop, 60.0, ticks=True) == [("permit", units(1))] * 4
    assert at(loop, "permit") == [15.0, 30.0, 45.0, 60.0]


def test_without_metrics_nothing_is_done_but_that() -> None:
    loop = settled(4)
    assert done(loop, 60.0) == []


def test_metrics_that_are_old_are_none() -> None:
    loop = settled(4, Stubborn(4))
    need(loop, 1)
    assert [what for what, _ in done(loop, 1.0)] == ["ask"] * 3
    loop.world.metrics = None
    loop.run(TIMING.measured)
    assert done(loop, 60.0) == []
    need(loop, 1)
    assert [what for what, _ in done(loop, 1.0)] == ["ask"] * 3


def test_what_is_on_its_way_is_not_taken_back_when_nothing_is_measured_any_more() -> None:
    class Steady(World):
        def settles(self, actual: Resources, desired: Resources) -> list[Step]:
            return [Step(40.0, desired)]

    loop = settled(1, Steady())
    need(loop, 2)
    loop.world.metrics = None
    assert done(loop, 50.0) == [("permit", units(2)), ("resize", units(2)), ("tell", units(2))]


# ---- while something is under way -------------------------------------------------------------


def test_while_a_permit_is_asked_for_nothing_more_is() -> None:
    loop = settled(1, Slow("permit"))
    loop.run(4.0)
    need(loop, 2)
    loop.run(1.0)
    need(loop, 4)
    assert done(loop, 2.9) == []
    # The first permit is of use at once, and the next is asked for beside it.
    assert done(loop, 0.2) == [("permit", units(4)), ("resize", units(2))]


def test_while_a_resize_goes_out_no_other_does() -> None:
    loop = settled(1, Slow("resize"))
    need(loop, 2)
    loop.run(1.0)
    need(loop, 4)
    assert done(loop, 3.0) == [("permit", units(4))]
    assert done(loop, 0.2) == [("resize", units(4))]


def test_while_the_guest_is_called_it_is_not_called_again() -> None:
    loop = settled(4, Slow("ask", "tell"))
    need(loop, 1)
    assert done(loop, 1.0) == [("ask", units(1))]
    need(loop, 2)
    assert done(loop, 2.9) == []
    # It has agreed to less than is wanted now.
    found = done(loop, 1.0)
    assert found == [("resize", units(2)), ("tell", units(2)), ("permit", units(2))]
    need(loop, 1)
    assert done(loop, 2.9) == []
    assert done(loop, 0.2) == [("ask", units(1))]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        # While the guest is asked: it is told that it keeps what it has.
        (0.05, [("tell", 2)]),
        # While the resize goes out: it is taken back, and the guest told after that.
        (0.15, [("resize", 2), ("tell", 2)]),
        # While the node shrinks the pod: the same.
        (0.5, [("resize", 2), ("tell", 2)]),
        # While who permits hears of it: as ever when something grows.
        (0.75, [("permit", 2), ("resize", 2), ("tell", 2)]),
    ],
)
def test_who_needs_more_on_the_way_to_less_is_turned_back_from_where_it_is(
    seconds: float, expected: list[tuple[What, int]]
) -> None:
    loop = settled(2)
    need(loop, 1)
    loop.run(seconds)
    need(loop, 2)
    assert done(loop, 4.0) == [(what, units(number)) for what, number in expected]
    assert (loop.permitted, loop.actual, loop.counted_on) == (units(2),) * 3


def test_a_guest_is_not_told_of_what_it_is_about_to_lose() -> None:
    class Steady(World):
        def settles(self, actual: Resources, desired: Resources) -> list[Step]:
            return [Step(10.0, desired)]

    loop = settled(2, Steady())
    need(loop, 1)
    loop.run(1.0)
    loop.world.room = units(1)
    loop.world.metrics = load(2)
    failing = Failing("resize")
    loop.world.goes = failing.goes  # type: ignore[method-assign]
    assert "tell" not in [what for what, _ in done(loop, 12.0)]


def test_what_is_given_back_is_not_taken_again_before_who_permits_has_answered() -> None:
    loop = settled(2, Slow("permit"))
    loop.run(4.0)
    need(loop, 1)
    assert done(loop, 1.0)[-1] == ("permit", units(1))
    need(loop, 2)
    assert done(loop, 3.5) == []
    assert done(loop, 0.5) == [("permit", units(2))]


def test_more_may_be_asked_of_a_node_that_has_not_done_the_last_thing_yet_but_not_less() -> None:
    class Stuck(World):
        def settles(self, actual: Resources, desired: Resources) -> list[Step]:
            return [] if actual.exceeds(desired) else [Step(0.5, desired)]

    loop = settled(4, Stuck())
    need(loop, 2)
    assert done(loop, 2.0) == [("ask", units(2)), ("resize", units(2))]
    need(loop, 1)
    assert done(loop, 10.0) == [("ask", units(1))]
    need(loop, 3)
    assert done(loop, 10.0) == [
        ("resize", units(3)),
        # It has agreed to less than it has come to, and keeps.
        ("tell", units(2)),
        ("tell", units(3)),
    ]
    need(loop, 8)
    assert done(loop, 2.0)[-1] == ("tell", units(8))


def test_a_node_that_never_gets_to_it_is_asked_for_less_after_a_minute() -> None:
    class Stuck(World):
        def settles(self, actual: Resources, desired: Resources) -> list[Step]:
            return []

    loop = settled(4, Stuck())
    need(loop, 2)
    loop.run(2.0)
    need(loop, 1)
    assert done(loop, TIMING.settling) == [("ask", units(1)), ("resize", units(1))]


# ---- refusals ---------------------------------------------------------------------------------


def test_a_guest_that_refuses_is_asked_for_a_unit_more_each_time_and_anew_after_5_seconds() -> None:
    world = Stubborn(6)
    loop = settled(6, world)
    need(loop, 1)
    asked = [("ask", units(number)) for number in range(1, 6)]
    assert done(loop, 5.0) == asked
    # The last refusal was at 1.5 s, and counts for 5 s.
    assert done(loop, 0.6) == [("ask", units(1)), ("ask", units(2))]
    world.least = 3
    assert done(loop, 2.0) == [("ask", units(3)), ("resize", units(3)), ("permit", units(3))]
    assert done(loop, 4.0) == [("ask", units(1)), ("ask", units(2))]
    world.least = 1
    assert done(loop, 6.0) == [("ask", units(1)), ("resize", units(1)), ("permit", units(1))]
    assert done(loop, 60.0) == []


def test_what_was_refused_once_does_not_give_back_what_the_guest_agreed_to_lose_since() -> None:
    loop = settled(8, Stubborn(4))
    need(loop, 1)
    loop.run(1.5)
    assert loop.actual == units(4)
    # So was the one before, if it agreed to less since.
    later = replace(loop.state, permit=replace(loop.state.permit, unit=units(6)))
    refusal = Refusal(current=units(8), requested=units(1))
    later = replace(later, guest=replace(later.guest, refusal=refusal, refused_at=loop.now))
    assert next_actions(later, loop.now).wanted == units(4)
    # The next size after the one that was refused is now beyond what there is.
    loop.world.unit = units(6)
    loop.take(replace(loop.state, permit=replace(loop.state.permit, unit=units(6))))
    assert loop.decide().wanted == units(4)


# ---- wishes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("cpu", "memory"), [(True, False), (False, True), (True, True)])
def test_who_wishes_for_more_has_a_unit_more_for_2_minutes(cpu: bool, memory: bool) -> None:
    loop = settled()
    need(loop, 1)
    loop.wish(cpu, memory)
    assert done(loop, 119.9) == [("permit", units(2)), ("resize", units(2)), ("tell", units(2))]
    assert done(loop, 2.0) == [("ask", units(1)), ("resize", units(1)), ("permit", units(1))]


def test_what_is_wished_for_and_not_given_is_sought_for_10_seconds() -> None:
    loop = settled()
    loop.world.room = units(1)
    need(loop, 1)
    loop.wish(cpu=True)
    loop.run(9.0)
    assert loop.decide().wanted == units(2)
    loop.run(1.1)
    assert loop.decide().wanted == units(1)


def again(loop: Loop, number: int) -> float:
    """Have the guest ask for more until it has so many units; return for how long it has them."""
    while loop.actual != units(number):
        loop.wish(cpu=True)
        loop.run(1.0)
        assert not loop.actual.exceeds(units(number))
    begun = loop.now
    loop.run(1.0)
    while loop.actual == units(number):
        loop.run(1.0)
    return loop.now - begun


def test_who_asks_again_for_what_it_had_and_lost_keeps_it_twice_as_long_each_time() -> None:
    loop = settled()
    need(loop, 1)
    kept = [again(loop, 2) for _ in range(8)]
    assert kept == pytest.approx([120, 240, 480, 960, 1920, 3600, 3600, 3600], abs=3.0)


def test_who_asks_for_more_than_it_ever_had_keeps_it_no_longer_for_that() -> None:
    loop = settled()
    need(loop, 1)
    kept = [again(loop, number) for number in (4, 6, 8)]
    # On its way it asked for what it had had before.
    assert kept == pytest.approx([120, 240, 480], abs=3.0)
    loop = settled()
    need(loop, 1)
    again(loop, 2)
    loop.run(TIMING.regained)
    need(loop, 2)
    loop.run(30.0)
    assert again(loop, 3) == pytest.approx(120.0, abs=3.0)


def test_what_it_lost_long_ago_is_forgotten() -> None:
    loop = settled()
    need(loop, 1)
    assert again(loop, 2) + again(loop, 2) == pytest.approx(360.0, abs=6.0)
    loop.run(TIMING.wish_forgotten + 2.0)
    assert again(loop, 2) == pytest.approx(120.0, abs=3.0)


def test_who_has_to_ask_twice_has_at_once_all_that_it_had() -> None:
    loop = settled()
    need(loop, 1)
    again(loop, 8)
    loop.deeds.clear()
    again(loop, 8)
    assert loop.resizes() == [units(2), units(8), units(1)]


def test_who_has_enough_with_less_than_it_had_does_not_have_all_of_that() -> None:
    loop = settled()
    need(loop, 1)
    again(loop, 8)
    again(loop, 2)
    loop.deeds.clear()
    again(loop, 3)
    assert loop.resizes() == [units(2), units(3), units(1)]


def test_what_it_asked_for_is_kept_though_the_conversation_begins_anew() -> None:
    loop = settled()
    need(loop, 1)
    again(loop, 2)
    loop.wish(cpu=True)
    loop.run(2.0)
    loop.lose_guest()
    loop.run(20.0)
    loop.meet_guest()
    loop.run(210.0)
    assert loop.actual == units(2)
    loop.run(12.0)
    assert loop.actual == units(1)


def test_who_wishes_for_nothing_has_nothing_more() -> None:
    loop = settled()
    loop.wish()
    assert done(loop, 20.0) == []


def test_a_wish_is_answered_though_nothing_was_ever_measured_and_nothing_is_taken_back() -> None:
    loop = settled()
    loop.wish(memory=True)
    assert done(loop, 60.0) == [("permit", units(2)), ("resize", units(2)), ("tell", units(2))]


def test_who_wishes_while_it_grows_has_a_unit_more_than_it_knew_of() -> None:
    loop = settled(1, Slow("tell"))
    need(loop, 2)
    loop.run(1.0)
    loop.wish(cpu=True)
    assert done(loop, 5.0) == []
    loop.wish(cpu=True)
    assert done(loop, 2.0)[-1] == ("tell", units(3))


def test_the_largest_size_is_the_largest_whatever_is_wished_for() -> None:
    loop = settled(16)
    loop.wish(cpu=True, memory=True)
    assert done(loop, 5.0) == []


# ---- what fails -------------------------------------------------------------------------------


def test_a_request_for_a_permit_that_failed_is_made_again_after_3_seconds() -> None:
    world = Failing("permit")
    loop = settled(1, world)
    need(loop, 2)
    assert done(loop, 8.9, ticks=True) == [("permit", units(2))] * 3
    assert at(loop, "permit") == [3.1, 6.2, 9.3]
    world.what = None
    found = done(loop, 5.0, ticks=True)
    assert [what for what, _ in found] == ["permit", "resize", "tell"]


def test_so_is_one_that_says_nothing_new() -> None:
    world = Failing("tell")
    loop = settled(1, world)
    world.what = "permit"
    done(loop, 15.0)
    assert at(loop, "permit") == [15.0]
    world.what = None
    done(loop, 20.0)
    assert at(loop, "permit") == [18.1, 33.1]


def test_while_nobody_permits_it_may_have_again_what_was_permitted_and_no_more() -> None:
    world = Failing("tell")
    loop = settled(3, world)
    world.what = "permit"
    need(loop, 1)
    assert [what for what, _ in done(loop, 5.0)][:2] == ["ask", "resize"]
    need(loop, 8)
    found = [deed for deed in done(loop, 5.0) if deed[0] != "permit"]
    assert found == [("resize", units(3)), ("tell", units(3))]


def test_a_resize_that_failed_goes_out_again_after_3_seconds_and_later_each_time() -> None:
    world = Failing("resize")
    loop = settled(1, world)
    for _ in range(5):
        need(loop, 2)
        loop.run(10.0)
    assert at(loop, "resize") == [1.1, 4.2, 10.3, 22.4, 46.5]
    assert loop.state.pod.desired == units(1)
    world.what = None
    for _ in range(5):
        need(loop, 2)
        loop.run(10.0)
    assert at(loop, "resize")[5:] == [94.6]
    assert loop.state.using == units(2)
    assert not loop.state.pod.failures


def test_a_shrink_that_the_api_does_not_take_is_in_no_growths_way() -> None:
    world = Failing("resize")
    loop = settled(4, world)
    for _ in range(3):
        need(loop, 1)
        loop.run(10.0)
    assert loop.state.pod.failures >= 3
    world.what = None
    need(loop, 8)
    loop.run(1.0)
    assert loop.state.using == units(8)


def test_one_that_was_taken_and_not_answered_is_seen_and_not_repeated() -> None:
    loop = settled(1, Failing("resize", Sent.UNANSWERED))
    need(loop, 2)
    assert done(loop, 10.0) == [("permit", units(2)), ("resize", units(2)), ("tell", units(2))]


@pytest.mark.parametrize("how", [Sent.LOST, Sent.UNANSWERED])
def test_a_guest_that_may_not_have_heard_is_told_again_after_3_seconds(how: Sent) -> None:
    world = Failing("tell", how)
    loop = settled(1, world)
    need(loop, 2)
    loop.run(9.0)
    assert [round(moment, 1) for moment in at(loop, "tell")] == [1.7, 4.8, 7.9]
    world.what = None
    assert done(loop, 5.0) == [("tell", units(2))]


@pytest.mark.parametrize("how", [Sent.LOST, Sent.UNANSWERED])
def test_a_guest_that_may_have_heard_of_more_is_asked_before_it_is_taken_back(how: Sent) -> None:
    loop = settled(1, Failing("tell", how))
    need(loop, 2)
    loop.run(1.0)
    need(loop, 1)
    assert done(loop, 1.5) == [("ask", units(1)), ("resize", units(1)), ("permit", units(1))]


def test_nothing_is_taken_back_while_the_guest_hears_of_it() -> None:
    loop = settled(1, Slow("tell"))
    need(loop, 2)
    assert done(loop, 1.0)[-1] == ("tell", units(2))
    need(loop, 1)
    assert done(loop, 3.5) == []
    assert done(loop, 0.25)[0] == ("ask", units(1))


@pytest.mark.parametrize("how", [Sent.LOST, Sent.UNANSWERED])
def test_a_guest_that_may_not_have_been_asked_is_asked_again_after_3_seconds(how: Sent) -> None:
    world = Failing("ask", how)
    loop = settled(2, world)
    need(loop, 1)
    loop.run(9.0)
    assert at(loop, "ask") == [1.0, 4.1, 7.2]
    world.what = None
    assert done(loop, 5.0) == [("ask", units(1)), ("resize", units(1)), ("permit", units(1))]


def test_a_guest_that_may_have_agreed_to_less_is_told_that_it_keeps_what_it_has() -> None:
    loop = settled(2, Failing("ask", Sent.UNANSWERED))
    need(loop, 1)
    loop.run(0.5)
    assert loop.counted_on == units(1)
    need(loop, 2)
    assert done(loop, 20.0) == [("tell", units(2))]


def test_the_answer_of_a_conversation_that_is_over_counts_for_nothing() -> None:
    loop = settled(4, Slow("ask"))
    need(loop, 1)
    loop.run(1.0)
    loop.lose_guest()
    loop.meet_guest()
    need(loop, 2)
    assert done(loop, 2.0) == [("ask", units(2))]
    # The guest has agreed to the first question meanwhile, which nobody asks any more.
    loop.take(events.agreed(loop.state, units(1)))
    assert done(loop, 1.0) == []
    assert done(loop, 2.0)[0] == ("resize", units(2))


# ---- who permits ------------------------------------------------------------------------------


def test_what_is_not_granted_is_asked_for_again_after_2_seconds_and_the_rest_is_taken() -> None:
    loop = settled()
    loop.world.room = units(2)
    need(loop, 4)
    found = done(loop, 6.0, ticks=True)
    assert [size for what, size in found if what == "permit"] == [units(4)] * 3
    assert at(loop, "permit") == [1.0, 3.1, 5.2]
    assert [size for what, size in found if what != "permit"] == [units(2), units(2)]
    loop.world.room = units(4)
    assert done(loop, 4.0)[-2:] == [("resize", units(4)), ("tell", units(4))]


def test_each_kind_is_permitted_for_itself() -> None:
    loop = settled()
    loop.world.room = Resources(2000, 2)
    need(loop, 4)
    loop.run(1.9)
    assert [deed.size for deed in loop.deeds] == [
        units(4),
        Resources(1000, 2),
        Resources(1000, 2),
    ]


def test_what_is_given_back_is_told_though_more_has_just_been_denied() -> None:
    loop = settled(4)
    loop.world.room = units(4)
    need(loop, 8)
    loop.run(0.2)
    need(loop, 1)
    assert done(loop, 1.5) == [("ask", units(1)), ("resize", units(1)), ("permit", units(1))]


def test_who_permits_may_have_another_unit() -> None:
    loop = settled()
    loop.world.unit = Resources(1000, 4)
    loop.world.metrics = Metrics(0.4)
    loop.run(20.0)
    assert loop.actual == Resources(250, 1)
    loop.world.metrics = Metrics(0.6)
    assert done(loop, 20.0)[-1] == ("tell", Resources(1000, 4))


# ---- sizes that are no whole units ------------------------------------------------------------


def test_a_size_between_units_is_brought_to_whole_ones() -> None:
    loop = Loop(Resources(700, 3))
    loop.run(1.0)
    need(loop, 2)
    loop.run(3.0)
    assert loop.actual == units(2)


def uneven(size: int) -> Loop:
    """Return a loop around a pod whose memory is no whole number of slots."""
    loop = Loop(units(size))
    loop.take(replace(loop.state, pod=replace(loop.state.pod, uneven=True)))
    return loop


def test_memory_in_parts_of_slots_is_brought_to_whole_ones_once() -> None:
    loop = uneven(2)
    need(loop, 2)
    assert done(loop, 5.0) == [("permit", units(2)), ("resize", units(2))]
    assert done(loop, 60.0) == []


def test_who_is_about_to_have_less_is_not_brought_to_whole_slots_before() -> None:
    loop = uneven(2)
    need(loop, 1)
    assert done(loop, 5.0) == [
        ("permit", units(2)),
        ("ask", units(1)),
        ("resize", units(1)),
        ("permit", units(1)),
    ]
    assert done(loop, 60.0) == []


def test_an_api_that_refuses_whole_slots_is_not_asked_for_them_again() -> None:
    loop = uneven(2)
    need(loop, 2)
    loop.run(0.05)
    assert loop.state.pod.target == units(2)
    loop.take(events.resize_refused(loop.state, loop.now))
    assert not loop.state.pod.uneven
    assert next_actions(loop.state, loop.now + 60.0).resize is None


def test_a_largest_size_below_a_unit_is_reached_and_not_passed() -> None:
    rules = Rules(Resources(100, 1), Resources(200, 1))
    loop = Loop(Resources(100, 1), rules)
    loop.run(1.0)
    need(loop, 8)
    loop.run(5.0)
    assert loop.actual == Resources(200, 1)
    assert done(loop, 100.0) == []


def test_a_node_that_gives_another_size_than_it_was_asked_for_is_not_asked_time_and_again() -> None:
    class Rounding(World):
        def settles(self, actual: Resources, desired: Resources) -> list[Step]:
            return [Step(0.5, Resources(desired.cpu + 5, desired.memory))]

    loop = settled(1, Rounding())
    need(loop, 2)
    assert done(loop, 3.0)[-1] == ("tell", units(2))
    found = done(loop, 300.0, ticks=True)
    assert {what for what, _ in found} == {"permit"}
    assert len(found) <= 21


def test_an_api_that_writes_another_size_than_that_asked_for_is_not_asked_time_and_again() -> None:
    loop = settled()
    need(loop, 4)
    loop.run(0.3)
    loop.meddle(units(2))
    found = [deed for deed in done(loop, 50.0) if deed[0] != "tell"]
    assert found == []
    assert loop.actual == units(2)


# ---- when there is more to do -----------------------------------------------------------------

CALM = events.guest_running(State(Rules(SMALL, LARGE), Pod(units(4), units(4))))
WISHED = events.wished(CALM, True, False, 50.0)
ASKED = events.permit_asked(CALM, units(8), 50.0)
GROWING = events.resizing(CALM, units(8), 50.0)
FAILED = events.resize_failed(GROWING, 50.5)
FAILED_AGAIN = events.resize_failed(events.resizing(FAILED, units(8), 54.0), 54.5)


def granted(size: Resources) -> State:
    return events.permitted(ASKED, size, DEFAULT_UNIT, migrating=False, now=50.5)


@pytest.mark.parametrize(
    ("state", "now", "at"),
    [
        (CALM, 50.0, None),
        (ASKED, 51.0, None),
        (granted(units(8)), 51.0, 65.0),
        (granted(units(4)), 51.0, 52.5),
        (events.permit_failed(ASKED, 50.5), 51.0, 53.5),
        (WISHED, 51.0, 60.0),
        (WISHED, 60.0, 170.0),
        (events.measured(CALM, load(4), 50.0), 51.0, 70.0),
        (events.refused(events.asking(CALM, units(2)), units(2), 50.5), 51.0, 55.5),
        (events.tell_failed(events.telling(CALM, units(8)), units(8), 50.5), 51.0, 53.5),
        (events.ask_failed(events.asking(CALM, units(2)), units(2), 50.5), 51.0, 53.5),
        (events.woken(CALM, 50.0), 51.0, 110.0),
        (GROWING, 51.0, 110.0),
        (FAILED, 51.0, 53.5),
        (FAILED_AGAIN, 58.0, 60.5),
        (events.resize_refused(GROWING, 50.5), 54.0, 56.5),
        (events.resize_refused(events.resizing(CALM, SMALL, 50.0), 50.5), 54.0, 56.5),
        (events.observed(CALM, units(8), units(4), Denial.DEFERRED, 50.5), 51.0, 52.5),
    ],
)
def test_it_is_looked_at_again_when_time_alone_changes_something(
    state: State, now: float, at: float | None
) -> None:
    wait = next_actions(state, now).wait
    assert wait == (None if at is None else pytest.approx(at - now))
