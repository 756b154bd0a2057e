"""The rules of one episode, each as a line of a table or a sentence."""

from dataclasses import replace

import pytest
from msgspec import structs

from gateway.sandbox.errors import (
    AccessDenied,
    ApiUnavailable,
    Conflict,
    GatewayError,
    InvalidWrite,
    MalformedObject,
    ObjectGone,
    SandboxIsPausing,
    SandboxIsTerminating,
    SandboxNotWakeable,
    SandboxPhaseNotAllowed,
    ShutdownTimeReached,
    WakeFailed,
    WakeOverloaded,
    WakeTimeout,
)
from gateway.sandbox.model import Backing, Route, State
from gateway.wake.config import WakeConfig
from gateway.wake.episode import Episode, Phase, Step, Trouble, begin, overdue, step
from gateway.wake.messages import (
    Event,
    Fail,
    Granted,
    Order,
    Patched,
    PatchFailed,
    Reread,
    RereadFailed,
    RouteChanged,
    Succeed,
    Tick,
)

from .routes import route

CONFIG = WakeConfig()
NOW = 5_000.0

GONE = "The sandbox was deleted while it was being woken."
DEAD = "The sandbox ended while it was being woken."
BLOCKED = "The sandbox entered a state that takes no traffic while it was being woken."


def after(episode: Episode, *events: Event, now: float = NOW) -> Episode:
    for event in events:
        episode, _ = step(episode, event, now)
    return episode


def queued() -> Episode:
    return begin(CONFIG, route(State.PAUSED), NOW)[0]


def patching() -> Episode:
    return after(queued(), Granted())


def waiting() -> Episode:
    return begin(CONFIG, route(State.PAUSING), NOW)[0]


def backing_off() -> Episode:
    return after(patching(), PatchFailed(Conflict("")))


def reading() -> Episode:
    return after(waiting(), Tick(), now=NOW + 1.0)


AT = {
    Phase.QUEUED: queued,
    Phase.PATCHING: patching,
    Phase.WAITING: waiting,
    Phase.BACKING_OFF: backing_off,
    Phase.READING: reading,
}


def outcome_of(result: Step) -> str:
    """Return in one word what a step came to: the phase, or how it ended."""
    episode, commands = result
    match commands[-1:]:
        case (Succeed(route=reached),):
            assert reached is episode.route
            assert episode.phase is Phase.ENDED
            return "succeed"
        case (Fail() as end,):
            assert episode.phase is Phase.ENDED
            return end.error.reason
        case _:
            assert episode.phase is not Phase.ENDED
            return str(episode.phase.value)


def failure_of(result: Step) -> GatewayError:
    last = result[1][-1]
    assert isinstance(last, Fail)
    return last.error


def test_each_phase_is_reached_as_the_other_tests_suppose() -> None:
    assert {phase: at().phase for phase, at in AT.items()} == {phase: phase for phase in AT}


@pytest.mark.parametrize(
    ("state", "wake", "expected", "orders"),
    [
        (State.RUNNING, True, "succeed", ()),
        (State.RUNNING, False, "succeed", ()),
        (State.PAUSED, True, "queued", (Order.ASK_BUDGET,)),
        (State.PAUSED, False, "sandbox_not_wakeable", ()),
        (State.PAUSING, True, "waiting", ()),
        (State.PAUSING, False, "sandbox_not_wakeable", ()),
        (State.CREATING, True, "waiting", ()),
        (State.CREATING, False, "waiting", ()),
        (State.RESUMING, True, "waiting", ()),
        (State.RESUMING, False, "waiting", ()),
        (State.BLOCKED, True, "wake_failed", ()),
        (State.BLOCKED, False, "wake_failed", ()),
        (State.DEAD, True, "wake_failed", ()),
        (State.DEAD, False, "wake_failed", ()),
    ],
)
def test_an_episode_begins_with_what_the_state_asks_for(
    state: State, wake: bool, expected: str, orders: tuple[Order, ...]
) -> None:
    result = begin(CONFIG, route(state, wake=wake), NOW)
    assert outcome_of(result) == expected
    assert tuple(one for one in result[1] if isinstance(one, Order)) == orders


