"""Whatever happens in whatever order, an episode keeps its promises."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.sandbox.errors import (
    AccessDenied,
    ApiUnavailable,
    Conflict,
    ObjectGone,
    SandboxIsPausing,
    SandboxPhaseNotAllowed,
)
from gateway.sandbox.model import Route, State
from gateway.wake.config import WakeConfig
from gateway.wake.episode import Episode, Phase, begin, step
from gateway.wake.messages import (
    Command,
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

CONFIG = WakeConfig(timeout=60.0)
START = 1_000.0

routes = st.builds(
    route,
    st.sampled_from([*State, State.RUNNING, State.PAUSED, State.PAUSED]),
    st.integers(1, 20),
    wake=st.sampled_from([True, True, True, False]),
    uid=st.sampled_from(["uid-1"] * 4 + ["uid-2"]),
    expires_at=st.sampled_from([None, None, START + 30.0]),
)
errors = st.sampled_from(
    [
        Conflict(""),
        Conflict(""),
        ApiUnavailable(""),
        ApiUnavailable("", 3.0),
        SandboxIsPausing(),
        ObjectGone(""),
        AccessDenied(""),
        SandboxPhaseNotAllowed(),
    ]
)


class EpisodeMachine(RuleBasedStateMachine):
    """Plays the driver with a budget, an API and a watch that do as they please."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.asked = self.patching = False
        self.reads = 0
        self.patches = 0
        self.newest = 0
        self.ends: list[Command] = []

    @initialize(first=routes.filter(lambda one: one.uid == "uid-1"))
    def start(self, first: Route) -> None:
        self.newest = first.version
        episode, commands = begin(CONFIG, first, self.now)
        self.take(episode, commands)

    def take(self, episode: Episode, commands: tuple[Command, ...]) -> None:
        self.episode = episode
        for command in commands:
            match command:
                case Order.ASK_BUDGET:
                    assert not self.asked
                    self.asked = True
                case Order.WITHDRAW:
                    assert self.asked
                    self.asked = False
                case Order.PATCH:
                    assert not self.patching, "two patches under way"
                    self.patching = True
                case Order.READ:
                    self.reads += 1
                case Succeed() | Fail():
                    self.ends.append(command)

    def feed(self, event: Event) -> None:
        if isinstance(event, RouteChanged | Patched | Reread) and event.route is not None:
            self.newest = max(self.newest, event.route.version)
        self.take(*step(self.episode, event, self.now))

    @rule(news=st.none() | routes)
    def watch(self, news: Route | None) -> None:
        self.feed(RouteChanged(news))

    @precondition(lambda self: self.asked)
    @rule()
    def grant(self) -> None:
        self.asked = False
        self.feed(Granted())

    @precondition(lambda self: self.patching)
    @rule(answer=routes | errors)
    def answer_patch(self, answer: Route | Exception) -> None:
        self.patching = False
        if isinstance(answer, Route):
            self.patches += not self.ends
            self.feed(Patched(answer))
        else:
            self.feed(PatchFailed(answer))

    @precondition(lambda self: self.reads > 0)
    @rule(answer=routes | errors)
    def answer_read(self, answer: Route | Exception) -> None:
        self.reads -= 1
        self.feed(Reread(answer) if isinstance(answer, Route) else RereadFailed(answer))

    @rule(seconds=st.floats(0.0, 10.0))
    def let_time_pass(self, seconds: float) -> None:
        self.now += seconds
        while not self.ends and self.episode.due <= self.now:
            self.feed(Tick())

    @invariant()
    def ends_once_and_with_what_was_promised(self) -> None:
        assert len(self.ends) <= 1
        assert bool(self.ends) == (self.episode.phase is Phase.ENDED)
        for end in self.ends:
            if isinstance(end, Succeed):
                assert end.route.uid == "uid-1"
                assert end.route.state_at(self.episode.since) is State.RUNNING

    @invariant()
    def asks_for_what_its_phase_waits_for(self) -> None:
        assert self.asked == (self.episode.phase is Phase.QUEUED)
        if not self.ends:
            assert self.patching == (self.episode.phase is Phase.PATCHING)
        if self.episode.phase is Phase.READING:
            assert self.reads > 0

    @invariant()
    def is_always_due_at_a_time_to_come(self) -> None:
        assert self.ends or self.now < self.episode.due <= self.episode.deadline

    @invariant()
    def patches_within_its_bound(self) -> None:
        assert self.patches == self.episode.patches <= CONFIG.max_patches_per_episode

    @invariant()
    def knows_the_newest_it_was_told(self) -> None:
        assert self.ends or self.episode.route.version == self.newest


EpisodeMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestEpisodeMachine = EpisodeMachine.TestCase
