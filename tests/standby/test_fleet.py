"""Three replicas, each with its controller and its gates, under load and faults, in virtual time.

The API, the network and the watches are slow at random, lose messages, and fail. Whatever happens:
no sandbox sleeps while a request is in it, no request meets one that sleeps, and when all is quiet
they all sleep.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from gateway.replicas.gate import Gate
from gateway.replicas.peers import PeerUse, Verdict
from gateway.replicas.sleep import FENCE, Inquiry, Standing, Word
from gateway.sandbox.activity import Activity
from gateway.sandbox.errors import ApiUnavailable, Conflict, NotWritten, StandbyForbidden
from gateway.sandbox.model import State
from gateway.sandbox.registry import Registry
from gateway.sandbox.standby import StandbyPolicy
from gateway.standby.config import IdleConfig
from gateway.standby.controller import IdleController
from gateway.standby.idle import PAUSE_MAX, REST_MAX
from gateway.telemetry.instruments import Instruments
from tests.standby.doubles import Guests, Lead
from tests.standby.world import EPOCH, sandbox
from tests.wake.virtual import in_virtual_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.replicas.wire import Item, Outcome
    from gateway.sandbox.model import Key, Route

NAMES = [f"s{number}" for number in range(12)]
TIMEOUT = 4.0
BUSY = 300.0


class Fleet:
    """The API, three replicas, and who is inside which sandbox."""

    def __init__(self, seed: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.chance = random.Random(seed)
        self.faults = True
        policy = StandbyPolicy(enabled=True, idle_timeout=TIMEOUT)
        self.objects = {one.uid: one for one in (sandbox(name, policy=policy) for name in NAMES)}
        self.inside: Counter[str] = Counter()
        self.writes: Counter[str] = Counter()
        self.served = 0
        self.replicas = [Replica(self, f"replica-{number}") for number in range(3)]
        self.cut_off: set[str] = set()

    def now(self) -> float:
        return self.loop.time()

    async def delay(self, most: float) -> None:
        await asyncio.sleep(self.chance.uniform(0, most))

    def fails(self, share: float) -> bool:
        return self.faults and self.chance.random() < share

    def write(self, before: Route, state: State) -> Route:
        """Change an object, if it is as it was when it was read."""
        known = self.objects[before.uid]
        if known.version != before.version:
            raise Conflict("somebody else wrote")
        address = "10.0.0.7" if state is State.RUNNING else None
        changed = replace(known, version=known.version + 1, state=state, address=address)
        self.objects[before.uid] = changed
        if state is State.PAUSED:
            self.writes[known.key.name] += 1
            assert self.inside[known.uid] == 0, f"{known.key} sleeps while it is used"
        for replica in self.replicas:
            late = self.chance.uniform(0, 3.0 if self.fails(0.1) else 0.3)
            self.loop.call_later(late, replica.registry.apply, changed)
        return changed


class Replica:
    """One replica: what it knows, its gates and its controller."""

    def __init__(self, fleet: Fleet, name: str) -> None:
        self.fleet, self.name = fleet, name
        self.registry, self.activity = Registry(), Activity()
        self.gate = Gate(self.activity, self.registry, self.claim, fleet.now)
        self.lead = Lead(acting=False)
        self.registry.subscribe(
            lambda before, after: self.activity.heed(
                before, after, fleet.now(), EPOCH + fleet.now()
            )
        )
        self.registry.subscribe(self.gate.heed)
        self.controller = IdleController(
            IdleConfig(min_uptime=0.0), self.registry, self.activity, self, self, self.lead,
            Guests(), Instruments(), clock=fleet.now, wall_clock=lambda: EPOCH + fleet.now(),
        )  # fmt: skip
        for route in fleet.objects.values():
            self.registry.apply(route)

    # ---- as who asks all replicas -------------------------------------------------------------

    async def ask(self, question: str, items: Sequence[Item]) -> Mapping[str, Verdict]:
        fleet, began = self.fleet, self.fleet.now()
        awaited = frozenset(one.name for one in fleet.replicas)
        found = {item.uid: Inquiry(began, awaited) for item in items}

        async def call(replica: Replica) -> None:
            await fleet.delay(0.05)
            lost = replica.name in fleet.cut_off or fleet.fails(0.02)
            for item in items:
                answer = Word.SILENT if lost else replica.gate.ask(question, item.uid, item.needed)
                if fleet.fails(0.02):
                    answer = Word.SILENT  # it is its answer that is lost
                found[item.uid] = found[item.uid].answered(replica.name, answer)
            await fleet.delay(0.05)

        await asyncio.gather(*(call(one) for one in fleet.replicas))
        return {
            uid: Verdict(one.standing(fleet.now()) is Standing.GRANTED, one.used_ago, one.no)
            for uid, one in found.items()
        }

    async def settle(self, question: str, outcomes: Sequence[Outcome]) -> None:
        for replica in self.fleet.replicas:
            await self.fleet.delay(0.05)
            if replica.name in self.fleet.cut_off or self.fleet.fails(0.05):
                continue
            for one in outcomes:
                replica.gate.settle(question, one.key, one.uid, one.version, one.known)

    async def uses(self, uid: str) -> Sequence[PeerUse]:
        raise NotImplementedError(uid)

    # ---- as who talks to the API --------------------------------------------------------------

    async def sleep(
        self, key: Key, uid: str, may: Callable[[Route], bool], within: float, why: str = ""
    ) -> Route:
        fleet, ends = self.fleet, self.fleet.now() + within
        await fleet.delay(0.1)
        if fleet.fails(0.05):
            raise NotWritten("it cannot be read")
        read = fleet.objects[uid]
        self.registry.apply(read)
        if not may(read):
            raise StandbyForbidden(why)
        await fleet.delay(4.0 if fleet.fails(0.1) else 0.1)
        if fleet.now() > ends or fleet.fails(0.05):
            raise ApiUnavailable("it took too long")
        written = fleet.write(read, State.PAUSED)
        await fleet.delay(0.1)
        if fleet.fails(0.1):
            raise ApiUnavailable("its answer is lost")
        self.registry.apply(written)
        return written

    async def annotate(
        self,
        key: Key,
        uid: str,
        changes: Mapping[str, str | None],
        if_: Callable[[Route], bool] | None = None,
    ) -> Route:
        raise NotImplementedError(key, uid, changes, if_)

    async def claim(self, key: Key, uid: str) -> Route:
        """Write over a sandbox that is to run, so that no earlier standby lands any more."""
        await self.fleet.delay(0.1)
        if self.fleet.fails(0.1):
            raise ApiUnavailable("down")
        read = self.fleet.objects[uid]
        if read.state is State.RUNNING:
            read = self.fleet.write(read, State.RUNNING)
        self.registry.apply(read)
        return read

    # ---- as a proxy ---------------------------------------------------------------------------

    async def serve(self, name: str, seconds: float) -> None:
        """Serve one request to a sandbox."""
        uid, fleet = f"uid-{name}", self.fleet
        usage = self.activity.enter(uid, fleet.now())
        try:
            key = fleet.objects[uid].key
            while True:
                await self.gate.wait(key, uid)
                route = self.registry.get(key)
                assert route is not None
                if route.state is State.RUNNING:
                    break
                await self.wake(uid)
            assert fleet.objects[uid].state is State.RUNNING, f"{name} sleeps: a 502"
            fleet.inside[uid] += 1
            await asyncio.sleep(seconds)
            fleet.inside[uid] -= 1
            fleet.served += 1
        finally:
            usage.leave(fleet.now())

    async def wake(self, uid: str) -> None:
        await self.fleet.delay(0.1)
        read = self.fleet.objects[uid]
        if read.state is State.PAUSED:
            read = self.fleet.write(read, State.RUNNING)
        self.registry.apply(read)


async def use(fleet: Fleet) -> None:
    """Send requests at random, until it is over."""
    chance, requests = fleet.chance, set()
    ends = fleet.now() + BUSY
    while fleet.now() < ends:
        await asyncio.sleep(chance.expovariate(3.0))
        replica, name = chance.choice(fleet.replicas), chance.choice(NAMES)
        seconds = chance.choice([0.01, 0.01, 0.3, 2.0, 12.0])
        requests.add(asyncio.create_task(replica.serve(name, seconds)))
    await asyncio.gather(*requests)
    assert fleet.served == len(requests)


async def elect(fleet: Fleet) -> None:
    """Let one lead after the other, and cut one off now and then."""
    while True:
        leader = fleet.chance.choice(fleet.replicas)
        leader.lead.pass_on(True)
        others = [one.name for one in fleet.replicas if one is not leader]
        fleet.cut_off = {fleet.chance.choice(others)} if fleet.fails(0.2) else set()
        await asyncio.sleep(fleet.chance.uniform(1.0, 30.0) if fleet.faults else 1000.0)
        leader.lead.pass_on(False)
        await fleet.delay(1.0)


@pytest.mark.parametrize("seed", range(4))
@in_virtual_time
async def test_no_request_is_lost_and_all_sleep_when_all_is_quiet(seed: int) -> None:
    fleet = Fleet(seed)
    running = [asyncio.create_task(one.controller.run()) for one in fleet.replicas]
    electing = asyncio.create_task(elect(fleet))
    await use(fleet)
    assert [task.exception() for task in running if task.done()] == []
    fleet.faults, fleet.cut_off = False, set()
    assert sum(fleet.writes.values()) > 50, "hardly any of them ever slept"
    await asyncio.sleep(30 + 8 + TIMEOUT + PAUSE_MAX + REST_MAX + FENCE)
    assert {one.state for one in fleet.objects.values()} == {State.PAUSED}
    assert [task.exception() for task in running if task.done()] == []
    for task in (*running, electing):
        task.cancel()
    await asyncio.wait({*running, electing})