def test_an_episode_knows_when_it_began_and_when_it_must_end() -> None:
    episode, _ = begin(CONFIG, route(State.PAUSED), NOW, 1.25)
    assert (episode.started, episode.since, episode.deadline) == (NOW, NOW, NOW + 120.0)
    assert (episode.uid, episode.pace, episode.patches, episode.trouble) == ("uid-1", 1.25, 0, None)
    assert (episode.reread_at, episode.sent_at, episode.setbacks, episode.rereads) == (
        None,
        None,
        0,
        0,
    )
    assert begin(CONFIG, route(State.PAUSED), NOW)[0].pace == 1.0


@pytest.mark.parametrize("timeout", [0.0, 7.5, 900.0])
def test_a_sandbox_may_name_its_own_time(timeout: float) -> None:
    assert begin(CONFIG, route(State.PAUSED, timeout=timeout), NOW)[0].deadline == NOW + timeout


# ---- news -------------------------------------------------------------------------------------

#: What newer news does, in the phases queued, patching, waiting, backing off, reading:
#: S succeed, F fail, N not wakeable, Q ask for a patch, W wait, a dot changes nothing.
NEWS = {
    (State.RUNNING, True): "SSSSS",
    (State.RUNNING, False): "SSSSS",
    (State.PAUSED, True): "..Q.Q",
    (State.PAUSED, False): "NNNNN",
    (State.PAUSING, True): "W..W.",
    (State.PAUSING, False): "NNNNN",
    (State.CREATING, True): "W..W.",
    (State.CREATING, False): "W..W.",
    (State.RESUMING, True): "W..W.",
    (State.RESUMING, False): "W..W.",
    (State.BLOCKED, True): "FFFFF",
    (State.BLOCKED, False): "FFFFF",
    (State.DEAD, True): "FFFFF",
    (State.DEAD, False): "FFFFF",
}
WORDS = {
    "S": "succeed",
    "F": "wake_failed",
    "N": "sandbox_not_wakeable",
    "Q": "queued",
    "W": "waiting",
}


def test_the_news_table_is_complete() -> None:
    assert set(NEWS) == {(state, wake) for state in State for wake in (True, False)}


@pytest.mark.parametrize(
    ("phase", "state", "wake", "expected"),
    [
        (phase, state, wake, row[column])
        for (state, wake), row in NEWS.items()
        for column, phase in enumerate(AT)
    ],
)
def test_news_does_what_the_table_says(
    phase: Phase, state: State, wake: bool, expected: str
) -> None:
    before = AT[phase]()
    news = route(state, 11, wake=wake)
    result = step(before, RouteChanged(news), NOW + 2.0)
    if expected == ".":
        assert result == (replace(before, route=news), ())
        return
    assert outcome_of(result) == WORDS[expected]
    assert result[0].route is news
    assert result[0].since == NOW + 2.0
    assert (Order.WITHDRAW in result[1]) == (phase is Phase.QUEUED)
    assert (Order.ASK_BUDGET in result[1]) == (expected == "Q")


def test_a_withdrawal_comes_before_the_end() -> None:
    _, commands = step(queued(), RouteChanged(route(State.RUNNING, 11)), NOW)
    assert commands == (Order.WITHDRAW, Succeed(route(State.RUNNING, 11)))


@pytest.mark.parametrize("phase", AT)
@pytest.mark.parametrize("version", [9, 10])
def test_news_that_is_not_newer_changes_nothing(phase: Phase, version: int) -> None:
    before = AT[phase]()
    for state in State:
        assert step(before, RouteChanged(route(state, version)), NOW) == (before, ())


@pytest.mark.parametrize("phase", AT)
@pytest.mark.parametrize("news", [None, route(State.RUNNING, 99, uid="uid-2")])
def test_a_sandbox_that_is_gone_fails_its_episode(phase: Phase, news: Route | None) -> None:
    error = failure_of(step(AT[phase](), RouteChanged(news), NOW))
    assert (type(error), error.text) == (WakeFailed, GONE)


@pytest.mark.parametrize(
    ("state", "text"), [(State.DEAD, DEAD), (State.BLOCKED, BLOCKED)], ids=["dead", "blocked"]
)
def test_a_sandbox_that_ends_while_waking_says_how(state: State, text: str) -> None:
    error = failure_of(step(waiting(), RouteChanged(route(state, 11)), NOW))
    assert (type(error), error.text) == (WakeFailed, text)


