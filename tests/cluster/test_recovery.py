"""What a reflector does next, as a table and as properties: no clock, no network."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cluster.errors import ApiNotInstalled, ApiUnreachable, Expired, Garbled, Silence
from gateway.cluster.recovery import (
    MISSING_GRACE,
    MISSING_RETRY,
    RELIST_AFTER,
    SOON,
    STEADY,
    Backoff,
    Ended,
    Event,
    Failed,
    Listed,
    Phase,
    Progress,
    Reason,
    Step,
    next_step,
    watch_timeout,
)
from gateway.sandbox.errors import AccessDenied, ApiUnavailable, ClusterError, InvalidWrite

from .conftest import patient

BACKOFF = Backoff(0.25, 30.0)
HALF = 0.5


def decide(progress: Progress, event: Event, now: float = 0.0) -> tuple[Progress, Step]:
    return next_step(progress, event, BACKOFF, now, HALF)


def test_a_list_is_followed_at_once_by_a_watch_from_its_version() -> None:
    assert decide(Progress(), Listed(7)) == (
        Progress(version=7, listed=True),
        Step(delay=0.0, version=7),
    )


def test_a_watch_that_lasted_is_followed_at_once_by_another() -> None:
    progress, step = decide(Progress(version=7, failures=3), Ended(9, STEADY))
    assert (progress.failures, progress.version) == (0, 9)
    assert step == Step(delay=0.0, version=9, reason=Reason.ENDED)


def test_a_watch_that_ended_too_fast_is_followed_by_another_after_a_wait() -> None:
    _, step = decide(Progress(version=7, failures=3), Ended(9, STEADY - 0.1))
    assert step == Step(1.0, 9, phase=Phase.BACKING_OFF, reason=Reason.ENDED)


@pytest.mark.parametrize(
    ("error", "version", "phase", "reason"),
    [
        (Expired(), None, Phase.BACKING_OFF, Reason.EXPIRED),
        (Garbled("x"), None, Phase.BACKING_OFF, Reason.GARBLED),
        (InvalidWrite(), None, Phase.BACKING_OFF, Reason.REFUSED),
        (ClusterError(), None, Phase.BACKING_OFF, Reason.REFUSED),
        (Silence("x"), 9, Phase.BACKING_OFF, Reason.SILENCE),
        (ApiUnreachable("x"), 9, Phase.BACKING_OFF, Reason.UNREACHABLE),
        (ApiUnavailable("x"), 9, Phase.BACKING_OFF, Reason.UNAVAILABLE),
        (AccessDenied(), 9, Phase.DENIED, Reason.DENIED),
        (ApiNotInstalled(), None, Phase.BACKING_OFF, Reason.NOT_INSTALLED),
    ],
)
def test_each_failure_of_a_watch_has_its_next_step(
    error: ClusterError, version: int | None, phase: Phase, reason: Reason
) -> None:
    before = Progress(version=7, listed=True)
    after, step = decide(before, Failed(error, 9, lasted=1.0))
    assert step == Step(0.125, version, phase=phase, reason=reason)
    assert (after.version, after.failures) == (version, 1)


def test_a_failed_list_is_tried_again() -> None:
    _, step = decide(Progress(failures=1), Failed(ApiUnreachable("x")))
    assert (step.version, step.delay) == (None, 0.25)


def test_the_apis_hint_is_a_lower_bound() -> None:
    _, step = decide(Progress(failures=1), Failed(ApiUnavailable("x", 7.0), 9))
    assert step.delay == 7.25


def test_a_failure_after_a_watch_that_lasted_counts_as_the_first() -> None:
    progress, step = decide(Progress(failures=9), Failed(Silence("x"), 9, STEADY))
    assert (progress.failures, step.delay) == (1, 0.125)


def test_a_watch_that_the_api_keeps_refusing_gives_up_its_version() -> None:
    progress, refused = Progress(version=9), Failed(ApiUnavailable("x"), 9)
    for _ in range(RELIST_AFTER - 1):
        progress, step = decide(progress, refused)
        assert step.version == 9
    assert decide(progress, refused)[1].version is None


def test_a_refusal_after_an_outage_does_not_cost_the_version() -> None:
    # A server that starts again refuses connections, then answers 429 until its storage is there.
    progress = Progress(version=9)
    for _ in range(RELIST_AFTER):
        progress, _ = decide(progress, Failed(ApiUnreachable("x"), 9))
    progress, step = decide(progress, Failed(ApiUnavailable("x"), 9))
    assert step.version == 9


@pytest.mark.parametrize("error", [ApiUnreachable("x"), Silence("x"), Expired()])
def test_known_want_of_news_is_not_waited_out_for_long(error: ClusterError) -> None:
    _, step = decide(Progress(version=9, failures=1000), Failed(error, 9))
    assert step.delay == SOON * HALF


def test_an_api_that_says_no_is_left_alone_for_longer() -> None:
    _, step = decide(Progress(version=9, failures=1000), Failed(AccessDenied(), 9))
    assert step.delay == BACKOFF.most * HALF


def test_an_api_that_cannot_be_reached_does_not_cost_the_version() -> None:
    # After an outage all replicas come back at once: they shall watch on, not list all again.
    progress = Progress(version=9, failures=1000)
    assert decide(progress, Failed(ApiUnreachable("x"), 9))[1].version == 9


def test_a_watch_that_was_silent_from_its_beginning_is_followed_by_a_list() -> None:
    progress, step = decide(Progress(version=9), Failed(Silence("x"), 9, STEADY))
    assert (progress.version, step.version) == (None, None)


def test_an_api_never_seen_is_asked_for_now_and_then() -> None:
    progress, step = decide(Progress(), Failed(ApiNotInstalled()), now=100.0)
    assert step == Step(
        MISSING_RETRY * 1.5, None, phase=Phase.NOT_INSTALLED, reason=Reason.NOT_INSTALLED
    )
    assert progress.missing_since == 100.0


def test_an_api_that_was_there_keeps_its_objects_for_a_grace() -> None:
    progress, step = decide(Progress(9, listed=True), Failed(ApiNotInstalled(), 9), now=100.0)
    assert not step.forget
    assert step.phase is Phase.BACKING_OFF
    progress, step = decide(progress, Failed(ApiNotInstalled()), now=100.0 + MISSING_GRACE - 0.1)
    assert not step.forget
    progress, step = decide(progress, Failed(ApiNotInstalled()), now=100.0 + MISSING_GRACE)
    assert step.forget
    assert step.phase is Phase.NOT_INSTALLED
    progress, step = decide(progress, Failed(ApiNotInstalled()), now=200.0)
    assert not step.forget


def test_another_answer_ends_the_grace() -> None:
    missing, _ = decide(Progress(9, listed=True), Failed(ApiNotInstalled(), 9), now=100.0)
    between, _ = decide(missing, Failed(ApiUnavailable("x")), now=110.0)
    assert between.missing_since is None
    assert decide(between, Failed(ApiNotInstalled()), now=140.0)[1].forget is False


errors = st.sampled_from(
    [
        Expired(),
        Garbled("x"),
        InvalidWrite(),
        Silence("x"),
        ApiUnreachable("x"),
        ApiUnavailable("x"),
        ApiUnavailable("x", 3.0),
        AccessDenied(),
        ApiNotInstalled(),
    ]
)
chances = st.floats(0.0, 1.0, exclude_max=True)


@patient
@given(st.integers(0, 10**6), chances)
def test_a_wait_stays_within_its_bounds(failures: int, chance: float) -> None:
    delay = BACKOFF.delay(failures, chance)
    assert 0.0 <= delay <= 30.0
    assert delay <= 0.25 * 2.0 ** min(failures, 40)


@patient
@given(chances)
def test_a_watch_is_asked_to_last_about_as_long_as_told(chance: float) -> None:
    assert 240.0 <= watch_timeout(300.0, chance) <= 360.0


outcomes = st.one_of(
    st.builds(lambda error: ("fail", error), errors), st.just(("end", None)), st.just(("ok", None))
)


@patient
@given(st.lists(outcomes, min_size=40, max_size=80))
def test_no_history_of_quick_outcomes_runs_hot(
    history: list[tuple[str, ClusterError | None]],
) -> None:
    """Whatever fails or ends quickly, forty steps take a while at average chance."""
    progress, step, now, tries = Progress(), Step(), 0.0, 0
    for kind, error in history:
        now += step.delay
        event = _quick(kind, error, step.version)
        tries += not isinstance(event, Listed)
        progress, step = next_step(progress, event, BACKOFF, now, HALF)
    # At least every other step is a failure or a quick end, and each waits longer than the last.
    assert tries >= len(history) // 2 - 1
    assert now > 60.0


def _quick(kind: str, error: ClusterError | None, version: int | None) -> Event:
    if kind == "fail":
        assert error is not None
        return Failed(error, version)
    return Listed(5) if version is None else Ended(version, 0.0)


@patient
@given(st.lists(st.tuples(errors, st.floats(0.0, 400.0)), max_size=30), chances)
def test_every_history_leads_on_from_a_version_that_was_reached(
    history: list[tuple[ClusterError, float]], chance: float
) -> None:
    progress, step = next_step(Progress(), Listed(1), BACKOFF, 0.0, chance)
    reached = 1
    for error, lasted in history:
        event: Event
        if step.version is None:
            event = Listed(reached)
        else:
            reached = step.version + 1
            event = Failed(error, reached, lasted)
        progress, step = next_step(progress, event, BACKOFF, 0.0, chance)
        assert step.version in (None, reached)
        assert progress.version == step.version
        assert step.delay >= 0.0
