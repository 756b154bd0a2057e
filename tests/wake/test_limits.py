"""Places, the patch budget and the breaker, up to their exact bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wake.config import WakeConfig
from gateway.wake.limits import (
    NAMESPACES,
    Breaker,
    Opened,
    PatchBudget,
    Places,
    Refusal,
)

NOW = 1_000.0

# ---- places -----------------------------------------------------------------------------------


def places() -> Places:
    return Places(WakeConfig(waiters_per_sandbox=2, waiters_total=3, waiting_bytes_total=100))


def test_a_sandbox_has_so_many_places_and_others_are_not_affected() -> None:
    room = places()
    assert [room.enter("a", 0) for _ in range(3)] == [None, None, Refusal.SANDBOX]
    assert room.enter("b", 0) is None
    assert (room.of("a"), room.of("b"), room.count) == (2, 1, 3)


def test_all_sandboxes_together_have_so_many_places() -> None:
    room = places()
    assert [room.enter(uid, 0) for uid in "abcd"] == [None, None, None, Refusal.TOTAL]
    room.leave("b", 0)
    assert room.enter("d", 0) is None


def test_those_who_wait_hold_so_many_bytes_and_not_one_more() -> None:
    room = places()
    assert room.enter("a", 60) is None
    assert room.enter("b", 41) is Refusal.BYTES
    assert room.enter("b", 40) is None
    assert room.held_bytes == 100
    room.leave("a", 60)
    assert (room.held_bytes, room.count) == (40, 1)


def test_who_is_refused_takes_nothing() -> None:
    room = places()
    assert room.enter("a", 101) is Refusal.BYTES
    assert (room.of("a"), room.count, room.held_bytes) == (0, 0, 0)


def test_a_place_is_given_back_once() -> None:
    room = places()
    room.enter("a", 5)
    room.enter("a", 7)
    room.leave("a", 5)
    assert (room.of("a"), room.count, room.held_bytes) == (1, 1, 7)
    room.leave("a", 7)
    assert (room.of("a"), room.count, room.held_bytes) == (0, 0, 0)
    with pytest.raises(KeyError):
        room.leave("a", 7)


# ---- patch budget -----------------------------------------------------------------------------


def budget(rate: float = 10.0, burst: int = 4, own_rate: float = 5.0, own: int = 2) -> PatchBudget:
    config = WakeConfig(
        patches_per_second=rate,
        patches_burst=burst,
        namespace_patches_per_second=own_rate,
        namespace_patches_burst=own,
    )
    return PatchBudget(config, NOW)


def test_a_patch_within_the_budget_is_granted_at_once_and_once() -> None:
    one = budget()
    assert one.wait(NOW) is None
    one.ask("a", "uid-1")
    assert one.wait(NOW) == 0.0
    assert one.grant(NOW) == ["uid-1"]
    assert one.grant(NOW) == []
    assert one.wait(NOW) is None


def test_a_namespace_gets_its_own_burst_and_then_its_own_rate() -> None:
    one = budget()
    for number in range(4):
        one.ask("a", f"a{number}")
    assert one.grant(NOW) == ["a0", "a1"]
    assert one.wait(NOW) == pytest.approx(0.2)
    assert one.grant(NOW + 0.19) == []
    assert one.grant(NOW + 0.2) == ["a2"]
    assert one.grant(NOW + 0.4) == ["a3"]
    assert one.wait(NOW + 0.4) is None


def test_all_together_get_the_total_burst_and_then_the_total_rate() -> None:
    one = budget()
    for namespace in "abcdef":
        one.ask(namespace, namespace)
    assert one.grant(NOW) == ["a", "b", "c", "d"]
    assert one.wait(NOW) == pytest.approx(0.1)
    assert one.grant(NOW + 0.09) == []
    assert one.grant(NOW + 0.1) == ["e"]
    assert one.grant(NOW + 0.2) == ["f"]


def test_one_tenant_cannot_drain_the_rest() -> None:
    one = budget()
    for number in range(1_000):
        one.ask("greedy", f"g{number}")
    assert one.grant(NOW) == ["g0", "g1"]
    one.ask("modest", "m")
    assert one.grant(NOW) == ["m"]


def test_namespaces_take_turns() -> None:
    one = budget(burst=6, own=3)
    for number in range(3):
        one.ask("a", f"a{number}")
    for number in range(3):
        one.ask("b", f"b{number}")
    assert one.grant(NOW) == ["a0", "b0", "a1", "b1", "a2", "b2"]


def test_turns_go_on_where_the_budget_ended() -> None:
    one = budget(rate=1.0, burst=1, own=9)
    for uid in ("a0", "a1", "b0", "c0"):
        one.ask(uid[0], uid)
    granted = [one.grant(NOW + second) for second in range(4)]
    assert granted == [["a0"], ["b0"], ["c0"], ["a1"]]


def test_a_namespace_without_tokens_keeps_its_turn() -> None:
    one = budget(rate=10.0, burst=3, own_rate=1.0, own=1)
    for uid in ("a0", "a1", "b0"):
        one.ask(uid[0], uid)
    assert one.grant(NOW) == ["a0", "b0"]
    one.ask("b", "b1")
    assert one.grant(NOW) == []
    assert one.grant(NOW + 1.0) == ["a1", "b1"]


def test_what_is_withdrawn_is_not_granted_and_costs_nothing() -> None:
    one = budget()
    for uid in ("a0", "a1", "a2"):
        one.ask("a", uid)
    one.withdraw("a", "a0")
    assert one.grant(NOW) == ["a1", "a2"]
    one.ask("a", "a3")
    one.withdraw("a", "a3")
    assert one.wait(NOW) is None


def test_the_wait_is_that_of_the_first_namespace_with_a_token() -> None:
    one = budget(own_rate=5.0, own=1, burst=3)
    one.ask("a", "a0")
    assert one.grant(NOW) == ["a0"]
    one.ask("b", "b0")
    assert one.grant(NOW + 0.1) == ["b0"]
    one.ask("b", "b1")
    one.ask("a", "a1")
    assert one.wait(NOW + 0.1) == pytest.approx(0.1)


def test_namespaces_that_have_been_quiet_are_forgotten() -> None:
    one = budget(rate=1e6, burst=10 * NAMESPACES)
    for number in range(NAMESPACES):
        one.ask(f"n{number}", f"u{number}")
        one.grant(NOW)
    assert one.namespaces == NAMESPACES
    one.ask("late", "u")
    one.grant(NOW + 0.2)
    assert one.namespaces == 1


def test_namespaces_that_are_busy_are_not_forgotten() -> None:
    one = budget(rate=1e6, burst=10 * NAMESPACES, own=1)
    for number in range(3 * NAMESPACES):
        one.ask(f"n{number}", f"u{number}")
        one.grant(NOW)
    assert one.namespaces == 3 * NAMESPACES
    one.ask("n0", "again")
    assert one.grant(NOW) == []


def test_forgetting_is_not_tried_again_with_every_new_namespace() -> None:
    one = budget(rate=1e6, burst=10 * NAMESPACES)
    for number in range(NAMESPACES):
        one.ask(f"n{number}", f"u{number}")
        one.grant(NOW)
    one.ask("first", "u")  # all are busy: the next look is at twice as many
    one.grant(NOW)
    for number in range(NAMESPACES - 1):
        one.ask(f"m{number}", f"v{number}")
        one.grant(NOW + 100.0)
    assert one.namespaces == 2 * NAMESPACES
    one.ask("last", "u")
    one.grant(NOW + 200.0)
    assert one.namespaces == 1


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.0, 0.3)), min_size=1, max_size=60),
)
def test_whatever_is_asked_the_rates_are_kept_and_everyone_gets_a_turn(
    asked: list[tuple[str, float]],
) -> None:
    one, now, granted = budget(), NOW, []
    for number, (namespace, pause) in enumerate(asked):
        one.ask(namespace, f"{namespace}{number}")
        now += pause
        granted += [(now, uid) for uid in one.grant(now)]
    while (wait := one.wait(now)) is not None:
        now += wait
        granted += [(now, uid) for uid in one.grant(now)]
    assert sorted(uid for _, uid in granted) == sorted(f"{n}{i}" for i, (n, _) in enumerate(asked))
    for first, (since, _) in enumerate(granted):
        for last, (until, _) in enumerate(granted[first:], first):
            assert last - first + 1 <= 4 + (until - since) * 10.0 + 1e-3
    for namespace in "abc":
        own = [at for at, uid in granted if uid[0] == namespace]
        for first, since in enumerate(own):
            for last, until in enumerate(own[first:], first):
                assert last - first + 1 <= 2 + (until - since) * 5.0 + 1e-3


# ---- breaker ----------------------------------------------------------------------------------


def breaker(**changes: int) -> Breaker:
    return Breaker(WakeConfig(**changes))


def test_three_failures_in_a_row_open_for_two_seconds() -> None:
    one = breaker()
    for _ in range(2):
        one.failed("a", NOW, "why")
        assert one.check("a", NOW) is None
        assert one.opened(NOW) == 0
    one.failed("a", NOW, "the last reason")
    assert one.check("a", NOW) == Opened(2.0, "the last reason")
    assert one.check("a", NOW + 1.5) == Opened(0.5, "the last reason")
    assert one.check("b", NOW) is None
    assert one.opened(NOW) == 1


def test_an_open_breaker_closes_by_itself_at_the_end_of_its_time() -> None:
    one = breaker()
    one.failed("a", NOW, "why", opens=True)
    assert one.check("a", NOW + 1.999) is not None
    assert one.check("a", NOW + 2.0) is None
    assert (one.opened(NOW + 1.999), one.opened(NOW + 2.0)) == (1, 0)


def test_each_further_failure_opens_for_twice_as_long_up_to_a_minute() -> None:
    one, now, pauses = breaker(), NOW, []
    for _ in range(2):
        one.failed("a", now, "why")
    for _ in range(7):
        one.failed("a", now, "why")
        opened = one.check("a", now)
        assert opened is not None
        pauses.append(opened.retry_after)
        now += opened.retry_after
    assert pauses == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


def test_the_first_pause_is_the_one_of_the_settings() -> None:
    one = breaker(breaker_min=1)
    one.failed("a", NOW, "why", opens=True)
    assert one.check("a", NOW) == Opened(1.0, "why")


def test_one_grave_failure_counts_as_many_and_the_next_light_one_opens_longer() -> None:
    one = breaker()
    one.failed("a", NOW, "grave", opens=True)
    assert one.check("a", NOW) == Opened(2.0, "grave")
    one.failed("a", NOW + 2.0, "light")
    assert one.check("a", NOW + 2.0) == Opened(4.0, "light")


def test_a_grave_failure_after_light_ones_opens_for_the_first_time() -> None:
    one = breaker()
    one.failed("a", NOW, "light")
    one.failed("a", NOW, "grave", opens=True)
    assert one.check("a", NOW) == Opened(2.0, "grave")


def test_a_success_starts_anew() -> None:
    one = breaker()
    for _ in range(3):
        one.failed("a", NOW, "why")
    one.forget("a")
    assert (one.check("a", NOW), one.last_cause("a"), len(one)) == (None, None, 0)
    one.failed("a", NOW, "why")
    one.failed("a", NOW, "why")
    assert one.check("a", NOW) is None
    one.forget("never seen")


def test_the_last_cause_is_known_before_the_breaker_opens() -> None:
    one = breaker()
    assert one.last_cause("a") is None
    one.failed("a", NOW, "first")
    one.failed("a", NOW, "second")
    assert one.last_cause("a") == "second"


def test_failures_are_forgotten_after_their_time() -> None:
    one = breaker()
    one.failed("a", NOW, "why", opens=True)
    one.failed("b", NOW + 1.0, "why")
    one.failed("c", NOW + 599.9, "why")
    assert len(one) == 3
    one.failed("c", NOW + 600.0, "why")
    assert (len(one), one.last_cause("a"), one.last_cause("b")) == (2, None, "why")
    one.failed("b", NOW + 601.0, "why")
    one.failed("b", NOW + 601.0, "why")
    assert one.check("b", NOW + 601.0) is None


def test_a_failure_renews_the_memory_of_the_ones_before() -> None:
    one = breaker()
    one.failed("a", NOW, "why")
    one.failed("b", NOW + 1.0, "why")
    one.failed("a", NOW + 300.0, "why")
    one.failed("a", NOW + 700.0, "why")
    assert one.check("a", NOW + 700.0) is not None
    assert one.last_cause("b") is None


def test_only_so_many_sandboxes_are_remembered_the_latest() -> None:
    one = breaker(breaker_entries=3)
    for uid in "abcd":
        one.failed(uid, NOW, "why")
    assert [one.last_cause(uid) for uid in "abcd"] == [None, "why", "why", "why"]
    assert len(one) == 3
