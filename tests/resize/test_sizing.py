"""The size to work towards: from load, memory, wishes and refusals, within bounds and at rest."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.resize.amounts import Resources
from gateway.resize.sizing import (
    DEFAULT_UNIT,
    Metrics,
    Refusal,
    Rules,
    Wish,
    goal,
    least_after,
    round_half_up,
)
from gateway.sandbox.scaling import Boost, Scaling, Size

GI = 1024**3

#: From one compute unit to sixteen: 0.25 CPUs and a slot to 4 CPUs and 16 slots.
RULES = Rules(low=Resources(250, 1), high=Resources(4000, 16))
IDLE = Metrics(load1=0.0)


def size(units: int) -> Resources:
    return DEFAULT_UNIT.times(units)


def wanted(
    using: Resources,
    metrics: Metrics | None,
    wish: Wish | None = None,
    refusal: Refusal | None = None,
    rules: Rules = RULES,
    unit: Resources = DEFAULT_UNIT,
) -> Resources:
    return goal(using, metrics, wish, refusal, rules, unit)


# ---- rounding ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "rounded"),
    [
        (0.0, 0),
        (0.49, 0),
        (0.49999999999999994, 0),
        (0.5, 1),
        (1.0, 1),
        (1.5, 2),
        (2.4999, 2),
        (2.5, 3),
        (4.5, 5),
        (2.0**52 + 1, 2**52 + 1),
    ],
)
def test_a_half_is_rounded_up_and_not_to_the_even_number(value: float, rounded: int) -> None:
    assert round_half_up(value) == rounded


@given(st.integers(0, 10**6))
def test_every_half_is_rounded_up(whole: int) -> None:
    assert round_half_up(whole + 0.5) == whole + 1
    assert round_half_up(float(whole)) == whole


# ---- the load ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("load", "units"),
    [
        (0.0, 1),
        (0.225, 1),
        (0.3374, 1),
        (0.3375, 2),
        (0.45, 2),
        (0.5625, 3),
        (0.9, 4),
        (1.0, 4),
        (1.0124, 4),
        (1.0125, 5),
        (2.0, 9),
        (3.6, 16),
        (1e9, 16),
        (1e300, 16),
    ],
)
def test_units_are_the_load_by_its_target_and_the_unit(load: float, units: int) -> None:
    assert wanted(size(1), Metrics(load)) == size(units)
    assert wanted(size(16), Metrics(load)) == size(units)


def test_a_load_of_exactly_two_units_and_a_half_is_three_units() -> None:
    assert 0.5625 / 0.9 / 0.25 == 2.5
    assert round(2.5) == 2
    assert wanted(size(1), Metrics(0.5625)) == size(3)


@pytest.mark.parametrize(("target", "units"), [(0.5, 8), (0.9, 4), (1.0, 4), (1.9, 2)])
def test_the_target_is_how_much_of_its_cpu_a_sandbox_should_use(target: float, units: int) -> None:
    rules = Rules(RULES.low, RULES.high, load_target=target)
    assert wanted(size(1), Metrics(1.0), rules=rules) == size(units)


def test_a_load_of_all_the_cpu_there_is_asks_for_more_only_where_that_is_half_a_unit() -> None:
    assert wanted(size(8), Metrics(2.0)) == size(9)
    assert wanted(size(1), Metrics(0.25)) == size(1)


@pytest.mark.parametrize(
    ("using", "load1", "load5", "expected"),
    [
        (8, 0.0, 1.8, 8),
        (8, 0.0, 0.9, 4),
        (8, 0.0, 0.0, 1),
        (8, 0.9, 0.45, 4),
        (8, 0.45, 0.9, 4),
        (8, 3.6, 0.0, 16),
        (4, 0.0, 3.6, 4),
        (1, 0.0, 3.6, 1),
    ],
)
def test_what_five_minutes_needed_is_not_given_up_yet_but_nothing_grows_by_it(
    using: int, load1: float, load5: float, expected: int
) -> None:
    assert wanted(size(using), Metrics(load1, load5)) == size(expected)


def test_a_bound_that_is_no_multiple_of_the_unit_is_not_given_up_either() -> None:
    rules = Rules(low=Resources(250, 1), high=Resources(900, 3))
    assert wanted(Resources(900, 3), Metrics(0.3, 0.9), rules=rules) == Resources(900, 3)


# ---- memory -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("in_use", "units"),
    [(0.0, 1), (0.75, 1), (0.76, 2), (1.5, 2), (1.51, 3), (3.0, 4), (12.0, 16), (1e6, 16)],
)
def test_memory_in_use_is_no_more_than_its_target_of_the_whole(in_use: float, units: int) -> None:
    assert wanted(size(1), Metrics(0.0, memory=in_use)) == size(units)
    assert wanted(size(16), Metrics(0.0, memory=in_use)) == size(units)


def test_the_greater_of_both_needs_counts_for_both() -> None:
    assert wanted(size(1), Metrics(load1=0.9, memory=1.5)) == size(4)
    assert wanted(size(1), Metrics(load1=0.225, memory=3.0)) == size(4)


# ---- CPU and memory each for itself -----------------------------------------------------------

SEPARATE = replace(RULES, separate=True)


@pytest.mark.parametrize(
    ("load1", "in_use", "expected"),
    [
        (0.0, 0.0, Resources(250, 1)),
        (0.9, 0.0, Resources(1000, 1)),
        (0.0, 3.0, Resources(250, 4)),
        (0.9, 1.5, Resources(1000, 2)),
        (9.0, 1.5, Resources(4000, 2)),
        (0.9, 90.0, Resources(1000, 16)),
    ],
)
def test_each_need_counts_for_itself_where_the_rules_have_it_so(
    load1: float, in_use: float, expected: Resources
) -> None:
    for using in (size(1), Resources(250, 16), Resources(4000, 1), size(16)):
        assert wanted(using, Metrics(load1, memory=in_use), rules=SEPARATE) == expected


def test_what_five_minutes_needed_of_the_cpu_keeps_no_memory_then() -> None:
    metrics = Metrics(load1=0.0, load5=1.8, memory=1.5)
    assert wanted(size(8), metrics, rules=SEPARATE) == Resources(2000, 2)


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        (Wish(size(4)), Resources(250, 1)),
        (Wish(size(4), cpu=True), Resources(1250, 1)),
        (Wish(size(4), memory=True), Resources(250, 5)),
        (Wish(Resources(1000, 7), cpu=True, memory=True), Resources(1250, 8)),
    ],
)
def test_a_wish_is_for_its_own_kind_alone_then(wish: Wish, expected: Resources) -> None:
    assert wanted(size(4), IDLE, wish, rules=SEPARATE) == expected
    assert wanted(size(4), None, wish, rules=SEPARATE) == expected.max(size(4))


# ---- without metrics, and wishes --------------------------------------------------------------


@pytest.mark.parametrize("using", [Resources(250, 1), Resources(1300, 5), Resources(4000, 16)])
def test_without_metrics_nothing_changes_within_the_bounds(using: Resources) -> None:
    assert wanted(using, None) == using


def test_without_metrics_the_bounds_count_all_the_same() -> None:
    assert wanted(Resources(100, 1), None) == RULES.low
    assert wanted(Resources(9000, 3), None) == Resources(4000, 3)


@pytest.mark.parametrize(
    ("wish", "units"),
    [
        (Wish(size(4)), 1),
        (Wish(size(4), cpu=True), 5),
        (Wish(size(4), memory=True), 5),
        (Wish(Resources(1000, 7), cpu=True), 5),
        (Wish(Resources(1000, 7), memory=True), 8),
        (Wish(Resources(1000, 7), cpu=True, memory=True), 8),
        (Wish(Resources(1100, 1), cpu=True), 5),
        (Wish(Resources(0, 0), cpu=True), 1),
        (Wish(size(16), cpu=True, memory=True), 16),
    ],
)
def test_a_wish_is_for_the_least_that_is_more_than_there_was(wish: Wish, units: int) -> None:
    assert wanted(size(4), IDLE, wish) == size(units)
    assert wanted(size(4), None, wish) == size(units).max(size(4))


def test_a_wish_never_makes_less_of_what_is_measured() -> None:
    assert wanted(size(4), Metrics(3.6), Wish(size(4), memory=True)) == size(16)


# ---- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("current", "requested", "least"),
    [
        (size(8), size(4), size(5)),
        (size(8), size(7), size(8)),
        (size(5), size(4), size(5)),
        (Resources(1000, 8), Resources(1000, 4), Resources(1000, 5)),
        (Resources(1000, 8), Resources(300, 4), Resources(500, 5)),
        (Resources(900, 3), Resources(850, 1), Resources(900, 2)),
    ],
)
def test_after_a_refusal_a_unit_more_is_asked_for_and_never_more_than_there_is(
    current: Resources, requested: Resources, least: Resources
) -> None:
    refusal = Refusal(current, requested)
    assert least_after(refusal, DEFAULT_UNIT) == least
    assert wanted(current, IDLE, refusal=refusal) == least.max(RULES.low)


def test_what_a_guest_refuses_to_give_back_may_be_beyond_the_bounds() -> None:
    refusal = Refusal(current=size(20), requested=size(16))
    assert wanted(size(20), IDLE, refusal=refusal) == size(17)


def test_what_is_needed_counts_where_it_is_more_than_the_least_after_a_refusal() -> None:
    assert wanted(size(8), Metrics(1.8), refusal=Refusal(size(8), size(4))) == size(8)


# ---- bounds -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "load", "expected"),
    [
        (Resources(300, 1), Resources(900, 3), 0.0, Resources(300, 1)),
        (Resources(300, 1), Resources(900, 3), 0.45, Resources(500, 2)),
        (Resources(300, 1), Resources(900, 3), 9.0, Resources(900, 3)),
        (Resources(100, 1), Resources(200, 1), 9.0, Resources(200, 1)),
        (Resources(100, 1), Resources(200, 1), 0.0, Resources(100, 1)),
        (Resources(100, 5), Resources(4000, 5), 0.9, Resources(1000, 5)),
        (Resources(500, 2), Resources(500, 2), 9.0, Resources(500, 2)),
    ],
)
def test_bounds_need_be_no_multiples_of_the_unit(
    low: Resources, high: Resources, load: float, expected: Resources
) -> None:
    for using in (low, high):
        assert wanted(using, Metrics(load), rules=Rules(low, high)) == expected


def test_the_unit_may_be_another() -> None:
    unit = Resources(1000, 4)
    assert wanted(unit, Metrics(1.8), unit=unit) == Resources(2000, 8)
    assert wanted(unit, Metrics(0.0, memory=3.1), unit=unit) == Resources(2000, 8)
    more_of_seven = Wish(Resources(1500, 7), memory=True)
    assert wanted(unit, None, more_of_seven, unit=unit) == Resources(2000, 8)
    refusal = Refusal(Resources(3000, 12), Resources(1500, 7))
    assert wanted(unit, IDLE, refusal=refusal, unit=unit) == Resources(2000, 8)


def test_a_wish_for_one_kind_or_for_none_asks_for_nothing_of_the_other() -> None:
    rules = Rules(low=Resources(100, 1), high=RULES.high)
    least = Resources(0, 0)
    assert wanted(rules.low, IDLE, Wish(size(4)), rules=rules) == rules.low
    assert wanted(rules.low, IDLE, Wish(least, cpu=True), rules=rules) == size(1)


def test_rules_are_what_the_author_wrote_in_slots() -> None:
    scaling = Scaling(
        low=Size(250, 2 * GI), high=Size(2000, 8 * GI), load_target=1.2, memory_target=0.5, slot=GI
    )
    assert Rules.of(scaling) == Rules(Resources(250, 2), Resources(2000, 8), 1.2, 0.5)
    defaults = Scaling(low=Size(250, GI), high=Size(2000, GI))
    assert Rules.of(defaults) == Rules(Resources(250, 2), Resources(2000, 2))
    separate = Scaling(defaults.low, defaults.high, separate=True)
    assert Rules.of(separate) == Rules(Resources(250, 2), Resources(2000, 2), separate=True)
    phased = Scaling(
        defaults.low,
        defaults.high,
        slot=GI,
        floor=Size(100, 3 * GI),
        boost=Boost(Size(1500, 4 * GI), 90.0),
    )
    rules = Rules.of(phased)
    assert (rules.floor, rules.boost) == (Resources(100, 3), Resources(1500, 4))
    assert rules.boost_for == 90.0


# ---- whatever the input -----------------------------------------------------------------------

units = st.builds(Resources, st.integers(1, 2000), st.integers(1, 8))
sizes = st.builds(Resources, st.integers(1, 9000), st.integers(1, 40))
loads = st.floats(0, 40) | st.floats(0, 1e5)
metrics = st.builds(Metrics, loads, loads, loads)
wishes = st.none() | st.builds(Wish, sizes, st.booleans(), st.booleans())
targets = st.floats(0.05, 1.95)


@st.composite
def some_rules(draw: st.DrawFn) -> Rules:
    one, other = draw(sizes), draw(sizes)
    share = draw(st.floats(0.05, 0.95))
    separate = draw(st.booleans())
    return Rules(one.min(other), one.max(other), draw(targets), share, separate=separate)


@st.composite
def refusals(draw: st.DrawFn) -> Refusal:
    one, other = draw(sizes), draw(sizes)
    return Refusal(current=one.max(other), requested=one.min(other))


@given(sizes, st.none() | metrics, wishes, some_rules(), units)
def test_without_a_refusal_the_goal_is_within_the_bounds(
    using: Resources, measured: Metrics | None, wish: Wish | None, rules: Rules, unit: Resources
) -> None:
    found = goal(using, measured, wish, None, rules, unit)
    assert not rules.low.exceeds(found)
    assert not found.exceeds(rules.high)


@given(sizes, st.none() | metrics, wishes, refusals(), some_rules(), units)
def test_a_refusal_only_ever_adds_and_no_more_than_what_there_was(
    using: Resources,
    measured: Metrics | None,
    wish: Wish | None,
    refusal: Refusal,
    rules: Rules,
    unit: Resources,
) -> None:
    found = goal(using, measured, wish, refusal, rules, unit)
    otherwise = goal(using, measured, wish, None, rules, unit)
    least = least_after(refusal, unit)
    assert found == otherwise.max(least)
    assert not least.exceeds(refusal.current)
    for asked, at_least, had in (
        (refusal.requested.cpu, least.cpu, refusal.current.cpu),
        (refusal.requested.memory, least.memory, refusal.current.memory),
    ):
        assert at_least > asked or at_least == had


@given(sizes, metrics, wishes, some_rules(), units)
def test_who_goes_by_each_need_for_itself_never_has_more_than_otherwise(
    using: Resources, measured: Metrics, wish: Wish | None, rules: Rules, unit: Resources
) -> None:
    found = goal(using, measured, wish, None, replace(rules, separate=True), unit)
    together = goal(using, measured, wish, None, replace(rules, separate=False), unit)
    assert not found.exceeds(together)


@given(sizes, wishes, some_rules(), units)
def test_without_metrics_nothing_shrinks_but_to_the_bounds(
    using: Resources, wish: Wish | None, rules: Rules, unit: Resources
) -> None:
    found = goal(using, None, wish, None, rules, unit)
    assert not using.min(rules.high).exceeds(found)


@given(sizes, metrics, metrics, wishes, some_rules(), units)
def test_more_load_and_more_memory_in_use_never_make_the_goal_less(
    using: Resources, one: Metrics, other: Metrics, wish: Wish | None, rules: Rules, unit: Resources
) -> None:
    more = Metrics(
        max(one.load1, other.load1), max(one.load5, other.load5), max(one.memory, other.memory)
    )
    found = goal(using, one, wish, None, rules, unit)
    assert not found.exceeds(goal(using, more, wish, None, rules, unit))


@given(sizes, metrics, wishes, st.none() | refusals(), some_rules(), units)
def test_under_a_constant_load_the_goal_is_reached_in_one_step_and_kept(
    using: Resources,
    measured: Metrics,
    wish: Wish | None,
    refusal: Refusal | None,
    rules: Rules,
    unit: Resources,
) -> None:
    reached = goal(using, measured, wish, refusal, rules, unit)
    assert goal(reached, measured, wish, refusal, rules, unit) == reached


@given(sizes, loads, loads, some_rules(), units)
def test_five_minutes_keep_what_they_need_of_what_there_is_and_never_make_anything_grow(
    using: Resources, load5: float, memory: float, rules: Rules, unit: Resources
) -> None:
    now = goal(using, Metrics(0.0, 0.0, memory), None, None, rules, unit)
    with_five = goal(using, Metrics(0.0, load5, memory), None, None, rules, unit)
    in_need = goal(using, Metrics(load5, 0.0, memory), None, None, rules, unit)
    assert not with_five.exceeds(now.max(using))
    assert not in_need.min(using).exceeds(with_five)


@given(sizes, st.lists(loads, min_size=1, max_size=20), some_rules(), units)
def test_while_five_minutes_remember_a_peak_what_was_had_is_not_given_up_between_peaks(
    using: Resources, peaks: list[float], rules: Rules, unit: Resources
) -> None:
    highest = max(peaks)
    using = goal(using, Metrics(highest), None, None, rules, unit)
    for load in peaks:
        assert goal(using, Metrics(load, highest), None, None, rules, unit) == using
