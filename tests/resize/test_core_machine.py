"""Whatever guests, nodes and who permits do, an agent keeps the order of things and gets there."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from gateway.resize import events
from gateway.resize.amounts import Resources
from gateway.resize.core import Actions, next_actions
from gateway.resize.sizing import DEFAULT_UNIT, Metrics, Rules, goal
from gateway.resize.state import Denial, Phase, Timing

from .loop import LARGE, SMALL, Loop, Sent, Step, What, World

#: As ever, but for what lasts long.
TIMING = Timing(
    wish_kept=12.0, wish_kept_most=40.0, node_denied=16.0, settling=15.0, capped=30.0, lifted=20.0
)
#: In this time all that lasts is over, one after the other.
ALL_WELL = 100.0
#: Where nothing is short.
AMPLE = Resources(10**6, 10**4)
TALKING = (Phase.AWAKE, Phase.DROWSY)

sizes = st.builds(Resources, st.integers(1, 5000), st.integers(1, 20))
loads = st.sampled_from([0.0, 0.2, 0.45, 0.9, 2.0, 5.0]) | st.floats(0, 6)
metrics = st.builds(Metrics, loads, loads, st.floats(0, 20))
waits = st.sampled_from([0.0, 0.03, 0.2, 1.0, 3.0, 7.0, 30.0])


@st.composite
def rules(draw: st.DrawFn) -> Rules:
    one, other = draw(sizes), draw(sizes)
    low, high = one.min(other), one.max(other)
    return Rules(
        low,
        high,
        floor=draw(st.none() | sizes.map(high.min)),
        boost=draw(st.none() | sizes.map(high.min)),
        boost_for=draw(st.sampled_from([1.0, 30.0])),
        separate=draw(st.booleans()),
    )


class Moody(World):
    """Calls go well or not by chance; `trouble` is how often they do not."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.trouble = 0.0

    def lasts(self, what: What) -> float:
        return self.random.choice([0.0, 0.1, 1.0, 6.0]) if self._is_bad() else 0.1

    def goes(self, what: What, size: Resources) -> Sent:
        return self.random.choice([Sent.LOST, Sent.UNANSWERED]) if self._is_bad() else Sent.DONE

    def agrees(self, less: Resources) -> bool:
        return not self._is_bad()

    def settles(self, actual: Resources, desired: Resources) -> list[Step]:
        if not self._is_bad():
            return [Step(0.5, desired)]
        if desired.exceeds(actual):
            denial = self.random.choice([*Denial])
            retried = [Step(self.random.choice([0.1, 10.0]), denial), Step(20.0, desired)]
            if self.random.random() < 0.5:
                return retried
        first = Resources(desired.cpu, actual.memory), Resources(actual.cpu, desired.memory)
        return [
            Step(0.0, actual),
            Step(self.random.choice([0.2, 5.0]), self.random.choice(first)),
            Step(self.random.choice([8.0, 25.0]), desired),
        ]

    def _is_bad(self) -> bool:
        return self.random.random() < self.trouble


