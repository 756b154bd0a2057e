"""The decision as a table, and as a property over every sequence of wishes and mishaps."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.local.runtime import RuntimeConfig, transitions
from gateway.local.runtime.decision import Action, Step, next_step
from gateway.local.runtime.model import (
    Command,
    Departure,
    Desired,
    Failure,
    Goal,
    Instant,
    Life,
    Listener,
    Observed,
    PauseMode,
    Phase,
    Problem,
    Reason,
    Rival,
)
from gateway.local.runtime.status import Report, render, report

CONFIG = RuntimeConfig()
COMMAND, OTHER = Command(("server",), 9000), Command(("other",), 9000)
NOW = Instant(monotonic=100.0, wall=1_000.0)
RUN = Desired(generation=1, goal=Goal.RUNNING, workload=COMMAND)
PAUSE = replace(RUN, goal=Goal.PAUSED)
STOP = replace(PAUSE, pause=PauseMode.STOP)
BROKEN = replace(RUN, workload=Problem(Reason.INVALID_SPEC, "broken"))
DELETED = replace(RUN, departure=Departure.DELETED)
DELETING = replace(RUN, departure=Departure.DELETING)
OVER = replace(RUN, shutdown_at=NOW.wall)
CRASHED = Failure(Reason.PROCESS_EXITED, "crashed", generation=1, retry_at=101.0)
LASTING = replace(CRASHED, retry_at=None)


def life(state: Life, **facts: object) -> Observed:
    return replace(Observed(life=state, since=100.0, due=100.0, command=COMMAND), **facts)  # type: ignore[arg-type]


ABSENT = Observed()


@pytest.mark.parametrize(
    ("observed", "desired", "expected"),
    [
        (ABSENT, RUN, Step(Action.START)),
        (ABSENT, PAUSE, Step(Action.REST)),
        (ABSENT, BROKEN, Step(Action.REST)),
        (ABSENT, DELETED, Step(Action.LEAVE)),
        (ABSENT, DELETING, Step(Action.REST)),
        (ABSENT, OVER, Step(Action.REST)),
        (ABSENT, replace(RUN, departure=Departure.RUNTIME_STOPS), Step(Action.LEAVE)),
        (replace(ABSENT, rival=Rival("a/b", leaving=False)), RUN, Step(Action.REST)),
        (replace(ABSENT, failure=CRASHED), RUN, Step(Action.REST, 101.0)),
        (replace(ABSENT, failure=replace(CRASHED, retry_at=100.0)), RUN, Step(Action.START)),
        (replace(ABSENT, failure=LASTING), RUN, Step(Action.REST)),
        (replace(ABSENT, failure=LASTING), replace(RUN, generation=2), Step(Action.START)),
        (life(Life.STARTING), RUN, Step(Action.PROBE)),
        (life(Life.STARTING, due=100.5), RUN, Step(Action.REST, 100.5)),
        (life(Life.STARTING, since=40.0), RUN, Step(Action.TERMINATE)),
        (life(Life.STARTING), PAUSE, Step(Action.FREEZE)),
        (life(Life.STARTING, since=40.0), PAUSE, Step(Action.FREEZE)),
        (life(Life.SERVING), RUN, Step(Action.REST)),
        (life(Life.SERVING), replace(RUN, shutdown_at=1_005.0), Step(Action.REST, 105.0)),
        (life(Life.SERVING), replace(RUN, shutdown_at=9_999.0), Step(Action.REST, 130.0)),
        (life(Life.SERVING), replace(RUN, workload=OTHER), Step(Action.TERMINATE)),
        (life(Life.SERVING), replace(RUN, pause=PauseMode.STOP), Step(Action.REST)),
        (life(Life.SERVING), BROKEN, Step(Action.TERMINATE)),
        (life(Life.SERVING), OVER, Step(Action.TERMINATE)),
        (life(Life.SERVING), DELETED, Step(Action.TERMINATE)),
        (life(Life.SERVING), DELETING, Step(Action.TERMINATE)),
        (life(Life.SERVING, exited=True), RUN, Step(Action.TERMINATE)),
        (life(Life.SERVING), PAUSE, Step(Action.FREEZE)),
        (life(Life.SERVING), STOP, Step(Action.TERMINATE)),
        (life(Life.FREEZING), PAUSE, Step(Action.CHECK_FROZEN)),
        (life(Life.FREEZING, due=100.5), PAUSE, Step(Action.REST, 100.5)),
        (life(Life.FREEZING, due=100.5), RUN, Step(Action.THAW)),
        (life(Life.FROZEN), PAUSE, Step(Action.REST)),
        (life(Life.FROZEN), RUN, Step(Action.THAW)),
        (life(Life.FROZEN), STOP, Step(Action.TERMINATE)),
        (life(Life.FROZEN, exited=True), PAUSE, Step(Action.TERMINATE)),
        (life(Life.FROZEN, since=0.0), RUN, Step(Action.THAW)),
        (life(Life.THAWING), RUN, Step(Action.PROBE)),
        (life(Life.THAWING), PAUSE, Step(Action.FREEZE)),
        (life(Life.TERMINATING), RUN, Step(Action.REST, 105.0)),
        (life(Life.TERMINATING, exited=True), RUN, Step(Action.CHECK_GONE)),
        (life(Life.TERMINATING, exited=True, due=100.2), RUN, Step(Action.REST, 100.2)),
        (life(Life.TERMINATING, since=95.0), RUN, Step(Action.KILL)),
        (life(Life.KILLING), PAUSE, Step(Action.KILL)),
        (life(Life.KILLING, due=100.2), PAUSE, Step(Action.REST, 100.2)),
    ],
)
def test_next_step(observed: Observed, desired: Desired, expected: Step) -> None:
    assert next_step(observed, desired, NOW, CONFIG) == expected


def test_the_backoff_doubles_to_its_bound_and_starts_anew_after_health() -> None:
    observed, pauses = life(Life.STARTING), []
    problem = Problem(Reason.PROCESS_EXITED, "crashed")
    for _ in range(8):
        observed = transitions.failed(observed, problem, RUN, 100.0, CONFIG)
        assert observed.failure is not None
        assert observed.failure.retry_at is not None
        pauses.append(observed.failure.retry_at - 100.0)
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    healthy = replace(observed, served_at=40.0)
    assert transitions.failed(healthy, problem, RUN, 100.0, CONFIG).failures == 1
    sick = replace(observed, served_at=40.1)
    assert transitions.failed(sick, problem, RUN, 100.0, CONFIG).failures == 9


def test_probes_come_fast_at_first_and_slow_down_to_their_bound() -> None:
    observed, pauses = life(Life.STARTING), []
    for _ in range(500):
        observed = transitions.probed(
            observed, Listener.NOBODY, accepts=False, now=100.0, config=CONFIG
        )
        pauses.append(observed.due - 100.0)
    assert pauses[0] == pytest.approx(0.005)
    assert pauses == sorted(pauses)
    assert pauses[-1] == pytest.approx(CONFIG.probe_max)


def test_a_ready_condition_keeps_its_time_until_its_status_changes() -> None:
    later = Instant(200.0, 2_000.0)
    running = report(life(Life.SERVING, listener=Listener.OWN), RUN, NOW)
    pausing = report(life(Life.FREEZING), PAUSE, NOW)
    paused = report(life(Life.FROZEN), PAUSE, NOW)
    first = render(running, {}, NOW)
    assert first["conditions"][0]["lastTransitionTime"] == "1970-01-01T00:16:40Z"
    assert transition_time(running, first, later) == "1970-01-01T00:16:40Z"
    assert transition_time(pausing, first, later) == "1970-01-01T00:33:20Z"
    second = render(pausing, first, later)
    assert transition_time(paused, second, Instant(0, 0)) == "1970-01-01T00:33:20Z"


def transition_time(said: Report, previous: dict[str, object], now: Instant) -> object:
    return render(said, previous, now)["conditions"][0]["lastTransitionTime"]


def test_a_new_spec_is_not_reported_as_running_while_the_old_process_serves() -> None:
    said = report(life(Life.SERVING), replace(RUN, generation=2, workload=OTHER), NOW)
    assert said.phase is Phase.PENDING


@dataclass
class World:
    """What is really the case."""

    process: Command | None = None
    frozen: bool = False
    deaf: bool = False
    port_opens: float = 0.0


class Runs(RuleBasedStateMachine):
    """Wishes and mishaps in any order; the decision is carried out as the executor does."""

    def __init__(self) -> None:
        super().__init__()
        self.observed, self.desired, self.world = Observed(), RUN, World()
        self.now = Instant(100.0, 1_000.0)
        self.left = False
        self.startup = 0.0

    @rule(seconds=st.sampled_from([0.001, 0.1, 1.0, 10.0, 100.0]))
    def time_passes(self, seconds: float) -> None:
        self.now = Instant(self.now.monotonic + seconds, self.now.wall + seconds)

    @rule(goal=st.sampled_from(Goal), pause=st.sampled_from(PauseMode))
    def wish(self, goal: Goal, pause: PauseMode) -> None:
        self._change(replace(self.desired, goal=goal, pause=pause))

    @rule(workload=st.sampled_from([COMMAND, OTHER, BROKEN.workload]))
    def new_spec(self, workload: Command | Problem) -> None:
        self._change(replace(self.desired, workload=workload))

    @rule(seconds=st.sampled_from([None, 0.0, 5.0]))
    def shutdown_time(self, seconds: float | None) -> None:
        moment = None if seconds is None else self.now.wall + seconds
        self._change(replace(self.desired, shutdown_at=moment))

    def _change(self, desired: Desired) -> None:
        self.desired = replace(desired, generation=self.desired.generation + 1)

    @rule(rival=st.sampled_from([None, Rival("a/b", leaving=False)]))
    def rival(self, rival: Rival | None) -> None:
        self.observed = replace(self.observed, rival=rival)

    @rule(deaf=st.booleans(), startup=st.sampled_from([0.0, 0.5, 1_000.0]))
    def program(self, *, deaf: bool, startup: float) -> None:
        self.startup, self.world.deaf = startup, deaf

    @precondition(lambda self: self.world.process is not None)
    @rule()
    def crash(self) -> None:
        self._process_ends()

    @precondition(lambda self: self.desired.departure is Departure.NONE)
    @rule(departure=st.sampled_from([Departure.DELETED, Departure.RUNTIME_STOPS]))
    def leave(self, departure: Departure) -> None:
        self.desired = replace(self.desired, departure=departure)

    @rule()
    def one_action(self) -> None:
        self._act()

    @rule()
    def all_actions_that_are_due(self) -> None:
        for _ in range(50):
            if self._act().action in {Action.REST, Action.LEAVE}:
                return
        raise AssertionError("it acts for ever without time passing")

    def _act(self) -> Step:
        self.observed = transitions.asked(self.observed, self.desired, self.observed.rival)
        step = next_step(self.observed, self.desired, self.now, CONFIG)
        getattr(self, f"_{step.action.name.lower()}")()
        return step

    def _process_ends(self) -> None:
        self.world.process = None
        self.world.frozen = False
        self.observed = transitions.exited(self.observed, self.now.monotonic)

    def _rest(self) -> None:
        pass

    def _leave(self) -> None:
        assert self.world.process is None
        self.left = True

    def _start(self) -> None:
        assert self.world.process is None, "two processes of one sandbox"
        assert self.desired.goal is Goal.RUNNING
        assert isinstance(self.desired.workload, Command)
        self.world.process, self.world.frozen = self.desired.workload, False
        self.world.port_opens = self.now.monotonic + self.startup
        self.observed = transitions.started(
            self.observed, self.desired.workload, "incarnation", self.now.monotonic
        )

    def _probe(self) -> None:
        serves = self.world.process is not None and self.now.monotonic >= self.world.port_opens
        self.observed = transitions.probed(
            self.observed,
            Listener.OWN if serves else Listener.NOBODY,
            accepts=serves,
            now=self.now.monotonic,
            config=CONFIG,
        )

    def _freeze(self) -> None:
        self.observed = transitions.freezing(self.observed, self.now.monotonic)
        assert report(self.observed, self.desired, self.now).phase is Phase.PAUSING

    def _check_frozen(self) -> None:
        self.world.frozen = True
        self.observed = transitions.frozen(self.observed, self.now.monotonic)

    def _thaw(self) -> None:
        assert report(self.observed, self.desired, self.now).phase is Phase.RESUMING
        self.world.frozen = False
        self.observed = transitions.thawed(self.observed, self.now.monotonic)

    def _terminate(self) -> None:
        self.observed = transitions.terminating(
            self.observed, self.desired, "ended", self.now, CONFIG
        )
        self.world.frozen = False
        if self.world.process is not None and not self.world.deaf:
            self._process_ends()

    def _check_gone(self) -> None:
        gone = self.world.process is None
        outcome = transitions.gone if gone else transitions.checked_in_vain
        self.observed = outcome(self.observed, self.now.monotonic)

    def _kill(self) -> None:
        self.observed = transitions.killing(self.observed, self.now.monotonic)
        assert self.now.monotonic >= self.observed.since
        if self.world.process is not None:
            self._process_ends()
            self.observed = transitions.checked_in_vain(self.observed, self.now.monotonic)
        else:
            self.observed = transitions.gone(self.observed, self.now.monotonic)

    @invariant()
    def nothing_is_reported_that_is_not_so(self) -> None:
        said = report(self.observed, self.desired, self.now)
        if said.phase is Phase.RUNNING:
            assert self.world.process == self.desired.workload
            assert not self.world.frozen
            assert self.world.port_opens <= self.now.monotonic
        if said.phase is Phase.PAUSED:
            assert self.world.process is None or self.world.frozen
        if said.phase is Phase.SUCCEEDED:
            assert self.world.process is None
        assert said.generation == self.desired.generation

    def teardown(self) -> None:
        """Left alone, it comes to where it was wished to be."""
        self.startup = 0.0
        self.world.port_opens = min(self.world.port_opens, self.now.monotonic + 1.0)
        self.observed = replace(self.observed, rival=None)
        for _ in range(60):
            self.all_actions_that_are_due()
            self.time_passes(2.0)
        self.nothing_is_reported_that_is_not_so()
        phase = report(self.observed, self.desired, self.now).phase
        assert phase is self._expected_phase() or self.left

    def _expected_phase(self) -> Phase:
        if self.desired.shutdown_at is not None and self.desired.shutdown_at <= self.now.wall:
            return Phase.SUCCEEDED
        if isinstance(self.desired.workload, Problem):
            return Phase.FAILED
        return Phase.RUNNING if self.desired.goal is Goal.RUNNING else Phase.PAUSED


TestRuns = Runs.TestCase
TestRuns.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
