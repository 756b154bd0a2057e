"""Which sandboxes are to be put to sleep, and when: every rule of the idle loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from gateway.sandbox.model import Key, Route, State, WakePolicy
from gateway.sandbox.standby import DISABLED, StandbyCheck, StandbyPolicy
from gateway.standby.agenda import SLACK
from gateway.standby.config import IdleConfig
from gateway.standby.idle import (
    BATCH,
    LOOKS,
    PAUSE_MAX,
    PAUSE_MIN,
    REST_MAX,
    VETO_MAX,
    Result,
)
from tests.standby.world import EPOCH, FIVE_MINUTES, World, sandbox

CHECK = StandbyCheck(8080, "/may-sleep")
ONE_SECOND = StandbyPolicy(enabled=True, idle_timeout=1.0)


def one(**changes: Any) -> World:
    world = World()
    world.add(sandbox(**changes))
    return world


# ---- the countdown ------------------------------------------------------------------------------


def test_one_that_nobody_uses_sleeps_after_its_idle_time_and_not_sooner() -> None:
    world = one()
    assert world.asked_within(299.9) is None
    assert world.asked_within(1.0) == pytest.approx(0.1)


def test_the_countdown_begins_with_the_end_of_the_last_use() -> None:
    world = one()
    world.now += 200
    world.use(seconds=250)
    assert world.asked_within(1000) == 300


def test_one_in_use_is_never_asked_about_and_is_not_late_after_it() -> None:
    world = one()
    usage = world.activity.enter("uid-box", world.now)
    assert world.asked_within(10_000) is None
    usage.leave(world.now)
    assert world.asked_within(1000) == 300


def test_two_uses_at_one_time_end_with_the_last_of_them() -> None:
    world = one()
    first, second = (world.activity.enter("uid-box", world.now) for _ in range(2))
    world.now += 10
    first.leave(world.now)
    assert world.asked_within(1000) is None
    second.leave(world.now)
    assert world.asked_within(1000) == 300


def test_one_that_comes_to_run_counts_as_used_then() -> None:
    world = one(state=State.PAUSED, address=None)
    assert world.asked_within(1000) is None
    world.change(state=State.RUNNING, address="10.0.0.7", incarnation="uid-box/2")
    assert world.asked_within(1000) == 300


def test_one_that_is_noted_as_idle_goes_on_with_its_countdown() -> None:
    world = World()
    world.add(sandbox(idle_since=EPOCH + world.now - 200))
    assert world.asked_within(1000) == pytest.approx(100, abs=1e-3)


def test_one_that_is_noted_as_idle_for_too_long_is_asked_about_at_once() -> None:
    world = World()
    world.add(sandbox(idle_since=EPOCH + world.now - 100_000))
    assert world.asked() == ["box"]


# ---- what forbids it, and takes effect at once --------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"policy": None},
        {"policy": DISABLED},
        {"always_on": True},
        {"pinned": True},
        {"state": State.PAUSED},
        {"state": State.BLOCKED},
        {"address": None},
    ],
)
def test_what_forbids_it_does_so_to_the_last_moment(changes: dict[str, Any]) -> None:
    world = one()
    world.now += 299.9
    world.change(**changes)
    assert world.asked_within(10_000) is None


def test_without_its_pin_it_sleeps_after_the_cooldown_if_it_was_idle_meanwhile() -> None:
    world = one(pinned=True)
    assert world.asked_within(1000) is None
    world.change(pinned=False)
    assert world.asked() == []
    assert world.asked_within(1000) == 1.0


def test_a_pin_within_the_cooldown_keeps_it_awake_and_begins_it_anew() -> None:
    world = one(pinned=True)
    world.now += 1000
    world.change(pinned=False)
    world.now += 0.9
    world.change(pinned=True)
    assert world.asked_within(1000) is None
    world.change(pinned=False)
    assert world.asked_within(1000) == 1.0


def test_without_a_cooldown_it_sleeps_at_once() -> None:
    world = World(IdleConfig(cooldown=0.0))
    world.add(sandbox(pinned=True))
    world.now += 1000
    world.change(pinned=False)
    assert world.asked() == ["box"]


def test_news_of_one_that_nothing_holds_begins_no_cooldown() -> None:
    world = World()
    world.add(sandbox(hold_until=EPOCH + world.now + 100))
    world.now += 300
    world.change(hold_until=None)
    assert world.asked() == ["box"]


def test_without_its_pin_it_stays_awake_for_the_rest_of_its_idle_time() -> None:
    world = one(pinned=True)
    world.now += 250
    world.use()
    world.now += 100
    world.change(pinned=False)
    assert world.asked_within(1000) == 200


def test_a_hold_is_over_a_cooldown_after_its_time() -> None:
    world = World(IdleConfig(cooldown=7.0))
    world.add(sandbox(hold_until=EPOCH + world.now + 1000))
    assert world.asked_within(5000) == pytest.approx(1007, abs=1e-3)


def test_a_hold_that_is_extended_in_time_holds_on() -> None:
    world = World()
    world.add(sandbox(hold_until=EPOCH + world.now + 1000))
    world.now += 999
    world.change(hold_until=EPOCH + world.now + 501)
    assert world.asked_within(5000) == pytest.approx(501 + 1, abs=1e-3)


def test_a_hold_that_is_taken_away_is_over() -> None:
    world = World()
    world.add(sandbox(hold_until=EPOCH + world.now + 1000))
    world.now += 400
    world.change(hold_until=None)
    assert world.asked_within(5000) == 1.0


def test_a_shorter_policy_takes_effect_at_once() -> None:
    world = one()
    world.now += 100
    world.change(policy=ONE_SECOND)
    assert world.asked() == ["box"]


def test_a_longer_policy_takes_effect_at_once() -> None:
    world = one()
    world.now += 299
    world.change(policy=StandbyPolicy(enabled=True, idle_timeout=1000.0))
    assert world.asked_within(10_000) == 701


def test_a_policy_that_comes_later_counts_from_the_last_use() -> None:
    world = one(policy=None)
    world.now += 250
    world.change(policy=FIVE_MINUTES)
    assert world.asked_within(1000) == 50


def test_one_that_is_woken_runs_for_its_least_time_whatever_its_policy_says() -> None:
    world = World(IdleConfig(min_uptime=10.0))
    world.add(sandbox(state=State.PAUSED, address=None, policy=ONE_SECOND))
    world.change(state=State.RUNNING, address="10.0.0.7")
    assert world.asked_within(100) == 10


def test_the_least_time_counts_anew_for_each_life() -> None:
    world = World(IdleConfig(min_uptime=10.0))
    world.add(sandbox(policy=ONE_SECOND))
    world.now += 0.5
    world.change(incarnation="uid-box/2")
    world.now += 9
    world.change(incarnation="uid-box/3")
    world.now += 2
    world.change(reason="news")
    assert world.asked_within(100) == 8


def test_one_that_is_gone_is_forgotten() -> None:
    world = one()
    world.delete()
    assert world.idle.watched == 0
    assert world.asked_within(1000) is None


def test_of_those_that_are_gone_nothing_is_kept_until_they_would_have_been_due() -> None:
    world = World()
    for number in range(10 * SLACK):
        world.add(sandbox(f"s{number}"))
        world.delete(f"s{number}")
    assert len(world.idle._agenda._heap) <= SLACK


@pytest.mark.parametrize("changes", [{"pinned": True}, {"policy": None}])
def test_those_that_are_gone_or_may_not_sleep_are_not_late(changes: dict[str, Any]) -> None:
    world = World()
    world.add(sandbox("gone"), sandbox("box"), sandbox("later", hold_until=EPOCH + 9000))
    world.delete("gone")
    world.change(**changes)
    world.now += 1000
    assert world.idle.late(world.now) == 0


def test_another_one_of_the_same_name_has_its_own_countdown() -> None:
    world = one()
    world.now += 299
    world.add(sandbox(uid="uid-other", version=9))
    assert world.asked_within(1000) == 300


def test_one_that_expires_before_it_would_sleep_is_let_be() -> None:
    world = World()
    world.add(sandbox(expires_at=EPOCH + world.now + 299))
    assert world.asked_within(1000) is None


# ---- questions ----------------------------------------------------------------------------------


def test_one_is_in_one_question_at_a_time() -> None:
    world = one()
    world.now += 300
    assert world.asked() == ["box"]
    world.change(reason="news")
    world.now += 1000
    assert world.asked() == []
    assert world.idle.is_asked(world.registry.by_name("team", "box"))


def test_so_many_are_asked_about_and_the_rest_has_its_turn_later() -> None:
    world = World()
    names = [f"s{number:03}" for number in range(BATCH + 10)]
    world.add(*(sandbox(name) for name in names))
    world.now += 300
    first = world.asked()
    assert len(first) == BATCH
    assert world.asked() == []
    for name in first:
        world.settle(Result.SLEPT, name)
    assert sorted(first + world.asked()) == names


def test_one_turn_looks_at_so_many_and_says_that_there_are_more() -> None:
    world = World()
    world.add(*(sandbox(f"s{number}") for number in range(LOOKS + 1)))
    for number in range(LOOKS + 1):
        world.activity.enter(f"uid-s{number}", world.now)
    world.now += 300
    assert world.look().more
    assert not world.look().more
    assert world.idle.due == world.now + 300


def test_who_has_waited_longest_is_first() -> None:
    world = World()
    for name in "abc":
        world.add(sandbox(name))
        world.now += 1
    world.now += 300
    assert world.asked() == ["a", "b", "c"]


# ---- what became of it --------------------------------------------------------------------------


def asked() -> World:
    """Return a world that asks about its one sandbox."""
    world = one()
    world.now += 300
    assert world.asked() == ["box"]
    return world


def test_one_that_sleeps_is_looked_at_again_when_it_has_been_woken() -> None:
    world = asked()
    world.settle(Result.SLEPT)
    world.change(state=State.PAUSING, address=None)
    world.change(state=State.PAUSED)
    assert world.asked_within(10_000) is None
    world.change(state=State.RUNNING, address="10.0.0.7")
    assert world.asked_within(1000) == 300


def test_one_that_was_told_to_sleep_and_does_not_is_told_again() -> None:
    world = asked()
    world.settle(Result.SLEPT)
    assert world.asked_within(1000) == PAUSE_MAX


def test_one_that_another_replica_used_counts_down_from_that_use() -> None:
    world = asked()
    world.settle(Result.USED, used_ago=20.0)
    assert world.asked_within(1000) == 280
    world.settle(Result.USED, used_ago=0.0)
    assert world.asked_within(1000) == 300


def test_what_another_replica_said_never_makes_it_idle_for_longer_than_it_is() -> None:
    world = asked()
    world.use()
    world.settle(Result.USED, used_ago=200.0)
    assert world.asked_within(1000) == 300


@pytest.mark.parametrize(
    "result",
    [Result.SILENT, Result.UNCERTAIN, Result.CONFLICT, Result.DENIED, Result.INVALID,
     Result.UNAVAILABLE],
)  # fmt: skip
def test_one_that_failed_is_tried_again_after_longer_and_longer_pauses(result: Result) -> None:
    world = asked()
    pauses = []
    for _ in range(8):
        world.settle(result)
        assert world.idle.overdue == 1
        pause = world.asked_within(1000)
        assert pause is not None
        pauses.append(pause)
    assert pauses[0] == PAUSE_MIN
    assert pauses == sorted(pauses)
    # A replica that is being replaced is back soon.
    unsure = result in (Result.SILENT, Result.UNCERTAIN)
    assert pauses[-1] == (2 * PAUSE_MIN if unsure else PAUSE_MAX)
    world.settle(Result.SLEPT)
    assert world.idle.overdue == 0


def test_news_of_one_that_failed_does_not_cut_its_pause_short() -> None:
    world = asked()
    world.settle(Result.DENIED)
    world.change(reason="news")
    assert world.asked() == []
    assert world.asked_within(1000) == PAUSE_MIN


def test_one_that_failed_and_is_used_then_is_not_overdue() -> None:
    world = asked()
    world.settle(Result.CONFLICT)
    world.use()
    assert world.asked_within(1000) == 300
    world.settle(Result.CONFLICT)
    world.change(pinned=True)
    assert world.idle.overdue == 0


def test_one_that_is_not_found_is_forgotten_until_there_is_news_of_it() -> None:
    world = asked()
    world.settle(Result.GONE)
    assert world.asked_within(1000) is None
    world.change(reason="news")
    assert world.asked() == ["box"]


def test_one_that_went_away_while_it_was_asked_about_is_forgotten() -> None:
    world = asked()
    route = world.registry.by_name("team", "box")
    world.delete()
    world.idle.settle(route, Result.CONFLICT, world.at)
    assert world.asked_within(1000) is None
    assert (world.idle.watched, world.idle.overdue, world.idle.in_progress) == (0, 0, 0)


def test_another_one_that_took_its_name_meanwhile_is_watched_for_itself() -> None:
    world = asked()
    route = world.registry.by_name("team", "box")
    world.add(sandbox(uid="uid-other", version=9))
    world.idle.settle(route, Result.CONFLICT, world.at)
    assert world.asked_within(1000) == 300


def test_while_the_api_cannot_be_had_all_wait() -> None:
    world = World()
    world.add(sandbox("first"))
    world.now += 0.5
    world.add(sandbox("second"))
    world.now += 299.5
    assert world.asked() == ["first"]
    world.settle(Result.UNAVAILABLE, "first")
    assert world.asked_within(0.9) is None
    assert world.asked_within(0.5) is not None


def test_the_longest_rest_is_bounded_and_the_first_success_ends_it() -> None:
    world = World()
    world.add(*(sandbox(f"s{number:03}") for number in range(20)))
    world.now += 300
    rests = []
    for name in world.asked():
        world.settle(Result.UNAVAILABLE, name)
        due = world.idle.due
        assert due is not None
        rests.append(due - world.now)
        world.now = due
    assert max(rests) == REST_MAX
    first, second, *_ = world.asked()
    world.settle(Result.UNAVAILABLE, first)
    world.settle(Result.SLEPT, second)
    world.add(sandbox("ready", idle_since=EPOCH))
    assert world.asked() == ["ready"]


def test_it_is_told_for_how_long_one_should_sleep_already() -> None:
    world = one()
    world.now += 307
    world.look()
    assert world.settle(Result.CONFLICT) == 7
    world.now += 3
    assert world.idle.late(world.now) == 10
    world.look()
    assert world.settle(Result.SLEPT) == 10
    assert world.idle.late(world.now) == 0


def test_a_replica_that_leads_no_more_watches_nothing() -> None:
    world = asked()
    world.idle.forget_all()
    world.settle(Result.NOT_LEADING)
    world.idle.forget_all()
    assert world.idle.due is None


# ---- the guest's word ---------------------------------------------------------------------------


def test_a_guest_is_asked_before_the_replicas_are() -> None:
    world = one(check=CHECK)
    world.now += 300
    look = world.look()
    assert (len(look.check), look.ask) == (1, [])
    world.idle.consented(look.check[0], True, world.at)
    assert world.asked() == ["box"]


def test_a_guest_that_says_no_is_asked_again_later() -> None:
    world = one(check=CHECK)
    for waits in (300.0, VETO_MAX, VETO_MAX):
        world.now += waits - 0.1
        assert world.look().check == []
        world.now += 0.1
        (route,) = world.look().check
        world.idle.consented(route, False, world.at)
    assert world.idle.overdue == 0


def test_a_guests_no_is_known_until_something_else_counts() -> None:
    def vetoed() -> tuple[World, Route]:
        world = one(check=CHECK)
        world.now += 300
        (route,) = world.look().check
        assert world.idle.vetoed_until(route) is None
        world.idle.consented(route, False, world.at)
        assert world.idle.vetoed_until(route) == world.now + VETO_MAX
        assert (world.idle.overdue, world.idle.late(world.now)) == (0, 0)
        return world, route

    world, route = vetoed()
    world.now += VETO_MAX
    assert world.look().check == [route]
    world.idle.consented(route, True, world.at)
    assert world.idle.vetoed_until(route) is None
    world, route = vetoed()
    world.change(pinned=True)
    assert world.idle.vetoed_until(route) is None
    world, route = vetoed()
    world.delete()
    assert world.idle.vetoed_until(route) is None
    world, route = vetoed()
    world.idle.forget_all()
    assert world.idle.vetoed_until(route) is None


def test_a_guest_with_a_short_idle_time_is_asked_again_after_that() -> None:
    world = one(check=CHECK, policy=ONE_SECOND)
    world.now += 1
    (route,) = world.look().check
    world.idle.consented(route, False, world.at)
    world.now += 0.9
    assert not world.look().check
    world.now += 0.1
    assert world.look().check


def test_a_use_after_the_guests_consent_counts() -> None:
    world = one(check=CHECK)
    world.now += 300
    (route,) = world.look().check
    world.use()
    world.idle.consented(route, True, world.at)
    assert world.asked() == []
    world.now += 300
    assert world.look().check


def test_consent_is_for_one_question() -> None:
    world = one(check=CHECK)
    world.now += 300
    (route,) = world.look().check
    world.idle.consented(route, True, world.at)
    assert world.asked() == ["box"]
    world.settle(Result.CONFLICT)
    world.now += PAUSE_MIN
    look = world.look()
    assert (len(look.check), look.ask) == (1, [])


def test_so_many_guests_are_asked_at_a_time_and_hold_nobody_else_up() -> None:
    world = World(IdleConfig(concurrency=2))
    world.add(*(sandbox(name, check=CHECK) for name in "abc"), sandbox("d"))
    world.now += 300
    look = world.look()
    assert [len(look.check), len(look.ask)] == [2, 1]
    world.idle.consented(look.check[0], False, world.at)
    world.now += 1
    assert len(world.look().check) == 1


# ---- notes --------------------------------------------------------------------------------------


def notes_within(world: World, seconds: float) -> list[float]:
    began, found = world.now, []
    while (due := world.idle.due) is not None and due <= began + seconds:
        world.now = max(world.now, due)
        found += [world.now - began for _ in world.look().note]
    return found


def test_one_is_noted_as_idle_once_after_half_its_idle_time() -> None:
    world = one()
    assert notes_within(world, 299) == [150.0]


def test_one_with_a_short_idle_time_is_not_noted() -> None:
    world = one(policy=StandbyPolicy(enabled=True, idle_timeout=60.0))
    assert notes_within(world, 59) == []


def test_one_that_is_noted_already_is_not_noted_again() -> None:
    world = one(idle_since=EPOCH)
    world.use()
    assert notes_within(world, 299) == []


def test_one_that_is_used_is_not_noted() -> None:
    world = one()
    world.activity.enter("uid-box", world.now)
    assert notes_within(world, 2000) == []


# ---- workloads by default, and observed connections ---------------------------------------------


def deployment(**changes: Any) -> Route:
    """Return one without a policy, that traffic may wake."""
    key = Key("deployment", "team", "box")
    return sandbox(**({"policy": None, "key": key, "wake": WakePolicy(True)} | changes))


def test_deployments_have_no_policy_unless_they_are_given_one() -> None:
    world = World()
    world.add(deployment())
    assert world.asked_within(100_000) is None


def test_deployments_sleep_by_the_default_policy_where_that_is_on() -> None:
    world = World(IdleConfig(deployments_after=1800.0))
    world.add(deployment())
    assert world.asked_within(100_000) == 1800


def test_the_default_policy_is_not_for_those_that_traffic_may_not_wake_again() -> None:
    world = World(IdleConfig(deployments_after=1800.0))
    world.add(deployment(wake=WakePolicy(False)))
    assert world.asked_within(100_000) is None
    world.change(policy=FIVE_MINUTES)
    assert world.asked() == ["box"]


def test_who_may_be_woken_no_more_does_not_sleep_by_default_to_the_last_moment() -> None:
    world = World(IdleConfig(deployments_after=1800.0))
    world.add(deployment())
    world.now += 1799.9
    world.change(wake=WakePolicy(False))
    assert world.asked_within(100_000) is None


@pytest.mark.parametrize("changes", [{"always_on": True}, {"pinned": True}])
def test_the_default_policy_gives_way(changes: dict[str, Any]) -> None:
    world = World(IdleConfig(deployments_after=1800.0))
    world.add(deployment(**changes))
    assert world.asked_within(100_000) is None


def test_others_have_no_default_policy() -> None:
    world = World(IdleConfig(deployments_after=1800.0))
    world.add(sandbox(policy=None, wake=WakePolicy(True)))
    assert world.asked_within(100_000) is None


@dataclass
class Flows:
    count: int = 0
    last_seen: float | None = None
    connected: bool = True


class Observed:
    def __init__(self) -> None:
        self.flows = Flows()

    def active(self, route: Route) -> Flows:
        return self.flows


def test_a_connection_that_bypasses_the_gateway_keeps_it_awake() -> None:
    observed = Observed()
    world = World(observed=observed)
    world.add(sandbox())
    observed.flows = Flows(count=2)
    usage = world.activity.enter("uid-box", world.now)
    assert world.judging.seen(world.registry.by_name("team", "box"), world.at).active == 2
    assert world.asked_within(1000) is None
    usage.leave(world.now - 200)
    observed.flows = Flows(last_seen=world.now)
    assert world.asked_within(1000) == 300


def test_what_cannot_be_seen_does_not_sleep_until_it_can() -> None:
    observed = Observed()
    world = World(observed=observed)
    world.add(sandbox())
    observed.flows = Flows(connected=False)
    assert world.asked_within(1000) is None
    observed.flows = Flows()
    within = world.asked_within(1000)
    assert within is not None
    assert within <= 15
