"""When more is asked for, in virtual time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.resize.guest.pressure import (
    ASK_AGAIN,
    MEMORY_TARGET,
    WINDOW,
    Memory,
    Strain,
    Watch,
)
from gateway.resize.messages import MoreResources

LOOK = 0.2
ENOUGH = Memory(total=1000, used=900)
SHORT = Memory(total=1000, used=901)
NOTHING = Strain()
MEMORY, CPU, BOTH = (
    MoreResources(cpu=cpu, memory=memory)
    for cpu, memory in ((False, True), (True, False), (True, True))
)


class Looking:
    """Looks five times a second, and notes what is asked for and when."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.watch = Watch()
        self.memory = ENOUGH
        self.strain = NOTHING
        #: By how much the counts grow in a second.
        self.growth = NOTHING
        self.asked: list[tuple[float, MoreResources]] = []

    def look(self, seconds: float) -> None:
        began = self.now
        for number in range(1, round(seconds / LOOK) + 1):
            self.now = began + number * LOOK
            self.strain = Strain(
                self.strain.stalled + self.growth.stalled * LOOK,
                self.strain.periods + round(self.growth.periods * LOOK),
                self.strain.throttled + round(self.growth.throttled * LOOK),
            )
            self.watch = self.watch.look(self.memory, self.strain, self.now)
            if self.watch.needs is not None:
                self.asked.append((round(self.now - 1000.0, 3), self.watch.needs))


@pytest.fixture
def looking() -> Looking:
    return Looking()


def test_who_has_enough_asks_for_nothing(looking: Looking) -> None:
    looking.growth = Strain(stalled=0.19, periods=10, throttled=5)
    looking.look(60.0)
    assert looking.asked == []


def test_memory_in_use_beyond_the_target_is_told_at_the_first_look(looking: Looking) -> None:
    looking.look(1.0)
    looking.memory = SHORT
    looking.look(LOOK)
    assert looking.asked == [(1.2, MEMORY)]


def test_what_is_lacking_is_asked_for_again_as_long_as_it_is(looking: Looking) -> None:
    looking.memory = SHORT
    looking.look(ASK_AGAIN * 3)
    assert [at for at, _ in looking.asked] == [0.2, 5.2, 10.2]
    looking.memory = ENOUGH
    looking.look(60.0)
    assert len(looking.asked) == 3


def test_memory_that_comes_and_goes_is_not_asked_for_at_each_look(looking: Looking) -> None:
    for _ in range(10):
        looking.memory = SHORT
        looking.look(LOOK)
        looking.memory = ENOUGH
        looking.look(LOOK)
    assert len(looking.asked) == 1


def test_after_a_growth_it_is_asked_at_once_if_it_is_still_short(looking: Looking) -> None:
    looking.memory = SHORT
    looking.look(1.0)
    looking.watch = Watch()
    looking.look(1.0)
    assert looking.asked == [(0.2, MEMORY), (1.2, MEMORY)]


def test_a_request_that_nobody_heard_is_made_again(looking: Looking) -> None:
    looking.memory = SHORT
    looking.look(LOOK)
    looking.watch = looking.watch.unheard()
    assert looking.watch.needs is None
    looking.look(LOOK)
    assert looking.asked == [(0.2, MEMORY), (0.4, MEMORY)]


def test_tasks_that_wait_for_memory_are_told_once_a_window_has_passed(looking: Looking) -> None:
    looking.growth = Strain(stalled=0.21)
    looking.look(WINDOW + LOOK)
    assert looking.asked == [(2.2, MEMORY)]


def test_waiting_from_before_the_growth_says_nothing_of_now(looking: Looking) -> None:
    looking.growth = Strain(stalled=1.0, periods=10, throttled=10)
    looking.look(WINDOW + LOOK)
    looking.watch, looking.growth = Watch(), NOTHING
    looking.look(60.0)
    assert looking.asked == [(2.2, BOTH)]


def test_a_cpu_limit_that_is_reached_most_of_the_time_is_told(looking: Looking) -> None:
    looking.growth = Strain(periods=10, throttled=10)
    looking.look(WINDOW + LOOK + ASK_AGAIN)
    assert looking.asked == [(2.2, CPU), (7.2, CPU)]


def test_what_comes_to_lack_later_is_told_at_once_with_the_rest(looking: Looking) -> None:
    looking.growth = Strain(periods=10, throttled=10)
    looking.look(3.0)
    looking.memory = SHORT
    looking.look(ASK_AGAIN)
    assert looking.asked == [(2.2, CPU), (3.2, BOTH)]


def test_a_cpu_that_comes_to_lack_after_memory_is_told_at_once(looking: Looking) -> None:
    looking.memory = SHORT
    looking.look(1.0)
    looking.growth = Strain(periods=10, throttled=10)
    looking.look(2.0)
    assert looking.asked == [(0.2, MEMORY), (2.2, BOTH)]


def test_the_memory_in_use_must_leave_room_in_what_is_to_be() -> None:
    memory = Memory(total=2000, used=900)
    assert memory.allows(1000)
    assert not memory.allows(999)
    assert memory.available == 1100


def test_who_is_short_of_memory_may_keep_it_but_not_have_less() -> None:
    memory = Memory(total=3000, used=2900)
    assert memory.can_become(3000)
    assert memory.can_become(4000)
    assert not memory.can_become(2999)


def test_who_has_memory_to_spare_may_have_less() -> None:
    memory = Memory(total=3000, used=900)
    assert memory.can_become(1000)
    assert not memory.can_become(999)


def test_a_limit_below_what_is_in_use_leaves_nothing() -> None:
    memory = Memory(total=500, used=900)
    assert memory.available == 0
    assert memory.is_short


@given(
    used=st.lists(st.integers(0, 1100), min_size=1, max_size=200),
    throttled=st.lists(st.booleans(), min_size=200, max_size=200),
)
def test_nothing_is_asked_for_more_often_than_agreed(
    used: list[int], throttled: list[bool]
) -> None:
    looking = Looking()
    for amount, held in zip(used, throttled, strict=False):
        looking.memory = Memory(1000, amount)
        looking.growth = Strain(periods=10, throttled=10 * held)
        looking.look(LOOK)
        if looking.watch.needs is not None and looking.watch.needs.memory:
            assert amount > 1000 * MEMORY_TARGET
    times = [at for at, _ in looking.asked]
    # Each of the two kinds may be what makes it ask, each once within that time.
    assert all(third - first >= ASK_AGAIN - 1e-6 for first, third in zip(times, times[2:]))  # noqa: B905
