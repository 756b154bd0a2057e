"""Judging and resumable, rule by rule: each table reads like the order it pins down."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.sandbox.errors import (
    NotResumable,
    SandboxIsPausing,
    SandboxIsTerminating,
    SandboxPhaseNotAllowed,
    ShutdownTimeReached,
)
from gateway.sandbox.model import State
from gateway.sandbox.states import Judgement, Observed, check_resumable, judge

NOW = 1_000_000.0
PHASES = (
    "", "Pending", "Running", "Pausing", "Paused", "Resuming", "Upgrading", "Recycling",
    "Succeeded", "Failed", "Terminating", "Hibernating", "running",
)  # fmt: skip

#: A sandbox to which no rule applies but the last: running, ready, with an address.
UP = Observed(phase="Running", wants_pause=False, ready=True, address="10.0.0.7")

observed = st.builds(
    Observed,
    phase=st.sampled_from(PHASES) | st.text(max_size=12),
    wants_pause=st.booleans(),
    deleting=st.booleans(),
    expires_at=st.none() | st.floats(NOW - 10, NOW + 10),
    pool_member=st.booleans(),
    pause_settled=st.booleans(),
    ready=st.booleans(),
    address=st.none() | st.just("10.0.0.7"),
)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (replace(UP, deleting=True), Judgement(State.DEAD, "deleting")),
        (replace(UP, phase="Succeeded"), Judgement(State.DEAD, "succeeded")),
        (replace(UP, phase="Failed"), Judgement(State.DEAD, "failed")),
        (replace(UP, phase="Terminating"), Judgement(State.DEAD, "terminating")),
        (replace(UP, pool_member=True), Judgement(State.BLOCKED, "pool_member")),
        (replace(UP, phase="Upgrading"), Judgement(State.BLOCKED, "upgrading")),
        (replace(UP, phase="Recycling"), Judgement(State.BLOCKED, "recycling")),
        (replace(UP, phase="Pending"), Judgement(State.CREATING)),
        (replace(UP, phase=""), Judgement(State.CREATING)),
        (replace(UP, phase="Hibernating"), Judgement(State.BLOCKED, "unknown_phase")),
        (replace(UP, phase="running"), Judgement(State.BLOCKED, "unknown_phase")),
        (replace(UP, wants_pause=True), Judgement(State.PAUSING)),
        (replace(UP, wants_pause=True, phase="Pausing"), Judgement(State.PAUSING)),
        (replace(UP, wants_pause=True, phase="Resuming"), Judgement(State.PAUSING)),
        (replace(UP, wants_pause=True, phase="Paused"), Judgement(State.PAUSED)),
        (
            replace(UP, wants_pause=True, phase="Paused", pause_settled=False),
            Judgement(State.PAUSING),
        ),
        (replace(UP, phase="Paused"), Judgement(State.RESUMING)),
        (replace(UP, phase="Pausing"), Judgement(State.RESUMING)),
        (replace(UP, phase="Resuming"), Judgement(State.RESUMING)),
        (UP, Judgement(State.RUNNING)),
        (replace(UP, ready=False), Judgement(State.RESUMING)),
        (replace(UP, address=None), Judgement(State.RESUMING)),
        (replace(UP, ready=False, address=None), Judgement(State.RESUMING)),
    ],
)
def test_each_rule_of_judging_gives_its_state(seen: Observed, expected: Judgement) -> None:
    assert judge(seen) == expected


#: The rules in their order: what makes each apply, and what it says.
ORDER: list[tuple[dict[str, object], Judgement]] = [
    ({"deleting": True}, Judgement(State.DEAD, "deleting")),
    ({"phase": "Failed"}, Judgement(State.DEAD, "failed")),
    ({"pool_member": True}, Judgement(State.BLOCKED, "pool_member")),
    ({"phase": "Upgrading"}, Judgement(State.BLOCKED, "upgrading")),
    ({"phase": "Pending"}, Judgement(State.CREATING)),
    ({"phase": "Hibernating"}, Judgement(State.BLOCKED, "unknown_phase")),
    ({"wants_pause": True}, Judgement(State.PAUSING)),
    ({"ready": False}, Judgement(State.RESUMING)),
]


@pytest.mark.parametrize(
    ("earlier", "later"),
    [(i, j) for i, j in product(range(len(ORDER)), repeat=2) if i < j],
)
def test_an_earlier_rule_beats_every_later_one(earlier: int, later: int) -> None:
    conditions = {**ORDER[later][0], **ORDER[earlier][0]}
    assert judge(replace(UP, **conditions)) == ORDER[earlier][1]


@given(observed)
def test_judging_is_total_and_only_running_promises_an_address(seen: Observed) -> None:
    judged = judge(seen)
    assert isinstance(judged.state, State)
    if judged.state is State.RUNNING:
        assert seen.ready
        assert seen.address is not None
        assert not seen.wants_pause
    assert bool(judged.reason) == (judged.state in (State.BLOCKED, State.DEAD))


@given(observed, st.none() | st.floats())
def test_expiry_is_left_to_the_request(seen: Observed, expires_at: float | None) -> None:
    assert judge(seen) == judge(replace(seen, expires_at=expires_at))


ASLEEP = replace(UP, phase="Paused", wants_pause=True)


@pytest.mark.parametrize(
    "seen",
    [
        ASLEEP,
        UP,
        replace(UP, ready=False),
        replace(UP, phase="Resuming"),
        replace(UP, phase="Resuming", wants_pause=True),
        replace(UP, phase="Paused"),
        replace(UP, phase="Pausing"),
        replace(ASLEEP, expires_at=NOW + 0.001),
        replace(UP, phase="Running", pause_settled=False),
    ],
)
def test_these_may_be_woken(seen: Observed) -> None:
    check_resumable(seen, NOW)


@pytest.mark.parametrize(
    ("seen", "error"),
    [
        (replace(ASLEEP, deleting=True), SandboxIsTerminating),
        (replace(ASLEEP, expires_at=NOW), ShutdownTimeReached),
        (replace(ASLEEP, expires_at=NOW - 1), ShutdownTimeReached),
        (replace(UP, wants_pause=True), SandboxIsPausing),
        (replace(UP, wants_pause=True, phase="Pausing"), SandboxIsPausing),
        (replace(ASLEEP, pause_settled=False), SandboxIsPausing),
        (replace(ASLEEP, pause_settled=False, wants_pause=False), SandboxIsPausing),
        (replace(ASLEEP, phase="Upgrading"), SandboxPhaseNotAllowed),
        (replace(ASLEEP, phase="Recycling"), SandboxPhaseNotAllowed),
        (replace(ASLEEP, phase="Pending"), SandboxPhaseNotAllowed),
        (replace(ASLEEP, phase=""), SandboxPhaseNotAllowed),
        (replace(ASLEEP, phase="Succeeded"), SandboxPhaseNotAllowed),
        (replace(ASLEEP, phase="Failed"), SandboxPhaseNotAllowed),
        (replace(ASLEEP, phase="Terminating"), SandboxPhaseNotAllowed),
        (replace(ASLEEP, phase="Hibernating"), SandboxPhaseNotAllowed),
        (replace(ASLEEP, pool_member=True), SandboxPhaseNotAllowed),
    ],
)
def test_these_may_not_be_woken_and_the_class_says_why(
    seen: Observed, error: type[NotResumable]
) -> None:
    with pytest.raises(NotResumable) as caught:
        check_resumable(seen, NOW)
    assert type(caught.value) is error


OBSTACLES: list[tuple[dict[str, object], type[NotResumable]]] = [
    ({"deleting": True}, SandboxIsTerminating),
    ({"expires_at": NOW}, ShutdownTimeReached),
    ({"phase": "Upgrading"}, SandboxPhaseNotAllowed),
    ({"pause_settled": False}, SandboxIsPausing),
]


@pytest.mark.parametrize(
    ("earlier", "later"),
    [(i, j) for i, j in product(range(len(OBSTACLES)), repeat=2) if i < j],
)
def test_the_earlier_obstacle_to_a_wake_is_the_one_named(earlier: int, later: int) -> None:
    seen = replace(ASLEEP, **{**OBSTACLES[later][0], **OBSTACLES[earlier][0]})
    with pytest.raises(OBSTACLES[earlier][1]):
        check_resumable(seen, NOW)


@given(observed)
def test_nothing_dead_or_blocked_may_be_woken_and_every_paused_one_may(seen: Observed) -> None:
    state = judge(seen).state
    expired = seen.expires_at is not None and seen.expires_at <= NOW
    try:
        check_resumable(seen, NOW)
    except NotResumable:
        assert state is not State.PAUSED or expired
    else:
        assert not expired
        assert state not in (State.DEAD, State.BLOCKED, State.CREATING)