class Watched(Loop):
    """A loop in which each step is looked at."""

    #: Somebody else has resized the pod: what is promised holds for what the agent does alone.
    meddled = False
    #: The guest was without an informant, and may not know of all that it has.
    interrupted = False
    #: CPU was taken away in its sleep, and that may come to pass late.
    slept = False

    def decide(self) -> Actions:
        self._check_standing()
        actions = super().decide()
        self._check(actions)
        return actions

    def lose_guest(self) -> None:
        self.interrupted = True
        super().lose_guest()

    def enter(self, phase: Phase) -> None:
        self.slept = self.slept or phase is Phase.ASLEEP
        super().enter(phase)

    def meddle(self, desired: Resources) -> None:
        self.meddled = True
        super().meddle(desired)

    def _check_standing(self) -> None:
        guest = self.state.guest
        if self.meddled:
            return
        assert not self.actual.exceeds(self.permitted), "it has what was never permitted"
        if guest.approved is not None and guest.heard is not None:
            lost = self.counted_on.less(self.actual)
            assert not lost.memory, "it lost memory that it counts on"
            assert self.slept or not lost.cpu, "it lost CPU that it counts on"
            unknown = self.counted_on.less(guest.approved)
            assert not unknown.memory
            assert self.slept or not unknown.cpu
            assert self.interrupted or not guest.heard.exceeds(self.counted_on)

    def _check(self, actions: Actions) -> None:
        state, rules = self.state, self.state.rules
        if actions.permit is not None:
            assert not state.permit.under_way
            assert self.meddled or not state.held(self.now).exceeds(actions.permit.resources)
        if actions.resize is not None:
            assert state.pod.target is None or state.pod.sent or state.pod.failed_at is not None
            self._check_target(actions.resize.target)
        for call in (actions.tell, actions.ask):
            assert call is None or state.phase in TALKING
            assert call is None or not state.guest.is_busy
        assert actions.tell is None or actions.ask is None
        if actions.tell is not None and not self.meddled:
            passing = actions.tell.resources.less(self.actual.min(self.desired))
            assert not passing.memory, "it is told of memory that it does not keep"
            assert self.slept or not passing.cpu, "it is told of CPU that it does not keep"
            assert not self.counted_on.exceeds(actions.tell.resources)
        if actions.ask is not None:
            assert state.guest.approved is not None
            assert state.guest.approved.exceeds(actions.ask.resources)
            assert not actions.ask.resources.exceeds(state.guest.approved)
        if state.phase is Phase.AWAKE:
            # Beyond a bound there is nothing, but what is there already.
            assert not actions.wanted.exceeds(rules.high.max(self.desired).max(self.actual))
            assert not rules.low.min(self.actual).exceeds(actions.wanted)
        self._check_quiet(actions)

    def _check_target(self, target: Resources) -> None:
        assert not target.exceeds(self.permitted.max(self.actual)), "it is not permitted"
        if self.meddled:
            return
        if self.state.phase is Phase.ASLEEP:
            assert target.memory >= min(self.counted_on.memory, self.actual.memory)
            return
        assert not self.counted_on.min(self.actual).exceeds(target), "the guest was not asked"
        if self.state.guest.approved is None:
            assert not self.actual.exceeds(target), "nobody could be asked"

    def _check_quiet(self, actions: Actions) -> None:
        """Time alone changes nothing before `wait` is over."""
        if actions.permit or actions.resize or actions.tell or actions.ask:
            return
        wait = 1e6 if actions.wait is None else actions.wait
        for moment in (wait / 2, wait - 1e-6):
            if moment < 1e-6:
                continue
            later = next_actions(self.state, self.now + moment)
            assert (later.permit, later.resize, later.tell, later.ask) == (None,) * 4
            assert later.wanted == actions.wanted


