"""Whatever replicas and networks do, no request is lost to a standby, and what is idle sleeps."""

from functools import partial

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from gateway.replicas.sleep import FENCE
from gateway.sandbox.model import State

from .sleep_world import NEEDED, Network, Rules, World

SLOTS = st.integers(0, 2)
WAITS = st.sampled_from([0.0, 0.02, 0.5, 1.0, 3.0, FENCE, 9.0, NEEDED])
LASTS = st.sampled_from([0.5, 3.0, 8.0, 30.0])
LONG = 30.0
#: From a question to what comes then: before its answers, before the reading, before the writing.
FIRST = st.sampled_from([0.0, 0.035, 0.05])
FROM_LEADER = st.sampled_from([(0.01,), (3.0,), (8.0,)])
RATES = st.sampled_from([0.99, 1.0, 1.01])
#: Messages between replicas, and to the API: most are quick.
BETWEEN = st.sampled_from([(0.01,), (0.01, 0.3), (0.01, 0.6, 1.5), (0.01, 3.0, 8.0)])
TO_API = st.sampled_from([(0.01,), (0.01, 0.3), (2.0, 4.5), (8.0, 12.0)])
#: How long after everything is well again what nobody uses sleeps: what lasts and what is under
#: way is over, whoever is new has begun, and then it is asked about every few seconds.
ALL_WELL = 30.0 + 30.0 + 2 * FENCE + NEEDED + 10.0


class SleepMachine(RuleBasedStateMachine):
    """Three replicas; each that dies is followed by another. Any of them may ask, at any time."""

    kept = Rules()

    @initialize(seed=st.integers(0, 9999), rates=st.tuples(RATES, RATES, RATES))
    def replicas_start(self, seed: int, rates: tuple[float, float, float]) -> None:
        self.world = World(seed, self.kept)
        self.slots = [self.world.start(fresh=False, rate=rate) for rate in rates]
        self.world.pass_time(NEEDED)

    @rule(wait=WAITS)
    def time_passes(self, wait: float) -> None:
        self.world.pass_time(wait)

    @rule(slot=SLOTS, lasts=LASTS, wait=WAITS)
    def a_request_comes(self, slot: int, lasts: float, wait: float) -> None:
        replica = self.slots[slot]
        if replica.alive:
            replica.run(replica.serve(lasts))
        self.world.pass_time(wait)

    @rule(slot=SLOTS, wait=WAITS)
    def somebody_asks(self, slot: int, wait: float) -> None:
        self.ask(slot)
        self.world.pass_time(wait)

    @rule(asks=SLOTS, delays=FROM_LEADER, serves=SLOTS, first=FIRST, wait=WAITS)
    def a_request_comes_while_somebody_asks(
        self, asks: int, delays: tuple[float, ...], serves: int, first: float, wait: float
    ) -> None:
        self.ask_when_idle(asks, delays, first)
        self.a_request_comes(serves, LONG, wait)

    @rule(asks=SLOTS, delays=FROM_LEADER, slot=SLOTS, first=FIRST, wait=WAITS)
    def a_replica_is_new_while_somebody_asks(
        self, asks: int, delays: tuple[float, ...], slot: int, first: float, wait: float
    ) -> None:
        self.ask_when_idle(asks, delays, first)
        self.a_replica_dies(slot, lingers=0.5, follows=0.0, wait=0.5)
        self.a_request_comes(slot, LONG, wait)

    @rule(delays=BETWEEN, lossy=st.booleans(), lasts=LASTS, wait=WAITS)
    def messages_are_slow(
        self, delays: tuple[float, ...], lossy: bool, lasts: float, wait: float
    ) -> None:
        self.world.between = Network(delays, lossy)
        self.world.loop.call_later(lasts, partial(setattr, self.world, "between", Network()))
        self.world.pass_time(wait)

    @rule(slot=SLOTS, delays=TO_API, lossy=st.booleans(), lasts=LASTS, wait=WAITS)
    def the_way_to_the_api_is_slow(
        self, slot: int, delays: tuple[float, ...], lossy: bool, lasts: float, wait: float
    ) -> None:
        replica = self.slots[slot]
        replica.to_api = Network(delays, lossy)
        self.world.loop.call_later(lasts, partial(setattr, replica, "to_api", Network()))
        self.world.pass_time(wait)

    @rule(lasts=LASTS, wait=WAITS)
    def the_api_is_down(self, lasts: float, wait: float) -> None:
        self.world.api_down = True
        self.world.loop.call_later(lasts, partial(setattr, self.world, "api_down", False))
        self.world.pass_time(wait)

    @rule(slot=SLOTS, lasts=LASTS, wait=WAITS)
    def a_replica_is_cut_off(self, slot: int, lasts: float, wait: float) -> None:
        replica = self.slots[slot]
        replica.cut_off = True
        self.world.loop.call_later(lasts, replica.heal)
        self.world.pass_time(wait)

    @rule(slot=SLOTS, lingers=LASTS, follows=LASTS, wait=WAITS)
    def a_replica_dies(self, slot: int, lingers: float, follows: float, wait: float) -> None:
        self.world.crash(self.slots[slot], lingers)
        self.world.pass_time(min(wait, follows))
        self.slots[slot] = self.world.start()
        self.world.pass_time(wait)

    def ask_when_idle(self, slot: int, delays: tuple[float, ...], first: float) -> None:
        """Have a replica ask about what runs and is idle; after a while its way is slow."""
        if self.world.route.state is State.PAUSED:
            self.a_request_comes(slot, 0.5, 1.0)
        self.world.pass_time(LONG + NEEDED)
        self.ask(slot)
        self.world.pass_time(first)
        self.the_way_to_the_api_is_slow(slot, delays, lossy=False, lasts=LONG, wait=0.0)

    def ask(self, slot: int) -> None:
        replica = self.slots[slot]
        if replica.alive and replica.listed:
            replica.run(replica.put_to_sleep())

    @invariant()
    def nothing_is_lost(self) -> None:
        if hasattr(self, "world"):
            assert self.world.violations == []

    def teardown(self) -> None:
        if not hasattr(self, "slots"):
            return
        try:
            if not self.world.violations:
                self.what_is_idle_sleeps_and_what_is_wanted_wakes()
        finally:
            self.world.close()

    def what_is_idle_sleeps_and_what_is_wanted_wakes(self) -> None:
        world = self.world
        world.pass_time(ALL_WELL - 10.0)
        for _ in range(5):
            self.ask(0)
            world.pass_time(2.0)
        assert world.route.state is State.PAUSED, "it is idle and does not sleep"
        self.everybody_is_served_soon()
        world.pass_time(NEEDED)
        self.ask(0)
        world.pass_time(0.035)
        self.everybody_is_served_soon()
        assert world.violations == []

    def everybody_is_served_soon(self) -> None:
        served = self.world.served
        for replica in self.slots:
            replica.run(replica.serve(1.0))
        self.world.pass_time(2.0)
        assert self.world.served == served + len(self.slots), "a request is not answered soon"


SleepMachine.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestSleepMachine = SleepMachine.TestCase


@pytest.mark.parametrize(
    "rules",
    [
        Rules(gates=False),
        Rules(claims=False),
        Rules(judged_after_reading=False),
        Rules(new_ones_wait=False),
        Rules(settled=False),
    ],
    ids=str,
)
def test_what_is_left_out_of_the_protocol_is_noticed(rules: Rules) -> None:
    class Broken(SleepMachine):
        kept = rules

    tries = settings(
        SleepMachine.TestCase.settings,
        max_examples=300,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
    )
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Broken, settings=tries)
