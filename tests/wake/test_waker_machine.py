"""Whatever the cluster and the clients do, each request has exactly one outcome, a right one."""

import asyncio
from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.sandbox.errors import ApiUnavailable, Conflict, GatewayError
from gateway.sandbox.model import Route, State
from gateway.telemetry.instruments import Instruments
from gateway.wake.config import WakeConfig
from gateway.wake.waker import Ready, Waker

from .cluster import Cluster
from .virtual import VirtualLoop

CONFIG = WakeConfig(
    timeout=20.0,
    waiters_per_sandbox=5,
    waiters_total=8,
    waiting_bytes_total=60,
    patches_per_second=1.0,
    patches_burst=2,
    namespace_patches_per_second=0.5,
    namespace_patches_burst=1,
)
NAMES = st.sampled_from(["a", "b", "c"])
STATES = st.sampled_from([*State, *[State.PAUSED] * 4, *[State.RUNNING] * 2])
SETTLED = {State.RUNNING, State.PAUSED, State.PAUSING, State.RESUMING, State.CREATING}


class WakerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.troubles: list[dict[str, Any]] = []
        self.loop = self.runner.get_loop()
        self.loop.set_exception_handler(lambda _, context: self.troubles.append(context))
        self.cluster = Cluster(latency=0.2, resume_time=1.0)
        self.instruments = Instruments()
        self.open: dict[asyncio.Task[Ready], tuple[Route, int]] = {}
        self.outcomes: Counter[str] = Counter()
        self.asked = self.born = 0
        self.runner.run(self.start())

    async def start(self) -> None:
        self.waker = Waker(
            self.cluster.registry, self.cluster, CONFIG, self.instruments, self.loop.time
        )

    def metric(self, name: str) -> float:
        families = {family.name: family for family in self.instruments.collect()}
        return families[f"sandbox_gateway_{name}"].samples[0].value

    def named(self, name: str) -> Route | None:
        return next((one for k, one in self.cluster.objects.items() if k.name == name), None)

    # ---- clients --------------------------------------------------------------------------

    @initialize()
    def sandboxes_sleep(self) -> None:
        for name in "abc":
            self.a_sandbox_is_made(name, State.PAUSED, wake=True)

    @rule(
        name=NAMES,
        count=st.integers(1, 4),
        timeout=st.sampled_from([0.0, 0.4, 2.0, 10.0, 30.0]),
        held=st.integers(0, 30),
    )
    def requests_come(self, name: str, count: int, timeout: float, held: int) -> None:
        found = next((one for one in self.cluster.registry if one.key.name == name), None)
        if found is None:
            return
        for _ in range(count):
            self.asked += 1
            call = self.waker.ready(found, timeout=timeout, held_bytes=held)
            self.open[self.loop.create_task(call)] = (found, held)
        self.settle()

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def a_client_leaves(self, data: st.DataObject) -> None:
        tasks = list(self.open)
        tasks[data.draw(st.integers(0, len(tasks) - 1))].cancel()
        self.settle()

    # ---- the cluster ----------------------------------------------------------------------

    @rule(name=NAMES, state=STATES, wake=st.sampled_from([True, True, True, False]))
    def a_sandbox_is_made(self, name: str, state: State, wake: bool) -> None:
        if self.named(name) is None:
            self.born += 1
            uid = f"{name}-{self.born}"
            namespace = "x" if name == "a" else "y"
            self.inside(
                lambda: self.cluster.add(state, name, uid=uid, wake=wake, namespace=namespace)
            )

    @rule(name=NAMES, state=STATES)
    def somebody_changes_a_sandbox(self, name: str, state: State) -> None:
        if (found := self.named(name)) is not None:
            self.inside(lambda: self.cluster.change(found.key, state))

    @rule(name=NAMES)
    def a_sandbox_falls_asleep(self, name: str) -> None:
        found = self.named(name)
        if found is not None and found.state in SETTLED:
            self.inside(lambda: self.fall_asleep(found))

    def fall_asleep(self, found: Route) -> None:
        self.cluster.change(found.key, State.PAUSING)
        self.cluster.after(0.7, found.key, State.PAUSING, State.PAUSED)

    @rule(name=NAMES)
    def a_sandbox_is_deleted(self, name: str) -> None:
        if (found := self.named(name)) is not None:
            self.inside(lambda: self.cluster.delete(found.key))

    @rule(name=NAMES)
    def waking_is_forbidden(self, name: str) -> None:
        if (found := self.named(name)) is not None:
            self.inside(lambda: self.cluster.forbid_waking(found.key))

    @rule(fault=st.sampled_from([Conflict("x"), ApiUnavailable("x", 1.0), OSError("x")]))
    def the_api_will_fail_once(self, fault: Exception) -> None:
        self.cluster.faults.append(fault)

    @rule(down=st.booleans())
    def the_api_goes_down_or_up(self, down: bool) -> None:
        self.cluster.down = down

    @rule(seconds=st.sampled_from([0.05, 0.2, 0.25, 1.0, 3.0, 25.0]))
    def time_passes(self, seconds: float) -> None:
        self.runner.run(asyncio.sleep(seconds))
        self.settle()  # what was due at that very instant

    # ---- what holds -----------------------------------------------------------------------

    def inside(self, change: Any) -> None:
        async def run() -> None:
            change()

        self.runner.run(run())
        self.settle()

    def settle(self) -> None:
        """Let run what is ready to run."""

        async def turns() -> None:
            for _ in range(5):
                await asyncio.sleep(0)

        self.runner.run(turns())
        self.collect()

    def collect(self) -> None:
        for task in [one for one in self.open if one.done()]:
            route, _ = self.open.pop(task)
            if task.cancelled():
                self.outcomes["left"] += 1
            elif (error := task.exception()) is not None:
                assert isinstance(error, GatewayError)
                self.outcomes[error.reason] += 1
            else:
                reached = task.result().route
                assert reached.uid == route.uid
                assert reached.state is State.RUNNING
                assert reached.address is not None
                self.outcomes["ready"] += 1

    @invariant()
    def every_request_waits_or_has_one_outcome(self) -> None:
        assert self.outcomes.total() + len(self.open) == self.asked

    @invariant()
    def counts_are_those_of_the_requests_that_wait(self) -> None:
        assert self.metric("wake_waiting_requests") == len(self.open)
        held = sum(held for _, held in self.open.values())
        assert self.metric("wake_waiting_bytes") == held <= CONFIG.waiting_bytes_total

    @invariant()
    def who_waits_is_waited_for(self) -> None:
        uids = Counter(route.uid for route, _ in self.open.values())
        for uid, count in uids.items():
            assert self.waker.explain(uid).waiters == count <= CONFIG.waiters_per_sandbox

    @invariant()
    def writes_keep_their_bounds(self) -> None:
        assert self.cluster.most_writing <= 1
        for sandbox in self.cluster.objects.values():
            assert self.waker.explain(sandbox.uid).patches <= CONFIG.max_patches_per_episode

    @invariant()
    def nothing_broke(self) -> None:
        assert self.troubles == []

    def teardown(self) -> None:
        self.runner.run(self.end())
        self.collect()
        assert self.open == {}
        self.every_request_waits_or_has_one_outcome()
        self.counts_are_those_of_the_requests_that_wait()
        self.nothing_broke()
        assert self.metric("wake_episodes_active") == 0
        assert not +self.cluster.writing
        self.runner.close()

    async def end(self) -> None:
        async with asyncio.timeout(31.0):
            while self.metric("wake_waiting_requests"):
                await asyncio.sleep(0.05)
        await self.waker.close()
        await asyncio.sleep(0)


WakerMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
TestWakerMachine = WakerMachine.TestCase
