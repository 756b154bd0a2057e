"""A load that comes in bursts does not have a sandbox's size go up and down for ever.

A load average does not show what a burst lacks, and a burst that lacks nothing asks for nothing.
"""

from __future__ import annotations

import math
from itertools import accumulate, count, takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.resize.amounts import Resources
from gateway.resize.sizing import DEFAULT_UNIT, Rules
from gateway.resize.state import TIMING

from .loop import World
from .throttled import PERIOD, Bursts, Throttled

LOW, HIGH = Resources(250, 1), Resources(2000, 8)
HOUR = 3600.0
#: From the least to the most, a unit at a time.
STEPS = (HIGH.cpu - LOW.cpu) // DEFAULT_UNIT.cpu
#: Taken back, in two steps where the load average falls meanwhile, and got again in two: a first
#: one, and one to all that it was.
TURN = 4

SHAPES = [
    Bursts(0.1, 2, 2),  # whose load is greater the less it has: it asks for no size for long
    Bursts(0.1, 10),
    Bursts(0.1, 50),
    Bursts(0.5, 100, 2),
    Bursts(6.0, 600),
    Bursts(6.0, 600, 4),
    Bursts(30.0, 600, 2),
    Bursts(60.0, 6000, 2),
]

shapes = st.builds(
    Bursts,
    st.sampled_from([0.02, 0.1, 0.5, 2.0, 6.0, 30.0]) | st.floats(0.01, 60.0),
    st.sampled_from([5, 10, 50, 100, 600, 2400, 6000]) | st.integers(2, 6000),
    st.sampled_from([1, 2, 4, 8]),
)


def turns(seconds: float) -> int:
    """Return how often what was got may be taken back by then: each time it is kept for longer."""
    kept = (min(TIMING.wish_kept * 2.0**turn, TIMING.wish_kept_most) for turn in count())
    return sum(1 for _ in takewhile(lambda at: at <= seconds, accumulate(kept)))


def resized(bursts: Bursts, hours: int) -> list[int]:
    """Return how often it is resized in each hour."""
    loop, found = Throttled(LOW, Rules(LOW, HIGH), bursts, World()), []
    for _ in range(hours):
        loop.deeds.clear()
        loop.run(HOUR)
        found.append(len(loop.resizes()))
    return found


def check(found: list[int]) -> None:
    """Check that it went once all the way up and down, and then only ever more rarely."""
    for hours, so_far in enumerate(accumulate(found), 1):
        assert so_far <= 2 * STEPS + TURN * turns(hours * HOUR), found


@pytest.mark.parametrize("bursts", SHAPES, ids=str)
def test_a_load_in_bursts_finds_a_size_and_keeps_it(bursts: Bursts) -> None:
    found = resized(bursts, 3)
    check(found)
    # By then it is kept for an hour, in which lies one turn, and the begin of the next at most.
    assert found[-1] <= TURN + 1, found


@settings(deadline=None, max_examples=8)
@given(shapes)
def test_so_does_one_of_any_shape(bursts: Bursts) -> None:
    check(resized(bursts, 2))


def test_what_comes_more_rarely_than_is_remembered_is_followed_each_time_and_not_between() -> None:
    every = TIMING.wish_kept + TIMING.wish_forgotten + 80.0
    found = resized(Bursts(30.0, round(every / PERIOD), 8), 3)
    assert sum(found) <= math.ceil(3 * HOUR / every) * (STEPS + 3), found
    assert found[-1] >= STEPS, "it is not followed"