class SizeMachine(RuleBasedStateMachine):
    """One sandbox through anything; in the end all is well, and it has what it should have."""

    @initialize(
        size=sizes,
        rules=rules(),
        seed=st.integers(0, 9999),
        trouble=st.sampled_from([0.0, 0.2, 0.5]),
    )
    def it_begins(self, size: Resources, rules: Rules, seed: int, trouble: float) -> None:
        self.world = Moody(seed)
        self.world.trouble = trouble
        self.loop = Watched(size, rules, self.world, timing=TIMING)

    @rule(wait=waits)
    def time_passes(self, wait: float) -> None:
        self.loop.run(wait)

    @rule(trouble=st.sampled_from([0.0, 0.1, 0.4, 1.0]), wait=waits)
    def luck_changes(self, trouble: float, wait: float) -> None:
        self.world.trouble = trouble
        self.loop.run(wait)

    @rule(metrics=metrics, wait=waits)
    def load_changes(self, metrics: Metrics, wait: float) -> None:
        self.world.metrics = metrics
        self.loop.measure()
        self.loop.run(wait)

    @rule(wait=waits)
    def nothing_is_measured(self, wait: float) -> None:
        self.world.metrics = None
        self.loop.run(wait)

    @rule(cpu=st.booleans(), memory=st.booleans(), wait=waits)
    def the_guest_wishes(self, cpu: bool, memory: bool, wait: float) -> None:
        self.loop.wish(cpu, memory)
        self.loop.run(wait)

    @rule(room=sizes, wait=waits)
    def there_is_other_room(self, room: Resources, wait: float) -> None:
        self.world.room = room
        self.loop.run(wait)

    @rule(rules=rules(), wait=waits)
    def bounds_change(self, rules: Rules, wait: float) -> None:
        self.loop.take(events.ruled(self.loop.state, rules))
        self.loop.run(wait)

    @rule(unit=st.sampled_from([DEFAULT_UNIT, Resources(1000, 4), Resources(70, 3)]))
    def the_unit_changes(self, unit: Resources) -> None:
        self.world.unit = unit

    @rule(phase=st.sampled_from(Phase), wait=waits)
    def it_is_in_another_phase(self, phase: Phase, wait: float) -> None:
        if phase is not self.loop.state.phase:
            self.loop.enter(phase)
        self.loop.run(wait)

    @precondition(lambda self: self.loop.state.phase in TALKING)
    @rule(wait=waits)
    def the_conversation_begins_anew(self, wait: float) -> None:
        self.loop.lose_guest()
        self.loop.run(wait)
        self.loop.meet_guest()

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        loop, world = self.loop, self.world
        world.trouble, world.room = 0.0, AMPLE
        world.metrics = world.metrics or Metrics(1.0)
        if loop.state.phase is not Phase.AWAKE:
            loop.enter(Phase.AWAKE)
        loop.run(ALL_WELL)
        check_rest(loop)


def check_rest(loop: Loop) -> None:
    """Check that it has what it should have, and that nothing is done any more."""
    state, metrics = loop.state, loop.world.metrics
    reached = goal(loop.actual, metrics, None, None, state.rules, state.permit.unit)
    assert (loop.actual, loop.desired, loop.permitted) == (reached,) * 3
    assert state.guest.approved == state.guest.heard == reached
    loop.deeds.clear()
    loop.run(100.0)
    assert {(deed.what, deed.size) for deed in loop.deeds} == {("permit", reached)}
    assert len(loop.deeds) <= 7


class MeddledMachine(SizeMachine):
    """Beside the agent, somebody else resizes the pod."""

    @rule(size=sizes, wait=waits)
    def somebody_else_resizes_it(self, size: Resources, wait: float) -> None:
        self.loop.meddle(size)
        self.loop.run(wait)


TestSize = SizeMachine.TestCase
TestMeddled = MeddledMachine.TestCase
TestSize.settings = TestMeddled.settings = settings(
    stateful_step_count=30, deadline=None, max_examples=60
)


@settings(deadline=None)
@given(size=sizes, rules=rules(), metrics=metrics)
def test_under_a_constant_load_it_grows_and_shrinks_once_at_most_and_then_rests(
    size: Resources, rules: Rules, metrics: Metrics
) -> None:
    loop = Watched(size, rules)
    loop.world.metrics, loop.world.room = metrics, AMPLE
    loop.measure()
    loop.run(10.0)
    for what in ("resize", "tell", "ask"):
        assert len([deed for deed in loop.deeds if deed.what == what]) <= 2
    assert len({deed.size for deed in loop.deeds if deed.what == "permit"}) <= 3
    check_rest(loop)


@settings(deadline=None)
@given(st.lists(st.tuples(metrics, st.sampled_from([1.0, 4.0, 15.0])), min_size=2, max_size=8))
def test_a_load_that_comes_and_goes_never_makes_more_resizes_than_it_changes(
    turns: list[tuple[Metrics, float]],
) -> None:
    loop = Watched(SMALL, Rules(SMALL, LARGE))
    for load, seconds in turns:
        loop.world.metrics = load
        loop.measure()
        loop.run(seconds)
    # Each may be one of growth and one of shrinking, as far as that is of another kind.
    assert len(loop.resizes()) <= 2 * len(turns)
