"""Whatever clocks, networks, machines and people do, never two act, and somebody leads again."""

from functools import partial
from random import Random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.cluster.lease import Lease
from gateway.replicas.election import REFUSED_PAUSE, ElectionConfig
from gateway.replicas.messages import Stop

from .world import Api, Fate, Machine, Route, World

#: One of the three, or the last that led: what befalls others matters less.
LEADING = 3
SLOTS = st.integers(0, LEADING)
RATES = st.sampled_from([0.99, 1.0, 1.01])
OFFSETS = st.sampled_from([0.0, -5_000.0, 86_400.0])
DELAYS = st.sampled_from([None, 0.01, 4.8, 16.0, 40.0])
LASTS = st.sampled_from([1.0, 4.0, 9.0, 12.0, 20.0, 60.0])
WAITS = st.sampled_from([0.0, 1.0, 2.0, 7.0, 15.5, 16.0, 40.0])
#: How long after everything is well again somebody leads, at the latest, in seconds: what lasts
#: and what was under way is over, who was refused asks again, and the longest lease has run out.
ALL_WELL = 60.0 + 40.0 + 1.5 * REFUSED_PAUSE + 1.5 * 30.0


class ElectionMachine(RuleBasedStateMachine):
    """Three replicas; each that ends for good is followed by another, sooner or later."""

    @initialize(
        lease=st.sampled_from(
            [
                None,
                Lease("0"),
                Lease("0", holder="another", duration=15),
                Lease("0", holder="another"),
            ]
        ),
        durations=st.sampled_from([(15.0, 15.0, 15.0), (15.0, 30.0, 6.0)]),
        clocks=st.tuples(*[st.tuples(OFFSETS, RATES)] * 3),
        seed=st.integers(0, 999),
    )
    def replicas_start(self, lease, durations, clocks, seed) -> None:  # type: ignore[no-untyped-def]
        self.world = World(Api(lease), Random(seed))
        self.one_duration = len(set(durations)) == 1
        self.kinds = list(zip(durations, clocks, strict=True))
        self.slots = [self.started(slot) for slot in range(3)]

    def started(self, slot: int) -> Machine:
        duration, (offset, rate) = self.kinds[slot]
        name = f"{'abc'[slot]}-{len(self.world.machines)}"
        config = ElectionConfig(duration)
        return self.world.add(Machine(name, config, offset, rate, born=self.world.now))

    # ---- what happens, for how long, and how long until the next thing ----------------------

    @rule(wait=WAITS)
    def time_passes(self, wait: float) -> None:
        self.world.pass_time(wait)

    @rule(
        slot=SLOTS, there=DELAYS, back=DELAYS, fate=st.sampled_from(Fate), lasts=LASTS, wait=WAITS
    )
    def a_network_is_slow_or_lossy(
        self,
        slot: int,
        there: float | None,
        back: float | None,
        fate: Fate,
        lasts: float,
        wait: float,
    ) -> None:
        machine = self.at(slot)
        machine.route = Route(there, back, fate)
        self.world.later(lasts, partial(setattr, machine, "route", Route()))
        self.world.pass_time(wait)

    @rule(slot=SLOTS, tick_first=st.booleans(), lasts=LASTS, wait=WAITS)
    def a_machine_freezes(self, slot: int, tick_first: bool, lasts: float, wait: float) -> None:
        machine = self.at(slot)
        self.world.freeze(machine)
        self.world.later(lasts, partial(self.world.thaw, machine, tick_first=tick_first))
        self.world.pass_time(wait)

    @rule(slot=SLOTS, crash=st.booleans(), lasts=LASTS, wait=WAITS)
    def a_replica_ends(self, slot: int, crash: bool, lasts: float, wait: float) -> None:
        machine = self.at(slot)
        if crash:
            self.world.crash(machine)
        else:
            self.world.tell(machine, Stop())
        self.world.later(lasts, partial(self.follow, machine))
        self.world.pass_time(wait)

    @rule(lasts=LASTS, wait=WAITS)
    def the_api_is_down(self, lasts: float, wait: float) -> None:
        self.world.api.down = True
        self.world.later(lasts, partial(setattr, self.world.api, "down", False))
        self.world.pass_time(wait)

    @rule(slot=SLOTS, lasts=LASTS, wait=WAITS)
    def rights_are_withdrawn(self, slot: int, lasts: float, wait: float) -> None:
        machine = self.at(slot)
        machine.denied = True
        self.world.later(lasts, partial(setattr, machine, "denied", False))
        self.world.pass_time(wait)

    @rule(lasts=LASTS, wait=WAITS)
    def wall_clocks_stand(self, lasts: float, wait: float) -> None:
        self.world.api.time_stands = True
        self.world.later(lasts, partial(setattr, self.world.api, "time_stands", False))
        self.world.pass_time(wait)

    @rule(wait=WAITS)
    def somebody_deletes_the_lease(self, wait: float) -> None:
        # Of one that was missed, nobody knows how long it was meant to last.
        if self.one_duration:
            self.world.api.lease = None
        self.world.pass_time(wait)

    @rule(duration=st.sampled_from([None, 1, 15, 20]), wait=WAITS)
    def somebody_edits_the_lease(self, duration: int | None, wait: float) -> None:
        if self.world.api.lease is not None and self.one_duration:
            self.world.api.touch(duration=duration)
        self.world.pass_time(wait)

    def at(self, slot: int) -> Machine:
        leaders = [one for one in self.slots if one.identity in self.world.leaders[-1:]]
        return leaders[0] if slot == LEADING and leaders else self.slots[slot % LEADING]

    def follow(self, machine: Machine) -> None:
        """Start another replica where one has ended."""
        if machine in self.slots:
            slot = self.slots.index(machine)
            self.slots[slot] = self.started(slot)

    # ---- what holds -----------------------------------------------------------------------

    @invariant()
    def never_two_act(self) -> None:
        """The world holds it, and the pause between two, whenever somebody begins to act."""
        assert len(self.world.acting) <= 1

    def teardown(self) -> None:
        if not hasattr(self, "slots"):
            return
        self.world.calm = True
        self.world.pass_time(ALL_WELL)
        [leader] = self.world.acting
        before = list(self.world.leaders)
        self.world.pass_time(100.0)
        assert self.world.acting == [leader]
        assert self.world.leaders == before, "a leader that is well stays it"


ElectionMachine.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestElectionMachine = ElectionMachine.TestCase
