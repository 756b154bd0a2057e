"""Sizes in milli-CPUs and slots: each kind for itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.resize.amounts import NOTHING, Resources, clamped, exact
from gateway.sandbox.scaling import Size

MI = 1024**2

amounts = st.builds(Resources, st.integers(0, 99), st.integers(0, 99))


@pytest.mark.parametrize(
    ("memory", "slots"),
    [(0, 0), (1, 1), (512 * MI - 1, 1), (512 * MI, 1), (512 * MI + 1, 2), (1024 * MI, 2)],
)
def test_a_part_of_a_slot_counts_as_a_whole_one(memory: int, slots: int) -> None:
    assert Resources.of(Size(250, memory), 512 * MI) == Resources(250, slots)


@given(amounts, st.integers(1, 2**40))
def test_what_is_in_whole_slots_is_the_same_size_again(amount: Resources, slot: int) -> None:
    assert amount.size(slot) == Size(amount.cpu, amount.memory * slot)
    assert Resources.of(amount.size(slot), slot) == amount


def test_each_kind_is_reckoned_for_itself() -> None:
    one, other = Resources(500, 7), Resources(750, 2)
    assert one.min(other) == Resources(500, 2)
    assert one.max(other) == Resources(750, 7)
    assert one.plus(other) == Resources(1250, 9)
    assert one.times(3) == Resources(1500, 21)
    assert one.less(other) == Resources(0, 5)
    assert other.less(one) == Resources(250, 0)


@pytest.mark.parametrize(
    ("other", "exceeds"),
    [
        (Resources(500, 7), False),
        (Resources(501, 8), False),
        (Resources(499, 7), True),
        (Resources(500, 6), True),
        (Resources(499, 99), True),
        (Resources(999, 6), True),
    ],
)
def test_more_of_either_is_more(other: Resources, exceeds: bool) -> None:
    assert Resources(500, 7).exceeds(other) is exceeds


@pytest.mark.parametrize(("cpu", "memory", "both"), [(1, 1, True), (0, 1, False), (1, 0, False)])
def test_a_size_has_some_of_each(cpu: int, memory: int, both: bool) -> None:
    assert Resources(cpu, memory).has_both is both
    assert not NOTHING.has_both


@given(amounts, amounts, amounts)
def test_a_clamped_amount_is_within_bounds_and_the_nearest_there(
    value: Resources, one: Resources, other: Resources
) -> None:
    low, high = one.min(other), one.max(other)
    found = clamped(value, low, high)
    assert found == clamped(found, low, high)
    assert not low.exceeds(found)
    assert not found.exceeds(high)
    assert found.cpu == value.cpu or found.cpu in (low.cpu, high.cpu)
    assert found.memory == value.memory or found.memory in (low.memory, high.memory)


def test_of_bounds_that_contradict_each_other_the_lower_one_counts() -> None:
    assert clamped(Resources(5, 5), Resources(9, 1), Resources(3, 9)) == Resources(9, 5)


@pytest.mark.parametrize(("slots", "memory"), [(1, 512), (2, 700), (3, 1536)])
def test_memory_that_is_to_stay_as_it_is_stays_so_to_the_byte(slots: int, memory: int) -> None:
    has = Size(250, 700 * MI)
    assert exact(Resources(500, slots), has, 512 * MI) == Size(500, memory * MI)


@given(amounts, amounts)
def test_what_is_left_and_what_is_shared_are_the_whole(one: Resources, other: Resources) -> None:
    assert one.less(other).plus(one.min(other)) == one
    assert one.exceeds(other) == (one.less(other) != NOTHING)
