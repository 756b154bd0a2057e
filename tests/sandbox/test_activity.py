"""Who uses a sandbox, and since when nobody does, through all that a registry tells of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sandbox.activity import Activity, Usage
from gateway.sandbox.model import Backing, State
from gateway.sandbox.standby import IdleRules

from .routes import make_route

if TYPE_CHECKING:
    from gateway.sandbox.model import Route

#: The two clocks at the beginning of each test: monotonic, and since 1970.
NOW, EPOCH = 100.0, 1_700_000_000.0
UID = "uid-1"


class World:
    """What a registry would tell of one sandbox, at times that a test says."""

    def __init__(self) -> None:
        self.activity = Activity()
        self.known: Route | None = None
        self.now = NOW

    def tell(self, **changes: Any) -> None:
        self._tell(make_route(**changes))

    def forget(self) -> None:
        self._tell(None)

    def _tell(self, after: Route | None) -> None:
        self.activity.heed(self.known, after, self.now, EPOCH + self.now - NOW)
        self.known = after

    @property
    def usage(self) -> Usage:
        usage = self.activity.of(UID)
        assert usage is not None
        return usage

    @property
    def unused(self) -> float:
        return self.usage.unused_for(self.now)


# ---- counting ------------------------------------------------------------------------------------


def test_a_sandbox_is_used_until_the_last_one_leaves() -> None:
    world = World()
    world.tell()
    one, two = world.activity.enter(UID, NOW), world.activity.enter(UID, NOW)
    world.now += 50
    one.leave(world.now)
    world.now += 5
    assert (world.usage.count, world.unused) == (1, 0.0)
    two.leave(world.now)
    world.now += 3
    assert (world.usage.count, world.unused) == (0, 3.0)


def test_a_use_that_is_over_already_counts_from_then() -> None:
    world = World()
    world.tell()
    world.now += 50
    world.usage.touch(world.now - 2)
    assert (world.usage.count, world.unused) == (0, 2.0)


def test_a_clock_that_has_not_moved_shows_no_negative_time() -> None:
    assert Usage(UID, NOW + 1).unused_for(NOW) == 0.0


def test_a_use_of_what_is_not_known_is_counted_all_the_same() -> None:
    activity = Activity()
    assert activity.of(UID) is None
    activity.enter(UID, NOW).leave(NOW + 1)
    assert [(usage.uid, usage.count, usage.last) for usage in activity] == [(UID, 0, NOW + 1)]


@given(st.lists(st.booleans(), max_size=50))
def test_uses_add_up(steps: list[bool]) -> None:
    activity, held = Activity(), []
    for enters in steps:
        if enters:
            held.append(activity.enter(UID, NOW))
        elif held:
            held.pop().leave(NOW)
        usage = activity.of(UID)
        assert (usage.count if usage is not None else 0) == len(held)


# ---- what a registry tells -----------------------------------------------------------------------


@pytest.mark.parametrize("state", [State.RUNNING, State.PAUSED])
def test_without_a_note_it_counts_as_used_when_it_was_first_heard_of(state: State) -> None:
    world = World()
    world.tell(state=state)
    world.now += 7
    assert world.unused == 7.0


@pytest.mark.parametrize("ago", [20.0, 86_400.0])
def test_a_note_on_a_running_sandbox_is_resumed_however_long_ago(ago: float) -> None:
    world = World()
    world.tell(idle=IdleRules(idle_since=EPOCH - ago))
    assert world.unused == ago


def test_a_note_from_the_future_is_now() -> None:
    world = World()
    world.tell(idle=IdleRules(idle_since=EPOCH + 5))
    world.now += 1
    assert world.unused == 1.0


def test_a_note_on_a_sandbox_that_sleeps_says_nothing_of_its_next_life() -> None:
    world = World()
    idle = IdleRules(idle_since=EPOCH - 500)
    world.tell(state=State.PAUSED, idle=idle)
    world.now += 10
    assert world.unused == 10.0
    world.tell(state=State.RUNNING, idle=idle, version=2)
    assert world.unused == 0.0


def test_a_note_that_comes_later_changes_nothing() -> None:
    world = World()
    world.tell()
    world.now += 10
    world.tell(idle=IdleRules(idle_since=EPOCH - 500), version=2)
    assert world.unused == 10.0


@pytest.mark.parametrize("state", [State.PAUSED, State.PAUSING, State.RESUMING, State.CREATING])
def test_to_come_to_run_is_a_use(state: State) -> None:
    world = World()
    world.tell(state=state)
    world.now += 100
    world.tell(state=State.RUNNING, version=2)
    world.now += 1
    assert world.unused == 1.0


def test_a_new_incarnation_is_a_use_even_if_no_sleep_was_seen() -> None:
    world = World()
    world.tell()
    world.now += 100
    world.tell(incarnation="uid-1/pod-2", version=2)
    assert world.unused == 0.0


@pytest.mark.parametrize(
    "changes", [{}, {"state": State.PAUSING}, {"state": State.BLOCKED}, {"address": None}]
)
def test_other_news_is_no_use(changes: dict[str, Any]) -> None:
    world = World()
    world.tell()
    world.now += 100
    world.tell(version=2, **changes)
    assert world.unused == 100.0


# ---- forgotten and found again -------------------------------------------------------------------


def test_what_is_deleted_is_forgotten() -> None:
    world = World()
    world.tell()
    world.forget()
    assert (len(world.activity), world.activity.of(UID)) == (0, None)


def test_to_be_told_that_nothing_is_nothing_changes_nothing() -> None:
    world = World()
    world.forget()
    assert len(world.activity) == 0


def test_who_uses_what_is_deleted_is_counted_to_the_end_and_then_forgotten() -> None:
    world = World()
    world.tell()
    use = world.activity.enter(UID, NOW)
    world.forget()
    assert (world.usage.gone, world.usage.count) == (True, 1)
    use.leave(NOW)
    world.tell(uid="uid-2")  # whatever is heard of next
    world.forget()
    assert len(world.activity) == 0


def test_a_list_after_everything_was_forgotten_finds_who_uses_it_now() -> None:
    """An API that seemed to be gone comes back: the same uid, the same requests."""
    world = World()
    world.tell()
    use = world.activity.enter(UID, NOW)
    world.forget()
    world.now += 100
    world.tell(idle=IdleRules(idle_since=EPOCH - 500))
    assert (world.usage.gone, world.usage.count, world.unused) == (False, 1, 0.0)
    use.leave(world.now)
    world.tell(version=2)
    assert (world.usage.count, world.unused) == (0, 0.0)


def test_who_used_it_last_is_not_overruled_by_an_older_note() -> None:
    world = World()
    world.tell()
    use = world.activity.enter(UID, NOW)
    world.forget()
    world.now += 50
    use.leave(world.now)
    world.now += 50
    world.tell(idle=IdleRules(idle_since=EPOCH - 500))
    assert world.unused == 50.0


def test_what_came_back_is_not_forgotten_with_others() -> None:
    world = World()
    world.tell()
    world.activity.enter(UID, NOW)
    world.forget()
    world.tell()
    world.usage.leave(NOW)
    world.activity.heed(make_route(uid="uid-2"), None, NOW, EPOCH)
    assert world.usage.count == 0
    world.forget()
    assert len(world.activity) == 0


def test_another_uid_under_the_name_inherits_nothing() -> None:
    world = World()
    world.tell()
    use = world.activity.enter(UID, NOW)
    world.now += 10
    world.tell(uid="uid-2", idle=IdleRules(idle_since=EPOCH - 20))
    other = world.activity.of("uid-2")
    assert other is not None
    assert (other.count, other.unused_for(world.now)) == (0, 30.0)
    assert world.usage.gone
    use.leave(world.now)
    assert other.unused_for(world.now) == 30.0


# ---- workloads behind Services -------------------------------------------------------------------


def test_a_deploy_is_no_use_of_a_workload_but_to_leave_zero_is() -> None:
    world = World()
    backing = Backing("web", named=False, available=True, life="1")
    world.tell(backing=backing)
    world.now += 1000.0
    world.tell(backing=backing, incarnation="another", version=2)
    world.tell(backing=backing, state=State.RESUMING, version=3)
    world.tell(backing=backing, state=State.RUNNING, version=4)
    assert world.unused == 1000.0
    world.tell(backing=backing, state=State.PAUSED, version=5)
    world.now += 1000.0
    world.tell(backing=backing, state=State.RESUMING, version=6)
    world.now += 5.0
    world.tell(backing=backing, state=State.RUNNING, version=7)
    assert world.unused == 5.0
