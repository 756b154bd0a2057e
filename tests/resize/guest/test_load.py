"""The load of a container, reckoned as a kernel reckons that of a machine."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.resize.guest.load import LONGEST_SAMPLE, SAMPLE_EVERY, Averages, Load, Usage


def after(
    busy: float, seconds: float, start: Averages, began: Usage | None = None, waited: float = 0.0
) -> Averages:
    """Return the averages when so many CPUs were busy for so long from now on."""
    usage = Usage(0.0, 0.0) if began is None else began
    averages = start.take(usage, 0.0)
    for number in range(1, round(seconds / SAMPLE_EVERY) + 1):
        at = number * SAMPLE_EVERY
        averages = averages.take(Usage(usage.busy + busy * at, usage.waited + waited * at), at)
    return averages


def known(load: Averages) -> Load:
    assert load.load is not None
    return load.load


def test_one_reading_says_nothing_yet() -> None:
    assert Averages().take(Usage(1234.0, 5.0), 100.0).load is None


def test_the_first_measure_is_the_first_average() -> None:
    assert known(after(1.5, SAMPLE_EVERY, Averages())) == Load(1.5, 1.5)


def test_waiting_for_a_cpu_is_load_too() -> None:
    load = known(after(0.5, SAMPLE_EVERY, Averages(), waited=0.8))
    assert load.one == pytest.approx(1.3)


def test_what_was_used_before_the_start_does_not_count() -> None:
    assert known(after(1.0, SAMPLE_EVERY, Averages(), began=Usage(9999.0, 99.0))).one == 1.0


def test_the_time_constants_are_those_of_the_kernel() -> None:
    idle = Averages(Load(0.0, 0.0))
    assert known(after(2.0, 60.0, idle)).one == pytest.approx(2.0 * (1 - math.exp(-1)))
    assert known(after(2.0, 300.0, idle)).five == pytest.approx(2.0 * (1 - math.exp(-1)))


def test_samples_that_come_late_weigh_more() -> None:
    idle = Averages(Load(0.0, 0.0))
    late = idle.take(Usage(0.0, 0.0), 0.0).take(Usage(20.0, 0.0), 10.0)
    assert known(late).one == pytest.approx(known(after(2.0, 10.0, idle)).one)


def test_time_in_which_the_sandbox_was_frozen_is_no_time() -> None:
    busy = after(2.0, 60.0, Averages())
    thawed = busy.take(Usage(120.5, 0.0), 60.0 + 3600.0)
    assert known(thawed) == known(busy)
    assert known(thawed.take(Usage(130.5, 0.0), 3665.0)).one == pytest.approx(2.0)


def test_a_counter_that_starts_anew_is_no_load_below_nothing() -> None:
    averages = after(2.0, 5.0, Averages(), began=Usage(1000.0, 9.0)).take(Usage(0.0, 0.0), 10.0)
    assert 0.0 <= known(averages).one < 2.0


def test_what_the_kernel_averages_is_left_as_it_is() -> None:
    assert Averages().take(Load(0.52, 0.58), 5.0).take(Load(0.7, 0.6), 10.0).load == Load(0.7, 0.6)


# Sums of floats may go past the longest sample by a hair: these stay below it.
@given(
    st.lists(st.tuples(st.floats(0.01, LONGEST_SAMPLE - 0.1), st.floats(0.0, 64.0)), min_size=1),
)
def test_averages_stay_between_the_least_and_the_most(samples: list[tuple[float, float]]) -> None:
    averages, at, used = Averages().take(Usage(0.0, 0.0), 0.0), 0.0, 0.0
    for elapsed, busy in samples:
        at += elapsed
        used += elapsed * busy
        averages = averages.take(Usage(used, 0.0), at)
    low, high = min(busy for _, busy in samples), max(busy for _, busy in samples)
    load = known(averages)
    assert low - 1e-3 <= load.one <= high + 1e-3
    assert low - 1e-3 <= load.five <= high + 1e-3