def test_expired_news_is_news_of_a_dead_sandbox() -> None:
    running = route(State.RUNNING, 11, expires_at=NOW)
    assert failure_of(step(waiting(), RouteChanged(running), NOW)).text == DEAD
    assert outcome_of(step(waiting(), RouteChanged(running), NOW - 0.001)) == "succeed"


def test_nothing_moves_an_episode_that_has_ended() -> None:
    ended = after(waiting(), RouteChanged(None))
    assert ended.phase is Phase.ENDED
    for event in (
        RouteChanged(route(State.PAUSED, 99)),
        RouteChanged(None),
        Granted(),
        Patched(route(State.RUNNING, 99)),
        PatchFailed(Conflict("")),
        Reread(route(State.RUNNING, 99)),
        RereadFailed(ObjectGone("")),
        Tick(),
    ):
        assert step(ended, event, NOW + 1e6) == (ended, ())


# ---- the patch --------------------------------------------------------------------------------


def test_a_granted_patch_is_sent_at_once() -> None:
    episode, commands = step(queued(), Granted(), NOW + 3.0)
    assert commands == (Order.PATCH,)
    assert (episode.phase, episode.since, episode.sent_at) == (
        Phase.PATCHING,
        NOW + 3.0,
        NOW + 3.0,
    )
    assert episode.reread_at is None


@pytest.mark.parametrize("phase", [one for one in AT if one is not Phase.QUEUED])
def test_a_grant_that_nobody_waits_for_changes_nothing(phase: Phase) -> None:
    before = AT[phase]()
    assert step(before, Granted(), NOW) == (before, ())


@pytest.mark.parametrize(
    ("state", "wake", "expected"),
    [
        (State.RUNNING, True, "succeed"),
        (State.PAUSED, True, "queued"),
        (State.PAUSED, False, "sandbox_not_wakeable"),
        (State.PAUSING, True, "waiting"),
        (State.CREATING, False, "waiting"),
        (State.RESUMING, True, "waiting"),
        (State.BLOCKED, True, "wake_failed"),
        (State.DEAD, True, "wake_failed"),
    ],
)
def test_an_answer_to_the_patch_is_judged(state: State, wake: bool, expected: str) -> None:
    result = step(patching(), Patched(route(state, 11, wake=wake)), NOW)
    assert outcome_of(result) == expected
    assert result[0].patches == 1


@pytest.mark.parametrize("at", [patching, reading])
def test_an_answer_about_another_uid_is_a_sandbox_that_is_gone(at: object) -> None:
    assert callable(at)
    other = route(State.RUNNING, 11, uid="uid-2")
    answer = Patched(other) if at is patching else Reread(other)
    error = failure_of(step(at(), answer, NOW))
    assert (type(error), error.text) == (WakeFailed, GONE)


def test_news_of_where_a_workload_is_needs_no_newer_version() -> None:
    backing = Backing("web", named=False, available=True, life="3")
    woken = structs.replace(route(State.RESUMING, 12), backing=backing)
    episode = after(patching(), Patched(woken))
    assert step(episode, RouteChanged(woken), NOW) == (episode, ())
    placed = structs.replace(route(State.RUNNING, 12), backing=backing)
    ended, commands = step(episode, RouteChanged(placed), NOW)
    assert ended.phase is Phase.ENDED
    assert commands == (Succeed(placed),)


def test_a_late_event_from_before_our_patch_causes_no_second_one() -> None:
    patched = after(patching(), Patched(route(State.RESUMING, 12)))
    for version in (11, 12):
        assert step(patched, RouteChanged(route(State.PAUSED, version)), NOW) == (patched, ())


def test_news_from_after_our_patch_outlives_the_answer_to_it() -> None:
    episode = after(patching(), RouteChanged(route(State.PAUSED, 13)))
    episode, commands = step(episode, Patched(route(State.RESUMING, 12)), NOW)
    assert (episode.phase, commands) == (Phase.QUEUED, (Order.ASK_BUDGET,))
    assert episode.route.version == 13


def test_a_sandbox_that_is_put_back_to_sleep_is_patched_three_times_and_no_more() -> None:
    episode = queued()
    for patches in (1, 2):
        episode = after(episode, Granted(), Patched(route(State.RESUMING, 10 + 2 * patches)))
        episode = after(episode, RouteChanged(route(State.PAUSED, 11 + 2 * patches)))
        assert (episode.phase, episode.patches) == (Phase.QUEUED, patches)
    episode = after(episode, Granted(), Patched(route(State.RESUMING, 20)))
    assert (episode.phase, episode.patches) == (Phase.WAITING, 3)
    pausing = after(episode, RouteChanged(route(State.PAUSING, 21)))
    assert pausing.phase is Phase.WAITING
    error = failure_of(step(pausing, RouteChanged(route(State.PAUSED, 22)), NOW))
    assert type(error) is WakeFailed
    assert error.text == "The sandbox was put back to sleep each time it was woken."


def test_failed_attempts_are_not_counted_as_patches() -> None:
    episode = patching()
    for attempt in range(10):
        episode = after(episode, PatchFailed(Conflict("")))
        episode = after(episode, Tick(), now=episode.due)
        episode = after(episode, Reread(route(State.PAUSED, 11 + attempt)), Granted())
        assert (episode.phase, episode.patches) == (Phase.PATCHING, 0)


# ---- failures of calls ------------------------------------------------------------------------

FINAL = {
    ObjectGone: GONE,
    SandboxIsTerminating: DEAD,
    ShutdownTimeReached: DEAD,
    SandboxPhaseNotAllowed: BLOCKED,
    AccessDenied: "The gateway's own credentials do not allow it to wake this sandbox.",
    InvalidWrite: "The Kubernetes API refused the change that would wake the sandbox.",
    RuntimeError: WakeFailed.detail,
}


@pytest.mark.parametrize("kind", FINAL)
def test_a_failure_that_no_second_attempt_mends_ends_the_episode(kind: type[Exception]) -> None:
    for result in (
        step(patching(), PatchFailed(kind("secret")), NOW),
        step(reading(), RereadFailed(kind("secret")), NOW),
    ):
        error = failure_of(result)
        assert (type(error), error.text) == (WakeFailed, FINAL[kind])


def test_an_object_that_cannot_be_read_ends_the_episode() -> None:
    error = failure_of(step(patching(), PatchFailed(MalformedObject("spec", "is odd")), NOW))
    assert (type(error), error.text) == (WakeFailed, "The sandbox's object cannot be read.")


def test_a_pause_that_is_not_finished_is_waited_out_and_then_patched() -> None:
    episode, commands = step(patching(), PatchFailed(SandboxIsPausing()), NOW)
    assert commands == ()
    assert (episode.phase, episode.trouble) == (Phase.WAITING, Trouble.STILL_PAUSING)
    assert (episode.reread_at, episode.patches) == (NOW + 1.0, 0)
    episode, commands = step(episode, RouteChanged(route(State.PAUSED, 11)), NOW)
    assert (episode.phase, commands) == (Phase.QUEUED, (Order.ASK_BUDGET,))


@pytest.mark.parametrize(
    ("error", "trouble"),
    [(Conflict(""), Trouble.CONFLICT), (ApiUnavailable(""), Trouble.API_UNAVAILABLE)],
    ids=["conflict", "unavailable"],
)
def test_what_may_pass_is_tried_again_after_reading(error: Exception, trouble: Trouble) -> None:
    episode, commands = step(patching(), PatchFailed(error), NOW)
    assert commands == ()
    assert (episode.phase, episode.trouble) == (Phase.BACKING_OFF, trouble)
    assert (episode.reread_at, episode.setbacks) == (NOW + 0.1, 1)
    episode, commands = step(episode, Tick(), NOW + 0.1)
    assert (episode.phase, episode.reread_at, commands) == (Phase.READING, None, (Order.READ,))
    episode, commands = step(episode, Reread(route(State.PAUSED, 10)), NOW + 0.2)
    assert (episode.phase, commands) == (Phase.QUEUED, (Order.ASK_BUDGET,))
    assert (episode.trouble, episode.setbacks) == (trouble, 1)


@pytest.mark.parametrize("pace", [1.0, 1.5])
def test_pauses_after_setbacks_double_up_to_the_longest(pace: float) -> None:
    episode = replace(patching(), pace=pace)
    pauses = []
    for _ in range(7):
        episode = after(episode, PatchFailed(Conflict("")))
        assert episode.reread_at is not None
        pauses.append(episode.reread_at - NOW)
        episode = after(episode, Tick(), now=episode.reread_at)
        episode = after(episode, Reread(route(State.PAUSED, 10)), Granted())
    assert pauses == pytest.approx([pace * one for one in (0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0)])


@pytest.mark.parametrize("pace", [1.0, 1.5])
def test_the_api_says_itself_how_long_to_leave_it_alone(pace: float) -> None:
    def pause(hint: float | None) -> float:
        error = ApiUnavailable("", hint)
        episode = after(replace(patching(), pace=pace), PatchFailed(error))
        assert episode.reread_at is not None
        return episode.reread_at - NOW

    assert pause(30.0) == pytest.approx(30.0)
    assert pause(0.01) == pytest.approx(0.1 * pace)
    assert pause(None) == pytest.approx(0.1 * pace)


def test_an_absurd_number_of_setbacks_is_still_the_longest_pause() -> None:
    episode = after(replace(patching(), setbacks=5_000), PatchFailed(Conflict("")))
    assert episode.reread_at == NOW + 2.0


def test_a_patch_that_went_through_forgets_the_setbacks_before_it() -> None:
    troubled = replace(patching(), setbacks=4, rereads=4, trouble=Trouble.API_UNAVAILABLE)
    episode = after(troubled, Patched(route(State.PAUSED, 11)))
    assert (episode.setbacks, episode.rereads, episode.trouble) == (0, 0, None)


def test_waiting_for_others_forgets_what_stood_before_our_patch() -> None:
    assert after(backing_off(), RouteChanged(route(State.RESUMING, 11))).trouble is None


def test_a_read_that_fails_is_tried_again() -> None:
    episode, commands = step(reading(), RereadFailed(ApiUnavailable("")), NOW + 2.0)
    assert commands == ()
    assert (episode.phase, episode.trouble) == (Phase.BACKING_OFF, Trouble.API_UNAVAILABLE)
    assert episode.reread_at == NOW + 2.1


@pytest.mark.parametrize("phase", [one for one in AT if one is not Phase.READING])
def test_the_failure_of_a_read_that_is_not_waited_for_changes_nothing(phase: Phase) -> None:
    before = AT[phase]()
    assert step(before, RereadFailed(ObjectGone("")), NOW) == (before, ())


# ---- re-reading and time ----------------------------------------------------------------------


@pytest.mark.parametrize("pace", [1.0, 1.25])
def test_the_safety_net_reads_after_one_two_four_and_then_every_five_seconds(pace: float) -> None:
    episode, commands = begin(CONFIG, route(State.RESUMING), NOW, pace)
    now, pauses = NOW, []
    for _ in range(5):
        assert (episode.phase, commands) == (Phase.WAITING, ())
        assert episode.reread_at is not None
        pauses.append(episode.reread_at - now)
        now = episode.reread_at
        episode, commands = step(episode, Tick(), now)
        assert (episode.phase, episode.since, commands) == (Phase.READING, now, (Order.READ,))
        episode, commands = step(episode, Reread(route(State.RESUMING)), now)
    assert pauses == pytest.approx([pace * one for one in (1.0, 2.0, 4.0, 5.0, 5.0)])


@pytest.mark.parametrize("at", [waiting, backing_off])
def test_a_re_read_is_made_when_it_is_due_and_not_before(at: object) -> None:
    assert callable(at)
    before: Episode = at()
    assert before.reread_at is not None
    assert step(before, Tick(), before.reread_at - 0.001) == (before, ())
    episode, commands = step(before, Tick(), before.reread_at)
    assert (episode.phase, commands) == (Phase.READING, (Order.READ,))
    assert episode.rereads == before.rereads + 1


@pytest.mark.parametrize("phase", [Phase.QUEUED, Phase.PATCHING, Phase.READING])
def test_what_waits_for_an_answer_is_not_moved_by_time_before_its_deadline(phase: Phase) -> None:
    before = AT[phase]()
    assert before.due == before.deadline
    assert step(before, Tick(), before.deadline - 0.001) == (before, ())


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (State.RUNNING, "succeed"),
        (State.PAUSED, "queued"),
        (State.PAUSING, "waiting"),
        (State.RESUMING, "waiting"),
        (State.DEAD, "wake_failed"),
    ],
)
def test_what_was_read_is_judged(state: State, expected: str) -> None:
    assert outcome_of(step(reading(), Reread(route(state, 11)), NOW)) == expected


def test_what_was_read_may_be_older_than_what_is_known() -> None:
    episode = after(reading(), RouteChanged(route(State.RESUMING, 12)))
    assert episode.phase is Phase.READING
    episode, commands = step(episode, Reread(route(State.PAUSED, 11)), NOW)
    assert (episode.phase, episode.route.version, commands) == (Phase.WAITING, 12, ())


def test_the_answer_to_a_read_that_is_not_waited_for_is_news() -> None:
    assert outcome_of(step(patching(), Reread(route(State.RUNNING, 11)), NOW)) == "succeed"
    before = backing_off()
    assert step(before, Reread(route(State.PAUSED, 10)), NOW) == (before, ())


def test_an_episode_is_due_at_the_first_of_its_times() -> None:
    episode = waiting()
    assert episode.due == episode.reread_at == NOW + 1.0
    assert replace(episode, deadline=NOW + 0.5).due == NOW + 0.5
    assert replace(episode, route=route(State.PAUSING, expires_at=NOW + 0.25)).due == NOW + 0.25


@pytest.mark.parametrize("phase", AT)
def test_a_sandbox_whose_shutdown_time_passes_fails_its_episode(phase: Phase) -> None:
    expiring = structs.replace(AT[phase]().route, expires_at=NOW + 50.0)
    episode = replace(AT[phase](), route=expiring, reread_at=None)
    assert step(episode, Tick(), NOW + 49.9) == (episode, ())
    error = failure_of(step(episode, Tick(), NOW + 50.0))
    assert (type(error), error.text) == (WakeFailed, DEAD)


@pytest.mark.parametrize("phase", AT)
def test_every_phase_ends_at_the_deadline(phase: Phase) -> None:
    episode = AT[phase]()
    result = step(episode, Tick(), episode.deadline)
    error = failure_of(result)
    assert (type(error), error.text) == (type(overdue(episode)), overdue(episode).text)
    assert (Order.WITHDRAW in result[1]) == (phase is Phase.QUEUED)
    assert Order.READ not in result[1]


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (State.PAUSED, "The sandbox was still asleep when the time was up."),
        (State.PAUSING, "The sandbox was still being put to sleep when the time was up."),
        (State.CREATING, "The sandbox was still being created when the time was up."),
        (State.RESUMING, "The sandbox was told to run, but was not ready in time."),
    ],
)
def test_never_ready_is_a_wake_timeout_that_says_how_far_it_came(state: State, text: str) -> None:
    error = overdue(replace(waiting(), route=route(state)))
    assert (type(error), error.text) == (WakeTimeout, text)


def test_an_api_that_stays_down_is_a_failed_wake_wherever_the_episode_stands() -> None:
    for phase, at in AT.items():
        error = overdue(replace(at(), trouble=Trouble.API_UNAVAILABLE))
        assert type(error) is WakeFailed, phase
        assert error.text == "The Kubernetes API could not be reached in time."


def test_a_patch_that_never_had_its_turn_is_an_overload() -> None:
    for trouble in (None, Trouble.CONFLICT, Trouble.STILL_PAUSING):
        error = overdue(replace(queued(), trouble=trouble))
        assert type(error) is WakeOverloaded
        assert error.text == "Too many sandboxes are being woken at once."


def test_conflicts_without_end_are_a_wake_timeout() -> None:
    error = overdue(backing_off())
    assert type(error) is WakeTimeout
    assert error.text == "Others kept changing the sandbox until the time was up."


def test_turning_waking_off_is_said_as_that() -> None:
    error = failure_of(step(queued(), RouteChanged(route(State.PAUSED, 11, wake=False)), NOW))
    assert type(error) is SandboxNotWakeable
